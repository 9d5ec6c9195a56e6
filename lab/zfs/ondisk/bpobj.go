package ondisk

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// BPObj is a list of block pointers, with other such lists in it (bpobj_phys_t in include/sys/bpobj.h).
type BPObj struct {
	Object *Object
	// Count is how many block pointers it has itself, Bytes, Compressed and Uncompressed what they and those of its
	// sub-objects take.
	Count, Bytes, Compressed, Uncompressed uint64
	// Sized says that the list has Compressed and Uncompressed: those that pools of versions 1 and 2 made have not, and keep
	// so when the pool is upgraded.
	Sized bool
	// SubObjs is the object that lists SubCount others, Freed how many entries stand for freed blocks (of livelists).
	SubObjs, SubCount, Freed uint64
}

// BPObj opens such a list.
func (o *ObjSet) BPObj(ctx context.Context, id uint64) (*BPObj, error) {
	obj, err := o.Object(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("bpobj: %w", err)
	}
	const sizeV0 = 2 // words (BPOBJ_SIZE_V0); later versions have more, and bpobj_open looks which it is
	w := obj.bonusWords()
	if obj.Type != TypeBPObj || len(w) < sizeV0 {
		return nil, fmt.Errorf("bpobj %v: %w", obj, corrupt("a %s with a bonus of %d words", TypeName(obj.Type), len(w)))
	}
	sized := len(w) > sizeV0
	w = append(w, make([]uint64, 8)...)
	b := &BPObj{Object: obj, Sized: sized, Count: w[0], Bytes: w[1], Compressed: w[2], Uncompressed: w[3], SubObjs: w[4], SubCount: w[5], Freed: w[6]}
	if b.Count > obj.Size()/BlkPtrSize {
		return nil, fmt.Errorf("bpobj %v: %w", obj, corrupt("%d entries in %d bytes", b.Count, obj.Size()))
	}
	return b, nil
}

// Entries are the block pointers of the list itself, first to last; OpenZFS goes through them from last to first. A
// block of the list that cannot be read ends it with an error.
func (b *BPObj) Entries(ctx context.Context) iter.Seq2[BlkPtr, error] {
	return func(yield func(BlkPtr, error) bool) {
		perBlock := uint64(b.Object.DataBlockSize) / BlkPtrSize
		for i := uint64(0); i < b.Count; i += perBlock {
			block, err := b.Object.filled(ctx, i/perBlock)
			if err != nil {
				yield(BlkPtr{}, fmt.Errorf("bpobj %v: %w", b.Object, err))
				return
			}
			for j := range min(perBlock, b.Count-i) {
				if !yield(decodeBlkPtr(block.Data[j*BlkPtrSize:], block.Order), nil) {
					return
				}
			}
		}
	}
}

// Subs are the numbers of the lists inside the list.
func (b *BPObj) Subs(ctx context.Context) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		if b.SubObjs == 0 || b.SubCount == 0 {
			return
		}
		o, err := b.Object.Set.Object(ctx, b.SubObjs)
		if err == nil && b.SubCount > o.Size()/8 {
			err = corrupt("%d sub-objects in %d bytes", b.SubCount, o.Size())
		}
		if err != nil {
			yield(0, fmt.Errorf("bpobj %v: %w", b.Object, err))
			return
		}
		o.words(ctx, b.SubCount, o.filled, yield)
	}
}

// words are the first n 64-bit words of an object, block by block.
func (o *Object) words(ctx context.Context, n uint64, read func(context.Context, uint64) (Block, error), yield func(uint64, error) bool) {
	perBlock := uint64(o.DataBlockSize) / 8
	for i := uint64(0); i < n; i += perBlock {
		block, err := read(ctx, i/perBlock)
		if err != nil {
			yield(0, fmt.Errorf("read %v: %w", o, err))
			return
		}
		for j := range min(perBlock, n-i) {
			if !yield(block.Order.Uint64(block.Data[8*j:]), nil) {
				return
			}
		}
	}
}

// BPObjEntry is an entry of a list or of one inside it.
type BPObjEntry struct {
	// Object is the list that the entry is in, Index its place there.
	Object, Index uint64
	Ptr           BlkPtr
}

// ErrMetAgain says that a list is inside another one twice, or inside itself. It is not walked a second time.
var ErrMetAgain = errors.New("met again")

// Walk goes through the entries of the list and of all lists inside. What cannot be read, or is met again, is yielded as
// an error, with the number of the list, and the rest goes on. It takes 8 bytes for each list inside.
func (b *BPObj) Walk(ctx context.Context) iter.Seq2[BPObjEntry, error] {
	return func(yield func(BPObjEntry, error) bool) {
		seen := map[uint64]bool{b.Object.ID: true}
		queue := []*BPObj{b}
		for len(queue) > 0 {
			at := queue[len(queue)-1]
			queue = queue[:len(queue)-1]
			e := BPObjEntry{Object: at.Object.ID}
			for ptr, err := range at.Entries(ctx) {
				e.Ptr = ptr
				if !yield(e, err) {
					return
				}
				e.Index++
			}
			for id, err := range at.Subs(ctx) {
				var sub *BPObj
				if err == nil && seen[id] {
					err = fmt.Errorf("%w: sub-object %d of bpobj %d, %w", ErrCorrupt, id, at.Object.ID, ErrMetAgain)
				}
				if err == nil {
					seen[id] = true
					sub, err = b.Object.Set.BPObj(ctx, id)
				}
				if err != nil {
					if !yield(BPObjEntry{Object: id}, err) {
						return
					}
					continue
				}
				queue = append(queue, sub)
			}
			if ctx.Err() != nil {
				yield(BPObjEntry{}, ctx.Err())
				return
			}
		}
	}
}

// Pending are the pool's own lists of blocks that are still to be freed: of destroyed snapshots, and what a sync left to
// the next one.
func (p *Pool) Pending(ctx context.Context) ([]*BPObj, error) {
	var all []*BPObj
	for _, name := range []string{"sync_bplist", "free_bpobj"} {
		id, err := p.ObjectOf(ctx, name)
		if isNotFound(err) || err == nil && id == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		b, err := p.MOS.BPObj(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, b)
	}
	return all, nil
}
