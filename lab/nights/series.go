package nights

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
)

const (
	// Hazard is how likely the rate of a cell is to change from one night to the next, before anything is seen: once a year.
	Hazard = 1.0 / 365
	// Confidence is the probability that a change must have to be named: 99 times that of no change. With Hazard this asks for 36,000
	// times what the boundary of one night has beforehand. While nothing changes the evidence for all boundaries together, the sum of
	// Shiryaev and Roberts, grows by 1 a night on average, whatever was seen before, so that it takes a cell some 36,000 nights on
	// average to get there by chance. That is what FalseAlarms promises; the benchmark shows it held for each rate by itself, too.
	Confidence = 0.99
	// FalseAlarms is how many changes are named, at most and on average, in a year of nights of 100 cells whose rates do not change.
	FalseAlarms = 1
	// intervals is the confidence of the intervals of rates. They may be looked at night after night.
	intervals = 0.95
)

// series are the nights of a cell under one key, as far as they have valid trials. Places count them from 0.
type series struct {
	nights  []int // by place
	tallies [][]Tally
	all     []stats.Counts
	hosts   []string
	by      map[string][]stats.Counts // by host
}

// add takes a night. One without a valid trial is left out.
func (s *series) add(night int, c *Cell) {
	var all stats.Counts
	for _, t := range c.Tallies {
		all = all.Plus(stats.Counts{Hits: t.Hits, Scored: t.Valid})
	}
	if all.Scored == 0 {
		return
	}
	s.nights, s.tallies, s.all = append(s.nights, night), append(s.tallies, c.Tallies), append(s.all, all)
	for _, t := range c.Tallies {
		if !slices.Contains(s.hosts, t.Host) {
			s.hosts = append(s.hosts, t.Host)
		}
	}
}

// sort divides the counts by host, when all nights are there.
func (s *series) sort() {
	s.by = map[string][]stats.Counts{}
	for _, h := range s.hosts {
		s.by[h] = make([]stats.Counts, len(s.all))
	}
	for i, tallies := range s.tallies {
		for _, t := range tallies {
			s.by[t.Host][i] = s.by[t.Host][i].Plus(stats.Counts{Hits: t.Hits, Scored: t.Valid})
		}
	}
}

func (s *series) last() int { return len(s.all) - 1 }

func (s *series) of(i int) stats.Counts { return s.all[i] }

// between are the trials of all places from one to another, both included.
func between(of []stats.Counts, from, to int) (c stats.Counts) {
	for _, one := range of[from : to+1] {
		c = c.Plus(one)
	}
	return c
}

// change is a boundary that was named: from the place after it on the rate is another one.
type change struct {
	start int // of the part of the series that ended with it
	after int // the place before the boundary, as it was found when it was named
	named int // the place whose trials made it certain
}

// boundaries are those of a series, with hosts that may have rates of their own, or without.
func (s *series) boundaries(r *stats.Rates, apart bool) *stats.Boundaries {
	prior := make([]float64, s.last())
	for i := range prior {
		prior[i] = Hazard / (1 - Hazard)
	}
	m := stats.NewBoundaries(prior, r)
	m.None = 1
	if apart {
		for _, h := range s.hosts {
			of := s.by[h]
			m.Strata = append(m.Strata, func(i int) stats.Counts { return of[i] })
		}
	}
	return m
}

// follow goes through the nights as they came, each time with what was known then: what was named once stays named, however
// many nights follow. With a change that was named the series begins anew, at start for what comes after the last one.
func (s *series) follow(m *stats.Boundaries) (named []change, start int) {
	for t := 1; t < len(s.all); t++ {
		if t == start {
			continue
		}
		m.Update(start, t, s.of)
		if 1-m.Nowhere >= Confidence {
			c := change{start: start, after: top(m, start, t), named: t}
			named, start = append(named, c), c.after+1
		}
	}
	return named, start
}

// top is the most probable boundary between two places.
func top(m *stats.Boundaries, from, to int) int {
	best := from
	for b := from; b < to; b++ {
		if m.Post[b] > m.Post[best] {
			best = b
		}
	}
	return best
}

// course is what became of a series.
type course struct {
	rows []report.RateChange
	// start is where the last part of the series begins, probability that of another change in it.
	start       int
	probability float64
	// from and first are where the nights before the last change that is there begin, and those after it. Without one that is start,
	// and the last place.
	from, first int
}

