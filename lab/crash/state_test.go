package crash

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vdevil/vdevil/lab/nbd"
)

const (
	modelDisks   = 2
	modelSectors = 48
)

// mark is what a sector holds that an event wrote: its number. Base sectors hold another pattern, zeroed ones nothing.
func mark(event int) []byte {
	p := bytes.Repeat([]byte{0xee}, sector)
	binary.LittleEndian.PutUint64(p, uint64(event)+1)
	return p
}

var base = bytes.Repeat([]byte{0xbb}, modelSectors*sector)

// workload makes a log of random requests, each answered before the next comes.
func workload(t *testing.T, events int, seed uint64) (*Log, *Disks) {
	t.Helper()
	l, err := NewLog(t.TempDir(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	disks := make([]nbd.Handler, 0, modelDisks)
	sink := nbd.HandlerFunc(func(context.Context, *nbd.Request) error { return nil })
	for i := range modelDisks {
		disks = append(disks, l.Disk(i, sink))
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range events {
		n := 1 + r.Int64N(6)
		q := &nbd.Request{Op: nbd.Write, Offset: r.Int64N(modelSectors-n) * sector, Length: n * sector}
		switch k := r.IntN(20); {
		case k < 2:
			q = &nbd.Request{Op: nbd.Flush}
		case k == 2:
			q.Op = nbd.Zero
		case k == 3:
			q.FUA = true
		}
		if q.Op == nbd.Write {
			q.Data = bytes.Repeat(mark(i), int(n))
		}
		if err := disks[r.IntN(modelDisks)].Handle(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	sizes := []int64{int64(len(base)), int64(len(base))}
	return l, NewDisks(l, []io.ReaderAt{bytes.NewReader(base), bytes.NewReader(base)}, sizes)
}

// covers says whether an event changes a sector.
func (e *Event) covers(disk int, n int64) bool {
	return e.Disk == disk && e.Op != nbd.Flush && n >= e.Offset/sector && n < (e.Offset+e.Length)/sector
}

// possible are the contents that a sector may have after a cut, worked out the slow way: anything written since the last
// write that was safe, and that one, or what was there at first.
func possible(l *Log, at, disk int, n int64, safe func(i int) bool) [][]byte {
	all := [][]byte{base[:sector]}
	for i := range at {
		e := &l.events[i]
		if !e.covers(disk, n) {
			continue
		}
		content := mark(i)
		if e.Op == nbd.Zero {
			content = make([]byte, sector)
		}
		if safe(i) {
			all = nil
		}
		all = append(all, content)
	}
	return all
}

func read(t *testing.T, v *View, n int64) []byte {
	t.Helper()
	p := make([]byte, sector)
	if _, err := v.ReadAt(p, n*sector); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStatesArePossible(t *testing.T) {
	for seed := range uint64(3) {
		l, store := workload(t, 400, seed)
		states, flushes := l.Plan(150, Flush{}, rand.New(rand.NewPCG(seed, 1)))
		kinds := map[Kind]int{}
		lost, kept := 0, 0
		for _, m := range states {
			kinds[m.Kind]++
			lost, kept = lost+m.Unflushed-m.Kept, kept+m.Kept
			safe := func(i int) bool { // flushed before the cut, or with FUA
				e := l.events[i]
				return e.FUA || slices.ContainsFunc(l.events[i:m.At], func(f Event) bool { return f.Op == nbd.Flush && f.Disk == e.Disk })
			}
			for disk := range modelDisks {
				v := store.View(m, disk)
				for n := range int64(modelSectors) {
					all := possible(l, m.At, disk, n, safe)
					if m.Kind == Boundary { // nothing but what was safe
						all = all[:1]
					}
					if got := read(t, v, n); !slices.ContainsFunc(all, func(p []byte) bool { return bytes.Equal(p, got) }) {
						t.Fatalf("image %d (%s at %d), disk %d, sector %d holds % x, which no cut can leave", m.Number, m.Kind, m.At, disk, n, got[:8])
					}
				}
			}
		}
		if kinds[Boundary] != min(flushes, 75) || kinds[Subset] == 0 || kinds[Torn] == 0 || lost == 0 || kept == 0 {
			t.Errorf("seed %d: %v of %d flushes, %d unflushed writes lost and %d kept", seed, kinds, flushes, lost, kept)
		}
	}
}

func TestTornWrite(t *testing.T) {
	l, store := workload(t, 400, 7)
	states, _ := l.Plan(300, Flush{}, rand.New(rand.NewPCG(1, 1)))
	torn := 0
	for _, m := range states {
		if m.torn < 0 {
			continue
		}
		torn++
		e := l.events[m.torn]
		v := store.View(m, e.Disk)
		for n := range e.Length / sector {
			if bytes.Equal(read(t, v, e.Offset/sector+n), mark(m.torn)) != (n < m.TornSectors) {
				// Unless a later one covers it.
				if !slices.ContainsFunc(l.events[m.torn+1:m.At], func(f Event) bool { return f.covers(e.Disk, e.Offset/sector+n) }) {
					t.Errorf("image %d: sector %d of the write of event %d, torn after %d", m.Number, n, m.torn, m.TornSectors)
				}
			}
		}
	}
	if torn == 0 {
		t.Error("no image has a torn write")
	}
}

func TestLyingFlushLosesWhatIsCached(t *testing.T) {
	const cache = 40 * sector
	l, store := workload(t, 400, 3)
	states, _ := l.Plan(150, Flush{Lying: true, Cache: cache}, rand.New(rand.NewPCG(3, 1)))
	broken := 0
	for _, m := range states {
		newer := make([]int64, modelDisks)
		evicted := map[int]bool{} // pushed out by writes that came later
		for i := m.At - 1; i >= 0; i-- {
			e := l.events[i]
			if e.Op == nbd.Write {
				newer[e.Disk] += e.Length
			}
			evicted[i] = newer[e.Disk] > cache
		}
		for disk := range modelDisks {
			v := store.View(m, disk)
			for n := range int64(modelSectors) {
				got := read(t, v, n)
				in := func(all [][]byte) bool {
					return slices.ContainsFunc(all, func(p []byte) bool { return bytes.Equal(p, got) })
				}
				if !in(possible(l, m.At, disk, n, func(i int) bool { return evicted[i] })) {
					t.Fatalf("image %d, disk %d, sector %d holds % x, older than the cache", m.Number, disk, n, got[:8])
				}
				if !in(possible(l, m.At, disk, n, func(i int) bool {
					return slices.ContainsFunc(l.events[i:m.At], func(f Event) bool { return f.Op == nbd.Flush && f.Disk == l.events[i].Disk })
				})) {
					broken++
				}
			}
		}
	}
	if broken == 0 {
		t.Error("nothing that was flushed is lost")
	}
}

func TestPlanIsTheSeeds(t *testing.T) {
	l, _ := workload(t, 200, 1)
	for _, n := range []int{1, 7, 100} {
		a, _ := l.Plan(n, Flush{}, rand.New(rand.NewPCG(5, 1)))
		b, _ := l.Plan(n, Flush{}, rand.New(rand.NewPCG(5, 1)))
		if len(a) != n || len(b) != n {
			t.Fatalf("%d and %d states, want %d", len(a), len(b), n)
		}
		for i := range a {
			if a[i].At != b[i].At || a[i].Kept != b[i].Kept || a[i].Number != i+1 {
				t.Errorf("image %d is %+v and %+v", i, a[i], b[i])
			}
		}
	}
}

func TestPlanOfAnEmptyLog(t *testing.T) {
	l, store := workload(t, 0, 1)
	states, flushes := l.Plan(3, Flush{}, rand.New(rand.NewPCG(5, 1)))
	if len(states) != 3 || flushes != 0 {
		t.Fatalf("%d states, %d flushes", len(states), flushes)
	}
	if store.changed(states[0], 0) {
		t.Error("the disk is not as it was")
	}
}

// changed says whether any sector is not as it was at first.
func (s *Disks) changed(m *State, disk int) bool {
	p := make([]byte, len(base))
	_, err := s.View(m, disk).ReadAt(p, 0)
	return err != nil || !bytes.Equal(p, base)
}

func TestViewsKeepTheirWrites(t *testing.T) {
	l, store := workload(t, 100, 2)
	states, _ := l.Plan(1, Flush{}, rand.New(rand.NewPCG(5, 1)))
	a, b := store.View(states[0], 0), store.View(states[0], 0)
	was := read(t, b, 5)
	data := bytes.Repeat([]byte{1, 2}, sector)
	for _, q := range []*nbd.Request{
		{Op: nbd.Write, Offset: 4 * sector, Length: 2 * sector, Data: data}, {Op: nbd.Zero, Offset: 4 * sector, Length: sector}, {Op: nbd.Flush},
	} {
		if err := a.Handle(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, a, 5), data[:sector]) || !bytes.Equal(read(t, a, 4), make([]byte, sector)) || !bytes.Equal(read(t, b, 5), was) {
		t.Error("a view does not hold what was written to it, or another one does")
	}
	got := make([]byte, 700) // across sectors and their borders
	if err := a.Handle(t.Context(), &nbd.Request{Op: nbd.Read, Offset: 5*sector - 100, Length: 700, Data: got}); err != nil {
		t.Fatal(err)
	}
	if want := slices.Concat(make([]byte, 100), data[:sector], read(t, b, 6)[:88]); !bytes.Equal(got, want) {
		t.Error("a read across sectors differs")
	}
	if err := a.Handle(t.Context(), &nbd.Request{Op: nbd.Write, Offset: 1, Length: sector, Data: data[:sector]}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a write beside the sectors: %v", err)
	}
}

func TestLogRefuses(t *testing.T) {
	dir := t.TempDir()
	l, err := NewLog(dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the log has a name: %v, %v", left, err)
	}
	done := 0
	d := l.Disk(0, nbd.HandlerFunc(func(context.Context, *nbd.Request) error { done++; return nil }))
	for want, q := range map[string]*nbd.Request{
		"not in sectors":       {Op: nbd.Write, Offset: 7, Length: sector, Data: make([]byte, sector)},
		"more than 1000 bytes": {Op: nbd.Write, Length: 2 * sector, Data: make([]byte, 2*sector)},
		"is not in sectors":    {Op: nbd.Trim, Offset: 0, Length: 5},
	} {
		if err := d.Handle(t.Context(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := d.Handle(t.Context(), &nbd.Request{Op: nbd.Read, Length: 3, Data: make([]byte, 3)}); err != nil || l.Len() != 0 {
		t.Errorf("a read is an event: %d, %v", l.Len(), err)
	}
}
