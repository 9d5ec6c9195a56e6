package bisect

import (
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/campaign"
)

// Begun opens a bisection.
type Begun struct {
	Candidates, Commits int
	Most                int // trials of one candidate
}

// Differ says that the ends are separated.
type Differ struct {
	Direction Direction
	Old, New  Row
}

// Halved says in which half of a forked history the rate changes.
type Halved struct{ First, Last Row }

// Untestable says that a candidate cannot be tried.
type Untestable struct{ Candidate Row }

// Ended closes a bisection.
type Ended struct{ Summary Summary }

// news are in the order in which they become known, so that what was said stays said.
func (b *Bisect) news(c *course, t []tally, s step, done campaign.Results) (list []campaign.Event) {
	begun := Begun{Candidates: len(t), Most: b.Most}
	for _, one := range b.Candidates {
		begun.Commits += len(one.Commits)
	}
	list = append(list, begun)
	last := len(t) - 1
	if c.ends.sign != 0 {
		list = append(list, Differ{c.direction(), b.row(0, &t[0]), b.row(last, &t[last])})
	}
	if s.hi-s.lo < last {
		list = append(list, Halved{b.row(s.lo, &t[s.lo]), b.row(s.hi, &t[s.hi])})
	}
	for _, i := range b.untestable(t, done) {
		list = append(list, Untestable{b.row(i, &t[i])})
	}
	if s.state.Over() {
		list = append(list, Ended{b.summary(c, t, s)})
	}
	return list
}

// untestable are the candidates that cannot be tried, by when that was found out.
func (b *Bisect) untestable(t []tally, done campaign.Results) (list []int) {
	when := map[int]time.Time{}
	for i := range t {
		if t[i].untestable == "" {
			continue
		}
		list = append(list, i)
		for n := 1; n <= min(t[i].done+ahead, b.Most); n++ {
			r := done[b.want(i, n).ID]
			at := r.Started.Add(time.Duration(r.Seconds * float64(time.Second)))
			if first, ok := when[i]; r.Untestable != "" && (!ok || at.Before(first)) {
				when[i] = at
			}
		}
	}
	slices.SortStableFunc(list, func(x, y int) int { return when[x].Compare(when[y]) })
	return list
}
