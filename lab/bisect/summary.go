package bisect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
)

// intervals is the confidence of the intervals of rates. They may be looked at at any time: how many trials a candidate has depends on
// what they showed.
const intervals = 0.95

// Summary sums up.
func (b *Bisect) Summary(done campaign.Results) report.Bisection {
	c, t := b.course(done), b.tallies(done)
	return b.summary(c, t, c.next(t))
}

func (b *Bisect) summary(c *course, t []tally, s step) report.Bisection {
	r := report.Bisection{
		Scenario: b.scenario.Name, Arm: b.Arm, State: s.state, Message: s.message, Direction: c.direction(), Fork: b.Fork,
		First: s.lo, Last: s.hi, Down: s.hi == b.Fork, Confidence: b.Confidence, EndsP: fisher(t[0].counts(), t[len(t)-1].counts()),
	}
	for i := range t {
		row := b.row(i, &t[i])
		r.Trials += row.Trials
		if t[i].tried {
			r.Built++
		}
		row.Seconds = c.seconds(&t[i])
		if i == len(t)-1 {
			row.New = 1
		}
		r.Candidates = append(r.Candidates, row)
	}
	if s.mass > 0 {
		b.searched(&r, c, t, s)
	}
	r.Next = next(r, s)
	if s.state == report.StageFound {
		for _, i := range r.Neighbours {
			r.Repeat = append(r.Repeat, b.want(i, 1).Repeat)
		}
	}
	return r
}

func (b *Bisect) row(i int, t *tally) report.Candidate {
	c := b.Candidates[i]
	row := report.Candidate{
		Index: i, Name: c.Name(), OpenZFS: c.Image.OpenZFS, Trials: t.done, Scored: len(t.hits), Hits: t.sum, Other: t.other,
		Invalid: t.invalid, Untestable: t.untestable, Skipped: t.skipped, Prior: b.weights[i],
	}
	for _, k := range c.Commits {
		k.Paths = nil
		row.Commits = append(row.Commits, k)
	}
	side := sideOf(t.counts())
	row.Rate, row.CI95 = side.Rate, side.CI95
	return row
}

func sideOf(c stats.Counts) report.Side {
	s := report.Side{Scored: c.Scored, Hits: c.Hits}
	if c.Scored > 0 {
		s.Rate = float64(c.Hits) / float64(c.Scored)
	}
	s.CI95[0], s.CI95[1] = stats.Anytime(c.Hits, c.Scored, intervals)
	return s
}

// direction is known when the ends are separated.
func (c *course) direction() report.Direction {
	switch c.ends.sign {
	case 1:
		return report.Introduced
	case -1:
		return report.Mended
	}
	return ""
}

// searched adds what the posterior says.
func (b *Bisect) searched(r *report.Bisection, c *course, t []tally, s step) {
	r.Probability, r.Neighbours = s.mass, s.gap
	r.NeighboursP = fisher(t[s.gap[0]].counts(), t[s.gap[1]].counts())
	var sides [2]stats.Counts
	for i := range t {
		row := &r.Candidates[i]
		switch {
		case i >= s.hi:
			row.New = 1
		case i > s.lo:
			row.New = c.model.Mass(s.lo, i)
		}
		if i >= s.lo && i <= s.hi {
			row.Information = c.model.Information(i, s.lo, s.hi)
		}
		if i >= s.lo && i < s.hi {
			r.Candidates[b.culprit(i)].Posterior = c.model.Post[i]
		}
		at := -1
		if i >= s.lo && i <= s.gap[0] {
			at = 0
		} else if i >= s.gap[1] && i <= s.hi {
			at = 1
		}
		if at >= 0 {
			sides[at] = sides[at].Plus(t[i].counts())
		}
	}
	r.Before, r.After = sideOf(sides[0]), sideOf(sides[1])
	r.Credible = b.credible(c, t, s)
}

