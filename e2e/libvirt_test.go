package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/libvirt/libvirttest"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// struck is a scenario that uses everything of a driver: forks, triggers, memory.
const struck = "blkptr-dva-flip"

// libvirtSpecs are what one driver promises alone: its guests are children of a daemon and not of the lab.
func libvirtSpecs(b *bench, daemon func() *libvirttest.Daemon) {
	Describe("its guests", Label("promise"), func() {
		It("end as those of a QEMU child do", func(ctx SpecContext) {
			found, err := scenarios.Find([]string{struck})
			Expect(err).NotTo(HaveOccurred())
			results, err := b.lab.Run(ctx, lab.Request{Scenarios: found, Trials: 2, Fixed: true, Seed: uint64(GinkgoRandomSeed()), Terms: lab.Terms{Keep: lab.KeepFailed}})
			Expect(err).NotTo(HaveOccurred())
			Expect(results).To(HaveLen(1))
			for _, arm := range results[0].Arms {
				if arm.Control {
					Expect(arm.Outcomes).To(Equal(map[trial.Outcome]int{trial.Masked: arm.Trials}))
				} else {
					Expect(arm.Signatures).To(Equal(map[string]int{found[0].Expect.Signature: arm.Trials}))
				}
			}
		}, NodeTimeout(patience(time.Minute)))

		It("outlive a lab that is killed; gc destroys them and nothing else", func(ctx SpecContext) {
			// Guests of a storm run on when their lab is gone. One with a flipped bit panics, and that ends its domain.
			const storm = "snapshot-storm"
			cp := b.prepared(ctx, storm)
			h := b.furnished()

			By("starting four, beside a guest of another lab and a domain of somebody else")
			neighbour := b.open(ctx, h.dirs(), 1)
			survivor, err := neighbour.Driver().Fork(ctx, cp, machine.ForkOptions{Paused: true})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(survivor.Close)
			foreign, disk := createForeign(daemon())
			run := h.start("run", storm, "--trials", "4", "--jobs", "4")
			pid := run.Command.Process.Pid
			Eventually(ctx, func(g Gomega) {
				runs(run)
				// One that is being restored would end with the lab that sends its state.
				atWork := slices.DeleteFunc(h.domains(daemon(), pid), func(name string) bool {
					return !slices.ContainsFunc(guestProcesses(name), process.busy)
				})
				g.Expect(len(atWork)).To(BeNumerically(">=", 4))
			}).Should(Succeed())

			By("kill -9")
			run.Kill()
			Eventually(run).Should(gexec.Exit())
			// One that was only just being created appears yet, or ends by itself: its QEMU finds nobody to take its console.
			var left []string
			Eventually(ctx, func(g Gomega) {
				before := left
				left = slices.DeleteFunc(names(daemon()), func(name string) bool {
					return !slices.ContainsFunc(h.owned(pid), func(dir string) bool { return "vdevil-"+filepath.Base(dir) == name })
				})
				g.Expect(len(left)).To(BeNumerically(">=", 4))
				g.Expect(left).To(ConsistOf(before))
			}).WithPolling(3 * time.Second).Should(Succeed()) // libvirt lists those that have ended for up to two

			By("gc")
			gc := h.start("gc")
			Eventually(ctx, gc).Should(gexec.Exit(held))
			running := names(daemon())
			var removed []string
			for line := range strings.Lines(string(gc.Out.Contents())) {
				if name, ok := strings.CutPrefix(strings.TrimSpace(line), "removed domain "); ok {
					removed = append(removed, name)
				}
			}
			Expect(removed).To(ConsistOf(left))
			for _, name := range left {
				Expect(running).NotTo(ContainElement(name))
				Expect(guestProcesses(name)).To(BeEmpty())
			}
			Expect(h.owned(pid)).To(BeEmpty())
			Expect(running).To(ContainElements(foreign, "vdevil-"+survivor.ID()))
			Expect(disk).To(BeARegularFile())
			Expect(survivor.Done()).NotTo(BeClosed())
			Expect(survivor.Resume(ctx)).To(Succeed())
		}, NodeTimeout(patience(2*time.Minute)))

		It("spoil a trial, and nothing more, when libvirtd dies", func(ctx SpecContext) {
			b.prepared(ctx, struck)
			h := b.furnished()
			ask := []string{"run", struck, "--seed", "1", "--only", "flip/1"}
			run := h.start(ask...)
			Eventually(ctx, func(g Gomega) {
				runs(run)
				g.Expect(h.domains(daemon(), run.Command.Process.Pid)).NotTo(BeEmpty())
			}).Should(Succeed())
			daemon().Crash(GinkgoTB())
			text := failed(ctx, run)
			daemon().Start(GinkgoTB())
			Expect(text).To(SatisfyAll(ContainSubstring("the trial was invalid"), ContainSubstring("libvirtd does not answer"), ContainSubstring("start it")))
			Expect(h.domains(daemon(), run.Command.Process.Pid)).To(BeEmpty())
			Expect(h.owned(run.Command.Process.Pid)).To(BeEmpty())
			again := h.start(ask...)
			Eventually(ctx, again).Should(gexec.Exit(held))
			Expect(string(again.Out.Contents())).To(ContainSubstring(reported))
		}, NodeTimeout(patience(2*time.Minute)))
	})

	DescribeTable("a clear error", Label("promise"), func(ctx SpecContext, uri string, want ...string) {
		s := start(b.home().plain("run", "--driver", b.driver, "--connect", uri))
		text := failed(ctx, s)
		for _, w := range want {
			Expect(text).To(ContainSubstring(w))
		}
	},
		Entry("tells of a libvirtd that is not there", NodeTimeout(patience(0)), "qemu:///system?socket=/nowhere/libvirt-sock",
			"libvirtd does not answer", "/nowhere/libvirt-sock", "systemctl start libvirtd"),
		Entry("tells of a libvirtd on another computer", NodeTimeout(patience(0)), "qemu+ssh://far.example/system",
			"another computer", "memory of the QEMU process", "ssh far.example vdevil run"),
	)
}

