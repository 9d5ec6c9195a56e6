package vdev

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// free finds space that is not allocated: from every metaslab the first, the middle and the last unit that is free.
func (s *survey) free(ctx context.Context) (all []thing, err error) {
	for _, top := range s.pool.VDevs {
		if top == nil || !top.Concrete() {
			continue
		}
		slabs, err := s.pool.Metaslabs(ctx, top)
		if err != nil {
			return nil, err
		}
		for i := range slabs {
			units, err := s.freeUnits(ctx, &slabs[i])
			if err != nil {
				return nil, err
			}
			for _, at := range pick(units) {
				t := thing{name: fmt.Sprintf("free space of vdev %d, metaslab %d, at %#x", top.ID, i, at)}
				if t.places, err = unitPlaces(top, at); err != nil {
					return nil, err
				}
				all = append(all, t)
			}
		}
	}
	return all, nil
}

// freeUnits are the offsets of the smallest allocations that nothing has, in order.
func (s *survey) freeUnits(ctx context.Context, m *ondisk.Metaslab) (units []uint64, err error) {
	shift := m.VDev.AShift
	used := make([]bool, m.Size>>shift)
	apply := func(e ondisk.SpaceMapEntry) {
		for at := e.Offset; at < e.Offset+e.Size && at >= m.Start && at-m.Start < m.Size; at += 1 << shift {
			used[(at-m.Start)>>shift] = !e.Free
		}
	}
	if m.Object != 0 {
		sm, err := m.SpaceMap(ctx)
		if err != nil {
			return nil, err
		}
		for e, err := range sm.Entries(ctx) {
			if err != nil {
				return nil, err
			}
			if !e.Debug {
				apply(e)
			}
		}
	}
	logs, err := s.pool.LogSpaceMaps(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		sm, err := l.SpaceMap(ctx, s.pool)
		if err != nil {
			return nil, err
		}
		for e, err := range sm.Entries(ctx) {
			if err != nil {
				return nil, err
			}
			if m.Applies(l.TXG, e) {
				apply(e)
			}
		}
	}
	for i, u := range used {
		if !u {
			units = append(units, m.Start+uint64(i)<<shift)
		}
	}
	return units, nil
}

// pick takes the ends and the middle.
func pick(units []uint64) []uint64 {
	n := len(units)
	if n < 3 {
		return units
	}
	return []uint64{units[0], units[n/2], units[n-1]}
}

// unitPlaces are where the smallest allocation at an offset lies: one sector of one member of a raidz, all sides of a
// mirror.
func unitPlaces(v *ondisk.VDev, at uint64) (all []spot, err error) {
	const dataStart = 4 << 20 // VDEV_LABEL_START_SIZE
	children := v.Children
	switch {
	case v.Leaf():
		children = []*ondisk.VDev{v}
	case v.Parity > 0:
		n := uint64(len(v.Children))
		unit := at >> v.AShift
		children, at = v.Children[unit%n:unit%n+1], unit/n<<v.AShift
	}
	for _, c := range children {
		if !c.Leaf() || c.Device == nil {
			continue
		}
		p, err := onDisk(c, dataStart+at)
		if err != nil {
			return nil, err
		}
		p.size, p.note = 1<<v.AShift, "free"
		all = append(all, p)
	}
	return all, nil
}
