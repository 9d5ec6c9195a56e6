package judge_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

var update = flag.Bool("update", false, "take testdata/pool.gz from a pool again, which a guest makes")

// The pool in testdata is that of the script live.sh. The forgeries are done to it.
const (
	poolFile = "testdata/pool.gz"
	poolName = "live"
	poolSize = 256 << 20
	sector   = 512
)

var forgeries = []string{"spacemap-duplicate-free", "spacemap-alloc-free"}

// reads is a disk that notes which sectors are read.
type reads struct {
	io.ReaderAt
	mu      sync.Mutex
	sectors map[int64]bool
}

func (r *reads) ReadAt(p []byte, at int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := at / sector; s*sector < at+int64(len(p)); s++ {
		r.sectors[s] = true
	}
	return r.ReaderAt.ReadAt(p, at)
}

// TestPoolFile writes the pool with -update: of a real one those sectors that the audit and the forgeries read, each with its
// number before it. Without, it makes sure that the file is small.
func TestPoolFile(t *testing.T) {
	if *update {
		device := ondisktest.Images(t, ondisktest.Dir(t, "", "live"))[0]
		if device.Size != poolSize {
			t.Fatalf("the disk has %d bytes", device.Size)
		}
		seen := &reads{ReaderAt: device.Data, sectors: map[int64]bool{}}
		device.Data = seen
		for _, name := range forgeries {
			if o, err := judge.Audit(t.Context(), []ondisk.Device{device}, poolName, audit.Options{Workers: 1}); err != nil || o.Report == nil {
				t.Fatal(o, err)
			}
			forged(t, device, name)
		}
		var file bytes.Buffer
		z, err := gzip.NewWriterLevel(&file, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range slices.Sorted(maps.Keys(seen.sectors)) {
			p := make([]byte, 8+sector)
			binary.LittleEndian.PutUint64(p, uint64(s))
			if _, err := seen.ReaderAt.ReadAt(p[8:], s*sector); err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsFunc(p[8:], func(r rune) bool { return r != 0 }) {
				z.Write(p)
			}
		}
		if err := errors.Join(z.Close(), os.MkdirAll(filepath.Dir(poolFile), 0o755), os.WriteFile(poolFile, file.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(poolFile)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 64<<10 {
		t.Errorf("it has %d bytes", info.Size())
	}
}

// realPool is the disk of the pool in testdata, in a sparse file.
func realPool(t *testing.T) (path string) {
	t.Helper()
	packed, err := os.Open(poolFile)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(poolSize); err != nil {
		t.Fatal(err)
	}
	for p := make([]byte, 8+sector); ; {
		_, err := io.ReadFull(z, p)
		if errors.Is(err, io.EOF) {
			return path
		}
		if err == nil {
			_, err = f.WriteAt(p[8:], int64(binary.LittleEndian.Uint64(p)*sector))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// forged is a writer that has done a forgery.
func forged(t *testing.T, device ondisk.Device, name string) *ondisk.Writer {
	t.Helper()
	w, err := ondisk.NewWriter(t.Context(), []ondisk.Device{device}, ondisk.InPlace, ondisk.Options{Name: poolName, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	f, err := forge.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Make(t.Context(), w, forge.Options{Seed: 7}); err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(t.Context(), nil); err != nil { // as Commit does
		t.Fatal(err)
	}
	return w
}

// forgeDisk does a forgery to a disk.
func forgeDisk(t *testing.T, path, name string) {
	t.Helper()
	device, closer, err := ondisk.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := forged(t, device, name).Commit(t.Context(), []ondisk.Target{f}); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites all copies of the dnodes of a dataset, so that what they lead to cannot be seen.
func damage(t *testing.T, path string) {
	t.Helper()
	device, closer, err := ondisk.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	p, err := ondisk.Open(t.Context(), []ondisk.Device{device}, ondisk.Options{Name: poolName})
	if err != nil {
		t.Fatal(err)
	}
	var victim ondisk.BlkPtr
	found := errors.New("found")
	err = p.Visit(t.Context(), &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if r.ObjSet != 0 && r.Kind == ondisk.RefTree && r.Object == ondisk.MetaDNode && r.Level == 0 && !b.Embedded() {
			victim = b
			return found
		}
		return nil
	}})
	if !errors.Is(err, found) {
		t.Fatalf("no dataset has dnodes: %v", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const labels = 4 << 20 // before the space that addresses count from
	for _, d := range victim.DVAs() {
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(victim.PSize())), int64(d.Offset())+labels); err != nil {
			t.Fatal(err)
		}
	}
}

// subject is a pool on disks.
func subject(pool string, paths ...string) judge.Subject {
	s := judge.Subject{Pool: pool}
	for _, path := range paths {
		s.Disks = append(s.Disks, machine.Disk{Name: filepath.Base(path), Path: path})
	}
	return s
}
