package nights

import (
	"slices"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
)

// fewest is how many trials each side must have for their durations to be compared.
const fewest = 3

// durations compares how long trials took: since the rate changed, when that is still so, or tonight, with the nights before. Hits are
// taken alone, for they end sooner than others, and a rate is no duration; where there are too few of them, the others. A host is as fast
// as it is, so that only one is compared. It is nil where too little was timed.
func (s *series) durations(c course) *report.Durations {
	for _, kind := range []struct {
		word string
		of   func(Tally) []float64
	}{{"hits", func(t Tally) []float64 { return t.HitSeconds }}, {"others", func(t Tally) []float64 { return t.OtherSeconds }}} {
		var best *report.Durations
		most := fewest - 1
		for _, h := range s.hosts {
			before, after := s.timed(h, kind.of, c.from, c.first-1), s.timed(h, kind.of, c.first, s.last())
			if n := min(len(before), len(after)); n > most {
				most = n
				best = &report.Durations{
					Of: kind.word, Host: h, Since: s.nights[c.first], Before: median(before), After: median(after),
					P: stats.MannWhitney(before, after),
				}
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

func (s *series) timed(host string, of func(Tally) []float64, from, to int) (list []float64) {
	for _, tallies := range s.tallies[from : to+1] {
		for _, t := range tallies {
			if t.Host == host {
				list = append(list, of(t)...)
			}
		}
	}
	return list
}

func median(of []float64) report.Median {
	list := slices.Sorted(slices.Values(of))
	n := len(list)
	return report.Median{Trials: n, Seconds: (list[(n-1)/2] + list[n/2]) / 2}
}
