package audit

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// mosName is what the pool's own object set is called.
const mosName = "MOS"

func (s *state) owner(r ondisk.Ref, b ondisk.BlkPtr) Owner {
	return Owner{
		Kind: r.Kind.String(), ObjSet: r.ObjSet, Object: r.Object, Level: r.Level, BlkID: r.BlkID, Blocks: 1,
		Birth: b.LogicalBirth, Checkpoint: s.flags&inCheckpoint != 0,
	}
}

// maxOwners is how many owners a finding names.
const maxOwners = 8

// nameOwners walks once more, for the owners of what was found.
func (a *auditor) nameOwners(ctx context.Context) error {
	w := &ownerWalk{auditor: a}
	w.look(func(f *Finding) bool {
		return f.Kind != Leaked && f.Kind != OutsideMetaslab && f.Kind != SpaceMapAccounting
	})
	if len(w.places) > 0 {
		for _, s := range a.states() {
			if err := w.walk(ctx, s); err != nil {
				return err
			}
		}
	}
	return a.names(ctx)
}

// look makes findings that have a place those whose owners are looked for.
func (w *ownerWalk) look(wanted func(*Finding) bool) {
	for i := range w.report.Findings {
		if f := &w.report.Findings[i]; f.Size > 0 && wanted(f) {
			w.places = append(w.places, f)
		}
	}
	slices.SortFunc(w.places, func(x, y *Finding) int { return compareFindings(x, y, false) })
	var reach uint64
	for i, f := range w.places {
		if i == 0 || f.VDev != w.places[i-1].VDev {
			reach = 0
		}
		reach = max(reach, f.Offset+f.Size)
		w.reach = append(w.reach, reach)
	}
}

// states are the pool and its checkpoint, for a second walk.
func (a *auditor) states() []*state {
	all := []*state{{auditor: a, pool: a.pool, stage: Naming}}
	if a.before != nil {
		all = append(all, &state{auditor: a, pool: a.before, flags: inCheckpoint, stage: Naming})
	}
	return all
}

// ownerWalk gives owners to findings.
type ownerWalk struct {
	*auditor
	places []*Finding // in order
	reach  []uint64   // how far those up to one of them reach

	mu  sync.Mutex
	met map[*Finding]bool // those that a block touches; nil: nobody asks
}

func (w *ownerWalk) walk(ctx context.Context, s *state) error {
	err := s.dedup(ctx, func(b ondisk.BlkPtr, _ uint64) error {
		w.block(ctx, s, b, func() Owner { return dedupOwner(b) })
		return nil
	})
	if err != nil {
		return err
	}
	if s.flags == 0 {
		sets, _ := s.pool.Datasets(ctx) // what cannot be read was told
		for _, d := range sets {
			if err := w.deadlist(ctx, s, d); err != nil {
				return err
			}
		}
	}
	return s.pool.Visit(ctx, &ondisk.Visitor{
		Workers: w.Workers,
		Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
			s.count(b)
			w.block(ctx, s, b, func() Owner { return s.owner(r, b) })
			return ctx.Err()
		},
		Shared: func(r ondisk.Ref, b ondisk.BlkPtr) error {
			if at, err := s.first(b.DVA[0]); err == nil && !b.Embedded() {
				w.add(w.at(at, nil, true), func() Owner { return s.owner(r, b) })
			}
			return nil
		},
		Problem: func(ondisk.Ref, error) error { return nil }, // told in the first walk
	})
}

func (w *ownerWalk) deadlist(ctx context.Context, s *state, d *ondisk.DSLDataset) error {
	if d.Deadlist == 0 {
		return nil
	}
	list, err := s.pool.MOS.Deadlist(ctx, d.Deadlist)
	if err != nil {
		return ctx.Err()
	}
	for _, e := range list.Lists {
		b, err := s.pool.MOS.BPObj(ctx, e.BPObj)
		if err != nil {
			continue
		}
		for entry, err := range b.Walk(ctx) {
			if err == nil {
				r := ondisk.Ref{Object: entry.Object, BlkID: entry.Index}
				w.block(ctx, s, entry.Ptr, func() Owner { return deadlistOwner(d, r, entry.Ptr) })
			}
		}
	}
	return ctx.Err()
}

