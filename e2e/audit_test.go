package e2e

import (
	"github.com/vdevil/vdevil/lab/zfs/audit/offline"

	"encoding/json"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// auditSpecs: an administrator audits the disk of a guest, in use, exported, and damaged under good checksums.
func auditSpecs(b *bench) {
	Describe("an audit", Label("promise"), func() {
		It("tells a consistent pool from one whose space map frees something twice", func(ctx SpecContext) {
			const work = `set -e
zpool create tank /dev/disk/by-id/virtio-v0
for i in $(seq 30); do seq 20000 >/tank/$i; done
zfs snapshot tank@a
rm /tank/1* && cp /tank/2 /tank/again
zpool sync tank`
			m := b.fork(ctx, b.booted(ctx), machine.ForkOptions{})
			g := b.connect(ctx, m)
			_, err := g.RunScript(ctx, work)
			Expect(err).NotTo(HaveOccurred())
			disk := m.Disks()[0].Path
			h := b.furnished()
			run := func(args ...string) *gexec.Session {
				s := h.start(append([]string{"audit", disk}, args...)...)
				Eventually(ctx, s).Should(gexec.Exit())
				return s
			}

			By("auditing it while the guest runs")
			inUse := run()
			Expect(inUse).To(gexec.Exit(misused))
			Expect(string(inUse.Err.Contents())).To(And(ContainSubstring("is in use"), ContainSubstring("--live")))
			Expect(string(run("--live").Out.Contents())).To(ContainSubstring("note: the pool was not exported"))

			By("auditing it where it is imported, as a block device")
			const device = "/dev/disk/by-id/virtio-v0-part1"
			inside := b.inside(ctx, g)
			imported := inside(misused, "audit "+device)
			Expect(string(imported.Stderr)).To(And(ContainSubstring(device+" is in use: the kernel"), ContainSubstring("--live")))
			Expect(string(inside(held, "audit --live "+device).Stdout)).To(ContainSubstring("note: the pool was not exported"))

			By("auditing it exported")
			Expect(g.Export(ctx, "tank")).To(Succeed())
			Expect(string(inside(held, "audit "+device).Stdout)).To(HaveSuffix("no inconsistency found\n"))
			Expect(m.PowerOff()).To(Succeed())
			clean := run()
			Expect(clean).To(gexec.Exit(held))
			Expect(string(clean.Out.Contents())).To(HaveSuffix("no inconsistency found\n"))

			By("auditing it forged")
			made := forgeDisk(ctx, disk, "spacemap-duplicate-free")
			bad := run("--json")
			Expect(bad).To(gexec.Exit(notHeld))
			var r offline.Document
			Expect(json.Unmarshal(bad.Out.Contents(), &r)).To(Succeed())
			Expect(r.Findings).To(HaveLen(1), made)
			Expect(r.Findings[0].Kind).To(Equal(audit.FreedTwice), made)
		}, NodeTimeout(patience(time.Minute)))
	})
}

// inside brings vdevil into a guest, and gives what runs it there and expects how it exits.
func (b *bench) inside(ctx SpecContext, g *guest.Guest) func(status int, args string) guest.Output {
	GinkgoHelper()
	binary, err := os.ReadFile(b.vdevil)
	Expect(err).NotTo(HaveOccurred())
	Expect(g.WriteFile(ctx, "/run/vdevil", binary)).To(Succeed())
	_, err = g.Run(ctx, "chmod +x /run/vdevil")
	Expect(err).NotTo(HaveOccurred())
	return func(status int, args string) guest.Output {
		GinkgoHelper()
		out, err := g.Run(ctx, "/run/vdevil "+args)
		Expect(out.Status).To(Equal(status), "%s: %v", args, err)
		return out
	}
}

// forgeDisk forges the pool on a disk where it lies, and says what was done.
func forgeDisk(ctx SpecContext, path, name string) string {
	GinkgoHelper()
	d, closer, err := ondisk.OpenDevice(path)
	Expect(err).NotTo(HaveOccurred())
	defer closer.Close()
	w, err := ondisk.NewWriter(ctx, []ondisk.Device{d}, ondisk.InPlace, ondisk.Options{})
	Expect(err).NotTo(HaveOccurred())
	f, err := forge.Find(name)
	Expect(err).NotTo(HaveOccurred())
	record, err := f.Make(ctx, w, forge.Options{Seed: uint64(GinkgoRandomSeed())})
	Expect(err).NotTo(HaveOccurred())
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	Expect(w.Commit(ctx, []ondisk.Target{file})).To(Succeed())
	return record.Effect
}