// credible takes what lies between neighbours that can be tried, the most probable first, until there is enough.
func (b *Bisect) credible(c *course, t []tally, s step) (list []int) {
	type gap struct {
		from, to int
		mass     float64
	}
	var gaps []gap
	from := s.lo
	for i := s.lo + 1; i <= s.hi; i++ {
		if i == s.hi || !c.mute(&t[i]) {
			gaps = append(gaps, gap{from, i, c.model.Mass(from, i)})
			from = i
		}
	}
	slices.SortStableFunc(gaps, func(a, b gap) int { return cmp.Compare(b.mass, a.mass) })
	sum := 0.0
	for _, g := range gaps {
		if sum >= b.Confidence {
			break
		}
		sum += g.mass
		first := len(list)
		for i := g.from; i < g.to; i++ {
			if c.model.Post[i] > 0 {
				list = append(list, b.culprit(i))
			}
		}
		slices.SortStableFunc(list[first:], func(x, y int) int {
			return cmp.Compare(b.weights[y], b.weights[x])
		})
	}
	return list
}

func next(r report.Bisection, s step) *report.Next {
	if len(s.ask) == 0 {
		return nil
	}
	n := &report.Next{Candidates: s.ask}
	switch s.state {
	case report.StageEnds:
		n.Why = "whether the ends differ is not known yet"
		if r.Direction != "" {
			n.Why = "on which side of the merge base the rate changes is not known yet"
		}
	case report.StageConfirming:
		n.Why = fmt.Sprintf("the rate changes between %s and %s with probability %.4f: both get as many trials as the ends had",
			r.Candidates[s.gap[0]].Name, r.Candidates[s.gap[1]].Name, s.mass)
	case report.StageSearching:
		row := r.Candidates[s.ask[0]]
		n.Information, n.Seconds = row.Information, row.Seconds
		n.Why = "a trial of it tells most for its time: " + worth(row)
	}
	return n
}

func worth(row report.Candidate) string {
	return fmt.Sprintf("%.3g bits in %.0f s", row.Information, row.Seconds)
}

// Why says of a commit, by its hash or the beginning of it, what is known and why it is, or is not, tried next.
func Why(r report.Bisection, word string) (string, error) {
	i, err := report.FindCandidate(r.Candidates, word)
	if err != nil {
		return "", fmt.Errorf("why %s: %w", word, err)
	}
	row := r.Candidates[i]
	said := []string{fmt.Sprintf("candidate %d, %s, has %d hits in %d trials", i, row.Name, row.Hits, row.Scored)}
	if row.Other+row.Invalid > 0 {
		said = append(said, fmt.Sprintf("%d other panics and %d invalid trials are not scored", row.Other, row.Invalid))
	}
	if row.Prior != 1 {
		said = append(said, fmt.Sprintf("the priors give it the weight %g", row.Prior))
	}
	if r.Probability > 0 && i >= r.First && i <= r.Last {
		said = append(said, fmt.Sprintf("it made the change with probability %.3g and has the rate of the new end with %.3g", row.Posterior, row.New))
	}
	return strings.Join(append(said, standing(r, row)), "; "), nil
}

// standing says why a candidate is, or is not, tried next.
func standing(r report.Bisection, row report.Candidate) string {
	switch {
	case row.Untestable != "":
		return "it cannot be tried: " + row.Untestable
	case row.Skipped:
		return "it is skipped"
	case r.Next == nil:
		return "the bisection is over: " + string(r.State)
	case slices.Contains(r.Next.Candidates, row.Index):
		return "it is tried next: " + r.Next.Why
	case r.State == report.StageEnds || r.State == report.StageConfirming:
		return "others are tried next: " + r.Next.Why
	case row.Index < r.First || row.Index > r.Last:
		return "it is on the other side of the merge base, where the rate does not change"
	}
	best := r.Candidates[r.Next.Candidates[0]]
	return fmt.Sprintf("a trial of it would tell %s, one of %s, the next, %s", worth(row), best.Name, worth(best))
}
