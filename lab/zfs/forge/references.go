package forge

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

func referenceForgeries() []Forgery {
	return []Forgery{
		{"deadlist-duplicate", "a block twice in the deadlist of a dataset", deadlistDuplicate},
		{"bpobj-duplicate", "a block twice in the pool's list of blocks to be freed", bpobjDuplicate},
		{"birth", "a birth txg after the snapshot that shares the block", wrongBirth},
		{"snapshot-txg", "a dataset that takes the snapshot before it for older than it is", snapshotTXG},
		{"shared-block", "two files with one block", sharedBlock},
		{"pointer-type", "a block pointer of a file with a type that does not exist", pointerType},
		{"ddt-refcount", "a dedup table that counts one reference too few", ddtRefCount},
		{"brt-refcount", "a block reference table that counts one clone too few", brtRefCount},
		{"brt-lost", "an entry of a block reference table that no lookup finds", brtLost},
	}
}

// list is a list of blocks with all headers that count its entries.
type list struct {
	*ondisk.BPObj
	in []*ondisk.Object // outer lists, whose sizes are words 1 to 3 of the bonus
	// deadlist is what the outermost list is in, whose sizes are words 0 to 2; or nil.
	deadlist *ondisk.Object
	name     string
}

// deadlistDuplicate appends to a list of a deadlist what it has already: at the next destroy of the snapshot before, the
// block is freed twice.
func deadlistDuplicate(ctx context.Context, f *forger) error {
	pool := f.w.Pool()
	sets, err := pool.Datasets(ctx)
	if err != nil {
		return err
	}
	var all []list
	for _, d := range sets {
		head, _, _ := strings.Cut(d.Name, "@")
		if d.Deadlist == 0 || f.options.Dataset != "" && f.options.Dataset != d.Name && f.options.Dataset != head {
			continue
		}
		dead, err := pool.MOS.Deadlist(ctx, d.Deadlist)
		if err != nil {
			return err
		}
		for _, e := range dead.Lists {
			b, err := pool.MOS.BPObj(ctx, e.BPObj)
			if err != nil {
				return err
			}
			l := list{BPObj: b, name: "the deadlist of " + d.Name}
			if dead.Object.ID != b.Object.ID {
				l.deadlist = dead.Object
			}
			all = append(all, l)
		}
	}
	return f.duplicateIn(ctx, all, "a deadlist with entries")
}

// bpobjDuplicate does the same to what is being freed.
func bpobjDuplicate(ctx context.Context, f *forger) error {
	pending, err := f.w.Pool().Pending(ctx)
	if err != nil {
		return err
	}
	var all []list
	for _, b := range pending {
		if err := f.inside(ctx, b, nil, &all); err != nil {
			return err
		}
	}
	return f.duplicateIn(ctx, all, "blocks that are still to be freed")
}

// maxNested bounds how deep lists are followed into each other.
const maxNested = 16

func (f *forger) inside(ctx context.Context, b *ondisk.BPObj, in []*ondisk.Object, all *[]list) error {
	*all = append(*all, list{BPObj: b, in: in, name: "the list of blocks to be freed"})
	if len(in) > maxNested {
		return nil
	}
	below := slices.Concat(in, []*ondisk.Object{b.Object})
	for id, err := range b.Subs(ctx) {
		if err != nil {
			return err
		}
		sub, err := f.w.Pool().MOS.BPObj(ctx, id)
		if err != nil {
			return err
		}
		if err := f.inside(ctx, sub, below, all); err != nil {
			return err
		}
	}
	return nil
}

