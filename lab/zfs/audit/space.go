package audit

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// vdevSpace is what a top-level vdev says of its space.
type vdevSpace struct {
	vdev      *ondisk.VDev
	metaslabs []ondisk.Metaslab
	// logged are, by metaslab, the entries of log space maps that its own space map lacks, in their order.
	logged map[uint64][]loggedEntry
	// kept is what will be freed when the checkpoint is discarded, in the order of its space map.
	kept []ondisk.Piece
}

type loggedEntry struct {
	offset, size uint64
	free         bool
	txg          uint64
	log          uint64 // its object
	index        uint64
}

const (
	// maxUnits bounds the memory for one metaslab: 16 MiB for a bitmap. OpenZFS has metaslabs of more than 2^34 bytes on vdevs
	// of more than 2 PiB alone (zfs_vdev_max_ms_shift, zfs_vdev_ms_count_limit).
	maxUnits = 1 << 27
	// maxMetaslabs is how many a pool may have: 160 MiB. OpenZFS makes 200 for a vdev if it can (zfs_vdev_default_ms_count).
	maxMetaslabs = 1 << 21
	// maxLogged is how many entries of logs, and of the map of the checkpoint, are held: 1.5 GiB. OpenZFS flushes metaslabs so
	// that what they lack takes 1 GiB of its memory at most (zfs_unflushed_max_mem_amt).
	maxLogged = 1 << 25
)

// openSpaces finds the metaslabs of all vdevs, and reads the logs.
func (a *auditor) openSpaces(ctx context.Context) error {
	a.spaces = make([]*vdevSpace, len(a.pool.VDevs))
	count := 0
	for id, v := range a.pool.VDevs {
		if v == nil || !v.Concrete() {
			continue
		}
		all, err := a.pool.Metaslabs(ctx, v)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			a.problem(fmt.Sprintf("metaslabs of vdev %d", id), v.MetaslabArray, err)
			continue
		}
		if len(all) > 0 && all[0].Size>>v.AShift > maxUnits {
			a.problem(fmt.Sprintf("metaslabs of vdev %d", id), 0, &ondisk.UnsupportedError{
				What: fmt.Sprintf("metaslabs of 2^%d bytes in units of 2^%d", v.MetaslabShift, v.AShift)})
			continue
		}
		if count += len(all); count > maxMetaslabs {
			return &ondisk.UnsupportedError{What: fmt.Sprintf("more than %d metaslabs", maxMetaslabs)}
		}
		a.spaces[id] = &vdevSpace{vdev: v, metaslabs: all, logged: map[uint64][]loggedEntry{}}
		for _, m := range all {
			a.report.Capacity += m.Size
			if m.Object == 0 {
				continue
			}
			if s, err := m.SpaceMap(ctx); err == nil && s.Allocated > 0 { // load tells of errors
				a.total += uint64(s.Allocated)
			}
		}
		a.checkpointSpace(ctx, a.spaces[id])
		a.sharedMaps(a.spaces[id])
	}
	a.removedSpace(ctx)
	if err := a.readLogs(ctx); err != nil {
		return err
	}
	if a.held > maxLogged {
		return &ondisk.UnsupportedError{What: fmt.Sprintf("more than %d entries of log space maps, and of the map of the checkpoint", maxLogged)}
	}
	return nil
}

// removedSpace looks at the maps of what is no more in use of removed vdevs.
func (a *auditor) removedSpace(ctx context.Context) {
	for _, v := range a.pool.VDevs {
		if v == nil || v.Concrete() && !v.Removing() {
			continue
		}
		s, err := a.pool.ObsoleteSpaceMap(ctx, v)
		if err != nil {
			a.problem(fmt.Sprintf("obsolete space map of vdev %d", v.ID), 0, err)
		} else if s != nil {
			a.account(ctx, s, func(e, _ ondisk.SpaceMapEntry) { a.obsolete(v, s, e) })
		}
	}
}

