package audit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// What only seems leaked, or older than the snapshot before, because a dataset and that snapshot disagree about its txg is called a
// consequence of that, with its owners. The snapshot is made to say that it is younger than all blocks of the dataset.
func TestHiddenByChain(t *testing.T) {
	const creationTXG = 7 // word of dsl_dataset_phys_t
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "freeing"))
	p := changed(t, devices, "freeing", func(w *ondisk.Writer) error {
		sets, err := w.Pool().Datasets(t.Context())
		if err != nil {
			return err
		}
		last := slices.IndexFunc(sets, func(d *ondisk.DSLDataset) bool { return d.Name == "freeing/a@5" })
		o, err := w.Pool().MOS.Object(t.Context(), sets[last].ID)
		if err != nil {
			return err
		}
		_, err = w.Bonus(t.Context(), o, func(words []uint64) error { words[creationTXG] = w.Pool().Uberblock.TXG; return nil })
		return err
	})
	r := run(t, p, audit.Options{Workers: 2})
	explained, births := 0, 0
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case f.Kind == audit.Leaked || f.Kind == audit.WrongBirth:
			t.Error(f)
		case f.Kind == audit.SnapshotChain && f.Size > 0:
			if !strings.Contains(f.Detail, "a consequence of the wrong chain of freeing/a, no ") || len(f.Owners) == 0 || f.Owners[0].Dataset != "freeing/a" {
				t.Error(f)
			}
			if strings.Contains(f.Detail, "no wrong birth") {
				births++
			}
			explained++
		}
	}
	if births == 0 || explained == births {
		t.Errorf("%d births and %d leaks are explained: %v", births, explained-births, r.Findings)
	}
}
