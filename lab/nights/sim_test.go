package nights

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vdevil/vdevil/lab/stats"
)

func BenchmarkSteady(b *testing.B) {
	for _, p := range []float64{0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1} {
		b.Run(fmt.Sprint(p), func(b *testing.B) {
			r := &stats.Rates{}
			alarms := 0
			for i := range b.N {
				rng := rand.New(rand.NewPCG(uint64(i), 3))
				s := &series{all: make([]stats.Counts, 365)}
				for t := range s.all {
					s.all[t].Scored = 10
					for range 10 {
						if rng.Float64() < p {
							s.all[t].Hits++
						}
					}
				}
				s.nights, s.tallies = make([]int, 365), make([][]Tally, 365)
				s.sort()
				named := s.course(r).rows
				alarms += len(named)
			}
			b.ReportMetric(100*float64(alarms)/float64(b.N), "alarms/100y")
		})
	}
}