func (f *forger) duplicateIn(ctx context.Context, all []list, what string) error {
	f.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, l := range all {
		if l.Count == 0 {
			continue
		}
		victim, at, err := f.entry(ctx, l.BPObj)
		if err != nil {
			return err
		}
		if victim == nil {
			continue
		}
		err = f.try(ctx, func() error { return f.again(ctx, l, *victim) })
		if err == nil {
			f.effect = fmt.Sprintf("%v is twice in %s, list %d, as entries %d and %d", victim.DVA[0], l.name, l.Object.ID, at, l.Count)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return f.nothing(what)
}

// entry is a random one of a list that occupies space, with its place; nil if there is none.
func (f *forger) entry(ctx context.Context, l *ondisk.BPObj) (victim *ondisk.BlkPtr, at uint64, err error) {
	from, n := f.random.Uint64N(l.Count), uint64(0)
	for b, err := range l.Entries(ctx) {
		if err != nil {
			return nil, 0, err
		}
		if !b.Embedded() {
			if victim, at = &b, n; n >= from {
				break
			}
		}
		n++
	}
	return victim, at, nil
}

// again appends an entry and counts it everywhere.
func (f *forger) again(ctx context.Context, l list, b ondisk.BlkPtr) error {
	changes, err := f.w.AppendBPObj(ctx, l.BPObj, b)
	if err != nil {
		return err
	}
	f.done(changes...)
	for _, o := range l.in {
		c, err := f.w.Account(ctx, o, 1, b)
		if err != nil {
			return err
		}
		f.done(c)
	}
	if l.deadlist != nil {
		c, err := f.w.Account(ctx, l.deadlist, 0, b)
		if err != nil {
			return err
		}
		f.done(c)
	}
	return nil
}

// wrongBirth makes a block that a snapshot shares look younger than the snapshot, to its head alone: when the file lets go of
// it, it is freed at once.
func wrongBirth(ctx context.Context, f *forger) error {
	blocks, err := f.blocks(ctx, func(o owned) bool {
		return o.ptr.Allocated() <= o.dataset.PrevSnapTXG && !o.ptr.Dedup() && !o.ptr.Crypt()
	})
	if err != nil {
		return err
	}
	for _, o := range blocks {
		err := f.try(ctx, func() error {
			birth := o.dataset.PrevSnapTXG + 1
			if err := f.ownPointer(ctx, o); err != nil {
				return err
			}
			c, err := f.w.Pointer(ctx, position(o.ref), func(b *ondisk.BlkPtr) error {
				b.PhysicalBirth, b.LogicalBirth = b.Birth(), birth
				return nil
			})
			f.done(c)
			f.effect = fmt.Sprintf("%v of %s was born in txg %d and says %d; the snapshot of txg %d has it too",
				o.ptr.DVA[0], o.name(), o.ptr.Allocated(), birth, o.dataset.PrevSnapTXG)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("a file with a block that the snapshot before shares, and with a pointer to it that it does not")
}

// snapshotTXG clears the highest bit in what a dataset says is the txg of the snapshot before it: when a file lets go of a
// block from between, it is freed, though the snapshot has it.
func snapshotTXG(ctx context.Context, f *forger) error {
	const word = 2 // of dsl_dataset_phys_t
	mistaken := func(d *ondisk.DSLDataset) uint64 { return d.PrevSnapTXG &^ (1 << (bits.Len64(d.PrevSnapTXG) - 1)) }
	blocks, err := f.blocks(ctx, func(o owned) bool {
		return o.dataset.PrevSnapTXG != 0 && o.ptr.Allocated() <= o.dataset.PrevSnapTXG && o.ptr.Allocated() > mistaken(o.dataset)
	})
	if err != nil {
		return err
	}
	for _, o := range blocks {
		err := f.try(ctx, func() error {
			head, err := f.w.Pool().MOS.Object(ctx, o.dataset.ID)
			if err != nil {
				return err
			}
			c, err := f.w.Bonus(ctx, head, func(words []uint64) error { words[word] = mistaken(o.dataset); return nil })
			f.done(c)
			f.effect = fmt.Sprintf("%s says that the snapshot before it is of txg %d instead of %d; it has %v of %s, born in txg %d, too",
				o.dataset.Name, mistaken(o.dataset), o.dataset.PrevSnapTXG, o.ptr.DVA[0], o.name(), o.ptr.Allocated())
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("a file with a block that the snapshot before shares")
}

var errShared = errors.New("a snapshot shares the pointer")

// ownPointer says whether the block that holds a pointer belongs to the head alone.
func (f *forger) ownPointer(ctx context.Context, o owned) error {
	set, err := f.w.Pool().OpenDataset(ctx, o.dataset)
	if err != nil {
		return err
	}
	obj, err := set.Object(ctx, o.ref.Object)
	if err != nil {
		return err
	}
	var parent ondisk.BlkPtr
	if obj.Levels > 1 {
		parent, err = obj.BlkPtr(ctx, 1, o.ref.BlkID>>(obj.IndirectShift-7))
	} else {
		var meta *ondisk.Object
		if meta, err = set.Object(ctx, ondisk.MetaDNode); err != nil {
			return err
		}
		parent, err = meta.BlkPtr(ctx, 0, obj.ID/(uint64(meta.DataBlockSize)/ondisk.DNodeSlot))
	}
	if err == nil && parent.Allocated() <= o.dataset.PrevSnapTXG {
		err = errShared
	}
	return err
}

func position(r ondisk.Ref) ondisk.Position {
	return ondisk.Position{ObjSet: r.ObjSet, Object: r.Object, Level: r.Level, BlkID: r.BlkID}
}

// pointerType flips a bit of the type in a pointer: nothing reads the block then, and freeing it is refused with a panic.
func pointerType(ctx context.Context, f *forger) error {
	const bit = 1 << (48 + 6)
	blocks, err := f.blocks(ctx, func(o owned) bool { return !o.ptr.Embedded() && o.ptr.Type() == ondisk.TypePlainFile })
	if err != nil {
		return err
	}
	for _, o := range blocks {
		err := f.try(ctx, func() error {
			c, err := f.w.Pointer(ctx, position(o.ref), func(b *ondisk.BlkPtr) error {
				b.Prop ^= bit
				f.effect = fmt.Sprintf("the pointer to %v of %s says type %d, which does not exist", b.DVA[0], o.name(), b.Type())
				return nil
			})
			f.done(c)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("a file with a block that is not embedded")
}

// sharedBlock makes a file refer to a block of another one; its own block is leaked.
func sharedBlock(ctx context.Context, f *forger) error {
	// What a snapshot has too would go to a deadlist, twice, and would not be freed twice before the snapshot is destroyed.
	plain := func(o owned) bool {
		return !o.ptr.Dedup() && !o.ptr.Crypt() && !f.w.Cloned(o.ptr) && o.ptr.Allocated() > o.dataset.PrevSnapTXG
	}
	blocks, err := f.blocks(ctx, plain)
	if err != nil {
		return err
	}
	others := blocks
	if f.options.File != "" { // the file is the one that changes
		free := *f
		free.options.File = ""
		if others, err = free.blocks(ctx, plain); err != nil {
			return err
		}
	}
	for _, to := range blocks {
		for _, from := range others {
			// The block is not younger than what it replaces, so that its pointer is not older than what it points to.
			if from.ref.ObjSet != to.ref.ObjSet || from.ref.Object == to.ref.Object || from.ptr.LSize() != to.ptr.LSize() ||
				from.ptr.Allocated() > to.ptr.Allocated() || from.ptr.DVA == to.ptr.DVA {
				continue
			}
			err := f.try(ctx, func() error {
				c, err := f.w.Pointer(ctx, position(to.ref), func(b *ondisk.BlkPtr) error {
					*b = from.ptr
					return nil
				})
				f.done(c)
				f.effect = fmt.Sprintf("block %d of %s is %v, which is block %d of %s; %v is leaked",
					to.ref.BlkID, to.name(), from.ptr.DVA[0], from.ref.BlkID, from.name(), to.ptr.DVA[0])
				return err
			})
			if err == nil || ctx.Err() != nil {
				return err
			}
		}
	}
	return f.nothing("two files of a dataset with blocks of one size, younger than the last snapshot")
}
