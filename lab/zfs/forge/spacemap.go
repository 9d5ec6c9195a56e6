package forge

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Where an entry goes: into the metaslab's space map, or into the newest log space map.
type mapKind string

const (
	ownMap mapKind = "spacemap"
	logMap mapKind = "log"
	// strayMap is a log, for metaslabs that no log can be for.
	strayMap mapKind = "stray"
)

// takes says whether a map of that kind can have entries for a metaslab.
func (k mapKind) takes(m *ondisk.Metaslab) bool {
	switch k {
	case ownMap:
		return m.Object != 0
	case logMap:
		return m.UnflushedTXG != 0
	default:
		return m.UnflushedTXG == 0
	}
}

func spaceMapForgeries() []Forgery {
	const kinds, each, others = 2, 7, 2
	all := make([]Forgery, 0, kinds*each+others)
	for _, k := range []mapKind{ownMap, logMap} {
		in := map[mapKind]string{ownMap: "the space map of a metaslab", logMap: "a log space map"}[k]
		bind := func(do func(*forger, context.Context, mapKind) error) func(context.Context, *forger) error {
			return func(ctx context.Context, f *forger) error { return do(f, ctx, k) }
		}
		all = append(all,
			Forgery{string(k) + "-duplicate-free", "a FREE of space that is free, in " + in, bind((*forger).duplicateFree)},
			Forgery{string(k) + "-duplicate-alloc", "an ALLOC of a block that is allocated, in " + in, bind((*forger).duplicateAlloc)},
			Forgery{string(k) + "-alloc-free", "an ALLOC of space that is free, which leaks it, in " + in, bind((*forger).allocFree)},
			Forgery{string(k) + "-free-allocated", "a FREE of a block that is in use, in " + in, bind((*forger).freeAllocated)},
			Forgery{string(k) + "-partial-free", "a FREE of space of which half is free, in " + in, bind((*forger).partialFree)},
			Forgery{string(k) + "-outside", "a FREE behind the end of the metaslab, in " + in, bind((*forger).outside)},
			Forgery{string(k) + "-header", "a wrong sum of allocated space in the header of " + in, bind((*forger).header)},
		)
	}
	return append(all,
		Forgery{
			"log-stray", "an ALLOC of space that is free, in a log space map, in a metaslab that no log is for",
			func(ctx context.Context, f *forger) error { return f.allocFree(ctx, strayMap) },
		},
		Forgery{"log-lost", "a metaslab whose changes are said to begin in a log that is not there", func(ctx context.Context, f *forger) error { return f.lost(ctx) }},
	)
}

// usualRun is how many units an invented entry has at most.
const usualRun = 8

