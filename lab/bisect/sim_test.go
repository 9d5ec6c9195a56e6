package bisect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
)

// stray is the rate of the side on which the fault does nothing, in simulations: something else may look like it.
const stray = 0.0005

// lab is a simulated one: the rate changes after a candidate.
type lab struct {
	rng      *rand.Rand
	n, after int
	rates    [2]float64 // before, after

	trials, builds int
	tried          []bool
}

func newLab(seed uint64, n int, rate float64) *lab {
	l := &lab{rng: rand.New(rand.NewPCG(seed, 17)), n: n, rates: [2]float64{rate, stray}, tried: make([]bool, n)}
	l.after = l.rng.IntN(n - 1)
	if l.rng.IntN(2) == 0 {
		l.rates[0], l.rates[1] = l.rates[1], l.rates[0]
	}
	return l
}

func (l *lab) trial(i int) bool {
	if !l.tried[i] {
		l.tried[i] = true
		l.builds++
	}
	l.trials++
	side := 0
	if i > l.after {
		side = 1
	}
	return l.rng.Float64() < l.rates[side]
}

// simulated is that of the research: a build is worth 48 trials.
var simulated = Cost{Build: 240, Trial: 5}

// answer is how a simulated bisection ended.
type answer struct {
	after  int // the boundary that was named, -1 for none
	stated float64
	// first is the one that was named before it was confirmed.
	first       int
	firstStated float64
	// ends and again are the trials of the ends and those that confirmed.
	ends, again int
}

// bayes is the course that the search takes, one trial after the other.
func (l *lab) bayes(c *course) answer {
	t := make([]tally, l.n)
	a := answer{after: -1, first: -1}
	for {
		s := c.next(t)
		if a.first < 0 && (s.state == report.StageFound || s.state == report.StageConfirming) {
			a.first, a.firstStated = s.gap[0], s.mass
		}
		if s.state == report.StageFound {
			a.after, a.stated = s.gap[0], s.mass
		}
		if s.state.Over() {
			return a
		}
		switch s.state {
		case report.StageEnds:
			a.ends++
		case report.StageConfirming:
			a.again++
		}
		i := s.ask[0]
		for _, other := range s.ask {
			if t[other].done < t[i].done {
				i = other
			}
		}
		one := &t[i]
		hit := l.trial(i)
		one.hits, one.done, one.built = append(one.hits, hit), one.done+1, true
		if hit {
			one.sum++
		}
	}
}

// fixed halves with so many trials a candidate; one hit is enough. The ends are given to it, with the direction.
func (l *lab) fixed(trials int) answer {
	lo, hi := 0, l.n-1
	for hi-lo > 1 {
		i := (lo + hi) / 2
		hit := false
		for n := 0; n < trials && !hit; n++ {
			hit = l.trial(i)
		}
		if hit == (l.rates[1] > l.rates[0]) {
			hi = i
		} else {
			lo = i
		}
	}
	return answer{after: lo}
}

func simulatedCourse(n int, r *stats.Rates) *course {
	b := &Bisect{Fork: -1, Most: 4000, Confidence: 0.99, Cost: simulated}
	prior := make([]float64, n-1)
	for i := range prior {
		prior[i] = 1
	}
	return newCourse(b, prior, r)
}

func BenchmarkBisect(b *testing.B) {
	r := &stats.Rates{}
	ways := []struct {
		name string
		run  func(*lab) answer
	}{
		{"posterior", func(l *lab) answer { return l.bayes(simulatedCourse(l.n, r)) }},
		{"fixed-10", func(l *lab) answer { return l.fixed(10) }},
		{"git-bisect", func(l *lab) answer { return l.fixed(1) }},
	}
	for _, n := range []int{41, 291} {
		for _, rate := range []float64{1, 0.5, 0.2, 0.05} {
			for _, way := range ways {
				b.Run(fmt.Sprintf("N=%d/rate=%g/%s", n, rate, way.name), func(b *testing.B) { simulate(b, n, rate, way.run) })
			}
		}
	}
}

// simulate reports what share of the answers is right, what they state, and what they cost.
func simulate(b *testing.B, n int, rate float64, run func(*lab) answer) {
	var right, found, trials, builds, firstRight, ends, again int
	var stated, firstStated float64
	for i := range b.N {
		l := newLab(uint64(i), n, rate)
		a := run(l)
		trials, builds = trials+l.trials, builds+l.builds
		ends, again = ends+a.ends, again+a.again
		if a.after >= 0 {
			found++
			stated, firstStated = stated+a.stated, firstStated+a.firstStated
		}
		if a.after == l.after {
			right++
		}
		if a.first == l.after {
			firstRight++
		}
	}
	all := float64(b.N)
	b.ReportMetric(100*float64(right)/all, "%right")
	b.ReportMetric(100*float64(found)/all, "%found")
	if stated > 0 {
		b.ReportMetric(100*stated/float64(found), "%stated")
		b.ReportMetric(float64(ends)/all, "trials-ends")
		b.ReportMetric(float64(again)/all, "trials-again")
		b.ReportMetric(100*firstStated/float64(found), "%stated-first")
		b.ReportMetric(100*float64(firstRight)/all, "%right-first")
	}
	b.ReportMetric(float64(trials)/all, "trials")
	b.ReportMetric(float64(builds)/all, "builds")
	b.ReportMetric((float64(trials)*simulated.Trial+float64(builds)*simulated.Build)/all/3600, "hours")
}

// TestStatedConfidence has the answers be right at least as often as they say, also before they are confirmed.
func TestStatedConfidence(t *testing.T) {
	r := &stats.Rates{}
	for _, rate := range []float64{1, 0.5, 0.2} {
		const runs = 300
		var right, first, stated, firstStated float64
		for i := range runs {
			l := newLab(uint64(i), 41, rate)
			a := l.bayes(simulatedCourse(l.n, r))
			stated, firstStated = stated+a.stated/runs, firstStated+a.firstStated/runs
			if a.after == l.after {
				right += 1.0 / runs
			}
			if a.first == l.after {
				first += 1.0 / runs
			}
		}
		slack := func(p float64) float64 { return 3*math.Sqrt(p*(1-p)/runs) + 1.0/runs }
		if right < stated-slack(stated) {
			t.Errorf("rate %g: %.4f are right, stated is %.4f", rate, right, stated)
		}
		if first < firstStated-slack(firstStated) {
			t.Errorf("rate %g: %.4f are right before they are confirmed, stated is %.4f", rate, first, firstStated)
		}
	}
}
