package ondisk_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Where the allocatable space of a device begins, and what of it is not allocatable, labels included.
const (
	label   = 256 << 10
	outside = 4<<20 + 2*label
)

func noted(p *ondisk.Pool, words ...string) bool {
	return slices.ContainsFunc(p.Notes, func(note string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(note, w) })
	})
}

// A device that lacks part of what its label says is not opened, as OpenZFS does not, however much is there; with what only
// the last metaslab's rounding leaves out it is, and the labels that are lost are told of.
func TestCutDevice(t *testing.T) {
	whole := images(t, poolDir(t, "single"))[0]
	p, err := ondisk.Open(t.Context(), []ondisk.Device{whole}, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Notes) != 0 {
		t.Errorf("of a whole device it is said: %q", p.Notes)
	}
	top := p.VDevs[0]
	least := int64(top.ASize&^(1<<top.MetaslabShift-1)) + outside
	if least >= whole.Size {
		t.Fatalf("the device of %d bytes has no end that is not allocated", whole.Size)
	}
	for size, opens := range map[int64]bool{
		whole.Size: true, whole.Size - 1: true, least + label: true, least: true, least - 1: false, whole.Size / 10: false,
	} {
		cut := whole
		cut.Size = size
		p, err := ondisk.Open(t.Context(), []ondisk.Device{cut}, ondisk.Options{})
		switch {
		case !opens && (!errors.Is(err, ondisk.ErrMissing) || !strings.Contains(err.Error(), "it was cut off")):
			t.Errorf("%d of %d bytes: %v", size, whole.Size, err)
		case opens && err != nil:
			t.Errorf("%d of %d bytes: %v", size, whole.Size, err)
		case opens && size != whole.Size && !noted(p, "of the 4 labels of "+whole.Name+" cannot be read"):
			t.Errorf("%d of %d bytes: %q", size, whole.Size, p.Notes)
		}
	}
}

// A side of a mirror that was cut off is as good as missing, and it is said why; the other sides serve.
func TestCutMember(t *testing.T) {
	all := images(t, poolDir(t, "mirror"))
	i := slices.IndexFunc(all, func(d ondisk.Device) bool { return filepath.Base(d.Name) == "m0" })
	all[i].Size /= 2
	p, err := ondisk.Open(t.Context(), all, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !noted(p, all[i].Name, "it was cut off") || len(p.Missing) != 1 || filepath.Base(p.Missing[0].Path) != "m0" {
		t.Errorf("missing %v, %q", p.Missing, p.Notes)
	}
	readAll(t, p)
}

// Of a device that is given twice, as it is and as it was, the newer counts, in whatever order; and that is said.
func TestDeviceTwice(t *testing.T) {
	old := images(t, poolDir(t, "single"))[0]
	w, err := ondisk.NewWriter(t.Context(), []ondisk.Device{old}, ondisk.NewTXG, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.Pool().ObjectOf(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Block(t.Context(), ondisk.Position{Object: id}, func(block []byte, _ binary.ByteOrder) error {
		block[len(block)-1] ^= 1 // behind the end of the configuration
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "newer")
	if err := host.CloneFile(t.Context(), path, old.Name); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Commit(t.Context(), []ondisk.Target{f}), f.Close()); err != nil {
		t.Fatal(err)
	}
	newer, closer, err := ondisk.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	want := w.Pool().Uberblock
	for name, devices := range map[string][]ondisk.Device{"newer first": {newer, old}, "older first": {old, newer}} {
		p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Uberblock.TXG != want.TXG || p.Uberblock.Root != want.Root || !noted(p, newer.Name+" and "+old.Name, "the newer") {
			t.Errorf("%s: opened at txg %d, not %d: %q", name, p.Uberblock.TXG, want.TXG, p.Notes)
		}
	}
	// With the same labels the content decides.
	noise := rot(old, 1)
	noise.Name = "noise"
	for name, devices := range map[string][]ondisk.Device{"noise first": {noise, old}, "noise last": {old, noise}} {
		p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !noted(p, old.Name+" and noise", "at the same txg") {
			t.Errorf("%s: %q", name, p.Notes)
		}
	}
}
