package verdict

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// series is what an arm's trials showed, by number, as far as none is missing: trial n+1 is not looked at before trial n, or those
// that end soonest, by a panic, would be seen first.
type series struct {
	arm  *Arm
	hits []bool // of valid trials
	// sum is how many of the first n valid trials hit, valid how many of the first n trials are valid, both by n.
	sum, valid []int
	all        bool // that were planned are done
}

func seriesOf(s *scenarios.Scenario, a *Arm) *series {
	out := &series{arm: a, sum: []int{0}, valid: []int{0}}
	for i, r := range a.Results {
		if r.Number != i+1 {
			break
		}
		if r.Outcome != trial.Invalid {
			out.add(Hit(s, r))
		}
		out.valid = append(out.valid, len(out.hits))
	}
	out.all = out.done() >= a.Planned
	return out
}

// done is how many trials are, from the first one on.
func (s *series) done() int { return len(s.valid) - 1 }

func (s *series) add(hit bool) {
	n := s.sum[len(s.hits)]
	if hit {
		n++
	}
	s.hits, s.sum = append(s.hits, hit), append(s.sum, n)
}

// until counts the valid ones of the first n trials, and the hits among them. Whoever has no more has had all.
func (s *series) until(n int) (hits, valid int) {
	valid = s.valid[min(n, s.done())]
	return s.sum[valid], valid
}

// total counts all hits.
func (s *series) total() int { return s.sum[len(s.hits)] }

// judge decides about every fault arm, and so about the scenario: one that reproduces is enough; none does only when every one
// is shown not to.
func (r *Summary) judge(s *scenarios.Scenario, p Plan) {
	var faults, controls []*series
	for i := range r.Arms {
		one := seriesOf(s, &r.Arms[i])
		if r.Arms[i].Control {
			controls = append(controls, one)
		} else {
			faults = append(faults, one)
		}
	}
	rule := rule{rate: s.Expect.Rate, fixed: p.Fixed, faults: len(faults), controls: controls}
	r.Verdict = scenarios.DoesNotReproduce
	open := false // whether a fault arm may be decided by more trials
	for _, f := range faults {
		rule.decide(f)
		switch f.arm.Verdict {
		case scenarios.Reproduces:
			r.Verdict = scenarios.Reproduces
		case Inconclusive:
			open = true
			if r.Verdict != scenarios.Reproduces {
				r.Verdict = Inconclusive
			}
		}
	}
	for _, one := range append(faults, controls...) {
		one.stop(p, open)
		r.Missing += one.arm.Wanted
	}
	if r.Verdict != Inconclusive || r.Missing > 0 || p.Picked {
		return
	}
	for _, f := range faults {
		if f.arm.Verdict == Inconclusive {
			r.Needed = max(r.Needed, rule.needed(f))
		}
	}
}

// stop says why an arm has no more trials, or how many it may have yet.
func (s *series) stop(p Plan, open bool) {
	a := s.arm
	left := max(0, a.Planned-a.Trials)
	switch {
	case left == 0:
		if a.Stopped == "" {
			a.Stopped = "all planned trials are done"
		}
	case p.Fixed, p.Picked, a.Control && open, !a.Control && a.Verdict == Inconclusive:
		a.Stopped, a.Wanted = "", left
	case a.Control:
		a.Stopped = "every fault arm is decided"
	}
}

// rule decides about one fault arm.
type rule struct {
	rate     float64 // the stated one
	fixed    bool
	faults   int // arms that share alpha
	controls []*series
}

// decide looks after every trial, from the first on: what was known then is not unlearned. Half of alpha is for looking at any
// time, by evidence from pairs of trials; half for one look when all trials are done, by Fisher's test. A fixed number of
// trials has but that look, and all of alpha.
func (u *rule) decide(f *series) {
	a := f.arm
	a.Verdict = Inconclusive
	so := make([]evidence, len(u.controls))
	first := 1
	if u.fixed {
		if !f.all || slices.ContainsFunc(u.controls, func(c *series) bool { return !c.all }) {
			return
		}
		first = max(1, u.seen(f))
	}
	for n := first; n <= u.seen(f) && a.Verdict == Inconclusive; n++ {
		u.look(f, n, so)
	}
	against := a.Verdict == scenarios.Reproduces && slices.ContainsFunc(u.controls, func(c *series) bool { return c.arm.Troubled() })
	if a.Troubled() || against {
		a.Verdict, a.Stopped = Inconclusive, ""
	}
}

