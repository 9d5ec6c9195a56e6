package lab_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
)

// home makes directories of a lab's own.
func home(t *testing.T) host.Dirs {
	t.Helper()
	dir := t.TempDir()
	return host.Dirs{Cache: filepath.Join(dir, "cache"), State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run")}
}

func mkdir(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// abandon makes the directory of a machine whose lab is gone: process 1 started at another time than this one says.
func abandon(t *testing.T, elements ...string) string {
	t.Helper()
	path := mkdir(t, elements...)
	if err := os.WriteFile(filepath.Join(path, "owner"), []byte("1-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCollect(t *testing.T) {
	d := home(t)
	mine := filepath.Join(lab.MachinesDir(d), "mine")
	if err := host.Claim(mine); err != nil {
		t.Fatal(err)
	}
	busy := mkdir(t, d.Cache, "checkpoints", "busy.part")
	unlock, err := host.TryLock(filepath.Join(d.Cache, "checkpoints", "busy.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	another := filepath.Join(t.TempDir(), "storage")
	mkdir(t, d.State)
	if err := os.WriteFile(filepath.Join(d.State, "libvirt-storages"), []byte(another+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inUse, old := mkdir(t, lab.PoolsDir(d), "default-lately-1"), mkdir(t, lab.PoolsDir(d), "default-old-1")
	long := time.Now().Add(-31 * 24 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	gone := []string{
		abandon(t, another, "dead"), old, mkdir(t, lab.PoolsDir(d), "default-half-1.part"),
		abandon(t, lab.MachinesDir(d), "dead"), abandon(t, d.Run, "dead"),
		mkdir(t, d.Cache, "checkpoints", "0.0.0-of-no-image"), mkdir(t, d.Cache, "checkpoints", "half.part"),
	}
	removed, err := lab.Collect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(gone)
	slices.Sort(removed)
	if !slices.Equal(removed, gone) {
		t.Errorf("removed %q, want %q", removed, gone)
	}
	for _, path := range gone {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
	for _, path := range []string{mine, busy, inUse} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("what is in use was removed: %v", err)
		}
	}
}

// A damaged image is no reason to refuse all work, and none to throw its checkpoints away.
func TestCollectBesideDamagedImage(t *testing.T) {
	d := home(t)
	mkdir(t, d.Cache, "images", "2.3.2-0123456789ab") // no manifest
	checkpoint := mkdir(t, d.Cache, "checkpoints", "2.3.2-0123456789ab-booted-0123")
	if removed, err := lab.Collect(t.Context(), d); err != nil || len(removed) > 0 {
		t.Errorf("removed %q, %v", removed, err)
	}
	if _, err := os.Stat(checkpoint); err != nil {
		t.Error(err)
	}
}

// Checkpoints of an image that is there go when nobody has used them for a month.
func TestCollectUnused(t *testing.T) {
	d := home(t)
	image := mkdir(t, d.Cache, "images", "2.3.2-0123456789ab", "modules")
	for _, name := range []string{"vmlinux", "initrd.img", "root.img", "modules/zfs.ko", "modules/spl.ko", "packages.txt"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(image), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(image), "image.json"), []byte(`{"id": "2.3.2-0123456789ab"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	old, recent := mkdir(t, d.Cache, "checkpoints", "2.3.2-0123456789ab-booted-old"), mkdir(t, d.Cache, "checkpoints", "2.3.2-0123456789ab-booted-recent")
	for path, days := range map[string]int{old: 31, recent: 29} {
		used := time.Now().AddDate(0, 0, -days)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := lab.Collect(t.Context(), d); err != nil || !slices.Equal(removed, []string{old}) {
		t.Errorf("removed %q, %v", removed, err)
	}
}
