package crash

import (
	"fmt"
	"math/rand/v2"

	"github.com/vdevil/vdevil/lab/nbd"
)

// Flush says what a flush is worth.
type Flush struct {
	// Lying disks answer a flush, and a write with FUA, without doing anything. What they have in their caches survives
	// no cut.
	Lying bool `json:"lying"`
	// Cache is how many bytes the cache of a lying disk holds. What was written longer ago has reached the disk.
	Cache int64 `json:"cache,omitempty"`
}

func (f Flush) String() string {
	if f.Lying {
		return fmt.Sprintf("lying flush, caches of %d MiB", f.Cache>>20)
	}
	return "honest flush"
}

// Plan chooses n states: after every flush, or after as many of them, evenly spread, as make half of n; of the others two
// in three are subsets, the rest torn.
func (l *Log) Plan(n int, f Flush, r *rand.Rand) (states []*State, flushes int) {
	var boundaries []int
	for i, e := range l.events {
		if e.Op == nbd.Flush {
			boundaries = append(boundaries, i+1)
		}
	}
	take := min(len(boundaries), (n+1)/2)
	for i := range take {
		states = append(states, l.state(Boundary, boundaries[i*len(boundaries)/take], f, r))
	}
	for i := 0; len(states) < n; i++ {
		kind := Subset
		if i%3 == 2 {
			kind = Torn
		}
		states = append(states, l.state(kind, 1+r.IntN(max(len(l.events), 1)), f, r))
	}
	for i, m := range states {
		m.Number = i + 1
	}
	return states, len(boundaries)
}

// state is the one of a cut at a moment.
func (l *Log) state(kind Kind, at int, f Flush, r *rand.Rand) *State {
	m := &State{Kind: kind, At: min(at, len(l.events)), kept: map[int]bool{}, torn: -1}
	m.durable = l.durable(m.At, f)
	// Now most, now few of the writes have made it.
	part := r.Float64()
	last := -1
	for i := range m.At {
		e := &l.events[i]
		if e.Op == nbd.Flush || i < m.durable[e.Disk] {
			continue
		}
		if e.FUA && !f.Lying {
			m.kept[i] = true
			continue
		}
		m.Unflushed++
		if kind == Torn || kind == Subset && r.Float64() < part {
			m.kept[i] = true
			m.Kept++
		}
		if e.Op == nbd.Write && e.Length > sector {
			last = i
		}
	}
	if kind == Torn && last >= 0 {
		delete(m.kept, last)
		m.Kept--
		m.torn, m.TornSectors = last, 1+r.Int64N(l.events[last].Length/sector-1)
	}
	return m
}

// durable gives for each disk the event before which everything has reached it for good.
func (l *Log) durable(at int, f Flush) []int {
	disks := 0
	for i := range l.events {
		disks = max(disks, l.events[i].Disk+1)
	}
	durable, cached := make([]int, disks), make([]int64, disks)
	found := make([]bool, disks)
	for i := at - 1; i >= 0; i-- {
		e := &l.events[i]
		switch {
		case found[e.Disk]:
		case !f.Lying && e.Op == nbd.Flush:
			durable[e.Disk], found[e.Disk] = i, true
		case f.Lying && e.Op == nbd.Write:
			if cached[e.Disk] += e.Length; cached[e.Disk] > f.Cache {
				durable[e.Disk], found[e.Disk] = i+1, true
			}
		}
	}
	return durable
}
