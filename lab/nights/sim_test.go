package nights

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/stats"
)

const year = 365

// cellOf is a simulated cell: of gives the counts of each night.
func cellOf(seed uint64, nights int, of func(rng *rand.Rand, night int) stats.Counts) *series {
	rng := rand.New(rand.NewPCG(seed, 17))
	s := &series{}
	for i := range nights {
		c := of(rng, i)
		s.add(i, &Cell{Tallies: []Tally{{Host: "h", Hits: c.Hits, Valid: c.Scored}}})
	}
	s.sort()
	return s
}

// tenAt has ten trials a night.
func tenAt(rate func(night int) float64) func(*rand.Rand, int) stats.Counts {
	return func(rng *rand.Rand, night int) stats.Counts {
		return stats.Counts{Hits: drawn(rng, 10, rate(night)), Scored: 10}
	}
}

// untilKnown has no more trials than it takes, as a run: five hits are enough.
func untilKnown(rate float64) func(*rand.Rand, int) stats.Counts {
	return func(rng *rand.Rand, _ int) (c stats.Counts) {
		for c.Scored < 10 && c.Hits < 5 {
			c = c.Plus(stats.Counts{Hits: drawn(rng, 1, rate), Scored: 1})
		}
		return c
	}
}

// moody has nights whose rates differ by more than chance: their standard deviation is given. What the trials of a night have in common,
// a checkpoint, may do that.
func moody(rate, deviation float64) func(*rand.Rand, int) stats.Counts {
	return func(rng *rand.Rand, _ int) stats.Counts {
		tonight := min(1, max(0, rate+deviation*rng.NormFloat64()))
		return stats.Counts{Hits: drawn(rng, 10, tonight), Scored: 10}
	}
}

// ways name changes: on which nights.
var ways = []struct {
	name string
	run  func(*series, *stats.Rates) []int
}{
	{"posterior", func(s *series, r *stats.Rates) (named []int) {
		for _, k := range s.course(r).rows {
			named = append(named, k.Named)
		}
		return named
	}},
	{"last-night", func(s *series, _ *stats.Rates) []int { return byFisher(s, 0.01, false) }},
	{"all-before", func(s *series, _ *stats.Rates) []int { return byFisher(s, 0.01, true) }},
	{"all-before-strict", func(s *series, _ *stats.Rates) []int { return byFisher(s, 0.01/year, true) }},
}

// byFisher compares each night with the one before, or with all before it.
func byFisher(s *series, alpha float64, all bool) (named []int) {
	var before stats.Counts
	for i, c := range s.all {
		if i > 0 && stats.Fisher(before.Hits, before.Scored-before.Hits, c.Hits, c.Scored-c.Hits) < alpha {
			named = append(named, i)
		}
		if !all {
			before = stats.Counts{}
		}
		before = before.Plus(c)
	}
	return named
}

// BenchmarkSteady has cells that do not change, for a year of nights each: all that is named is a false alarm.
func BenchmarkSteady(b *testing.B) {
	type cell struct {
		name string
		of   func(*rand.Rand, int) stats.Counts
	}
	cells := []cell{}
	for _, rate := range []float64{0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5} {
		cells = append(cells, cell{fmt.Sprintf("rate=%g", rate), tenAt(func(int) float64 { return rate })})
	}
	cells = append(cells, cell{"until-known=0.5", untilKnown(0.5)}, cell{"until-known=0.9", untilKnown(0.9)},
		cell{"moody=0.5±0.1", moody(0.5, 0.1)}, cell{"moody=0.5±0.2", moody(0.5, 0.2)})
	for _, c := range cells {
		for _, way := range ways {
			b.Run(c.name+"/"+way.name, func(b *testing.B) {
				r, alarms := &stats.Rates{}, 0
				for i := range b.N {
					alarms += len(way.run(cellOf(uint64(i), year, c.of), r))
				}
				per := 100 / float64(b.N)
				b.ReportMetric(per*float64(alarms), "alarms/100-cell-years")
				b.ReportMetric(per*2*math.Sqrt(float64(alarms)), "±")
			})
		}
	}
}

// BenchmarkChange has cells whose rate changes after 30 nights, and counts the nights from there, the first one being 1, until it is
// named. Those that are not within 60 nights count as 61.
func BenchmarkChange(b *testing.B) {
	const past, most = 30, 60
	for _, c := range []struct{ before, after float64 }{{1, 0}, {1, 0.7}, {1, 0.9}, {0, 0.1}, {0.01, 0.1}, {0.01, 0.5}, {0.5, 0.2}, {0.5, 0.7}} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("%g-to-%g/%s", c.before, c.after, way.name), func(b *testing.B) {
				r := &stats.Rates{}
				took := make([]int, 0, b.N)
				for i := range b.N {
					s := cellOf(uint64(i), past+most, tenAt(func(night int) float64 {
						if night < past {
							return c.before
						}
						return c.after
					}))
					nights := most + 1
					for _, at := range way.run(s, r) {
						if at >= past {
							nights = min(nights, at-past+1)
						}
					}
					took = append(took, nights)
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2]), "nights-median")
				b.ReportMetric(float64(took[len(took)*9/10]), "nights-9-of-10")
				within := func(n int) float64 {
					at, _ := slices.BinarySearch(took, n+1)
					return 100 * float64(at) / float64(len(took))
				}
				b.ReportMetric(within(1), "%first-night")
				b.ReportMetric(within(7), "%week")
				b.ReportMetric(within(most), "%60-nights")
			})
		}
	}
}

// TestPromise has no more false alarms than are promised. The benchmark has many more series.
func TestPromise(t *testing.T) {
	r, alarms := &stats.Rates{}, 0
	const cells = 100
	for i := range cells {
		rate := []float64{0.01, 0.03, 0.1, 0.3}[i%4]
		s := cellOf(uint64(i), year, tenAt(func(int) float64 { return rate }))
		alarms += len(s.course(r).rows)
	}
	if most := 4; alarms > most*FalseAlarms { // so many come by chance in one of 270 runs, if one is expected
		t.Errorf("%d false alarms in a year of %d cells", alarms, cells)
	}
}

// BenchmarkCompare has a year of nights of 100 cells at rates of all kinds, the worst that there is to compute.
func BenchmarkCompare(b *testing.B) {
	all := make([]Night, year)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range all {
		all[i].Began = first.AddDate(0, 0, i)
		for k := range 100 {
			all[i].Cells = append(all[i].Cells, &Cell{Arm: fmt.Sprint(k), Tallies: []Tally{{Valid: 10, Hits: drawn(rng, 10, float64(k)/99)}}})
		}
	}
	for b.Loop() {
		Compare(all, nil)
	}
}