// obsolete looks at an entry of the map of what is no more in use of a removed vdev.
func (a *auditor) obsolete(v *ondisk.VDev, s *ondisk.SpaceMap, e ondisk.SpaceMapEntry) {
	if e.Offset > v.ASize || e.Size > v.ASize-e.Offset {
		a.find(Finding{
			Kind: OutsideMetaslab, VDev: uint32(v.ID), Offset: e.Offset, Size: e.Size, Object: s.Object.ID,
			Detail: entryName(e.Free, e.Index) + fmt.Sprintf(" of the obsolete space map reaches beyond the end of the removed vdev, %#x", v.ASize),
		})
	}
}

// account compares the header of a space map with its entries, each of which do is told of.
func (a *auditor) account(ctx context.Context, s *ondisk.SpaceMap, do func(e, debug ondisk.SpaceMapEntry)) (whole bool) {
	sum := int64(0)
	var debug ondisk.SpaceMapEntry
	for e, err := range s.Entries(ctx) {
		switch {
		case err != nil:
			if ctx.Err() == nil {
				a.problem("space map", s.Object.ID, err)
			}
			return false
		case e.Debug:
			if e.TXG != 0 {
				debug = e
			}
			continue
		case e.Free:
			sum -= int64(e.Size)
		default:
			sum += int64(e.Size)
		}
		if err := a.pool.Spend(1 + e.Size>>22); err != nil { // a bitmap of 4,096 bits of 1 KiB for each
			a.problem("space map", s.Object.ID, err)
			return false
		}
		if do != nil {
			do(e, debug)
		}
	}
	if sum != s.Allocated {
		a.find(Finding{Kind: SpaceMapAccounting, Object: s.Object.ID, Detail: fmt.Sprintf(
			"the header of space map %d says that %d bytes are allocated, its entries sum up to %d", s.Object.ID, s.Allocated, sum)})
	}
	return true
}

// checkpointSpace looks at the map of what will be freed when the checkpoint is discarded.
func (a *auditor) checkpointSpace(ctx context.Context, space *vdevSpace) {
	v := space.vdev
	s, err := a.pool.CheckpointSpaceMap(ctx, v)
	if err != nil {
		a.problem(fmt.Sprintf("space map of the checkpoint of vdev %d", v.ID), 0, err)
		return
	}
	if s == nil {
		return
	}
	unit := uint64(1) << v.AShift
	limit := uint64(len(space.metaslabs)) << v.MetaslabShift
	a.account(ctx, s, func(e, _ ondisk.SpaceMapEntry) {
		id := e.Offset >> v.MetaslabShift
		if e.Offset >= limit || e.Size > (id+1)<<v.MetaslabShift-e.Offset || (e.Offset|e.Size)&(unit-1) != 0 || !e.Free {
			a.find(Finding{
				Kind: OutsideMetaslab, VDev: uint32(v.ID), Metaslab: id, Offset: e.Offset, Size: e.Size, Object: s.Object.ID,
				Detail: entryName(e.Free, e.Index) + " of the space map of the checkpoint is no FREE within one metaslab",
			})
			return
		}
		if !a.hold() {
			return
		}
		space.kept = append(space.kept, ondisk.Piece{VDev: uint32(v.ID), Offset: e.Offset, Size: e.Size})
	})
}

// hold says whether one more entry may be held; run asks, too.
func (a *auditor) hold() bool {
	a.held++
	return a.held <= maxLogged
}

// sharedMaps finds metaslabs that have one space map together. Only the first keeps it.
func (a *auditor) sharedMaps(space *vdevSpace) {
	for i := range space.metaslabs {
		m := &space.metaslabs[i]
		if m.Object == 0 {
			continue
		}
		if other, ok := a.mapOf[m.Object]; ok {
			a.find(Finding{
				Kind: SpaceMapAccounting, VDev: uint32(m.VDev.ID), Metaslab: m.ID, Offset: m.Start, Size: m.Size, Object: m.Object,
				Detail: fmt.Sprintf("metaslab %d of vdev %d has the same space map", other.ID, other.VDev.ID),
			})
			a.incomplete()
			m.Object = 0
			continue
		}
		a.mapOf[m.Object] = m
	}
}

