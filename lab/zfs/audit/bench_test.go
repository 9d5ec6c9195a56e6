package audit_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
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

// manyRecords is a pool of as many records of 512 bytes as there are MiB times 2048, on a raidz3 with a special vdev: small records
// in many sectors are what takes most claims for the space of a pool.
const manyRecords = `set -e
id=/dev/disk/by-id/virtio-
zpool create -f -o ashift=9 -O compression=off -O recordsize=512 -O atime=off tank raidz3 ${id}v0 ${id}v1 ${id}v2 ${id}v3 ${id}v4 special ${id}v5
dd if=/dev/zero of=/tank/large bs=1M count=%d status=none
zpool export tank`

var recordMiB = flag.Int("records", 256, "MiB of records of 512 bytes in the pool of BenchmarkMemory; 8192 are 16 million")

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
	user, vdevil := ondisktest.NewUserland(b, ""), buildCommand(b)
	for _, p := range []struct {
		recordSize string
		ashift     int
	}{{"4k", 12}, {"1k", 9}} {
		b.Run("recordsize="+p.recordSize, func(b *testing.B) {
			vdevs := makeLargePool(b, l, img, []scenarios.DataDisk{{Name: "v0", Size: 4 << 30}}, fmt.Sprintf(largePool, p.ashift, p.recordSize))
			zdb := user.Command(b.Context(), "zdb", "-e", "-p", filepath.Dir(vdevs[0]), "-b", "tank").Args
			compare(b, vdevs, append([]string{user.Path("zdb")}, zdb[1:]...), []string{vdevil, "audit", vdevs[0]})
		})
	}
}

// BenchmarkMemory measures the memory of an audit of very many records, and what README.md says it takes of its own, without the pages
// of the program.
//
//	go test ./lab/zfs/audit -run '^$' -bench Memory -benchtime 1x -records 8192 -timeout 12h
func BenchmarkMemory(b *testing.B) {
	const claimSize, counters, caches, heldAtFirst = 32, 4 << 20, 3 << 20, 1 << 20
	l := labtest.Open(b)
	img, err := l.Image(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	// A record takes four sectors of five disks; labels and a share for metadata come on top of that.
	size := (int64(*recordMiB)<<20*4/5 + 512<<20) &^ (1<<20 - 1)
	disks := make([]scenarios.DataDisk, 6)
	for i := range disks {
		disks[i] = scenarios.DataDisk{Name: fmt.Sprintf("v%d", i), Size: size}
	}
	vdevs := makeLargePool(b, l, img, disks, fmt.Sprintf(manyRecords, *recordMiB))
	vdevil := buildCommand(b)
	for b.Loop() {
		c := measure(b, vdevs, append([]string{vdevil, "audit"}, vdevs...))
		b.Logf("audit %v", c)
		claims := int64(*recordMiB) << 11 * claimSize
		formula := counters + caches*int64(runtime.NumCPU()) + min(256<<20, max(claims/16, heldAtFirst))
		b.ReportMetric(float64(c.kib)/1024, "MiB")
		b.ReportMetric(float64(c.own)/1024, "MiB-of-its-own")
		b.ReportMetric(float64(formula)/(1<<20), "MiB-of-formula")
		b.ReportMetric(float64(int64(*recordMiB)<<11)/c.took.Seconds(), "records/s")
	}
	b.ReportMetric(0, "ns/op")
}

// compare runs two programs that look at a pool.
func compare(b *testing.B, pool []string, zdb, audit []string) {
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

// buildCommand is the path of the command, built without cgo.
func buildCommand(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "vdevil")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", path, "github.com/vdevil/vdevil/lab/cmd/vdevil")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// makeLargePool has a guest make the pool, and returns files with its vdevs, one of each disk.
func makeLargePool(b *testing.B, l *lab.Lab, img *images.Image, disks []scenarios.DataDisk, script string) (vdevs []string) {
	b.Helper()
	const limit = 40 * time.Minute // on the reference host
	cp, err := l.Checkpoints().Booted(b.Context(), img, scenarios.Machine{CPUs: 2, Memory: 2 << 30, Disks: disks})
	if err != nil {
		b.Fatal(err)
	}
	m, g, err := checkpoint.Enter(b.Context(), l.Driver(), img, cp)
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
	dir := b.TempDir()
	for _, d := range m.Disks() {
		disk, closer, err := ondisk.OpenDevice(d.Path)
		if err != nil {
			b.Fatal(err)
		}
		defer closer.Close()
		parts, err := ondisk.Partitions(ctx, disk)
		if err != nil || len(parts) == 0 {
			b.Fatal(parts, err)
		}
		path := filepath.Join(dir, d.Name)
		if err := copySparse(path, io.NewSectionReader(parts[0].Data, 0, parts[0].Size)); err != nil {
			b.Fatal(err)
		}
		vdevs = append(vdevs, path)
	}
	return vdevs
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

// cost is what a run took.
type cost struct {
	took, cpu time.Duration
	kib, own  int64 // at its peak, with and without pages of files
}

func (c cost) String() string {
	return fmt.Sprintf("%.2fs (%.2fs of CPUs, %d MiB)", c.took.Seconds(), c.cpu.Seconds(), c.kib>>10)
}

func (c *cost) add(d cost) {
	c.took, c.cpu, c.kib, c.own = c.took+d.took, c.cpu+d.cpu, max(c.kib, d.kib), max(c.own, d.own)
}

func measure(b *testing.B, pool []string, argv []string) (c cost) {
	b.Helper()
	for _, path := range pool {
		evict(b, path)
	}
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
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if err == nil { // it has not ended
				c.kib, c.own = max(c.kib, field(status, "VmHWM:")), max(c.own, field(status, "RssAnon:"))
			}
		}
	}
}

// field is a number of KiB in /proc/PID/status; 0 if it is not there.
func field(status []byte, name string) (kib int64) {
	_, after, _ := strings.Cut(string(status), name)
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
