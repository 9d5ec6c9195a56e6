package vdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// still is a machine that has been switched off, as far as one is needed: it cannot be paused any more.
type still struct {
	machine.Machine
	list []machine.Disk
}

func (s still) Disks() []machine.Disk { return s.list }

func (s still) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// clone makes disks of the images of a pool.
func clone(t *testing.T, dir string) (disks []machine.Disk, devices []ondisk.Device) {
	t.Helper()
	to := t.TempDir()
	for _, d := range ondisktest.Images(t, dir) {
		name := filepath.Base(d.Name)
		path := filepath.Join(to, name)
		if err := host.CloneFile(t.Context(), path, d.Name); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, machine.Disk{Name: name, Path: path, Size: d.Size})
		device, closer, err := ondisk.OpenDevice(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closer.Close() })
		device.Name = name
		devices = append(devices, device)
	}
	return disks, devices
}

func (s still) content(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, d := range s.list {
		data, err := os.ReadFile(d.Path)
		if err != nil {
			t.Fatal(err)
		}
		all[d.Name] = data
	}
	return all
}

// undo puts back what injections say was there before.
func (s still) undo(t *testing.T, all []trial.Injection) {
	t.Helper()
	for _, in := range slices.Backward(all) {
		i := slices.IndexFunc(s.list, func(d machine.Disk) bool { return d.Name == in.Disk })
		f, err := os.OpenFile(s.list[i].Path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt(in.Before, in.Offset)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hitBlocks are the blocks of a pool on which injections lie, with what Check says of them.
func hitBlocks(t *testing.T, p *ondisk.Pool, all []trial.Injection) (hit int, damaged []ondisk.Damage, lost int) {
	t.Helper()
	err := p.Visit(t.Context(), &ondisk.Visitor{
		Workers: 1,
		Problem: func(ondisk.Ref, error) error { return nil }, // what is below cannot be seen
		Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
			places, err := p.Places(t.Context(), b)
			if err != nil || b.Embedded() {
				return err
			}
			if !slices.ContainsFunc(places, func(at ondisk.Place) bool {
				return slices.ContainsFunc(all, func(in trial.Injection) bool {
					return in.Disk == at.VDev.Device.Name && in.Offset >= int64(at.Offset) && in.Offset < int64(at.Offset+at.Size)
				})
			}) {
				return nil
			}
			hit++
			copies, err := p.Check(t.Context(), b)
			if errors.Is(err, ondisk.ErrChecksum) {
				lost++
				return nil
			}
			for _, c := range copies {
				damaged = append(damaged, c.Damage...)
			}
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return hit, damaged, lost
}

func TestStructureHitsWhatItSays(t *testing.T) {
	for _, pool := range []struct {
		script, name string
		redundant    bool // file data is there more than once
	}{{"live", "live", false}, {"raidz1", "zr", true}} {
		disks, devices := clone(t, ondisktest.Dir(t, "", pool.script))
		s := still{list: disks}
		for _, class := range vdev.Classes() {
			if class == vdev.ZIL && pool.script != "live" {
				continue // it was exported, and nothing is left to replay
			}
			for _, all := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/all=%v", pool.name, class, all), func(t *testing.T) {
					p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
					if err != nil {
						t.Fatal(err)
					}
					before := s.content(t)
					done := arm(t, s, vdev.Structure{Class: class, Blocks: 1, All: all, Damage: vdev.Damage{Garbage: 64}})
					defer s.undo(t, done)
					accounted(t, before, s.content(t), done)
					if !all && strings.HasSuffix(done[0].Target, "parity") {
						t.Errorf("%s: parity is not read while the data are good", done[0].Target)
					}
					if class == vdev.Label || class == vdev.Uberblock || class == vdev.ZIL {
						return // below
					}
					hit, damaged, lost := hitBlocks(t, p, done)
					switch single := !all && !pool.redundant && class == vdev.FileData; {
					case class == vdev.Free && hit != 0:
						t.Errorf("%s: %d blocks lie there", done[0].Target, hit)
					case class == vdev.Free:
					case all && lost == 0 || single && lost == 0:
						t.Errorf("%s: %d blocks hit, none is lost", done[0].Target, hit)
					case !all && !single && (lost != 0 || len(damaged) != hit || hit == 0 || len(done) != 1):
						t.Errorf("%s: %d blocks hit, %d lost, damaged are %v", done[0].Target, hit, lost, damaged)
					}
				})
			}
		}
	}
}

func arm(t *testing.T, s still, f vdev.Structure) []trial.Injection {
	t.Helper()
	strike, err := f.Arm(t.Context(), fault.Site{Machine: s, Rand: rand.New(rand.NewPCG(1, 2))})
	if err != nil {
		t.Fatal(err)
	}
	done, err := strike(t.Context())
	if err != nil || len(done) == 0 {
		t.Fatalf("%d strikes, %v", len(done), err)
	}
	return done
}

// accounted wants every byte that changed to be in an injection, and every injection to have changed something.
func accounted(t *testing.T, before, after map[string][]byte, all []trial.Injection) {
	t.Helper()
	for _, in := range all {
		disk := before[in.Disk]
		if !bytes.Equal(disk[in.Offset:in.Offset+int64(len(in.Before))], in.Before) {
			t.Errorf("%s: before is not what was at %d", in.Target, in.Offset)
		}
		copy(disk[in.Offset:], in.After)
		if in.BitsChanged() == 0 {
			t.Errorf("%s: nothing has changed", in.Target)
		}
	}
	for name := range before {
		if !bytes.Equal(before[name], after[name]) {
			t.Errorf("%s changed elsewhere too, or not as recorded", name)
		}
	}
}

func TestStructureOfLabels(t *testing.T) {
	disks, devices := clone(t, ondisktest.Dir(t, "", "live"))
	s := still{list: disks}
	for _, tt := range []struct {
		class      vdev.Class
		all        bool
		bad, slots int
	}{{vdev.Label, false, 1, 0}, {vdev.Label, true, 4, 0}, {vdev.Uberblock, false, 0, 1}, {vdev.Uberblock, true, 0, 4}} {
		done := arm(t, s, vdev.Structure{Class: tt.class, Blocks: 1, All: tt.all, Damage: vdev.Damage{Bits: 3}})
		labels, err := ondisk.ReadLabels(t.Context(), devices[0])
		if err != nil {
			t.Fatal(err)
		}
		bad, slots := 0, 0
		for _, l := range labels {
			slots += l.BadSlots
			if l.Err != nil {
				bad++
			}
		}
		if bad != tt.bad || slots != tt.slots {
			t.Errorf("%s, all copies %v: %d labels and %d slots are bad", tt.class, tt.all, bad, slots)
		}
		s.undo(t, done)
	}
}

func TestStructureCutsTheIntentLog(t *testing.T) {
	disks, devices := clone(t, ondisktest.Dir(t, "", "live"))
	s := still{list: disks}
	count := func() (n int) {
		p, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := p.Datasets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if d.Name != "live/direct" {
				continue
			}
			o, err := p.OpenDataset(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			for z := range o.ZILBlocks(t.Context()) {
				if z.Err == nil {
					n++
				}
			}
		}
		return n
	}
	before := count()
	arm(t, s, vdev.Structure{Class: vdev.ZIL, Dataset: "live/direct", Blocks: 1, All: true, Damage: vdev.Damage{Garbage: 64}})
	if after := count(); after >= before {
		t.Errorf("%d blocks of the log before, %d after", before, after)
	}
}

func TestStructureByOffset(t *testing.T) {
	disks, _ := clone(t, ondisktest.Dir(t, "", "live"))
	s := still{list: disks}
	before := s.content(t)
	done := arm(t, s, vdev.Structure{Disk: disks[0].Name, Offset: 6000000, Damage: vdev.Damage{Garbage: 1000}})
	if len(done) != 1 || done[0].Offset != 6000000 || len(done[0].After) != 1000 {
		t.Errorf("%d strikes, the first at %d of %d bytes", len(done), done[0].Offset, len(done[0].After))
	}
	accounted(t, before, s.content(t), done)
}

func TestStructureRefuses(t *testing.T) {
	disks, _ := clone(t, ondisktest.Dir(t, "", "live"))
	s := still{list: disks}
	before := s.content(t)
	zero := vdev.Damage{Zero: 512}
	for want, f := range map[string]vdev.Structure{
		"there is no dataset live/none": {Class: vdev.FileData, Dataset: "live/none", Blocks: 1, Damage: zero},
		"the pool has 1 of mos-objset":  {Class: vdev.MOSObjSet, Blocks: 2, Damage: zero},
		`has no disk "v9"`:              {Disk: "v9", Damage: zero},
		"ends at":                       {Disk: disks[0].Name, Offset: 1 << 40, Damage: zero},
		"zeroes already":                {Disk: disks[0].Name, Offset: 200 << 20, Damage: zero},
	} {
		if _, err := f.Arm(t.Context(), fault.Site{Machine: s, Rand: rand.New(rand.NewPCG(1, 2))}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for name, data := range s.content(t) {
		if !bytes.Equal(data, before[name]) {
			t.Errorf("%s was changed", name)
		}
	}
}