// readLogs sorts the entries of log space maps by metaslab (spa_ld_log_sm_cb).
func (a *auditor) readLogs(ctx context.Context) error {
	logs, err := a.pool.LogSpaceMaps(ctx)
	if err != nil {
		a.problem("log space maps", 0, err)
		return ctx.Err()
	}
	for _, l := range logs {
		s, err := l.SpaceMap(ctx, a.pool)
		if err != nil {
			a.problem(fmt.Sprintf("log space map of txg %d", l.TXG), l.Object, err)
			continue
		}
		strange := uint64(0)
		a.account(ctx, s, func(e, debug ondisk.SpaceMapEntry) {
			if debug.TXG != 0 && debug.TXG != l.TXG {
				strange = debug.TXG
			}
			a.logEntry(l, e)
		})
		if strange != 0 {
			a.find(Finding{Kind: SpaceMapAccounting, Object: l.Object, Detail: fmt.Sprintf("the log of txg %d has entries of txg %d", l.TXG, strange)})
		}
	}
	a.lostLogs(logs)
	return ctx.Err()
}

// lostLogs looks for the log in which the changes of each metaslab begin (spa_ld_log_sm_metadata).
func (a *auditor) lostLogs(logs []ondisk.LogSpaceMap) {
	there := map[uint64]bool{0: true} // a metaslab of txg 0 has none
	for _, l := range logs {
		there[l.TXG] = true
	}
	for _, space := range a.spaces {
		if space == nil {
			continue
		}
		for i := range space.metaslabs {
			m := &space.metaslabs[i]
			if !there[m.UnflushedTXG] {
				a.find(Finding{
					Kind: LogContradicts, VDev: uint32(m.VDev.ID), Metaslab: m.ID, Offset: m.Start, Size: m.Size, Object: m.Object,
					Detail: fmt.Sprintf("its changes since txg %d are said to be in logs, but that txg has none: any import panics, a read-only one, too, "+
						"and with zfs_recover=1", m.UnflushedTXG),
				})
			}
		}
	}
}

func (a *auditor) logEntry(l ondisk.LogSpaceMap, e ondisk.SpaceMapEntry) {
	id := uint64(0)
	outside := func(format string, args ...any) {
		a.find(Finding{
			Kind: OutsideMetaslab, VDev: e.VDev, Metaslab: id, Offset: e.Offset, Size: e.Size, Object: l.Object,
			Detail: fmt.Sprintf("%s of the log of txg %d ", entryName(e.Free, e.Index), l.TXG) + fmt.Sprintf(format, args...),
		})
	}
	if uint64(e.VDev) >= uint64(len(a.pool.VDevs)) || a.pool.VDevs[e.VDev] == nil {
		outside("names vdev %d, which does not exist", e.VDev)
		return
	}
	space := a.spaces[e.VDev]
	if space == nil { // a removed vdev, or one that was told of
		return
	}
	id = e.Offset >> space.vdev.MetaslabShift
	if id >= uint64(len(space.metaslabs)) {
		outside("is beyond the last metaslab")
		return
	}
	m := &space.metaslabs[id]
	if !m.Applies(l.TXG, e) {
		return
	}
	if m.UnflushedTXG == 0 {
		a.find(Finding{
			Kind: LogContradicts, VDev: e.VDev, Metaslab: id, Offset: e.Offset, Size: e.Size, Object: l.Object,
			Detail: fmt.Sprintf("%s of the log of txg %d is for a metaslab that no log can be for: the import follows a NULL pointer, "+
				"with zfs_recover=1, too",
				entryName(e.Free, e.Index), l.TXG),
		})
	}
	unit := uint64(1) << space.vdev.AShift
	switch {
	case e.Size > m.Start+m.Size-e.Offset:
		outside("reaches beyond the end of its metaslab, %#x", m.Start+m.Size)
	case (e.Offset|e.Size)&(unit-1) != 0:
		outside("is not made of units of %d bytes", unit)
	default:
		if !a.hold() {
			return
		}
		space.logged[id] = append(space.logged[id], loggedEntry{e.Offset, e.Size, e.Free, l.TXG, l.Object, e.Index})
	}
}

func entryName(free bool, index uint64) string {
	if free {
		return fmt.Sprintf("FREE (word %d)", index)
	}
	return fmt.Sprintf("ALLOC (word %d)", index)
}
