package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/scenarios"
)

// largePool has 4 GiB and more than half a million blocks, or two million, some of them small files, some shared with a
// snapshot.
const largePool = `set -e
zpool create -o ashift=%d -O compression=off -O recordsize=%s -O atime=off tank /dev/disk/by-id/virtio-v0
dd if=/dev/zero of=/tank/large bs=1M count=2000 status=none
mkdir /tank/small
python3 -c 'for i in range(20000): open("/tank/small/%%d" %% i, "w").write(str(i) * 500)'
zfs snapshot tank@a
dd if=/dev/zero of=/tank/large bs=1M count=40 seek=100 conv=notrunc status=none
zpool export tank`

// rounds is how often each program runs. They take turns: what else the computer does hits both.
const rounds = 5

// BenchmarkZDB compares the audit with zdb -b of the guests' OpenZFS, both on this computer, from cold caches: the sums of
// their times, and the peaks of their memory.
//
//	go test ./lab/zfs/audit -run '^$' -bench ZDB -benchtime 1x
func BenchmarkZDB(b *testing.B) {
	l := labtest.Open(b)
	img, err := l.Image(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	zdb, vdevil := zdbOf(b, img), filepath.Join(b.TempDir(), "vdevil")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", vdevil, "github.com/vdevil/vdevil/lab/cmd/vdevil")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, p := range []struct {
		recordSize string
		ashift     int
	}{{"4k", 12}, {"1k", 9}} {
		b.Run("recordsize="+p.recordSize, func(b *testing.B) {
			pool := makeLargePool(b, l, img, fmt.Sprintf(largePool, p.ashift, p.recordSize))
			compare(b, pool, append(zdb, "-e", "-p", filepath.Dir(pool), "-b", "tank"), []string{vdevil, "audit", pool})
		})
	}
}

// compare runs two programs that look at a pool.
func compare(b *testing.B, pool string, zdb, audit []string) {
	b.Helper()
	for b.Loop() {
		var theirs, ours cost
		for range rounds {
			z, a := measure(b, pool, zdb), measure(b, pool, audit)
			b.Logf("zdb %v, audit %v", z, a)
			theirs.add(z)
			ours.add(a)
		}
		b.ReportMetric(theirs.took.Seconds()/ours.took.Seconds(), "times-as-fast")
		b.ReportMetric(theirs.cpu.Seconds()/ours.cpu.Seconds(), "times-less-CPU")
		b.ReportMetric(float64(ours.kib)/1024, "MiB")
		b.ReportMetric(float64(theirs.kib)/1024, "MiB-of-zdb")
	}
	b.ReportMetric(0, "ns/op") // of both together, it says nothing
}

// makeLargePool has a guest make the pool, and returns a file with its only vdev.
func makeLargePool(b *testing.B, l *lab.Lab, img *images.Image, script string) string {
	b.Helper()
	const limit = 10 * time.Minute // on the reference host
	cp, err := l.Stable().Booted(b.Context(), img, scenarios.Machine{CPUs: 2, Memory: 2 << 30, Disks: []scenarios.DataDisk{{Name: "v0", Size: 4 << 30}}})
	if err != nil {
		b.Fatal(err)
	}
	m, g, err := trial.Enter(b.Context(), l.Driver(), img, cp)
	if err != nil {
		b.Fatal(err)
	}
	defer end(b, m, g)
	ctx, cancel := context.WithTimeout(b.Context(), cp.Scale.Limit(limit))
	defer cancel()
	if out, err := g.RunScript(ctx, script); err != nil {
		b.Fatalf("%v\n%s", err, out.Stderr)
	}
	if err := m.PowerOff(); err != nil {
		b.Fatal(err)
	}
	disk, closer, err := ondisk.OpenDevice(m.Disks()[0].Path)
	if err != nil {
		b.Fatal(err)
	}
	defer closer.Close()
	parts, err := ondisk.Partitions(ctx, disk)
	if err != nil || len(parts) == 0 {
		b.Fatal(parts, err)
	}
	path := filepath.Join(b.TempDir(), "vdev")
	if err := copySparse(path, io.NewSectionReader(parts[0].Data, 0, parts[0].Size)); err != nil {
		b.Fatal(err)
	}
	return path
}

func copySparse(path string, r *io.SectionReader) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(r.Size()); err != nil {
		return err
	}
	p, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < r.Size(); at += int64(len(p)) {
		n, err := r.ReadAt(p, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.Equal(p[:n], zero[:n]) {
			continue
		}
		if _, err := f.WriteAt(p[:n], at); err != nil {
			return err
		}
	}
	return f.Sync() // pages that are dirty could not be evicted
}

// zdbOf takes zdb out of an image, with all that it is linked with.
func zdbOf(b *testing.B, img *images.Image) []string {
	b.Helper()
	dir := b.TempDir()
	for _, request := range []string{"dump -p /usr/sbin/zdb " + dir + "/zdb", "rdump /usr/lib/x86_64-linux-gnu " + dir} {
		if out, err := exec.CommandContext(b.Context(), "debugfs", "-R", request, img.Root).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", request, err, out)
		}
	}
	libraries := filepath.Join(dir, "x86_64-linux-gnu")
	return []string{filepath.Join(libraries, "ld-linux-x86-64.so.2"), "--library-path", libraries, filepath.Join(dir, "zdb")}
}

// cost is what a run took.
type cost struct {
	took, cpu time.Duration
	kib       int64 // at its peak
}

func (c cost) String() string {
	return fmt.Sprintf("%.2fs (%.2fs of CPUs, %d MiB)", c.took.Seconds(), c.cpu.Seconds(), c.kib>>10)
}

func (c *cost) add(d cost) {
	c.took, c.cpu, c.kib = c.took+d.took, c.cpu+d.cpu, max(c.kib, d.kib)
}

func measure(b *testing.B, pool string, argv []string) (c cost) {
	b.Helper()
	evict(b, pool)
	var out bytes.Buffer
	cmd := exec.CommandContext(b.Context(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				b.Fatalf("%s: %v\n%s", argv, err, out.Bytes())
			}
			c.took, c.cpu = time.Since(start), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
			return c
		case <-time.After(time.Millisecond): // the rusage of a child begins with the memory of its parent, wait4(2) is no help
			c.kib = max(c.kib, peak(cmd.Process.Pid))
		}
	}
}

// peak is the most memory that a process has had, in KiB; 0 if it has ended.
func peak(pid int) (kib int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(after, &kib)
	return kib
}

// evict drops what the kernel has cached of a file.
func evict(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
}

func end(b testing.TB, m machine.Machine, g *guest.Guest) {
	b.Helper()
	if err := g.Close(); err != nil {
		b.Error(err)
	}
	if err := m.Close(); err != nil {
		b.Error(err)
	}
}
