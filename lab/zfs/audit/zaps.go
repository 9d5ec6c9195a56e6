package audit

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// maxMicroName is how long a name in a micro ZAP can be with the zero behind it (MZAP_NAME_LEN).
const maxMicroName = 50

// zaps looks into the small tables of the MOS, many of which nothing else here asks: OpenZFS sorts all of a table when it
// opens it (mze_insert in module/zfs/zap_micro.c).
func (a *auditor) zaps(ctx context.Context) error {
	if err := a.holeBirth(ctx); err != nil {
		return err
	}
	for o, err := range a.pool.MOS.Objects(ctx) {
		if err != nil || !ondisk.IsZAP(o.Type) || o.MaxBlkID > 0 { // the walk tells of errors; micro ZAPs have one block
			continue
		}
		z, err := o.ZAP(ctx)
		if err != nil {
			a.problem("table", o.ID, err)
			continue
		}
		if !z.Micro {
			continue
		}
		for e := range z.All(ctx) {
			switch {
			case e.CD > 0xffff:
				a.malformedEntry(o, fmt.Sprintf("entry %q has collision differentiator %#x, which has 16 bits", e.Name, e.CD))
			case len(e.Name) >= maxMicroName:
				a.malformedEntry(o, fmt.Sprintf("entry %q does not end", e.Name))
			}
		}
	}
	return ctx.Err()
}

func (a *auditor) malformedEntry(o *ondisk.Object, what string) {
	a.find(Finding{Kind: Malformed, Object: o.ID, Detail: fmt.Sprintf("%s %d: %s", ondisk.TypeName(o.Type), o.ID, what)})
}

// holeBirth looks for the txg in which the feature was enabled, which every walk of a dataset asks for
// (traverse_impl in module/zfs/dmu_traverse.c).
func (a *auditor) holeBirth(ctx context.Context) error {
	const feature = "com.delphix:hole_birth"
	if _, enabled := a.pool.Features[feature]; !enabled {
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
			"%s is enabled, and the pool does not tell since when, so that any walk of a dataset panics: %v", feature, err)})
	}
	return ctx.Err()
}
