package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
)

// isolationSpecs: two forks of a checkpoint never meet, and leave it as it was.
func isolationSpecs(b *bench) {
	Describe("forks of one checkpoint", Label("promise"), func() {
		It("share neither memory nor disks, and do not change it", func(ctx SpecContext) {
			cp := b.booted(ctx)
			template := digests(cp.Dir)
			one := b.fork(ctx, cp, machine.ForkOptions{Paused: true})
			other := b.fork(ctx, cp, machine.ForkOptions{Paused: true})

			By("writing physical memory of one while both stand still")
			memoryIsApart(ctx, one, other)

			By("writing memory and disks from inside")
			Expect(one.Resume(ctx)).To(Succeed())
			Expect(other.Resume(ctx)).To(Succeed())
			guestsAreApart(ctx, b.connect(ctx, one), b.connect(ctx, other))

			By("looking at the disks from outside, and at the checkpoint")
			Expect(one.PowerOff()).To(Succeed())
			Expect(other.PowerOff()).To(Succeed())
			Expect(digest(one.Disks()[0].Path)).NotTo(Equal(digest(other.Disks()[0].Path)))
			Expect(digest(other.Disks()[0].Path)).To(Equal(template["disk-v0.raw"]))
			Expect(digests(cp.Dir)).To(Equal(template))
		}, NodeTimeout(patience(time.Minute)))
	})
}

// memoryIsApart writes to one machine, here and there, and looks at the other. What was there before is put back.
func memoryIsApart(ctx SpecContext, one, other machine.Machine) {
	GinkgoHelper()
	const page, step, end = 4 << 10, 96 << 20, 1 << 30
	pattern := bytes.Repeat([]byte("this fork alone "), page/16)
	for addr := uint64(16 << 20); addr < end; addr += step {
		before, mine, theirs := make([]byte, page), make([]byte, page), make([]byte, page)
		Expect(one.ReadPhys(ctx, addr, before)).To(Succeed())
		Expect(other.ReadPhys(ctx, addr, theirs)).To(Succeed())
		Expect(theirs).To(Equal(before), "forks that never ran differ at %#x", addr)

		Expect(one.WritePhys(ctx, addr, pattern)).To(Succeed())
		Expect(one.ReadPhys(ctx, addr, mine)).To(Succeed())
		Expect(other.ReadPhys(ctx, addr, theirs)).To(Succeed())
		Expect(mine).To(Equal(pattern), "nothing was written at %#x", addr)
		Expect(theirs).To(Equal(before), "the other fork sees what was written at %#x", addr)
		Expect(one.WritePhys(ctx, addr, before)).To(Succeed())
	}
}

// guestsAreApart writes to one guest's tmpfs, data disk and root disk, and looks at the other's.
func guestsAreApart(ctx SpecContext, one, other *guest.Guest) {
	GinkgoHelper()
	const disk = "/dev/disk/by-id/virtio-v0"
	for _, g := range []struct {
		*guest.Guest
		name string
	}{{one, "one"}, {other, "other"}} {
		_, err := g.Run(ctx, "echo "+g.name+" >/dev/shm/whose && echo "+g.name+" >/var/tmp/whose && sync /var/tmp/whose")
		Expect(err).NotTo(HaveOccurred())
	}
	_, err := one.Run(ctx, "yes one | dd of="+disk+" bs=1M count=8 iflag=fullblock oflag=direct")
	Expect(err).NotTo(HaveOccurred())

	// The caches are dropped: what is compared is what the disks hold.
	show := "echo 3 >/proc/sys/vm/drop_caches; cat /dev/shm/whose /var/tmp/whose; head -c 8M " + disk + " | tr -d '\\0' | head -c 4"
	for _, c := range []struct {
		*guest.Guest
		want string
	}{{one, "one\none\none\n"}, {other, "other\nother\n"}} {
		out, err := c.Run(ctx, show)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(out.Stdout)).To(Equal(c.want))
	}
}

// digests are those of all files in a directory.
func digests(dir string) map[string]string {
	GinkgoHelper()
	entries, err := os.ReadDir(dir)
	Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for _, e := range entries {
		all[e.Name()] = digest(filepath.Join(dir, e.Name()))
	}
	Expect(all).NotTo(BeEmpty())
	return all
}

// digest is a SHA-256 over the size of a file and every block of it that is not zero, with its place: as good as one over
// all bytes, and it takes no time for the gigabytes of nothing in memory and disks.
func digest(path string) string {
	GinkgoHelper()
	f, err := os.Open(path)
	Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	info, err := f.Stat()
	Expect(err).NotTo(HaveOccurred())
	sum := sha256.New()
	place := func(n int64) { sum.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	place(info.Size())
	const size = 4 << 10
	block, zero := make([]byte, size), make([]byte, size)
	for at := int64(0); ; {
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole is left
			return hex.EncodeToString(sum.Sum(nil))
		}
		Expect(err).NotTo(HaveOccurred())
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		Expect(err).NotTo(HaveOccurred())
		for at = start - start%size; at < end; at += size {
			n, err := f.ReadAt(block, at)
			Expect(err).To(Or(BeNil(), MatchError(io.EOF)))
			if !bytes.Equal(block[:n], zero[:n]) {
				place(at)
				sum.Write(block[:n])
			}
		}
	}
}