// course has the changes that were named. A change back to an earlier rate is the end of what was changed since, and no change of its
// own.
func (s *series) course(r *stats.Rates) course {
	m := s.boundaries(r, true)
	named, start := s.follow(m)
	c := course{start: start, from: start, first: s.last()}
	var before []stats.Counts // of rows
	var open []int            // the rows whose changes are not gone
	for k, n := range named {
		end := s.last()
		if k+1 < len(named) {
			end = named[k+1].after
		}
		now, since := between(s.all, n.after+1, end), s.nights[n.after+1]
		if back := slices.IndexFunc(open, func(i int) bool { return alike(r, before[i], now) }); back >= 0 {
			for _, i := range open[back:] {
				c.rows[i].State, c.rows[i].Until = report.ChangeGone, &since
			}
			open = open[:back]
			continue
		}
		if len(open) > 0 {
			if last := &c.rows[open[len(open)-1]]; last.State == report.ChangeThere {
				last.State, last.Until = report.ChangeAgain, &since
			}
		}
		row, first := s.row(m, n, end)
		if open = append(open, len(c.rows)); k == len(named)-1 {
			c.from, c.first = n.start, first
		}
		c.rows, before = append(c.rows, row), append(before, between(s.all, n.start, n.after))
	}
	if start == s.last() {
		return c
	}
	m.Update(start, s.last(), s.of)
	c.probability = 1 - m.Nowhere
	if len(s.hosts) > 1 {
		pooled := s.boundaries(r, false)
		if pooled.Update(start, s.last(), s.of); 1-pooled.Nowhere >= Confidence {
			row, _ := s.row(pooled, change{start: start, named: s.last()}, s.last())
			row.State = report.ChangeHosts
			c.rows = append(c.rows, row)
		}
	}
	return c
}

// alike says that one rate behind both is likelier than two.
func alike(r *stats.Rates, a, b stats.Counts) bool {
	return r.Of(a.Plus(b)).Log > r.Of(a).Log+r.Of(b).Log
}

// row is what all nights up to the next change say of one, with the first place after it.
func (s *series) row(m *stats.Boundaries, c change, end int) (report.RateChange, int) {
	m.Update(c.start, end, s.of)
	at := top(m, c.start, end)
	row := report.RateChange{
		Since: s.nights[at+1], Named: s.nights[c.named], Probability: 1 - m.Nowhere, State: report.ChangeThere,
		Before: side(between(s.all, c.start, at)), After: side(between(s.all, at+1, end)),
	}
	places := make([]int, 0, end-c.start)
	for b := c.start; b < end; b++ {
		places = append(places, b)
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(m.Post[b], m.Post[a]) })
	sum, from, to := 0.0, at, at
	for _, b := range places {
		if sum >= Confidence*(1-m.Nowhere) {
			break
		}
		sum += m.Post[b]
		row.Credible = append(row.Credible, s.nights[b+1])
		from, to = min(from, b), max(to, b)
	}
	row.Test, row.P = s.test(c.start, at, end)
	row.Confounded = s.confounded(c.start, from+1, to+1, end)
	return row, at + 1
}

// test compares both sides of a boundary: within each host, when hosts did other shares of the trials before than after.
func (s *series) test(from, at, to int) (string, *float64) {
	a, b := between(s.all, from, at), between(s.all, at+1, to)
	strata := make([][2]stats.Counts, 0, len(s.hosts))
	shares := true
	for _, h := range s.hosts {
		x, y := between(s.by[h], from, at), between(s.by[h], at+1, to)
		strata = append(strata, [2]stats.Counts{x, y})
		shares = shares && x.Scored*b.Scored == y.Scored*a.Scored
	}
	if shares {
		p := stats.Fisher(a.Hits, a.Scored-a.Hits, b.Hits, b.Scored-b.Hits)
		return "Fisher", &p
	}
	p := stats.MantelHaenszel(strata)
	if math.IsNaN(p) {
		return "Mantel-Haenszel", nil
	}
	return "Mantel-Haenszel", &p
}

// confounded names the hosts, and the versions of the lab, whose first trials after a place fall into the nights in which the rate may
// have changed.
func (s *series) confounded(start, from, to, end int) (list []string) {
	for _, kind := range []struct {
		word string
		of   func(Tally) string
	}{{"host", func(t Tally) string { return t.Host }}, {"lab", func(t Tally) string { return t.Lab }}} {
		seen := map[string]bool{}
		for i := start; i <= min(to, end); i++ {
			for _, t := range s.tallies[i] {
				if name := kind.of(t); t.Valid > 0 && !seen[name] {
					seen[name] = true
					if i >= from {
						list = append(list, fmt.Sprintf("%s %q did no trial before", kind.word, name))
					}
				}
			}
		}
	}
	return list
}

func side(c stats.Counts) report.Side {
	s := report.Side{Scored: c.Scored, Hits: c.Hits}
	if c.Scored > 0 {
		s.Rate = float64(c.Hits) / float64(c.Scored)
	}
	s.CI95[0], s.CI95[1] = stats.Anytime(c.Hits, c.Scored, intervals)
	return s
}
