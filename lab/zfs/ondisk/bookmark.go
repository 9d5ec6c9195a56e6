package ondisk

import "cmp"

// Bookmark is a place in an object set in the order in which it is walked (zbookmark_phys_t in include/sys/zio.h).
type Bookmark struct {
	ObjSet, Object uint64
	Level          int64
	BlkID          uint64
}

// spillBlkID is the block number that stands for the spill block of an object (DMU_SPILL_BLKID).
const spillBlkID = 1<<64 - 2

// place is a bookmark in the order of a walk: blocks of dnodes come before the objects in them.
type place struct {
	object, block uint64
	level         int64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.object, q.object), cmp.Compare(p.block, q.block), -cmp.Compare(p.level, q.level))
}

// placeOf is zbookmark_compare's view of a block: where the data below it begin.
func placeOf(object, blkid uint64, level int64, span uint, dnodesPerBlock uint64) place {
	const metaLevel = 1 << 31
	p := place{object: object, block: shiftLeft(blkid, uint(level)*span), level: level}
	if object == MetaDNode {
		p = place{object: p.block * dnodesPerBlock, level: level + metaLevel}
	}
	return p
}

func shiftLeft(v uint64, n uint) uint64 {
	if n > 63 {
		return 0
	}
	return v << n
}

// completed says that a block and all below it come before the place where the walk resumes
// (zbookmark_subtree_completed).
func (w *walk) completed(o *Object, r Ref) bool {
	if w.resume == nil || w.resume.Level != 0 {
		return false
	}
	end := placeOf(r.Object, r.BlkID+1, int64(r.Level), o.spanOrZero(), uint64(o.DataBlockSize)/DNodeSlot)
	const usual = 32 // dnodes in a block
	return end.compare(placeOf(w.resume.Object, w.resume.BlkID, 0, 0, usual)) <= 0
}

// at says that the walk resumes at this very block: what is below it is done.
func (w *walk) at(r Ref) bool {
	return w.resume != nil && w.resume.Object == r.Object && w.resume.Level == int64(r.Level) && w.resume.BlkID == r.BlkID
}

// spanOrZero is the span of indirect blocks, 0 for an object that has none.
func (o *Object) spanOrZero() uint {
	if o.Levels <= 1 {
		return 0
	}
	return o.indirectSpan()
}
