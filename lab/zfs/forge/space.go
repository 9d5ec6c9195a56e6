package forge

import (
	"context"
	"encoding/binary"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

func noEdit([]byte, binary.ByteOrder) error { return nil }

// space is which units of a metaslab are allocated.
type space struct {
	ondisk.Metaslab
	unit uint64
	// inMap is what the metaslab's own space map says, now what is so with the logs.
	inMap, now bitmap
	// allocated counts the units of inMap.
	allocated uint64
}

// bitmap has a bit for each unit.
type bitmap []uint64

func (b bitmap) get(i uint64) bool { return b[i/64]>>(i%64)&1 == 1 }

func (b bitmap) set(from, n uint64, on bool) {
	for i := from; i < from+n; i++ {
		if on {
			b[i/64] |= 1 << (i % 64)
		} else {
			b[i/64] &^= 1 << (i % 64)
		}
	}
}

// maxUnits bounds a bitmap: 32 MiB. A metaslab of 16 GiB in sectors of 512 bytes has an eighth of it.
const maxUnits = 1 << 28

// candidates are the metaslabs that may be hit, in an order that the seed gives.
func (f *forger) candidates(ctx context.Context) ([]ondisk.Metaslab, error) {
	var all []ondisk.Metaslab
	for _, v := range f.w.Pool().VDevs {
		if v == nil || !v.Concrete() {
			continue
		}
		found, err := f.w.Pool().Metaslabs(ctx, v)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if o := f.options.Metaslab; o == nil || o.VDev == v.ID && o.ID == m.ID {
				all = append(all, m)
			}
		}
	}
	f.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// load replays the space map and the logs.
func (f *forger) load(ctx context.Context, m ondisk.Metaslab) (*space, error) {
	s := &space{Metaslab: m, unit: 1 << m.VDev.AShift}
	n := m.Size / s.unit
	if n > maxUnits || n == 0 {
		return nil, ErrNothing
	}
	s.inMap = make(bitmap, (n+63)/64)
	apply := func(b bitmap, e ondisk.SpaceMapEntry) {
		if e.Offset >= m.Start && e.Size <= m.Size && e.Offset-m.Start <= m.Size-e.Size {
			b.set((e.Offset-m.Start)/s.unit, e.Size/s.unit, !e.Free)
		}
	}
	if m.Object != 0 {
		own, err := m.SpaceMap(ctx)
		if err != nil {
			return nil, err
		}
		for e, err := range own.Entries(ctx) {
			if err != nil {
				return nil, err
			}
			if !e.Debug {
				apply(s.inMap, e)
			}
		}
	}
	s.now = append(bitmap(nil), s.inMap...)
	for i := range n {
		if s.inMap.get(i) {
			s.allocated++
		}
	}
	logs, err := f.w.Pool().LogSpaceMaps(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		if l.TXG < m.UnflushedTXG {
			continue
		}
		log, err := l.SpaceMap(ctx, f.w.Pool())
		if err != nil {
			return nil, err
		}
		for e, err := range log.Entries(ctx) {
			if err != nil {
				return nil, err
			}
			if m.Applies(l.TXG, e) {
				apply(s.now, e)
			}
		}
	}
	return s, nil
}

// run finds up to most units from the first place where want holds, beginning the search at a place that random gives and
// going round. n is 0 if there is none.
func (s *space) run(start, most uint64, want func(i uint64) bool) (from, n uint64) {
	units := s.Size / s.unit
	for k := range units {
		i := (start + k) % units
		if !want(i) {
			continue
		}
		for n = 1; n < most && i+n < units && want(i+n); n++ {
		}
		return i, n
	}
	return 0, 0
}
