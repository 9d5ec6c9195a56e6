package audit_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// repacked changes a packed list where it lies.
func repacked(p []byte, edit func(*nvlist.List)) error {
	l, err := nvlist.Decode(p)
	if err != nil {
		return err
	}
	edit(l)
	packed, err := nvlist.Encode(l)
	if err != nil {
		return err
	}
	if len(packed) > len(p) {
		return errors.New("the list has no room")
	}
	copy(p, packed)
	return nil
}

// inMOS changes the configuration in the MOS, inLabels that in all labels.
func inMOS(t *testing.T, edit func(*nvlist.List)) func(*ondisk.Writer) error {
	return func(w *ondisk.Writer) error {
		return changeConfig(t, w, func(packed []byte) error { return repacked(packed, edit) })
	}
}

// changeConfig changes the block that has the configuration of the MOS, all of which is made to belong to it first: what follows a
// packed list is ignored, and a longer one has room.
func changeConfig(t *testing.T, w *ondisk.Writer, edit func(packed []byte) error) error {
	id, err := w.Pool().ObjectOf(t.Context(), "config")
	if err != nil {
		return err
	}
	o, err := w.Pool().MOS.Object(t.Context(), id)
	if err != nil {
		return err
	}
	return w.Atomically(func() error {
		if _, err := w.Bonus(t.Context(), o, func(words []uint64) error { words[0] = uint64(o.DataBlockSize); return nil }); err != nil {
			return err
		}
		_, err := w.Block(t.Context(), ondisk.Position{Object: id}, func(block []byte, _ binary.ByteOrder) error { return edit(block) })
		return err
	})
}

func inLabels(t *testing.T, edit func(*nvlist.List)) func(*ondisk.Writer) error {
	return func(w *ondisk.Writer) error {
		return w.LabelConfigs(t.Context(), func(_ string, _ *ondisk.Label, packed []byte) error {
			return repacked(packed, edit)
		})
	}
}

func without(names ...string) func(*nvlist.List) {
	return func(l *nvlist.List) {
		l.Pairs = slices.DeleteFunc(l.Pairs, func(p nvlist.Pair) bool { return slices.Contains(names, p.Name) })
	}
}

func with(name string, value any) func(*nvlist.List) {
	return func(l *nvlist.List) {
		for i := range l.Pairs {
			if l.Pairs[i].Name == name {
				l.Pairs[i].Value = value
			}
		}
	}
}

// of makes an edit of a list that of the list of vdevs in it, or of the first child of that.
func of(child bool, edit func(*nvlist.List)) func(*nvlist.List) {
	return func(l *nvlist.List) {
		tree, _ := l.List("vdev_tree")
		if all, _ := tree.Lists("children"); child {
			tree = all[0]
		}
		edit(tree)
	}
}

// What no import does without is asked of the configuration in the MOS, of labels and of the uberblock. What an import does not ask
// for is not.
func TestDemands(t *testing.T) {
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "live"))
	for _, tt := range []struct {
		name, want string
		do         func(*ondisk.Writer) error
	}{
		{"sum of GUIDs", "the sum of the GUIDs of all vdevs is", func(w *ondisk.Writer) error {
			return w.LabelUberblocks(t.Context(), func(_ string, _ *ondisk.Label, s *ondisk.Slot, raw []byte) error {
				const guidSum = 3
				s.Uberblock.Order.PutUint64(raw[8*guidSum:], s.Uberblock.GUIDSum+1)
				return nil
			})
		}},
		{"txg", "has no txg: an import panics", inMOS(t, without("txg"))},
		{"host", "the hostname in the configuration in the MOS is no text", inMOS(t, func(l *nvlist.List) {
			for i := range l.Pairs {
				if l.Pairs[i].Name == "hostname" {
					l.Pairs[i].Type, l.Pairs[i].Value = nvlist.Uint64, uint64(1)
				}
			}
		})},
		{"top_guid in labels", "is that of a member of vdev 5", inLabels(t, with("top_guid", uint64(5)))},
		{"type of the root", `is of type "mirror"`, inMOS(t, of(false, with("type", "mirror")))},
		{"GUID of the root", "has GUID 1, the labels say", inMOS(t, of(false, with("guid", uint64(1))))},
		{"number of the root", "says that it is number 3", inMOS(t, of(false, with("id", uint64(3))))},
		{"GUID of a vdev", "the sum of the GUIDs of all vdevs is", inMOS(t, of(true, with("guid", uint64(1))))},
		{"tables", "does not say that vdevs have tables", inMOS(t, without("com.delphix:has_per_vdev_zaps"))},
		{"table of a vdev", "com.delphix:vdev_zap_top of the configuration in the MOS is object 1, which the list", inMOS(t, of(true, with("com.delphix:vdev_zap_top", uint64(1))))},
		{"pool GUID of labels", "the labels say that the pool has 7", inLabels(t, with("pool_guid", uint64(7)))},
		{"no name in labels", "has no name of the pool", inLabels(t, without("name"))},
		{"name in labels", "which is no name of a pool", inLabels(t, with("name", "/nowhere"))},
		{"reserved name in labels", "which is no name of a pool", inLabels(t, with("name", "raidz"))},
		{"no state in labels", "is one that a search for pools takes", inLabels(t, without("state"))},
		{"no top_guid in labels", "has no top_guid", inLabels(t, without("top_guid"))},
		{"txg of labels", "are younger than the uberblock", inLabels(t, with("txg", uint64(1<<40)))},
		{"features of labels", "does not tell the features", inLabels(t, without("features_for_read"))},
		{"sectors in labels", "how large sectors are", inLabels(t, of(false, without("ashift")))},
		{"vdevs in labels", "says that there are 70 top-level vdevs", inLabels(t, with("vdev_children", uint64(70)))},
		{"name in the MOS", "", inMOS(t, with("name", "another"))},
		{"state in the MOS", "", inMOS(t, with("state", uint64(7)))},
		{"path in labels", "", inLabels(t, of(false, with("path", "/nowhere")))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, changed(t, devices, "", tt.do), audit.Options{Workers: 2})
			found := slices.ContainsFunc(r.Findings, func(f audit.Finding) bool {
				return f.Kind == audit.Configuration && tt.want != "" && strings.Contains(f.Detail, tt.want)
			})
			if found != (tt.want != "") || tt.want == "" && !r.Clean() {
				t.Errorf("found %v", r.Findings)
			}
		})
	}
}

