package audit

import (
	"context"
	"fmt"

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
				bad("no snapshot is before it, in txg %d", d.PrevSnapTXG)
			}
			continue
		}
		prev := byID[d.PrevSnap]
		if prev == nil || !prev.Snapshot() {
			bad("object %d, which it says is the snapshot before it, is none", d.PrevSnap)
			continue
		}
		if d.PrevSnapTXG != prev.CreationTXG {
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
