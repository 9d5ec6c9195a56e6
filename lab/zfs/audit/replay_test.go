package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// entry is one of a space map or a log, in units from the start of its metaslab.
type entry struct {
	free     bool
	from, to uint64
}

func alloc(from, to uint64) entry { return entry{false, from, to} }
func free(from, to uint64) entry  { return entry{true, from, to} }

// TestReplay replays the space map and the logs of a metaslab that begins at 256 KiB.
func TestReplay(t *testing.T) {
	const start = 1 << slabShift
	for name, c := range map[string]struct {
		entries, logged []entry
		want            []string // findings, places in units from the start
		allocated       string
	}{
		"alloc and free": {entries: []entry{alloc(0, 8), free(2, 4), alloc(3, 4), alloc(60, 64)}, allocated: "0-2 3-8 60-64"},
		"freed twice": {
			entries: []entry{alloc(0, 8), free(2, 4), free(2, 4)}, allocated: "0-2 4-8", want: []string{"freed-twice-in-space-map 2+2"},
		},
		"freed twice in part": {
			entries: []entry{alloc(0, 8), free(2, 4), free(1, 6)}, allocated: "0-1 6-8", want: []string{"freed-twice-in-space-map 2+2"},
		},
		"never allocated": {entries: []entry{free(2, 4)}, want: []string{"freed-twice-in-space-map 2+2"}},
		"allocated twice": {
			entries: []entry{alloc(0, 8), alloc(6, 10)}, allocated: "0-10", want: []string{"allocated-twice-in-space-map 6+2"},
		},
		"outside": {
			entries: []entry{alloc(0, 8), alloc(62, 65), free(64, 65)}, allocated: "0-8",
			want: []string{"entry-outside-metaslab 62+3", "entry-outside-metaslab 64+1"},
		},
		"logs": {entries: []entry{alloc(0, 8)}, logged: []entry{alloc(8, 12), free(4, 10), alloc(4, 6)}, allocated: "0-6 10-12"},
		"logs free what is free": {
			entries: []entry{alloc(0, 8)}, logged: []entry{free(6, 10)}, allocated: "0-6", want: []string{"log-contradicts 8+2, loading"},
		},
		"logs allocate what is allocated": {
			entries: []entry{alloc(0, 8)}, logged: []entry{alloc(6, 10)}, allocated: "0-10", want: []string{"log-contradicts 6+2, loading"},
		},
		"logs free twice": {
			entries: []entry{alloc(0, 8)}, logged: []entry{free(2, 4), free(3, 5)}, allocated: "0-2 5-8", want: []string{"log-contradicts 3+1, import"},
		},
		"logs allocate twice": {logged: []entry{alloc(2, 4), alloc(2, 4)}, allocated: "2-4", want: []string{"log-contradicts 2+2, import"}},
		// What the second takes back is forgotten, so that the third is the first of its kind: only loading meets the map.
		"logs free, allocate and allocate": {
			entries: []entry{alloc(0, 8)}, logged: []entry{free(2, 4), alloc(2, 4), alloc(2, 4)}, allocated: "0-8",
			want: []string{"log-contradicts 2+2, loading"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := &auditor{report: &Report{}, found: map[Kind]int{}}
			v := &ondisk.VDev{Type: "file", AShift: 12, MetaslabShift: slabShift}
			m := &metaslab{Metaslab: &ondisk.Metaslab{VDev: v, ID: 1, Start: start, Size: 1 << slabShift}, allocated: newBitmap(slabUnits)}
			for _, e := range c.entries {
				a.replay(m, ondisk.SpaceMapEntry{Free: e.free, Offset: start + e.from*unit, Size: (e.to - e.from) * unit}, ondisk.SpaceMapEntry{})
			}
			logged := make([]loggedEntry, 0, len(c.logged))
			for _, e := range c.logged {
				logged = append(logged, loggedEntry{free: e.free, offset: start + e.from*unit, size: (e.to - e.from) * unit})
			}
			a.replayLogs(m, logged)
			var got []string
			for _, f := range a.report.Findings {
				text := fmt.Sprintf("%s %d+%d", f.Kind, (f.Offset-start)/unit, f.Size/unit)
				for _, when := range []string{"import", "loading"} {
					if f.Kind == LogContradicts && strings.Contains(f.Detail, when) {
						text += ", " + when
					}
				}
				if f.Metaslab != 1 {
					t.Errorf("%v", &f)
				}
				got = append(got, text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, not %q", got, c.want)
			}
			var ranges []string
			m.allocated.each(0, slabUnits, true, func(from, to uint64) { ranges = append(ranges, fmt.Sprintf("%d-%d", from, to)) })
			if got := strings.Join(ranges, " "); got != c.allocated {
				t.Errorf("allocated %s, not %s", got, c.allocated)
			}
			if m.contradicts != (len(c.want) > 0) {
				t.Errorf("contradicts: %v", m.contradicts)
			}
		})
	}
}

// TestHistogram: the sizes of free ranges give limits for their sum.
func TestHistogram(t *testing.T) {
	for _, c := range []struct {
		histogram      []uint64
		good, imported bool // of an exported pool, and of one that is not
	}{
		{nil, true, true}, {make([]uint64, 32), true, true},
		{[]uint64{0, 0, 0, 0, 0, 1}, true, true},      // 32 to 63 of the 60 units
		{[]uint64{4, 0, 0, 1, 3}, true, true},         // 4 + 8..15 + 48..93
		{[]uint64{0, 0, 0, 0, 0, 0, 1}, false, false}, // 64 at least
		{[]uint64{30, 0, 0, 0, 0, 0}, false, true},    // 30, and 60 are free
		{[]uint64{0, 0, 0, 0, 0, 1, 1 << 63}, false, false},
	} {
		v := &ondisk.VDev{Type: "file", AShift: 12, MetaslabShift: slabShift}
		m := &metaslab{Metaslab: &ondisk.Metaslab{VDev: v, Size: 1 << slabShift}, allocated: newBitmap(slabUnits), histogram: c.histogram}
		m.allocated.fill(0, 4, true)
		for state, good := range map[uint64]bool{0: c.imported, 1: c.good} {
			label := &nvlist.List{Pairs: []nvlist.Pair{{Name: "state", Value: state}}}
			a := &auditor{report: &Report{}, found: map[Kind]int{}, pool: &ondisk.Pool{Label: label, Uberblocks: make([]ondisk.Uberblock, 1)}}
			if a.judgeHistogram(m); (len(a.report.Findings) == 0) != good {
				t.Errorf("state %d, %v: %v", state, c.histogram, a.report.Findings)
			}
		}
	}
}
