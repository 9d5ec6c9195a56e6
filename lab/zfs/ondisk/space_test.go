package ondisk_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// units says for every allocation unit of every vdev whether it is allocated.
type units map[uint32][]bool

func (u units) set(t *testing.T, p *ondisk.Pool, piece ondisk.Piece, to, strict bool) {
	v := p.VDevs[piece.VDev]
	if u[piece.VDev] == nil {
		u[piece.VDev] = make([]bool, v.ASize>>v.AShift)
	}
	all := u[piece.VDev]
	for i := piece.Offset >> v.AShift; i < (piece.Offset+piece.Size)>>v.AShift; i++ {
		if strict && all[i] == to {
			t.Errorf("vdev %d, %#x is %v already", piece.VDev, i<<v.AShift, to)
			return
		}
		all[i] = to
	}
}

// allocated replays the space maps and the logs.
func allocated(t *testing.T, p *ondisk.Pool) units {
	u := units{}
	logs, err := p.LogSpaceMaps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replay := func(vdev uint32, s *ondisk.SpaceMap, applies func(ondisk.SpaceMapEntry) bool) {
		for e, err := range s.Entries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if !e.Debug && applies(e) {
				u.set(t, p, ondisk.Piece{VDev: vdev, Offset: e.Offset, Size: e.Size}, !e.Free, true)
			}
		}
	}
	for id, v := range p.VDevs {
		all, err := p.Metaslabs(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if m.Object != 0 {
				s, err := m.SpaceMap(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				replay(uint32(id), s, func(ondisk.SpaceMapEntry) bool { return true })
			}
			for _, l := range logs {
				s, err := l.SpaceMap(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				replay(uint32(id), s, func(e ondisk.SpaceMapEntry) bool { return m.Applies(l.TXG, e) })
			}
		}
	}
	return u
}

// referenced marks what a walk finds, and what the dedup log holds for nobody.
func referenced(t *testing.T, p *ondisk.Pool, u units) {
	var mu sync.Mutex
	err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 2, Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
		pieces, err := p.Extents(t.Context(), b)
		mu.Lock()
		defer mu.Unlock()
		for _, piece := range pieces {
			u.set(t, p, piece, true, false)
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := p.DDTs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range tables {
		newest := map[ondisk.DDTKey]ondisk.DDTEntry{}
		for e, err := range d.Entries(t.Context(), p) {
			if err != nil {
				t.Fatal(err)
			}
			newest[e.Key] = e
		}
		for _, e := range newest {
			for _, x := range e.Phys {
				for _, dva := range x.DVA {
					if d.Log && x.RefCount == 0 && dva.ASize() != 0 {
						u.set(t, p, ondisk.Piece{VDev: dva.VDev(), Offset: dva.Offset(), Size: dva.ASize()}, true, false)
					}
				}
			}
		}
	}
}

// compareSpace wants the space maps to say that what is referred to is allocated, and nothing else is.
func compareSpace(t *testing.T, p *ondisk.Pool) {
	want := allocated(t, p)
	got := units{}
	referenced(t, p, got)
	if before, err := p.OpenCheckpoint(t.Context()); err == nil {
		referenced(t, before, got)
	} else if !errors.Is(err, ondisk.ErrNotFound) {
		t.Error(err)
	}
	n := 0
	for id, v := range p.VDevs {
		leaked, free := 0, 0
		for i := range want[uint32(id)] {
			a := want[uint32(id)][i]
			b := got[uint32(id)] != nil && got[uint32(id)][i]
			switch {
			case a && b:
				n++
			case a:
				leaked++
			case b:
				free++
			}
		}
		if leaked+free > 0 {
			t.Errorf("vdev %d: %d units of 2^%d bytes are allocated and not referred to, %d the other way round", id, leaked, v.AShift, free)
		}
	}
	if n == 0 {
		t.Error("nothing is allocated")
	}
}
