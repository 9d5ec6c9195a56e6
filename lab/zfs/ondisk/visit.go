package ondisk

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

// RefKind says what refers to a block.
type RefKind uint8

// The kinds of references.
const (
	// RefTree: the block belongs to the tree of an object.
	RefTree RefKind = iota
	// RefSpill: it has the attributes of an object for which the dnode had no room.
	RefSpill
	// RefRoot: it is the root of an object set, found in the uberblock, a dataset or the queue of destroyed ones.
	RefRoot
	// RefZIL: it is part of an intent log. The last block of a chain may be one that was never written.
	RefZIL
	// RefZILData: a record of a claimed intent log refers to it.
	RefZILData
	// RefPending: it is on one of the pool's lists of blocks that are still to be freed; Object is the list, BlkID the
	// place in it. Pointers in lists have no checksum, so that such blocks cannot be read.
	RefPending
	// RefLivelist: it belongs to a clone that was destroyed and is being freed. The same holds.
	RefLivelist
	// RefDNode: it is no reference but the head of an object itself.
	RefDNode
)

func (k RefKind) String() string {
	return [...]string{"tree", "spill", "root", "zil", "zil data", "pending", "livelist", "dnode"}[k]
}

// Destroyed is the object set of references found in the queue of destroyed object sets (ZB_DESTROYED_OBJSET).
const Destroyed = 1<<64 - 1

// Ref is the owner of a reference to a block.
type Ref struct {
	Kind RefKind
	// ObjSet is the object of the dataset, 0 for the MOS.
	ObjSet, Object uint64
	Level          int
	// BlkID is the number among blocks of that level; in an intent log the sequence number.
	BlkID uint64
}

func (r Ref) String() string {
	switch r.Kind {
	case RefRoot:
		return fmt.Sprintf("root of object set %d", r.ObjSet)
	case RefZIL:
		return fmt.Sprintf("intent log of object set %d, block %d", r.ObjSet, r.BlkID)
	case RefPending, RefLivelist:
		return fmt.Sprintf("list %d of blocks to be freed, entry %d", r.Object, r.BlkID)
	case RefSpill:
		return fmt.Sprintf("object set %d, object %d, spill", r.ObjSet, r.Object)
	case RefDNode:
		return fmt.Sprintf("object set %d, object %d", r.ObjSet, r.Object)
	}
	return fmt.Sprintf("object set %d, object %d, level %d, block %d", r.ObjSet, r.Object, r.Level, r.BlkID)
}

// Visitor is told of all block pointers of a pool that are no holes. Its functions are called by several goroutines at
// once, unless Workers is 1. An error ends the walk.
type Visitor struct {
	// Workers is how many goroutines walk. Each holds at most one block of each level between the root and the data,
	// 24 blocks of at most 128 KiB; nothing else grows with the pool but 300 bytes for each dataset.
	Workers int
	// Block is told of each reference, of an indirect block before what is below it.
	Block func(Ref, BlkPtr) error
	// Shared is told of each reference at which the walk of a dataset ends, because the block is not younger than the
	// snapshot before, which has it at the same place and is where it is visited. It may be nil.
	Shared func(Ref, BlkPtr) error
	// Problem is told of a block that cannot be read, or does not hold what it should, so that what is below it is not
	// visited. Nil ends the walk with the error.
	Problem func(Ref, error) error
	// Malformed is told of block pointers and dnodes that say what cannot be, though the walk can go on; of a pointer
	// before Block is. It may be nil.
	Malformed func(Ref, BlkPtr, error) error

	visits *visits
}

// Visit walks all that takes space: the MOS, all datasets, and what is still to be freed. What a snapshot shares with the
// one before is visited there, once; blocks that are deduplicated or cloned are visited for each reference, and so is a
// block that is on a list of blocks to be freed and elsewhere too. What is below a block that is met over and over is not
// visited each time, which is a Problem.
func (p *Pool) Visit(ctx context.Context, v *Visitor) error {
	var datasets []*Object
	err := p.walk(ctx, v, nil, func(ctx context.Context, w *walk) error {
		w.dataset = func(o *Object) error {
			if datasets = append(datasets, o); len(datasets) > maxDatasets {
				return unsupported("more than %d datasets", maxDatasets)
			}
			return nil
		}
		return w.root(ctx, subtree{}, p.Uberblock.Root)
	})
	if err != nil {
		return err
	}
	err = p.walk(ctx, v, nil, func(ctx context.Context, w *walk) error {
		for _, o := range datasets {
			if err := w.split(func() error { return w.head(ctx, o) }); err != nil {
				return err
			}
		}
		return w.pending(ctx)
	})
	if err != nil {
		return err
	}
	return p.visitDestroyed(ctx, v)
}

