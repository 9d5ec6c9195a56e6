package ondisk

import (
	"context"
	"fmt"
	"iter"
)

// BPTree is a queue of object sets that were destroyed and are being freed (bptree_phys_t in include/sys/bptree.h).
type BPTree struct {
	Object *Object
	// Begin and End count the entries; those before Begin are done.
	Begin, End uint64
	// Bytes, Compressed and Uncompressed are what is still to be freed.
	Bytes, Compressed, Uncompressed uint64
}

// BPTreeEntry is one of them.
type BPTreeEntry struct {
	// Root is that of the object set. Only what was born after BirthTXG is to be freed, the rest belongs to snapshots.
	Root     BlkPtr
	BirthTXG uint64
	// Resume is how far freeing has come: what comes before in the order of a traversal is freed. All zero: nothing.
	Resume Bookmark
}

const bptreeEntrySize = BlkPtrSize + 40

// BPTree opens the pool's queue of destroyed object sets. A pool without one gives ErrNotFound.
func (p *Pool) BPTree(ctx context.Context) (*BPTree, error) {
	id, err := p.ObjectOf(ctx, "bptree_obj")
	if err != nil {
		return nil, err
	}
	o, err := p.MOS.Object(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("bptree: %w", err)
	}
	w := o.bonusWords()
	if len(w) < 5 || w[0] > w[1] || w[1] > o.Size()/bptreeEntrySize+1 {
		return nil, fmt.Errorf("bptree %v: %w", o, corrupt("bonus %d", w))
	}
	return &BPTree{Object: o, Begin: w[0], End: w[1], Bytes: w[2], Compressed: w[3], Uncompressed: w[4]}, nil
}

// Entries are those that are still to be freed. One that cannot be read ends them.
func (b *BPTree) Entries(ctx context.Context) iter.Seq2[BPTreeEntry, error] {
	return func(yield func(BPTreeEntry, error) bool) {
		p := make([]byte, bptreeEntrySize)
		for i := b.Begin; i < b.End; i++ {
			if _, err := b.Object.ReadAt(ctx, p, i*bptreeEntrySize); err != nil {
				yield(BPTreeEntry{}, fmt.Errorf("bptree: %w", err))
				return
			}
			// An entry can lie on two blocks, but both were written by the same host.
			order := b.Object.Order
			w := decodeWords(p[BlkPtrSize:], order)
			e := BPTreeEntry{
				Root: decodeBlkPtr(p, order), BirthTXG: w[0],
				Resume: Bookmark{ObjSet: w[1], Object: w[2], Level: int64(w[3]), BlkID: w[4]},
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}
