package audit

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// sums are what headers of lists of blocks count.
type sums struct{ bytes, compressed, uncompressed uint64 }

func (s *sums) add(t sums) {
	s.bytes, s.compressed, s.uncompressed = s.bytes+t.bytes, s.compressed+t.compressed, s.uncompressed+t.uncompressed
}

// lists adds the entries of all deadlists, and compares the headers of deadlists and of lists of blocks to be freed with
// their entries. What those free is claimed by the walk.
func (s *state) lists(ctx context.Context) error {
	pending, err := s.pool.Pending(ctx)
	if err != nil {
		s.problem("blocks to be freed", 0, err)
	}
	for _, b := range pending {
		l := &listWalk{state: s, kind: BPObjAccounting, seen: map[uint64]bool{}}
		if _, err := l.list(ctx, b, 0); err != nil {
			return err
		}
	}
	sets, err := s.pool.Datasets(ctx)
	if err != nil {
		s.problem("datasets", 0, err)
	} else if err := s.chains(ctx, sets); err != nil {
		return err
	}
	for _, d := range sets {
		if err := s.pool.DatasetTables(ctx, d); err != nil {
			s.problem("dataset", d.ID, err)
		}
		if d.Deadlist == 0 {
			continue
		}
		if err := s.deadlist(ctx, d); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *state) deadlist(ctx context.Context, d *ondisk.DSLDataset) error {
	list, err := s.pool.MOS.Deadlist(ctx, d.Deadlist)
	if err != nil {
		s.problem("deadlist of "+d.Name, d.Deadlist, err)
		return ctx.Err()
	}
	var total sums
	for i, e := range list.Lists {
		b, err := s.pool.MOS.BPObj(ctx, e.BPObj)
		if err != nil {
			s.problem("deadlist of "+d.Name, e.BPObj, err)
			continue
		}
		// Births are in (from, to].
		from, to := e.MinTXG, s.pool.Since(ctx, d)
		if i+1 < len(list.Lists) {
			to = min(to, list.Lists[i+1].MinTXG)
		}
		l := &listWalk{state: s, kind: DeadlistAccounting, seen: map[uint64]bool{}, do: func(r ondisk.Ref, b ondisk.BlkPtr) error {
			if err := b.Verify(); err != nil {
				s.find(Finding{Kind: Malformed, Object: r.Object, Owners: []Owner{deadlistOwner(d, r, b)}, Detail: err.Error()})
			}
			if born := b.Allocated(); (born <= from && from > 0) || born > to {
				s.find(Finding{Kind: DeadlistEntry, Object: r.Object, Owners: []Owner{deadlistOwner(d, r, b)}, Detail: fmt.Sprintf(
					"an entry born in txg %d is in the list of those born after txg %d and not after txg %d", born, from, to)})
			}
			return s.deadBlock(d, r, b)
		}}
		sum, err := l.list(ctx, b, 0)
		if err != nil {
			return err
		}
		total.add(sum)
	}
	if len(list.Lists) == 1 && list.Lists[0].BPObj == d.Deadlist {
		return ctx.Err() // of an old pool, it is one list, whose header was compared
	}
	if want := (sums{list.Used, list.Compressed, list.Uncompressed}); total != want {
		s.find(Finding{Kind: DeadlistAccounting, Object: d.Deadlist, Detail: fmt.Sprintf(
			"the header of the deadlist of %s says %v, its entries sum up to %v", d.Name, want, total)})
	}
	return ctx.Err()
}

func (s sums) String() string {
	return fmt.Sprintf("%d bytes (%d compressed, %d uncompressed)", s.bytes, s.compressed, s.uncompressed)
}

func deadlistOwner(d *ondisk.DSLDataset, r ondisk.Ref, b ondisk.BlkPtr) Owner {
	return Owner{Kind: "deadlist", Dataset: d.Name, ObjSet: d.ID, Object: r.Object, BlkID: r.BlkID, Blocks: 1, Birth: b.LogicalBirth}
}

// deadBlock claims the copies of a block on a deadlist; of a gang block, the headers.
func (s *state) deadBlock(d *ondisk.DSLDataset, r ondisk.Ref, b ondisk.BlkPtr) error {
	c := claim{extra: b.LogicalBirth, print: s.fingerprint(b), of: uint32(d.Dir), kind: claimDeadlist, flags: s.flags}
	for i, dva := range b.DVAs() {
		at, err := s.first(dva)
		if err != nil {
			s.find(Finding{Kind: DeadlistEntry, Object: r.Object, Owners: []Owner{deadlistOwner(d, r, b)}, Detail: fmt.Sprintf(
				"%v is no possible place: %v", dva, err)})
			continue
		}
		c.vdev, c.offset, c.size = uint16(at.VDev), at.Offset, uint32(at.Size>>sectorShift)
		if i > 0 {
			c.flags |= secondary
		}
		if err := s.claims.add(c); err != nil {
			return err
		}
	}
	return nil
}

// listWalk goes through a list and the lists inside it.
type listWalk struct {
	*state
	kind Kind
	seen map[uint64]bool
	do   func(ondisk.Ref, ondisk.BlkPtr) error // may be nil
}

// maxNesting is how deep lists may be inside each other. OpenZFS flattens them.
const maxNesting = 64

func (l *listWalk) list(ctx context.Context, b *ondisk.BPObj, depth int) (total sums, err error) {
	l.seen[b.Object.ID] = true
	r := ondisk.Ref{Object: b.Object.ID}
	for ptr, err := range b.Entries(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return total, ctx.Err()
			}
			l.problem("list of blocks", b.Object.ID, err)
			return total, nil
		}
		if ptr.Hole() {
			l.find(Finding{Kind: l.entryKind(), Object: b.Object.ID, Detail: fmt.Sprintf("entry %d of list %d is a hole, which cannot be freed", r.BlkID, b.Object.ID)})
		}
		total.add(l.sumsOf(ptr))
		if l.do != nil {
			if err := l.do(r, ptr); err != nil {
				return total, err
			}
		}
		r.BlkID++
	}
	for id, err := range b.Subs(ctx) {
		var sub *ondisk.BPObj
		if err == nil {
			if l.seen[id] || depth > maxNesting {
				err = fmt.Errorf("it is met twice, or nested too deep: %w", ondisk.ErrCorrupt)
			} else {
				sub, err = l.pool.MOS.BPObj(ctx, id)
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return total, ctx.Err()
			}
			l.find(Finding{Kind: l.entryKind(), Object: b.Object.ID, Detail: fmt.Sprintf("list %d inside list %d: %v", id, b.Object.ID, err)})
			continue
		}
		below, err := l.list(ctx, sub, depth+1)
		if err != nil {
			return total, err
		}
		total.add(below)
	}
	says, has := sums{b.Bytes, b.Compressed, b.Uncompressed}, total
	if !b.Sized {
		has.compressed, has.uncompressed = 0, 0
	}
	if says != has {
		l.find(Finding{Kind: l.kind, Object: b.Object.ID, Detail: fmt.Sprintf(
			"the header of list %d says %v, its entries sum up to %v", b.Object.ID, says, has)})
	}
	return total, nil
}

