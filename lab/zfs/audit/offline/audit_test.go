package offline_test

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/audit/device"
	"github.com/vdevil/vdevil/lab/zfs/audit/offline"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// A pool that goes on while it is audited is refused at the end, or said to have done so.
func TestAuditOfMovingPool(t *testing.T) {
	for _, live := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "image")
		from := ondisktest.Images(t, ondisktest.Dir(t, "", "single"))[0].Name
		if out, err := exec.Command("cp", "--sparse=always", from, path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var once sync.Once
		a, err := offline.Audit(t.Context(), offline.Options{Paths: []string{path}, Live: live, Progress: func(p audit.Progress) {
			if p.Stage == audit.Comparing {
				once.Do(func() { nextTXG(t, path) })
			}
		}})
		if !live {
			var used *device.InUseError
			if !errors.As(err, &used) || !strings.Contains(err.Error(), "txg") {
				t.Errorf("%v, %v", a, err)
			}
			continue
		}
		if err != nil || len(a.Notes) != 1 || !strings.Contains(a.Notes[0].Text, "went on from txg") {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

// nextTXG gives the pool on an image a newer uberblock.
func nextTXG(t *testing.T, path string) {
	t.Helper()
	d, closer, err := ondisk.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	w, err := ondisk.NewWriter(t.Context(), []ondisk.Device{d}, ondisk.NewTXG, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := w.Pool().ObjectOf(t.Context(), "root_dataset")
	if err != nil {
		t.Fatal(err)
	}
	same := func([]byte, binary.ByteOrder) error { return nil }
	if _, err := w.DNode(t.Context(), 0, root, same); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := w.Commit(t.Context(), []ondisk.Target{f}); err != nil {
		t.Fatal(err)
	}
}

// A name that is none of a pool leads to no file.
func TestImported(t *testing.T) {
	for _, name := range []string{"", ".", "..", "/", "../zfs", "no pool has this name"} {
		if offline.Imported(&ondisk.Pool{Name: name}) {
			t.Errorf("%q is imported", name)
		}
	}
}
