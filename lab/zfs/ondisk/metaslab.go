package ondisk

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// Metaslab is a part of a top-level vdev with a space map of its own.
type Metaslab struct {
	VDev *VDev
	ID   uint64
	// Start and Size are in bytes.
	Start, Size uint64
	// Object is its space map, 0 if nothing was ever allocated from it.
	Object uint64
	// UnflushedTXG is the first txg whose changes are in log space maps only, 0 if there are none.
	UnflushedTXG uint64
}

// LogSpaceMap holds the changes of one txg to all metaslabs that were not flushed since.
type LogSpaceMap struct{ TXG, Object uint64 }

// logShift is the unit of offsets in log space maps: a sector, whatever the vdev has.
const logShift = sectorShift

// maxMetaslabs is how many a vdev may have: OpenZFS makes at most 2^17 of them (zfs_vdev_ms_count_limit).
const maxMetaslabs = 1 << 20

// Metaslabs are those of a top-level vdev, in order. A vdev that is not concrete has none.
func (p *Pool) Metaslabs(ctx context.Context, v *VDev) ([]Metaslab, error) {
	if !v.Concrete() || v.MetaslabShift == 0 {
		return nil, nil
	}
	if v.MetaslabArray == 0 {
		return nil, fmt.Errorf("metaslabs of vdev %d: %w", v.ID, ErrNotFound)
	}
	count := shiftRight(v.ASize, v.MetaslabShift)
	if count > maxMetaslabs || v.MetaslabShift > 62 {
		return nil, corrupt("%d metaslabs of 2^%d bytes on vdev %d", count, v.MetaslabShift, v.ID)
	}
	objects, err := p.wordsOf(ctx, v.MetaslabArray, count)
	if err != nil {
		return nil, fmt.Errorf("metaslabs of vdev %d: %w", v.ID, err)
	}
	unflushed, err := p.unflushed(ctx, v, count)
	if err != nil {
		return nil, fmt.Errorf("metaslabs of vdev %d: %w", v.ID, err)
	}
	all := make([]Metaslab, count)
	for i := range all {
		id := uint64(i)
		all[i] = Metaslab{
			VDev: v, ID: id, Start: id << v.MetaslabShift, Size: 1 << v.MetaslabShift, Object: objects[i], UnflushedTXG: unflushed[i],
		}
		if v.draid != nil { // vdev_draid_metaslab_init
			all[i].trim(v.draid.group << v.AShift)
		}
	}
	return all, nil
}

// trim leaves out what is no multiple of a unit.
func (m *Metaslab) trim(unit uint64) {
	start := (m.Start + unit - 1) / unit * unit
	m.Size -= min(start-m.Start, m.Size)
	m.Size -= m.Size % unit
	m.Start = start
}

// wordsOf are the first n words of an object of the MOS, zeroes where it ends earlier.
func (p *Pool) wordsOf(ctx context.Context, id, n uint64) ([]uint64, error) {
	all := make([]uint64, 0, n)
	o, err := p.MOS.Object(ctx, id)
	if err != nil {
		return nil, err
	}
	o.words(ctx, min(n, o.Size()/8), o.Block, func(w uint64, e error) bool {
		err = e
		all = append(all, w)
		return e == nil
	})
	return append(all, make([]uint64, n)...)[:n], err
}

// UnflushedTXGs names, in the ZAP of a top-level vdev, the object with the UnflushedTXG of its metaslabs
// (VDEV_TOP_ZAP_MS_UNFLUSHED_PHYS_TXGS).
const UnflushedTXGs = "com.delphix:ms_unflushed_phys_txgs"

func (p *Pool) unflushed(ctx context.Context, v *VDev, count uint64) ([]uint64, error) {
	id, err := p.TopZAPEntry(ctx, v, UnflushedTXGs)
	if err != nil || id == 0 {
		return make([]uint64, count), err
	}
	return p.wordsOf(ctx, id, count)
}

// TopZAPEntry is a number in the ZAP of a top-level vdev, 0 if there is none.
func (p *Pool) TopZAPEntry(ctx context.Context, v *VDev, name string) (uint64, error) {
	if v.TopZAP == 0 {
		return 0, nil
	}
	z, err := p.MOS.ZAP(ctx, v.TopZAP)
	if err != nil {
		return 0, err
	}
	e, err := z.Lookup(ctx, name)
	if isNotFound(err) {
		return 0, nil
	}
	return e.Uint64(), err
}

// CheckpointSpaceMap is the map of what the pool's checkpoint keeps from being freed on a top-level vdev, nil if there is
// none.
func (p *Pool) CheckpointSpaceMap(ctx context.Context, v *VDev) (*SpaceMap, error) {
	return p.topSpaceMap(ctx, v, "com.delphix:pool_checkpoint_sm", v.AShift)
}

// ObsoleteSpaceMap is the map of the parts of a removed vdev that nobody refers to any more, nil if there is none.
func (p *Pool) ObsoleteSpaceMap(ctx context.Context, v *VDev) (*SpaceMap, error) {
	return p.topSpaceMap(ctx, v, "com.delphix:indirect_obsolete_sm", 0)
}

func (p *Pool) topSpaceMap(ctx context.Context, v *VDev, name string, shift uint) (*SpaceMap, error) {
	id, err := p.TopZAPEntry(ctx, v, name)
	if err != nil || id == 0 {
		return nil, err
	}
	return p.SpaceMap(ctx, id, 0, shift)
}

// SpaceMap opens the space map of the metaslab, which must have one.
func (m *Metaslab) SpaceMap(ctx context.Context) (*SpaceMap, error) {
	return m.VDev.pool.SpaceMap(ctx, m.Object, m.Start, m.VDev.AShift)
}

// LogSpaceMaps are those of the pool, oldest first.
func (p *Pool) LogSpaceMaps(ctx context.Context) ([]LogSpaceMap, error) {
	z, err := p.zapOf(ctx, "com.delphix:log_spacemap_zap")
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []LogSpaceMap
	for e, err := range z.All(ctx) {
		if err != nil {
			return nil, err
		}
		txg, err := strconv.ParseUint(e.Name, 16, 64)
		if err != nil {
			return nil, corrupt("log space map %q", e.Name)
		}
		all = append(all, LogSpaceMap{txg, e.Uint64()})
	}
	slices.SortFunc(all, func(a, b LogSpaceMap) int {
		if a.TXG < b.TXG {
			return -1
		}
		return 1
	})
	return all, nil
}

// SpaceMap opens the log. Its entries name their vdevs.
func (l LogSpaceMap) SpaceMap(ctx context.Context, p *Pool) (*SpaceMap, error) {
	return p.SpaceMap(ctx, l.Object, 0, logShift)
}

// Applies says whether an entry of the log of a txg is a change of the metaslab that its own space map lacks.
func (m *Metaslab) Applies(txg uint64, e SpaceMapEntry) bool {
	return !e.Debug && uint64(e.VDev) == m.VDev.ID && e.Offset >= m.Start && e.Offset-m.Start < m.Size && txg >= m.UnflushedTXG
}
