package audit_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// inUberblocks changes all uberblocks.
func inUberblocks(t *testing.T, edit func(u *ondisk.Uberblock, set func(word int, to uint64))) func(*ondisk.Writer) error {
	return func(w *ondisk.Writer) error {
		return w.LabelUberblocks(t.Context(), func(_ string, _ *ondisk.Label, s *ondisk.Slot, raw []byte) error {
			edit(&s.Uberblock, func(word int, to uint64) { s.Uberblock.Order.PutUint64(raw[8*word:], to) })
			return nil
		})
	}
}

// Words of an uberblock.
const (
	ubTXG        = 2
	ubCheckpoint = 25
	ubReflow     = 26
)

// An uberblock that was rewound to a checkpoint says so, and no other does. What that of a checkpoint says fits the pool.
func TestUberblockDemands(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		do         func(u *ondisk.Uberblock, set func(word int, to uint64))
	}{
		{"rewound", "", func(u *ondisk.Uberblock, set func(int, uint64)) {
			set(ubTXG, u.TXG+1)
			set(ubCheckpoint, u.TXG)
		}},
		{"rewound to what is younger", "says that the pool was rewound", func(u *ondisk.Uberblock, set func(int, uint64)) {
			set(ubCheckpoint, u.TXG)
		}},
		{"rewound to what is older than the MOS", "says that the pool was rewound", func(u *ondisk.Uberblock, set func(int, uint64)) {
			set(ubCheckpoint, u.Root.LogicalBirth-1)
		}},
		{"older than its MOS", "has a MOS of txg", func(u *ondisk.Uberblock, set func(int, uint64)) {
			set(ubTXG, u.Root.LogicalBirth-1)
		}},
		{"scratch area", "none is: an import panics", func(_ *ondisk.Uberblock, set func(int, uint64)) {
			set(ubReflow, 1<<55)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := changed(t, ondisktest.Images(t, ondisktest.Dir(t, "", "live")), "live", inUberblocks(t, tt.do))
			demanded(t, run(t, p, audit.Options{Workers: 2}), tt.want)
		})
	}
}

// What the uberblock of a checkpoint says fits the pool's own.
func TestCheckpointDemands(t *testing.T) {
	for _, tt := range []struct {
		want string
		do   func(now, then *ondisk.Uberblock)
	}{
		{"", func(_, _ *ondisk.Uberblock) {}},
		{"says that the pool was rewound", func(now, _ *ondisk.Uberblock) { now.TXG, now.CheckpointTXG = now.TXG+1, now.TXG }},
		{"the uberblock of the checkpoint is of txg", func(now, then *ondisk.Uberblock) { now.TXG = then.TXG }},
	} {
		p := ondisktest.Open(t, ondisktest.Dir(t, "", "checkpoint"), "check")
		then, err := p.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tt.do(&p.Uberblock, then)
		all := p.Demands(t.Context())
		if found := slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, tt.want) }); found != (tt.want != "") || tt.want == "" && len(all) > 0 {
			t.Errorf("not %q: %q", tt.want, all)
		}
	}
}

// demanded looks for a demand, or for that nothing was found.
func demanded(t *testing.T, r *audit.Report, want string) {
	t.Helper()
	found := slices.ContainsFunc(r.Findings, func(f audit.Finding) bool {
		return f.Kind == audit.Configuration && want != "" && strings.Contains(f.Detail, want)
	})
	if found != (want != "") || want == "" && !r.Clean() {
		t.Errorf("found %v", r.Findings)
	}
	for i := range r.Findings {
		t.Log(&r.Findings[i])
	}
}