// pending visits the lists of blocks to be freed.
func (w *walk) pending(ctx context.Context) error {
	lists, err := w.pool.Pending(ctx)
	if err != nil {
		return w.problem(ctx, Ref{Kind: RefPending}, err)
	}
	for _, list := range lists {
		for e, err := range list.Walk(ctx) {
			r := Ref{Kind: RefPending, Object: e.Object, BlkID: e.Index}
			if err == nil {
				err = w.meet(r, e.Ptr)
			} else {
				err = w.problem(ctx, r, err)
			}
			if err != nil {
				return err
			}
		}
	}
	clones, err := w.pool.DeletedClones(ctx)
	if err != nil {
		return w.problem(ctx, Ref{Kind: RefLivelist}, err)
	}
	for _, id := range clones {
		if err := w.livelist(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) livelist(ctx context.Context, id uint64) error {
	r := Ref{Kind: RefLivelist, Object: id}
	l, err := w.pool.MOS.Deadlist(ctx, id)
	if err != nil {
		return w.problem(ctx, r, err)
	}
	for _, e := range l.Lists {
		r.Object, r.BlkID = e.BPObj, 0
		b, err := w.pool.MOS.BPObj(ctx, e.BPObj)
		if err != nil {
			if err := w.problem(ctx, r, err); err != nil {
				return err
			}
			continue
		}
		for ptr, err := range b.Live(ctx) {
			if err == nil {
				err = w.meet(r, ptr)
			} else {
				err = w.problem(ctx, r, err)
			}
			if err != nil {
				return err
			}
			r.BlkID++
		}
	}
	return nil
}

func (p *Pool) visitDestroyed(ctx context.Context, v *Visitor) error {
	tree, err := p.BPTree(ctx)
	if isNotFound(err) {
		return nil
	}
	w := &walk{Visitor: v}
	r := Ref{Kind: RefRoot, ObjSet: Destroyed}
	if err != nil {
		return w.problem(ctx, r, err)
	}
	for e, err := range tree.Entries(ctx) {
		if err == nil {
			err = p.VisitDestroyed(ctx, e, v)
		} else {
			err = w.problem(ctx, r, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Visit walks one object set, without its intent log: what was born after a txg.
func (o *ObjSet) Visit(ctx context.Context, minTXG uint64, v *Visitor) error {
	return o.pool.walk(ctx, v, nil, func(ctx context.Context, w *walk) error {
		return w.root(ctx, subtree{o.ID, minTXG}, o.Root)
	})
}

// VisitDestroyed walks what is left of a destroyed object set.
func (p *Pool) VisitDestroyed(ctx context.Context, e BPTreeEntry, v *Visitor) error {
	var resume *Bookmark
	if e.Resume != (Bookmark{}) {
		resume = &e.Resume
	}
	return p.walk(ctx, v, resume, func(ctx context.Context, w *walk) error {
		return w.root(ctx, subtree{Destroyed, e.BirthTXG}, e.Root)
	})
}

// walk is one walk below one or more roots.
type walk struct {
	*Visitor
	pool   *Pool
	group  *errgroup.Group
	slots  chan struct{} // a place for each goroutine beside the first
	resume *Bookmark     // what comes before it was freed
	rooms  sync.Pool     // of *[]byte, for indirect blocks

	mu      sync.Mutex
	dataset func(*Object) error // is told of datasets in the MOS, one at a time; may be nil
}

// subtree is what all blocks below one root have in common.
type subtree struct{ objset, minTXG uint64 }

func (p *Pool) walk(ctx context.Context, v *Visitor, resume *Bookmark, do func(context.Context, *walk) error) error {
	if v.visits == nil {
		v.visits = &visits{}
	}
	group, ctx := errgroup.WithContext(ctx)
	w := &walk{Visitor: v, pool: p, group: group, slots: make(chan struct{}, max(v.Workers-1, 0)), resume: resume}
	group.Go(func() error { return do(ctx, w) })
	return group.Wait()
}

// split runs do in a goroutine of its own if one is to be had, here if not.
func (w *walk) split(do func() error) error {
	select {
	case w.slots <- struct{}{}:
		w.group.Go(func() error {
			defer func() { <-w.slots }()
			return do()
		})
		return nil
	default:
		return do()
	}
}

func (w *walk) problem(ctx context.Context, r Ref, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if w.Problem == nil {
		return fmt.Errorf("%v: %w", r, err)
	}
	return w.Problem(r, err)
}

// meet tells of a block pointer.
func (w *walk) meet(r Ref, b BlkPtr) error {
	if err := w.verify(r, b); err != nil {
		return err
	}
	return w.Block(r, b)
}

func (w *walk) verify(r Ref, b BlkPtr) error {
	if w.Malformed == nil {
		return nil
	}
	if err := r.verify(b); err != nil {
		return w.Malformed(r, b, err)
	}
	return nil
}

// head walks a dataset, and its intent log if it is not a snapshot.
func (w *walk) head(ctx context.Context, o *Object) error {
	r := Ref{Kind: RefRoot, ObjSet: o.ID}
	d, err := o.dslDataset(ctx)
	if err != nil {
		return w.problem(ctx, r, err)
	}
	if d.Root.Hole() {
		return nil
	}
	s := subtree{d.ID, w.pool.Since(ctx, d)}
	if !d.Snapshot() {
		os, err := w.pool.OpenObjSet(ctx, d.Root, d.ID)
		if err == nil { // if not, root tells
			err = w.zil(ctx, s, os)
		}
		if err != nil && os != nil {
			return err
		}
	}
	return w.root(ctx, s, d.Root)
}

// zil walks an intent log, as traverse_zil does in a pool that is not imported for writing. What was written after the
// last txg is allocated when the log is claimed, at the next import, and not before.
func (w *walk) zil(ctx context.Context, s subtree, o *ObjSet) error {
	last := w.pool.Uberblock.TXG
	if c := w.pool.Uberblock.CheckpointTXG; c != 0 {
		last = c
	}
	for b := range o.ZILBlocks(ctx) {
		if o.ZIL.ClaimTXG == 0 && b.Ptr.LogicalBirth > last {
			break
		}
		// The log is the head's alone, also what is older than the newest snapshot: no snapshot has one.
		if err := w.meet(Ref{Kind: RefZIL, ObjSet: s.objset, BlkID: b.Seq}, b.Ptr); err != nil {
			return err
		}
		for _, record := range b.Records {
			for _, ptr := range record.Blocks {
				if record.TXType != TXWrite || o.ZIL.ClaimTXG == 0 || ptr.Allocated() < o.ZIL.ClaimTXG {
					continue
				}
				r := Ref{Kind: RefZILData, ObjSet: s.objset, Object: record.Object, BlkID: record.Offset / ptr.LSize()}
				if err := w.meet(r, ptr); err != nil {
					return err
				}
			}
		}
	}
	return ctx.Err()
}

func (w *walk) root(ctx context.Context, s subtree, b BlkPtr) error {
	r := Ref{Kind: RefRoot, ObjSet: s.objset, Level: -1}
	if b.Hole() || b.Allocated() <= s.minTXG {
		return w.shared(r, b)
	}
	if err := w.meet(r, b); err != nil {
		return err
	}
	if w.visits.again(b) {
		return w.problem(ctx, r, metTooOften(b))
	}
	o, err := w.pool.OpenObjSet(ctx, b, s.objset)
	if err != nil {
		return w.problem(ctx, r, err)
	}
	if o.Meta.Type != TypeNone {
		if err := w.object(ctx, s, &Object{DNode: o.Meta, ID: MetaDNode, Set: o}); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		id uint64
		d  *DNode
	}{{ProjectUsed, o.ProjectUsed}, {GroupUsed, o.GroupUsed}, {UserUsed, o.UserUsed}} {
		if x.d == nil {
			continue
		}
		if err := w.object(ctx, s, &Object{DNode: *x.d, ID: x.id, Set: o}); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) object(ctx context.Context, s subtree, o *Object) error {
	if w.Malformed != nil {
		if err := o.Verify(); err != nil {
			if err := w.Malformed(Ref{Kind: RefDNode, ObjSet: s.objset, Object: o.ID}, BlkPtr{}, err); err != nil {
				return err
			}
		}
	}
	for i, b := range o.BlkPtrs {
		r := Ref{ObjSet: s.objset, Object: o.ID, Level: int(o.Levels) - 1, BlkID: uint64(i)}
		if err := w.block(ctx, s, o, r, b); err != nil {
			return err
		}
	}
	if o.Spill != nil {
		return w.block(ctx, s, o, Ref{Kind: RefSpill, ObjSet: s.objset, Object: o.ID, BlkID: spillBlkID}, *o.Spill)
	}
	return nil
}

// block visits a block and what is below it.
func (w *walk) block(ctx context.Context, s subtree, o *Object, r Ref, b BlkPtr) error {
	if w.completed(o, r) {
		return nil
	}
	if b.Hole() || b.Allocated() <= s.minTXG {
		return w.shared(r, b)
	}
	if err := w.meet(r, b); err != nil {
		return err
	}
	dnodes := o.ID == MetaDNode && r.Kind == RefTree && !w.at(r)
	if r.Level <= 0 && !dnodes {
		return nil
	}
	if !b.Embedded() && w.visits.again(b) {
		return w.problem(ctx, r, metTooOften(b))
	}
	if r.Level > 0 {
		return w.split(func() error { return w.indirect(ctx, s, o, r, b) })
	}
	return w.split(func() error { return w.dnodes(ctx, s, o, r, b) })
}

func metTooOften(b BlkPtr) error {
	return corrupt("%v was met more than %d times, and must be met once; what is below it is not visited again", b, maxVisits)
}

func (w *walk) shared(r Ref, b BlkPtr) error {
	if b.Hole() {
		return nil
	}
	if err := w.verify(r, b); err != nil || w.Shared == nil {
		return err
	}
	return w.Shared(r, b)
}

func (w *walk) indirect(ctx context.Context, s subtree, o *Object, r Ref, b BlkPtr) error {
	room, ok := w.rooms.Get().(*[]byte)
	if !ok {
		room = new([]byte)
	}
	defer w.rooms.Put(room)
	block, err := o.indirect(ctx, b, r.Level, room)
	if err != nil {
		return w.problem(ctx, r, err)
	}
	for i, child := range o.pointers(block) {
		below := Ref{ObjSet: r.ObjSet, Object: r.Object, Level: r.Level - 1, BlkID: r.BlkID<<o.indirectSpan() + i}
		if err := w.block(ctx, s, o, below, child); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// dnodes visits the objects whose dnodes lie in a block.
func (w *walk) dnodes(ctx context.Context, s subtree, meta *Object, r Ref, b BlkPtr) error {
	if b.LSize() != uint64(meta.DataBlockSize) || b.Level() != 0 || b.Type() != TypeDNode {
		return w.problem(ctx, r, corrupt("%v as block of dnodes", b))
	}
	var room *[]byte
	if s.objset != 0 {
		room = new([]byte) // nobody looks at it again; what the MOS has is looked up by its number, too
	}
	block, err := w.pool.read(ctx, b, room)
	if err != nil {
		return w.problem(ctx, r, err)
	}
	first := r.BlkID * (b.LSize() / DNodeSlot)
	if w.Malformed != nil {
		if err := w.verifyFree(s.objset, block, first); err != nil {
			return err
		}
	}
	var failed error
	meta.Set.objectsOf(block, first, b.Encrypted(), func(o *Object, err error) bool {
		switch {
		case err != nil:
			failed = w.problem(ctx, r, err)
		default:
			if s.objset == 0 && o.BonusType == TypeDSLDataset && w.dataset != nil {
				w.mu.Lock()
				failed = w.dataset(o)
				w.mu.Unlock()
			}
			if failed == nil {
				failed = w.object(ctx, s, o)
			}
		}
		return failed == nil
	})
	return failed
}
