package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// chains compares what datasets say of the snapshots before and after them. Since version 11 of pools each chain begins
// at a snapshot that it was cloned from, that of $ORIGIN if there is no other.
func (s *state) chains(ctx context.Context, sets []*ondisk.DSLDataset) error {
	byID, children := map[uint64]*ondisk.DSLDataset{}, map[uint64]uint64{}
	for _, d := range sets {
		byID[d.ID] = d
		children[d.PrevSnap]++
	}
	for _, d := range sets {
		bad := func(format string, args ...any) {
			s.find(Finding{Kind: SnapshotChain, Object: d.ID, Owners: []Owner{{Kind: "dataset", Dataset: d.Name, ObjSet: d.ID, Blocks: 1}}, Detail: fmt.Sprintf(format, args...)})
		}
		next := byID[d.NextSnap]
		switch {
		case !d.Snapshot() && d.NextSnap != 0:
			bad("what is no snapshot has object %d after it", d.NextSnap)
		case d.Snapshot() && (next == nil || next.PrevSnap != d.ID || next.Dir != d.Dir):
			bad("after the snapshot comes object %d, which does not come after it", d.NextSnap)
		}
		// A head has none: it would be taken for a snapshot.
		if want := children[d.ID]; d.Children != want {
			bad("%d datasets come after it or are clones of it, it says %d", want, d.Children)
		}
		if d.PrevSnap == 0 {
			if d.PrevSnapTXG != 0 {
				s.hides(d, 0)
				bad("no snapshot is before it, in txg %d", d.PrevSnapTXG)
			}
			continue
		}
		prev := byID[d.PrevSnap]
		if prev == nil || !prev.Snapshot() {
			s.hides(d, 0)
			bad("object %d, which it says is the snapshot before it, is none", d.PrevSnap)
			continue
		}
		if d.PrevSnapTXG != prev.CreationTXG {
			s.hides(d, min(d.PrevSnapTXG, prev.CreationTXG))
			bad("%s, the snapshot before it, is of txg %d, it says %d", prev.Name, prev.CreationTXG, d.PrevSnapTXG)
		}
		if prev.NextSnap == d.ID {
			continue
		}
		dir, err := s.pool.DSLDir(ctx, d.Dir)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && (dir.Origin != prev.ID || prev.Dir == d.Dir) { // the walk tells of the error
			bad("%s, the snapshot before it, is neither before it nor what it is a clone of", prev.Name)
		}
	}
	return nil
}

// hiding is a dataset with a wrong chain, and the earliest txg that its own blocks may be younger than.
type hiding struct {
	*ondisk.DSLDataset
	since uint64
}

// hides remembers that the walk may have taken blocks of a dataset for those of the snapshot before it.
func (a *auditor) hides(d *ondisk.DSLDataset, since uint64) {
	if since < d.PrevSnapTXG || d.PrevSnap != 0 {
		a.hiding = append(a.hiding, hiding{d, since})
	}
}

// hidden explains what only follows from a wrong chain: the walk of a dataset ends at what is not younger than the snapshot before,
// and where it is mistaken about that, it has not met blocks that are the dataset's own, whose space seems leaked, and has taken the
// first of them for those of the snapshot, which has them not.
func (a *auditor) hidden(ctx context.Context) error {
	for _, d := range a.hiding {
		if err := a.pool.Spend(uint64(len(a.report.Findings)) / 8); err != nil {
			return err
		}
		w := &ownerWalk{auditor: a, met: map[*Finding]bool{}}
		w.look(func(f *Finding) bool { return f.Kind == Leaked || f.Kind == WrongBirth && f.shared && f.ownedBy(d.ID) })
		if len(w.places) == 0 {
			continue
		}
		set, err := a.pool.OpenDataset(ctx, d.DSLDataset)
		if err != nil {
			continue // the walk told
		}
		s := &state{auditor: a, pool: a.pool, stage: Naming}
		if err := set.Visit(ctx, d.since, &ondisk.Visitor{
			Workers: a.Workers,
			Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
				s.count(b)
				w.block(ctx, s, b, func() Owner { return s.owner(r, b) })
				return ctx.Err()
			},
			Problem: func(ondisk.Ref, error) error { return nil },
		}); err != nil {
			return err
		}
		for f := range w.met {
			no := "leak: what refers to this space is not met, since it"
			if f.Kind == WrongBirth {
				no = "wrong birth: what refers to this space is taken for what the snapshot before has, since it"
			}
			f.Kind, f.Object = SnapshotChain, d.ID
			f.Detail = fmt.Sprintf("a consequence of the wrong chain of %s, no %s, or what leads to it, is not younger than the snapshot before", d.Name, no)
		}
	}
	return a.names(ctx)
}

// ownedBy says that nobody but a dataset refers to the place.
func (f *Finding) ownedBy(dataset uint64) bool {
	return len(f.Owners) > 0 && f.MoreOwners == 0 && !slices.ContainsFunc(f.Owners, func(o Owner) bool { return o.ObjSet != dataset })
}
