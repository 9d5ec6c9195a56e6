package vdev

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/oracle"
)

// disks is a machine as far as a stopped one is needed.
type disks struct {
	machine.Machine
	list []machine.Disk
}

func (d disks) Disks() []machine.Disk { return d.list }

const (
	fileSize = 64 << 10
	diskSize = 4 << 20
)

// lay makes a disk with a file's content at each of the offsets, and holes elsewhere.
func lay(t *testing.T, name string, content []byte, offsets ...int64) machine.Disk {
	t.Helper()
	d := machine.Disk{Name: name, Path: filepath.Join(t.TempDir(), name), Size: diskSize}
	f, err := os.Create(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(diskSize); err != nil {
		t.Fatal(err)
	}
	for _, at := range offsets {
		if _, err := f.WriteAt(content, at); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func site(content []byte, list ...machine.Disk) fault.Site {
	return fault.Site{
		Machine: disks{list: list}, Written: map[string][]byte{"/tank/f": content}, Rand: rand.New(rand.NewPCG(1, 2)),
	}
}

func read(t *testing.T, d machine.Disk) []byte {
	t.Helper()
	data, err := os.ReadFile(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRot(t *testing.T) {
	content := oracle.Content(1, "f", fileSize)
	// The first side holds an old copy as well; the two hold the file at different places.
	v0, v1 := lay(t, "v0", content, 1<<20, 2<<20), lay(t, "v1", content, 3<<20)
	before := map[string][]byte{"v0": read(t, v0), "v1": read(t, v1)}
	all, err := Bitrot{Disks: []string{"v0", "v1"}, Extents: 5, Bytes: 64}.rot(site(content, v0, v1))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5*3 {
		t.Errorf("%d injections, want one for each of 5 places in 3 copies", len(all))
	}
	targets := map[string][]string{}
	for _, in := range all {
		disk := before[in.Disk]
		if !bytes.Equal(disk[in.Offset:in.Offset+64], in.Before) {
			t.Errorf("%s: before is not what was at %d", in.Target, in.Offset)
		}
		copy(disk[in.Offset:], in.After)
		if in.BitsChanged() == 0 || in.File != "/tank/f" {
			t.Errorf("%s of %s: %d bits changed", in.Target, in.File, in.BitsChanged())
		}
		if !slices.Contains(targets[in.Disk], in.Target) {
			targets[in.Disk] = append(targets[in.Disk], in.Target)
		}
	}
	if !slices.Equal(targets["v0"], targets["v1"]) {
		t.Errorf("the sides lost different places: %q and %q", targets["v0"], targets["v1"])
	}
	// The records account for every byte that changed.
	for _, d := range []machine.Disk{v0, v1} {
		if !bytes.Equal(read(t, d), before[d.Name]) {
			t.Errorf("%s changed elsewhere too, or not as recorded", d.Name)
		}
	}
}

func TestRotWithheld(t *testing.T) {
	content := oracle.Content(1, "f", fileSize)
	d := lay(t, "v0", content, 1<<20)
	before := read(t, d)
	s := site(content, d)
	s.Withhold = true
	all, err := Bitrot{Disks: []string{"v0"}, Extents: 3, Bytes: 64}.rot(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range all {
		if !in.Withheld || in.BitsChanged() != 0 {
			t.Errorf("%+v", in)
		}
	}
	if len(all) != 3 || !bytes.Equal(read(t, d), before) {
		t.Error("a withheld strike changed the disk")
	}
}

func TestRotRefuses(t *testing.T) {
	content := oracle.Content(1, "f", fileSize)
	for name, tt := range map[string]struct {
		disk machine.Disk
		want string
	}{
		"not as written": {lay(t, "v0", oracle.Content(2, "f", fileSize), 1<<20), "not there as it was written"},
		"another disk":   {lay(t, "v1", content, 1<<20), `no disk "v0"`},
	} {
		before := read(t, tt.disk)
		_, err := Bitrot{Disks: []string{"v0"}, Extents: 3, Bytes: 64}.rot(site(content, tt.disk))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(read(t, tt.disk), before) {
			t.Errorf("%s: the disk was changed", name)
		}
	}
}
