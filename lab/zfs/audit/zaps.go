package audit

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// maxMicroName is how long a name in a micro ZAP can be with the zero behind it (MZAP_NAME_LEN).
const maxMicroName = 50

// zaps looks into all tables of the MOS but those of shared blocks, which are read anyway, and may be large.
func (a *auditor) zaps(ctx context.Context) error {
	if err := a.holeBirth(ctx); err != nil {
		return err
	}
	later, err := a.sharedTables(ctx)
	if err != nil {
		return err
	}
	for o, err := range a.pool.MOS.Objects(ctx) {
		if err != nil || !ondisk.IsZAP(o.Type) || later[o.ID] { // the walk tells of errors
			continue
		}
		what := "table of type " + ondisk.TypeName(o.Type)
		z, err := o.ZAP(ctx)
		if err != nil {
			a.problem(what, o.ID, err)
			continue
		}
		if z.Unsalted() {
			a.find(Finding{Kind: Assertion, Object: o.ID, Detail: fmt.Sprintf("%s %d has no salt for its hash", ondisk.TypeName(o.Type), o.ID)})
		}
		for e, err := range z.All(ctx) {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				a.problem(what, o.ID, err)
			case z.Micro:
				a.microEntry(o, &e)
			}
		}
	}
	return ctx.Err()
}

// sharedTables are the objects of the tables of shared blocks.
func (a *auditor) sharedTables(ctx context.Context) (map[uint64]bool, error) {
	all := map[uint64]bool{}
	clones, _ := a.pool.BRTs(ctx) // tables tells of errors
	for _, b := range clones {
		all[b.EntriesObject] = true
	}
	dedup, _ := a.pool.DDTs(ctx)
	for _, d := range dedup {
		all[d.Object] = true
	}
	return all, ctx.Err()
}

// microEntry looks at an entry of a micro ZAP. OpenZFS sorts all of them when it opens one (mze_insert in
// module/zfs/zap_micro.c).
func (a *auditor) microEntry(o *ondisk.Object, e *ondisk.ZAPEntry) {
	var what string
	kind := Malformed
	switch {
	case e.CD > 0xffff: // 16 bits of it are taken
		kind, what = Assertion, fmt.Sprintf("has collision differentiator %#x, which has 16 bits", e.CD)
	case len(e.Name) >= maxMicroName:
		what = "does not end"
	default:
		return
	}
	a.find(Finding{Kind: kind, Object: o.ID, Detail: fmt.Sprintf("%s %d: entry %q %s", ondisk.TypeName(o.Type), o.ID, e.Name, what)})
}

// holeBirth looks for the txg in which the feature was enabled, which every walk of a dataset asks for
// (traverse_impl in module/zfs/dmu_traverse.c).
func (a *auditor) holeBirth(ctx context.Context) error {
	const feature = "com.delphix:hole_birth"
	if a.pool.Features[feature] == 0 {
		return nil
	}
	id, err := a.pool.ObjectOf(ctx, "feature_enabled_txg")
	if err == nil {
		var z *ondisk.ZAP
		if z, err = a.pool.MOS.ZAP(ctx, id); err == nil {
			_, err = z.Lookup(ctx, feature)
		}
	}
	if err != nil && ctx.Err() == nil {
		a.find(Finding{Kind: Malformed, Object: id, Detail: fmt.Sprintf(
			"%s is active, and the pool does not tell since when, so that any walk of a dataset panics: %v", feature, err)})
	}
	return ctx.Err()
}