// seen is up to which trial something can be said of an arm: as far as it has come, and its control arms with it.
func (u *rule) seen(f *series) int {
	n := f.done()
	for _, c := range u.controls {
		if !c.all {
			n = min(n, c.done())
		}
	}
	if n < f.done() && f.total() == 0 { // what has not hit needs no control arm to be shown not to
		return f.done()
	}
	return n
}

// evidence is what pairs of an arm's trials with a control arm's have shown so far.
type evidence struct {
	pairs stats.Pairs
	seen  int
	most  float64 // its logarithm, at the time when it was greatest
}

// look decides by the first n trials of each arm.
func (u *rule) look(f *series, n int, so []evidence) {
	a := f.arm
	hits, valid := f.until(n)
	last := f.all && n >= f.done()
	separated, worst := len(u.controls) > 0, 0.0
	for i, c := range u.controls {
		others, of := c.until(n)
		p := u.against(f, c, n, last && c.all, &so[i])
		worst = max(worst, p)
		separated = separated && p < alpha && hits*of > others*valid
	}
	if len(u.controls) > 0 {
		a.P = &worst
	}
	low, high := u.interval(hits, valid)
	switch {
	case separated:
		a.Verdict, a.Stopped = scenarios.Reproduces, fmt.Sprintf("separated from every control arm after %d trials", n)
	case len(u.controls) == 0 && low > u.rate:
		a.Verdict, a.Stopped = scenarios.Reproduces, fmt.Sprintf("the rate is above %g after %d trials", u.rate, n)
	case high < u.rate && (last || len(u.controls) == 0 || hits == 0):
		a.Verdict, a.Stopped = scenarios.DoesNotReproduce, fmt.Sprintf("the rate is below %g after %d trials", u.rate, n)
	}
}

// against is the p-value of an arm against a control arm, for all fault arms together.
func (u *rule) against(f, c *series, n int, last bool, so *evidence) float64 {
	hits, valid := f.until(n)
	others, of := c.until(n)
	fisher := 1.0
	if last || u.fixed {
		fisher = stats.Fisher(hits, valid-hits, others, of-others)
	}
	if u.fixed {
		return min(1, float64(u.faults)*fisher)
	}
	for ; so.seen < min(valid, of); so.seen++ {
		so.add(f.hits[so.seen], c.hits[so.seen])
	}
	return min(1, 2*float64(u.faults)*min(fisher, math.Exp(-so.most)))
}

// add puts two valid trials side by side.
func (e *evidence) add(fault, control bool) {
	switch {
	case fault && control:
		e.pairs.Both++
	case fault:
		e.pairs.First++
	case control:
		e.pairs.Second++
	default:
		e.pairs.Neither++
	}
	e.most = max(e.most, stats.Evidence(e.pairs))
}

// interval is that of an arm's rate. An arm that is shown to hit without a control arm shares the error with the others.
func (u *rule) interval(hits, n int) (low, high float64) {
	of := stats.Anytime
	if u.fixed {
		of = stats.ClopperPearson
	}
	_, high = of(hits, n, confidence)
	low, _ = of(hits, n, 1-(1-confidence)/float64(u.faults))
	return low, high
}

// maxNeeded bounds the search for the number of trials that would do.
const maxNeeded = 2000

// needed is how many more trials of each arm would decide, should the rates stay as they are; 0 when no number of them would.
func (u *rule) needed(f *series) (most int) {
	if len(f.hits) == 0 {
		return 0
	}
	decided := func(more int) bool {
		long := f.longer(more)
		next := rule{rate: u.rate, fixed: u.fixed, faults: u.faults}
		for _, c := range u.controls {
			next.controls = append(next.controls, c.longer(more))
		}
		next.look(long, long.done(), make([]evidence, len(next.controls)))
		return long.arm.Verdict != Inconclusive
	}
	for more := 1; more <= maxNeeded; more *= 2 {
		if decided(more) {
			less := more / 2
			return less + 1 + sort.Search(more-less-1, func(i int) bool { return decided(less + 1 + i) })
		}
	}
	return 0
}

// longer is the arm with more trials at the rate seen so far.
func (s *series) longer(more int) *series {
	n := len(s.hits) + more
	out := &series{arm: &Arm{Verdict: Inconclusive}, all: true, sum: []int{0}, valid: []int{0}}
	total := 0
	if len(s.hits) > 0 {
		total = (2*s.total()*n + len(s.hits)) / (2 * len(s.hits)) // rounded to the nearest
	}
	for i := range n { // spread evenly
		out.add((i+1)*total/n > i*total/n)
		out.valid = append(out.valid, i+1)
	}
	return out
}