func (l *listWalk) entryKind() Kind {
	if l.kind == DeadlistAccounting {
		return DeadlistEntry
	}
	return BPObjEntry
}

// sumsOf is what a block counts in a header: its space without parity, and its sizes (bpobj_enqueue).
func (s *state) sumsOf(b ondisk.BlkPtr) (t sums) {
	for _, d := range b.DVAs() {
		t.bytes += s.deflated(d)
	}
	if !b.Embedded() {
		t.compressed = b.PSize()
	}
	t.uncompressed = b.LSize()
	if b.Level() > 0 || ondisk.IsMetadata(b.Type()) {
		t.uncompressed = t.compressed
	}
	return t
}

// deflated is dva_get_dsize_sync: without parity and padding, in pools that deflate.
func (s *state) deflated(d ondisk.DVA) uint64 {
	const typical = 1 << 17
	v := s.vdev(d.VDev())
	if v == nil || !s.pool.Deflate {
		return d.ASize()
	}
	return d.ASize() >> sectorShift * (typical / (v.RawSize(typical, 0) >> sectorShift))
}

// vdev is a top-level vdev, nil if there is none.
func (s *state) vdev(id uint32) *ondisk.VDev {
	if uint64(id) >= uint64(len(s.pool.VDevs)) {
		return nil
	}
	return s.pool.VDevs[id]
}
