package forge

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// counted is an entry of a dedup table in force: the last one of the logs, or else that of a table.
type counted struct {
	table ondisk.DDT
	entry ondisk.DDTEntry
	phys  int
}

// ddtRefCount takes a reference from an entry that has several: the block is freed while a file still refers to it.
func ddtRefCount(ctx context.Context, f *forger) error {
	all, err := f.counted(ctx)
	if err != nil {
		return err
	}
	f.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, c := range all {
		err := f.try(ctx, func() error {
			p := c.entry.Phys[c.phys]
			change, err := f.w.DDTRefCount(ctx, &c.table, c.entry, c.phys, p.RefCount-1)
			f.done(change)
			f.effect = fmt.Sprintf("%s counts %d references to %v instead of %d", c.table.Name, p.RefCount-1, p.DVA[0], p.RefCount)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("a dedup table with a block that has several references")
}

// maxCounted is how many entries are remembered.
const maxCounted = 1 << 16

func (f *forger) counted(ctx context.Context) ([]counted, error) {
	tables, err := f.w.Pool().DDTs(ctx)
	if err != nil {
		return nil, err
	}
	var order []ondisk.DDTKey
	last := map[ondisk.DDTKey]counted{}
	for _, t := range tables {
		for e, err := range t.Entries(ctx, f.w.Pool()) {
			if err != nil {
				return nil, err
			}
			if _, ok := last[e.Key]; !ok {
				if len(order) == maxCounted {
					continue
				}
				order = append(order, e.Key)
			}
			last[e.Key] = counted{t, e, several(e)}
		}
	}
	var all []counted
	for _, key := range order {
		if c := last[key]; c.phys >= 0 {
			all = append(all, c)
		}
	}
	return all, nil
}

// several is the place of an entry that has more than one reference, -1 if none has.
func several(e ondisk.DDTEntry) int {
	for i, p := range e.Phys {
		if p.RefCount > 1 {
			return i
		}
	}
	return -1
}

// clone is a block in a block reference table.
type clone struct {
	table ondisk.BRT
	entry ondisk.BRTEntry
}

// brtRefCount takes a clone from an entry, from one that has several if there is one.
func brtRefCount(ctx context.Context, f *forger) error {
	return f.ofClones(ctx, func(v clone) error {
		c, err := f.w.BRTCount(ctx, &v.table, v.entry, v.entry.Count-1)
		f.done(c)
		f.effect = fmt.Sprintf("the block reference table counts %d clones of the block at %#x of vdev %d instead of %d",
			v.entry.Count-1, v.entry.Offset, v.table.VDev, v.entry.Count)
		return err
	})
}

// brtLost flips a bit of an entry's hash, one that chooses neither the leaf nor the chain in it.
func brtLost(ctx context.Context, f *forger) error {
	const bit = 1 << 40
	return f.ofClones(ctx, func(v clone) error {
		z, err := f.w.Pool().MOS.ZAP(ctx, v.table.EntriesObject)
		if err != nil {
			return err
		}
		c, err := f.w.ZAPHash(ctx, z, []uint64{v.entry.Offset}, func(hash uint64) uint64 { return hash ^ bit })
		f.done(c)
		f.effect = fmt.Sprintf("the block reference table has %d clones of the block at %#x of vdev %d under a hash with another bit 40, so that no lookup finds them",
			v.entry.Count, v.entry.Offset, v.table.VDev)
		return err
	})
}

// ofClones tries cloned blocks, those with several clones first.
func (f *forger) ofClones(ctx context.Context, try func(clone) error) error {
	tables, err := f.w.Pool().BRTs(ctx)
	if err != nil {
		return err
	}
	var several, all []clone
	for _, t := range tables {
		if t.EntriesObject == 0 {
			continue
		}
		for e, err := range t.Entries(ctx, f.w.Pool()) {
			if err != nil {
				return err
			}
			if v := (clone{t, e}); e.Count > 1 {
				several = append(several, v)
			} else {
				all = append(all, v)
			}
		}
	}
	for _, part := range [][]clone{several, all} {
		f.random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	for _, v := range append(several, all...) {
		if err := f.try(ctx, func() error { return try(v) }); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return f.nothing("cloned blocks")
}