// An import opens all that tells where the content of removed vdevs went, and believes it.
func TestRemovedDemands(t *testing.T) {
	const pool = "removed"
	dir := ondisktest.Dir(t, "", pool)
	sound := ondisktest.Open(t, dir, pool)
	var v *ondisk.VDev // the one that was removed last: no other was after it
	for _, top := range sound.VDevs {
		if top.Type == "indirect" && top.PrevIndirect != 1<<64-1 {
			v = top
		}
	}
	if v == nil {
		t.Fatal("no removed vdev")
	}
	s, err := sound.ObsoleteSpaceMap(t.Context(), v)
	if err != nil || s == nil || s.Length == 0 {
		t.Fatal("no obsolete space map", err)
	}
	bonus := func(object uint64, word int, to func(uint64) uint64) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			o, err := w.Pool().MOS.Object(t.Context(), object)
			if err != nil {
				return err
			}
			_, err = w.Bonus(t.Context(), o, func(words []uint64) error { words[word] = to(words[word]); return nil })
			return err
		}
	}
	words := func(object uint64, edit func(words []uint64)) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			_, err := w.Block(t.Context(), ondisk.Position{Object: object}, func(p []byte, order binary.ByteOrder) error {
				all := make([]uint64, len(p)/8)
				for i := range all {
					all[i] = order.Uint64(p[8*i:])
				}
				edit(all)
				for i, w := range all {
					order.PutUint64(p[8*i:], w)
				}
				return nil
			})
			return err
		}
	}
	// entry changes the first entry of the obsolete space map, of one word or two.
	entry := func(one, two func(words []uint64)) func(*ondisk.Writer) error {
		return words(s.Object.ID, func(all []uint64) {
			i := slices.IndexFunc(all, func(w uint64) bool { return w>>62 != 2 })
			if all[i]>>62 == 3 {
				two(all[i:])
			} else {
				one(all[i:])
			}
		})
	}
	inConfig := func(edit func(*nvlist.List)) func(*ondisk.Writer) error {
		return inMOS(t, of(false, func(root *nvlist.List) {
			all, _ := root.Lists("children")
			edit(all[v.ID])
		}))
	}
	less, more := func(n uint64) uint64 { return n - 1 }, func(n uint64) uint64 { return n + 1 }
	for _, tt := range []struct {
		name, want string
		do         func(*ondisk.Writer) error
	}{
		{"end of the mapping", "its header says", bonus(v.MappingObject, 0, less)},
		{"bytes of the mapping", "bytes, and its header says", bonus(v.MappingObject, 1, func(uint64) uint64 { return 0 })},
		{"entries of the mapping", "so that an import panics", bonus(v.MappingObject, 2, more)},
		{"counts that are no object", "is obsolete cannot be read", bonus(v.MappingObject, 3, func(uint64) uint64 { return 1 << 40 })},
		{"counts of none", "is obsolete cannot be read", bonus(v.MappingObject, 3, func(uint64) uint64 { return 0 })},
		{"counts of something else", "are said to be obsolete", bonus(v.MappingObject, 3, func(uint64) uint64 { return v.MappingObject })},
		{"order of the mapping", "is out of order", words(v.MappingObject, func(all []uint64) {
			for i := range 3 {
				all[i], all[i+3] = all[i+3], all[i]
			}
		})},
		{"range in two metaslabs", "lies in no metaslab", words(v.MappingObject, func(all []uint64) {
			all[0] &^= 1<<63 - 1 // the source; the first range now overlaps no other, and reaches over the end of its metaslab
			all[1] = all[1]&^(1<<24-1) | 1<<(v.MetaslabShift-9) + 8
			for i := 3; i+2 < len(all) && all[i+1] != 0; i += 3 {
				all[i] += 1 << (v.MetaslabShift - 9 + 1)
			}
		})},
		{"txg of the births", "to which the pool has not come", words(v.BirthsObject, func(all []uint64) { all[1] = 1 << 40 })},
		{"order of the births", "is not in order", func(w *ondisk.Writer) error {
			return w.Atomically(func() error {
				if err := bonus(v.BirthsObject, 0, more)(w); err != nil {
					return err
				}
				return words(v.BirthsObject, func(all []uint64) {
					n := slices.Index(all, 0)
					all[n], all[n+1] = all[n-2]-4096, all[n-1]
				})(w)
			})
		}},
		{"end of the births", "ends before offset", words(v.BirthsObject, func(all []uint64) {
			for i := 0; i < len(all); i += 2 {
				all[i] = min(all[i], 4096)
			}
		})},
		{"count of births", "was copied cannot be read", bonus(v.BirthsObject, 0, func(uint64) uint64 { return 1 << 40 })},
		{"object of births", "was copied cannot be read", inConfig(with("com.delphix:indirect_births", uint64(1<<40)))},
		{"vdev before", "was told of before: an import panics", inConfig(with("com.delphix:prev_indirect_vdev", uint64(77)))},
		{"round in circles", "was told of before: an import panics", inConfig(with("com.delphix:prev_indirect_vdev", v.ID))},
		{"no vdev before", "no import finds where its content went", inConfig(without("com.delphix:prev_indirect_vdev"))},
		{"obsolete space that is freed", "frees what is obsolete", entry(
			func(w []uint64) { w[0] |= 1 << 15 }, func(w []uint64) { w[1] |= 1 << 63 },
		)},
		{"obsolete space that is not mapped", "which is not mapped", entry(
			func(w []uint64) { w[0] = w[0]&(1<<16-1) | (v.ASize-1<<15)<<16 }, func(w []uint64) { w[1] = v.ASize - w[0]>>24&(1<<36-1) - 1 },
		)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			demanded(t, run(t, changed(t, ondisktest.Images(t, dir), pool, tt.do), audit.Options{Workers: 2}), tt.want)
		})
	}
	t.Run("obsolete twice", func(t *testing.T) {
		p := changed(t, ondisktest.Images(t, dir), pool, func(w *ondisk.Writer) error {
			var largest ondisk.SpaceMapEntry
			for e, err := range s.Entries(t.Context()) {
				if err != nil {
					return err
				}
				if !e.Debug && e.Size > largest.Size {
					largest = e
				}
			}
			return w.Atomically(func() error {
				for range 16 { // a part of it may lie in a range of the mapping that has more
					now, err := w.Pool().ObsoleteSpaceMap(t.Context(), v)
					if err != nil {
						return err
					}
					if _, err := w.AppendSpaceMap(t.Context(), now, largest); err != nil {
						return err
					}
				}
				return nil
			})
		})
		demanded(t, run(t, p, audit.Options{Workers: 2}), "more than those are said to be obsolete")
	})
}

// What the pool says of a removal and what the configuration says of it are the same.
func TestRemovingDemands(t *testing.T) {
	for _, tt := range []struct {
		want     string
		removing bool // whether a vdev that is changed is the one that is being removed
		mapping  uint64
	}{
		{"and not by its configuration", true, 0},
		{"and not by what the pool says", false, 1},
	} {
		p := ondisktest.Open(t, ondisktest.Dir(t, "", "removing"), "removing")
		if all := p.Demands(t.Context()); len(all) > 0 {
			t.Errorf("%q", all)
		}
		for _, v := range p.VDevs {
			if v.Removing() == tt.removing {
				v.MappingObject = tt.mapping
				break
			}
		}
		if all := p.Demands(t.Context()); !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, tt.want) }) {
			t.Errorf("not %q: %q", tt.want, all)
		}
	}
}
