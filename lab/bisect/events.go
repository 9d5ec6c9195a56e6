package bisect

import (
	"fmt"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/scenarios"
)

// Begun opens a bisection.
type Begun struct {
	Candidates, Commits int
	Most                int // trials of one candidate
	// Asked and Text are for Score. Tried are the candidates that had trials before.
	Asked *scenarios.Scenario
	Text  string
	Tried []Tried
}

// Tried is a candidate with how many trials it has had, how many of them count, and how many hit.
type Tried struct {
	OpenZFS              string
	Trials, Scored, Hits int
}

// Differ says that the ends are separated.
type Differ struct {
	Direction report.Direction
	Old, New  report.Candidate
}

// Halved says in which half of a forked history the rate changes.
type Halved struct{ First, Last report.Candidate }

// Untestable says that a candidate cannot be tried.
type Untestable struct{ Candidate report.Candidate }

// Ended closes a bisection.
type Ended struct{ Summary report.Bisection }

// news are in the order in which they become known, so that what was said stays said.
func (b *Bisect) news(c *course, t []tally, s step, done campaign.Results) (list []campaign.Event) {
	begun := Begun{Candidates: len(t), Most: b.Most, Asked: b.scenario, Text: b.Text}
	for i := range t {
		if t[i].done > 0 {
			begun.Tried = append(begun.Tried, Tried{b.Candidates[i].Image.OpenZFS, t[i].done, len(t[i].hits), t[i].sum})
		}
	}
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

// Tell is news in a sentence, empty for what is none.
func Tell(e campaign.Event) string {
	switch e := e.(type) {
	case Begun:
		return fmt.Sprintf("%d candidates, %d commits, at most %d trials of each", e.Candidates, e.Commits, e.Most)
	case Differ:
		return fmt.Sprintf("the ends differ, %s: %s has %s, %s %s", e.Direction, e.Old.OpenZFS, e.Old.Side(), e.New.OpenZFS, e.New.Side())
	case Halved:
		return fmt.Sprintf("the rate changes between %s and %s", e.First.OpenZFS, e.Last.OpenZFS)
	case Ended:
		return e.Summary.Said()
	}
	return ""
}
