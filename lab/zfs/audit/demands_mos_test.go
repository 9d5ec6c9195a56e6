package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// What an import reads of the MOS before anybody uses the pool is looked at, too.
func TestMOSDemands(t *testing.T) {
	inBonus := func(object uint64, edit func(words []uint64)) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			o, err := w.Pool().MOS.Object(t.Context(), object)
			if err != nil {
				return err
			}
			_, err = w.Bonus(t.Context(), o, func(words []uint64) error { edit(words); return nil })
			return err
		}
	}
	const rootProp, rootPad = 11, 12 // words of an uberblock, in its block pointer
	prop := func(bit uint) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			return w.LabelUberblocks(t.Context(), func(_ string, _ *ondisk.Label, s *ondisk.Slot, raw []byte) error {
				o := s.Uberblock.Order
				o.PutUint64(raw[8*rootProp:], o.Uint64(raw[8*rootProp:])|1<<bit)
				return nil
			})
		}
	}
	for _, tt := range []struct {
		name, script, pool string
		do                 func(*ondisk.Writer) error
		kind               audit.Kind
		want               string
	}{
		{"encrypted MOS", "live", "live", prop(61), audit.Malformed, "block pointer of the MOS"},
		{"deduplicated MOS", "live", "live", prop(62), audit.Malformed, "block pointer of the MOS"},
		{"rewritten MOS", "live", "live", func(w *ondisk.Writer) error {
			return w.LabelUberblocks(t.Context(), func(_ string, _ *ondisk.Label, s *ondisk.Slot, raw []byte) error {
				s.Uberblock.Order.PutUint64(raw[8*rootPad:], 1<<63)
				return nil
			})
		}, audit.Malformed, "block pointer of the MOS"},
		{"holds of a snapshot", "freeing", "freeing", func(w *ondisk.Writer) error {
			sets, err := w.Pool().Datasets(t.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(sets, (*ondisk.DSLDataset).Snapshot)
			const holds = 34
			return inBonus(sets[i].ID, func(words []uint64) { words[holds] = 1<<64 - 1 })(w)
		}, audit.Unreadable, "the holds of freeing"},
		{"properties of what is no snapshot", "live", "live", func(w *ondisk.Writer) error {
			sets, err := w.Pool().Datasets(t.Context())
			if err != nil {
				return err
			}
			const properties = 33
			return inBonus(sets[0].ID, func(words []uint64) { words[properties] = sets[0].SnapNames })(w)
		}, audit.Unreadable, "and only snapshots have such"},
		{"origin", "live", "live", func(w *ondisk.Writer) error {
			sets, err := w.Pool().Datasets(t.Context())
			if err != nil {
				return err
			}
			const origin = 3
			return inBonus(sets[0].Dir, func(words []uint64) { words[origin] = 1 << 63 })(w)
		}, audit.Unreadable, "is a clone of"},
		{"last txg", "live", "live", func(w *ondisk.Writer) error {
			return w.LabelUberblocks(t.Context(), func(_ string, _ *ondisk.Label, s *ondisk.Slot, raw []byte) error {
				if s.Uberblock.TXG == w.Pool().Uberblock.TXG {
					s.Uberblock.Order.PutUint64(raw[8*ubTXG:], 1<<64-1)
				}
				return nil
			})
		}, audit.Configuration, "after which there are hardly any"},
		{"what a device has missed", "mirror", "glass", func(w *ondisk.Writer) error {
			for _, top := range w.Pool().VDevs {
				for leaf := range top.All() {
					if leaf.DTL != 0 {
						return inBonus(leaf.DTL, func(words []uint64) { words[1] = 7 })(w)
					}
				}
			}
			return errors.New("no device has missed anything")
		}, audit.Configuration, "has missed (its DTL) cannot be read"},
		{"logs of a dedup table", "dedup", "fast", func(w *ondisk.Writer) error {
			all, err := w.Pool().DDTs(t.Context())
			if err != nil {
				return err
			}
			const flags = 8
			return w.Atomically(func() error {
				for _, d := range all {
					if d.Log {
						if err := inBonus(d.Object, func(words []uint64) { words[0] &= 1<<flags - 1 })(w); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}, audit.Configuration, "0 of the two logs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, changed(t, ondisktest.Images(t, ondisktest.Dir(t, "", tt.script)), tt.pool, tt.do), audit.Options{Workers: 2})
			if !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return f.Kind == tt.kind && strings.Contains(f.Detail, tt.want) }) {
				t.Errorf("not found: %v", r.Findings)
			}
		})
	}
}