// inMetaslabs tries one metaslab after the other: choose finds the entry, or none.
func (f *forger) inMetaslabs(ctx context.Context, k mapKind, what string, choose func(s *space) (e ondisk.SpaceMapEntry, effect string)) error {
	all, err := f.candidates(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if !k.takes(&m) {
			continue
		}
		s, err := f.load(ctx, m)
		if err != nil {
			f.reason = err
			continue
		}
		e, effect := choose(s)
		if e.Size == 0 {
			continue
		}
		if f.append(ctx, k, s, e, effect) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return f.nothing(what)
}

// append puts an entry behind the others.
func (f *forger) append(ctx context.Context, k mapKind, s *space, e ondisk.SpaceMapEntry, effect string) error {
	return f.try(ctx, func() error {
		to, err := f.mapOf(ctx, k, s)
		if err != nil {
			return err
		}
		e.VDev = ondisk.NoVDev
		if k != ownMap {
			e.VDev = uint32(s.VDev.ID)
		}
		changes, err := f.w.AppendSpaceMap(ctx, to, e)
		if err != nil {
			return err
		}
		f.done(changes...)
		action := "ALLOC"
		if e.Free {
			action = "FREE"
		}
		f.effect = fmt.Sprintf("%s of %#x bytes at %#x of vdev %d, metaslab %d, in space map %d: %s",
			action, e.Size, e.Offset, s.VDev.ID, s.ID, to.Object.ID, effect)
		return nil
	})
}

// mapOf opens the map that an entry goes to: of logs the newest, whose entries no flush has overtaken.
func (f *forger) mapOf(ctx context.Context, k mapKind, s *space) (*ondisk.SpaceMap, error) {
	if k == ownMap {
		return s.SpaceMap(ctx)
	}
	logs, err := f.w.Pool().LogSpaceMaps(ctx)
	if err != nil {
		return nil, err
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("%w: no log space maps (an export flushes them, unless zfs_keep_log_spacemaps_at_export=1)", ErrNothing)
	}
	newest := logs[len(logs)-1]
	if newest.TXG < s.UnflushedTXG {
		return nil, fmt.Errorf("%w: metaslab %d is flushed up to txg %d", ErrNothing, s.ID, s.UnflushedTXG)
	}
	return newest.SpaceMap(ctx, f.w.Pool())
}

// entry makes one of units of a metaslab.
func (s *space) entry(free bool, from, n uint64) ondisk.SpaceMapEntry {
	return ondisk.SpaceMapEntry{Free: free, Offset: s.Start + from*s.unit, Size: n * s.unit}
}

// start is a place to begin a search at.
func (f *forger) start(s *space) uint64 { return f.random.Uint64N(s.Size / s.unit) }

// duplicateFree frees what is free. In a metaslab's own map that must be no more than the map has allocated: or else a
// check of the sum comes before that of the range (space_map_load_callback).
func (f *forger) duplicateFree(ctx context.Context, k mapKind) error {
	return f.inMetaslabs(ctx, k, "free space in a metaslab", func(s *space) (ondisk.SpaceMapEntry, string) {
		most := min(usualRun, s.allocated)
		if most == 0 {
			return ondisk.SpaceMapEntry{}, ""
		}
		from, n := s.run(f.start(s), most, func(i uint64) bool { return !s.now.get(i) && (k == logMap || !s.inMap.get(i)) })
		return s.entry(true, from, n), "it was free already"
	})
}

func (f *forger) allocFree(ctx context.Context, k mapKind) error {
	return f.inMetaslabs(ctx, k, "free space in a metaslab", func(s *space) (ondisk.SpaceMapEntry, string) {
		from, n := s.run(f.start(s), usualRun, func(i uint64) bool { return !s.now.get(i) && !s.inMap.get(i) })
		return s.entry(false, from, n), "nothing refers to it, so it is leaked"
	})
}

func (f *forger) partialFree(ctx context.Context, k mapKind) error {
	return f.inMetaslabs(ctx, k, "a border between allocated and free space", func(s *space) (ondisk.SpaceMapEntry, string) {
		units := s.Size / s.unit
		from, n := s.run(f.start(s), 1, func(i uint64) bool {
			return i+1 < units && s.now.get(i) && s.inMap.get(i) && !s.now.get(i+1) && !s.inMap.get(i+1)
		})
		if n == 0 {
			return ondisk.SpaceMapEntry{}, ""
		}
		return s.entry(true, from, 2), "the first half was allocated, the second free"
	})
}

// outside frees the first units behind the metaslab. In a log that is a place in the next metaslab, whose entry it would
// be, so there it lies behind the last one.
func (f *forger) outside(ctx context.Context, k mapKind) error {
	return f.inMetaslabs(ctx, k, "a metaslab", func(s *space) (ondisk.SpaceMapEntry, string) {
		units := s.Size / s.unit
		if k == logMap {
			units *= s.VDev.ASize>>s.VDev.MetaslabShift - s.ID
			return s.entry(true, units, 1), "behind the last metaslab of the vdev"
		}
		return s.entry(true, units, 1), fmt.Sprintf("the metaslab ends at %#x", s.Start+s.Size)
	})
}

func (f *forger) header(ctx context.Context, k mapKind) error {
	all, err := f.candidates(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if !k.takes(&m) {
			continue
		}
		s := &space{Metaslab: m, unit: 1 << m.VDev.AShift}
		err := f.try(ctx, func() error {
			to, err := f.mapOf(ctx, k, s)
			if err != nil {
				return err
			}
			// Towards less, which a metaslab always has room for; 0 stays no number below it.
			wrong := to.Allocated - int64(usualRun*s.unit)
			if wrong < 0 && k == ownMap {
				wrong = to.Allocated + int64(usualRun*s.unit)
			}
			c, err := f.w.Bonus(ctx, to.Object, func(words []uint64) error {
				const allocated = 2
				words[allocated] = uint64(wrong)
				return nil
			})
			f.done(c)
			f.effect = fmt.Sprintf("the header of space map %d says that %d bytes are allocated, its entries %d", to.Object.ID, wrong, to.Allocated)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("a space map")
}

// lost lets the changes of a metaslab begin in the txg before the oldest log. The oldest logs are for that metaslab already,
// so that nothing else changes.
func (f *forger) lost(ctx context.Context) error {
	logs, err := f.w.Pool().LogSpaceMaps(ctx)
	if err != nil {
		return err
	}
	all, err := f.candidates(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if len(logs) == 0 || m.UnflushedTXG != logs[0].TXG {
			continue
		}
		err := f.try(ctx, func() error {
			const word = 8
			id, err := f.w.Pool().TopZAPEntry(ctx, m.VDev, ondisk.UnflushedTXGs)
			if err != nil {
				return err
			}
			o, err := f.w.Pool().MOS.Object(ctx, id)
			if err != nil {
				return err
			}
			at := ondisk.Position{Object: id, BlkID: m.ID * word / uint64(o.DataBlockSize), Offset: m.ID * word % uint64(o.DataBlockSize)}
			c, err := f.w.Block(ctx, at, func(block []byte, order binary.ByteOrder) error {
				order.PutUint64(block[at.Offset:], m.UnflushedTXG-1)
				return nil
			})
			f.done(c)
			f.effect = fmt.Sprintf("the changes of metaslab %d of vdev %d are said to begin in the log of txg %d, the oldest is that of %d",
				m.ID, m.VDev.ID, m.UnflushedTXG-1, m.UnflushedTXG)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("a metaslab that the oldest log is for")
}

// freeAllocated frees the first copy of a block that is in use.
func (f *forger) freeAllocated(ctx context.Context, k mapKind) error {
	return f.ofBlock(ctx, k, true, "%v of %s is in use")
}

func (f *forger) duplicateAlloc(ctx context.Context, k mapKind) error {
	return f.ofBlock(ctx, k, false, "%v of %s has it already")
}

// ofBlock appends an entry for the first copy of a block.
func (f *forger) ofBlock(ctx context.Context, k mapKind, free bool, effect string) error {
	blocks, err := f.blocks(ctx, func(o owned) bool {
		if m := f.options.Metaslab; m != nil {
			d := o.ptr.DVA[0]
			v := f.w.Pool().VDevs[d.VDev()]
			return uint64(d.VDev()) == m.VDev && d.Offset()>>v.MetaslabShift == m.ID
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, o := range blocks {
		d := o.ptr.DVA[0]
		v := f.w.Pool().VDevs[d.VDev()]
		if !v.Concrete() || d.Gang() {
			continue
		}
		all, err := f.w.Pool().Metaslabs(ctx, v)
		if err != nil {
			return err
		}
		id := d.Offset() >> v.MetaslabShift
		if id >= uint64(len(all)) || !k.takes(&all[id]) {
			continue
		}
		s := &space{Metaslab: all[id], unit: 1 << v.AShift}
		if k == ownMap { // what is in a log only is no business of the map
			if s, err = f.load(ctx, all[id]); err != nil || !s.inMap.get((d.Offset()-s.Start)/s.unit) {
				continue
			}
		}
		e := ondisk.SpaceMapEntry{Free: free, Offset: d.Offset(), Size: d.ASize()}
		if f.append(ctx, k, s, e, fmt.Sprintf(effect, o.ref, o.name())) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return f.nothing("a block of a file")
}
