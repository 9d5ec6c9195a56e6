package ondisk

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// Deadlist are the blocks that a dataset does not refer to any more but the snapshot before it does, sorted into lists
// by the snapshot that was the newest when they were born (dsl_deadlist_phys_t). A livelist has the same form: there the
// lists hold the blocks that a clone allocated, and freed, since a txg.
type Deadlist struct {
	Object *Object
	// Used, Compressed and Uncompressed are what the blocks take, in bytes.
	Used, Compressed, Uncompressed uint64
	Lists                          []DeadlistEntry
}

// DeadlistEntry is a list of blocks born after a txg, and not after that of the next entry.
type DeadlistEntry struct {
	MinTXG, BPObj uint64
}

// Deadlist opens a deadlist or livelist, in the order of txgs. One of an old pool is a single bpobj.
func (o *ObjSet) Deadlist(ctx context.Context, id uint64) (*Deadlist, error) {
	obj, err := o.Object(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("deadlist: %w", err)
	}
	if obj.Type == TypeBPObj {
		b, err := o.BPObj(ctx, id)
		if err != nil {
			return nil, err
		}
		return &Deadlist{Object: obj, Used: b.Bytes, Compressed: b.Compressed, Uncompressed: b.Uncompressed, Lists: []DeadlistEntry{{0, id}}}, nil
	}
	w := obj.bonusWords()
	if len(w) < 3 {
		return nil, fmt.Errorf("deadlist %v: %w", obj, corrupt("a bonus of %d words", len(w)))
	}
	d := &Deadlist{Object: obj, Used: w[0], Compressed: w[1], Uncompressed: w[2]}
	z, err := obj.ZAP(ctx)
	if err != nil {
		return nil, fmt.Errorf("deadlist: %w", err)
	}
	for e, err := range z.All(ctx) {
		if err != nil {
			return nil, fmt.Errorf("deadlist: %w", err)
		}
		txg, err := strconv.ParseUint(e.Name, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("deadlist %v: %w", obj, corrupt("%w", err))
		}
		d.Lists = append(d.Lists, DeadlistEntry{txg, e.Uint64()})
	}
	slices.SortFunc(d.Lists, func(a, b DeadlistEntry) int {
		if a.MinTXG < b.MinTXG {
			return -1
		}
		return 1
	})
	return d, nil
}

// DeletedClones are the livelists of clones that were destroyed and are being freed.
func (p *Pool) DeletedClones(ctx context.Context) ([]uint64, error) {
	return p.numbersUnder(ctx, "com.delphix:deleted_clones")
}

// numbersUnder are the values of the ZAP that the pool's directory names, none if it names none.
func (p *Pool) numbersUnder(ctx context.Context, name string) ([]uint64, error) {
	z, err := p.zapOf(ctx, name)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []uint64
	for e, err := range z.All(ctx) {
		if err != nil {
			return all, err
		}
		all = append(all, e.Uint64())
	}
	slices.Sort(all)
	return all, nil
}

// maxFreed bounds what Live takes: 800 MiB. OpenZFS begins a new list after 500,000 entries (zfs_livelist_max_entries).
const maxFreed = 1 << 23

// Live are the blocks of a livelist's list that were allocated and not freed, in the order of the list. It takes about 100
// bytes for each entry that stands for a freed block.
func (b *BPObj) Live(ctx context.Context) iter.Seq2[BlkPtr, error] {
	type key struct { // what livelist_compare looks at
		vdev   uint32
		offset uint64
	}
	of := func(b BlkPtr) key { return key{b.DVA[0].VDev(), b.DVA[0].Offset()} }
	return func(yield func(BlkPtr, error) bool) {
		freed := map[key]int{}
		for ptr, err := range b.Entries(ctx) {
			if err != nil {
				yield(ptr, err)
				return
			}
			if ptr.Free() {
				freed[of(ptr)]++
			}
			if len(freed) > maxFreed {
				yield(ptr, unsupported("a livelist with more than %d blocks that were freed", maxFreed))
				return
			}
		}
		for ptr, err := range b.Entries(ctx) {
			if err == nil && ptr.Free() {
				continue
			}
			if err == nil && freed[of(ptr)] > 0 {
				freed[of(ptr)]--
				continue
			}
			if !yield(ptr, err) {
				return
			}
		}
	}
}