// The labels of a txg call a pool by one name.
func TestNamesInLabels(t *testing.T) {
	first := ""
	p := changed(t, ondisktest.Images(t, ondisktest.Dir(t, "", "raidz1")), "", func(w *ondisk.Writer) error {
		return w.LabelConfigs(t.Context(), func(device string, _ *ondisk.Label, packed []byte) error {
			if first == "" {
				first = device
			}
			if device != first {
				return nil
			}
			return repacked(packed, with("name", "another"))
		})
	})
	demanded(t, run(t, p, audit.Options{Workers: 2}), "calls the pool another")
}

// A pool has no more parities than its version knows.
func TestParitiesOfVersion(t *testing.T) {
	for pool, versions := range map[string]map[uint64]string{
		"raidz1": {1: ""}, "raidz2": {2: "has 2 parities, which pools of version 2 have not", 3: ""}, "raidz3": {16: "has 3 parities", 17: ""},
	} {
		for version, want := range versions {
			p := changed(t, ondisktest.Images(t, ondisktest.Dir(t, "", pool)), "", inUberblocks(t, func(_ *ondisk.Uberblock, set func(int, uint64)) { set(1, version) }))
			r := run(t, p, audit.Options{Workers: 2})
			if found := slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return strings.Contains(f.Detail, "parities") }); found != (want != "") {
				t.Errorf("%s of version %d: %v", pool, version, r.Findings)
			}
		}
	}
}

// A configuration whose pairs say that they have another size in memory cannot be unpacked, and no pool is opened with it.
func TestPackedSize(t *testing.T) {
	w, err := ondisk.NewWriter(t.Context(), ondisktest.Images(t, ondisktest.Dir(t, "", "live")), ondisk.InPlace, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.Pool().ObjectOf(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Block(t.Context(), ondisk.Position{Object: id}, func(block []byte, _ binary.ByteOrder) error {
		const first = 4 + 8 + 4 // behind the header, the list's own and the packed size of the first pair
		block[first+3] += 8
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "bytes in memory") {
		t.Error(err)
	}
}

// A raidz that does not say of how many parities it is has one in a pool of version 1, and in none that is younger.
func TestUnsaidParity(t *testing.T) {
	const name = "nparity"
	for script, opens := range map[string]bool{"ancient": true, "raidz1": false} {
		pool := map[string]string{"ancient": "three", "raidz1": "zr"}[script]
		v := newVictim(t, script, pool)
		p := changed(t, v.devices, "", func(w *ondisk.Writer) error {
			if opens {
				if err := inLabels(t, of(false, without(name)))(w); err != nil {
					return err
				}
			}
			return inMOS(t, of(true, without(name)))(w)
		})
		if r := run(t, p, audit.Options{Workers: 2}); r.Clean() != opens {
			t.Errorf("%s: %v", script, r.Findings)
		}
	}
}