// block adds an owner to all findings that a block touches.
func (w *ownerWalk) block(ctx context.Context, s *state, b ondisk.BlkPtr, owner func() Owner) {
	if b.Embedded() {
		return
	}
	pieces, err := s.pieces(ctx, &b, nil)
	if err != nil && len(pieces) > 0 { // told in the first walk; a gang block without end has any number of pieces
		pieces = pieces[:1]
	}
	var found []*Finding
	for _, p := range pieces {
		if w.pool.Spend(1+uint64(len(found))/8) != nil {
			return // run tells
		}
		found = w.at(p, found, false)
	}
	w.add(found, owner)
}

func (w *ownerWalk) add(found []*Finding, owner func() Owner) {
	if len(found) == 0 {
		return
	}
	o := owner()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range found {
		if w.met != nil {
			w.met[f] = true
			if f.shared {
				continue // its owners are known
			}
		}
		if len(f.Owners) < maxOwners {
			f.Owners = append(f.Owners, o)
		} else {
			f.MoreOwners++
		}
	}
}

// at appends the findings that a range touches and that are not among them; all, or those about shared blocks.
func (w *ownerWalk) at(p ondisk.Piece, found []*Finding, shared bool) []*Finding {
	i := sort.Search(len(w.places), func(i int) bool {
		f := w.places[i]
		return f.VDev > p.VDev || f.VDev == p.VDev && f.Offset >= p.Offset+p.Size
	})
	from := i
	defer func() { _ = w.pool.Spend(uint64(from-i) * uint64(8+len(found)) / 128) }() // of about a nanosecond each
	for i--; i >= 0 && w.places[i].VDev == p.VDev && w.reach[i] > p.Offset; i-- {
		if f := w.places[i]; f.Offset+f.Size > p.Offset && (f.shared || !shared) && !slices.Contains(found, f) {
			found = append(found, f)
		}
	}
	return found
}

// names gives owners the names of their datasets and files.
func (a *auditor) names(ctx context.Context) error {
	for _, s := range a.states() {
		if err := (&namer{state: s, paths: map[[2]uint64]string{}, systems: map[uint64]*ondisk.FileSystem{}}).name(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

type namer struct {
	*state
	sets    map[uint64]*ondisk.DSLDataset
	systems map[uint64]*ondisk.FileSystem // nil: it cannot be opened
	paths   map[[2]uint64]string
}

func (n *namer) name(ctx context.Context) error {
	for i := range n.report.Findings {
		for k := range n.report.Findings[i].Owners {
			o := &n.report.Findings[i].Owners[k]
			if o.Checkpoint != (n.flags != 0) || o.Dataset != "" {
				continue
			}
			if n.sets == nil {
				n.sets = map[uint64]*ondisk.DSLDataset{}
				all, _ := n.pool.Datasets(ctx) // what cannot be read was told
				for _, d := range all {
					n.sets[d.ID] = d
				}
			}
			n.nameOne(ctx, o)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func (n *namer) nameOne(ctx context.Context, o *Owner) {
	d := n.sets[o.ObjSet]
	switch {
	case o.ObjSet == 0:
		o.Dataset = mosName
		return
	case o.ObjSet == ondisk.Destroyed:
		o.Dataset = "a destroyed dataset"
		return
	case d == nil:
		return
	}
	o.Dataset = d.Name
	fs, ok := n.systems[o.ObjSet]
	if !ok {
		if set, err := n.pool.OpenDataset(ctx, d); err == nil && set.Type == ondisk.ObjSetZFS {
			fs, _ = set.FileSystem(ctx) // without one there are no paths
		}
		n.systems[o.ObjSet] = fs
	}
	if fs == nil || o.Object == 0 || o.Kind == ondisk.RefRoot.String() || o.Kind == ondisk.RefZIL.String() || int64(o.Object) < 0 {
		return
	}
	key := [2]uint64{o.ObjSet, o.Object}
	path, ok := n.paths[key]
	if !ok {
		path, _ = fs.Path(ctx, o.Object) // what is no file has none
		n.paths[key] = path
	}
	o.Path = path
}