// storageSpecs: root's QEMUs run as somebody else, who could be a guest that has taken one over.
func storageSpecs(b *bench) {
	Describe("root's guests", Label("promise"), func() {
		It("can put nothing where the lab reads or writes, but for what is in their files", func(ctx SpecContext) {
			m := b.fork(ctx, b.booted(ctx), machine.ForkOptions{Paused: true})
			disk := m.Disks()[0].Path
			info, err := os.Stat(disk)
			Expect(err).NotTo(HaveOccurred())
			who := info.Sys().(*syscall.Stat_t)
			Expect(who.Uid).NotTo(BeZero())
			as := func(script string) error {
				c := exec.CommandContext(ctx, "sh", "-c", script)
				c.Dir = filepath.Dir(disk)
				c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: who.Uid, Gid: who.Gid}}
				out, err := c.CombinedOutput()
				AddReportEntry(script, string(out))
				return err
			}
			Expect(as("touch in/own && : >> " + filepath.Base(disk))).To(Succeed())
			for _, script := range []string{
				"touch more", "ln -s /etc/hostname state", "ln -s /etc/hostname checkpoint.json", ": >> process", ": >> libvirt", ": >> console.log",
				"rm -f " + filepath.Base(disk), "mv root.qcow2 in/", "mv in/own .",
			} {
				Expect(as(script)).NotTo(Succeed(), script)
			}
		}, NodeTimeout(patience(time.Minute)))
	})
}

// createForeign makes a domain that no lab has anything to do with, though its name might be one of ours, and its disk.
func createForeign(d *libvirttest.Daemon) (name, disk string) {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	name, disk = "vdevil-foreign", filepath.Join(dir, "disk.raw")
	Expect(os.WriteFile(disk, make([]byte, 1<<20), 0o600)).To(Succeed())
	definition := filepath.Join(dir, "foreign.xml")
	text := fmt.Sprintf("<domain type='qemu'><name>%s</name><memory unit='MiB'>16</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>", name)
	Expect(os.WriteFile(definition, []byte(text), 0o600)).To(Succeed())
	d.Virsh(GinkgoTB(), "create", "--paused", definition)
	DeferCleanup(func() { d.Virsh(GinkgoTB(), "destroy", name) })
	return name, disk
}

// names are those of the domains that run.
func names(d *libvirttest.Daemon) []string {
	GinkgoHelper()
	return strings.Fields(d.Virsh(GinkgoTB(), "list", "--name"))
}

// domains are those of the machines that a process has claimed and whose QEMU runs. One that has not met the lab yet is left
// out: it ends by itself when the lab does, as there is nobody to take its console. libvirt lists some that have ended.
func (h home) domains(d *libvirttest.Daemon, pid int) (own []string) {
	GinkgoHelper()
	running := names(d)
	for _, dir := range h.owned(pid) {
		_, err := os.Stat(filepath.Join(dir, "process"))
		if name := "vdevil-" + filepath.Base(dir); err == nil && slices.Contains(running, name) && len(guestProcesses(name)) > 0 {
			own = append(own, name)
		}
	}
	return own
}

// guestProcesses are the QEMUs of a domain.
func guestProcesses(name string) []process {
	return processes(func(p process) bool {
		return p.Program() == "qemu-system-x86_64" && strings.Contains(strings.Join(p.Args, " "), "guest="+name+",")
	})
}
