package bisect

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
)

const (
	// tooMany is the share of invalid trials, of at least so many, that ends a bisection: what made them so may have chosen the rest.
	tooMany  = 1.0 / 3
	atLeast  = 9
	nearly   = 0.95  // of the best score is as good
	nothing  = 1e-12 // bits
	leftover = 0.02  // of the best score is worth a trial while nothing better can begin
)

// tally is what the trials of one candidate showed, by number, as far as none is missing: trial n+1 is not looked at before trial n,
// or those that end soonest, by a panic, would be seen first.
type tally struct {
	hits  []bool // of the trials that were scored
	sum   int    // hits
	done  int    // trials, from the first one on
	other int    // panics that are not the one that is asked about
	// invalid are those that are not the version's fault; untestable is why it cannot be tried at all.
	invalid    int
	untestable string
	skipped    bool
	tried      bool // some trial of it is done
	built      bool // it was tried, or its image is there
}

func (t *tally) counts() stats.Counts { return stats.Counts{Hits: t.sum, Scored: len(t.hits)} }

// course decides what is asked next: it knows counts only.
type course struct {
	fork       int // -1 without
	most       int
	confidence float64
	cost       Cost
	model      *stats.Boundaries

	ends, down, up comparison // old against new, old against the merge base, the merge base against new
}

func newCourse(b *Bisect, prior []float64, r *stats.Rates) *course {
	return &course{
		fork: b.Fork, most: b.Most, confidence: b.Confidence, cost: b.Cost, model: stats.NewBoundaries(prior, r),
		ends: comparison{alpha: alpha}, down: comparison{alpha: alpha / 2}, up: comparison{alpha: alpha / 2},
	}
}

// step is what comes next.
type step struct {
	state report.Stage
	// ask are the candidates whose trials are wanted, in turns.
	ask    []int
	lo, hi int // the half that is searched
	// gap are the two neighbours of the boundary that is most probable, with those between them that cannot be tried.
	gap     [2]int
	mass    float64 // its probability
	message string
}

// next may be asked again when there are more trials, never fewer.
func (c *course) next(t []tally) step {
	last := len(t) - 1
	s := step{state: report.StageEnds, hi: last}
	if text := trouble(t); text != "" {
		s.state, s.message = report.StageTrouble, text
		return s
	}
	old, end := &t[0], &t[last]
	if c.ends.look(old, end, old.done >= c.most && end.done >= c.most); c.ends.sign == 0 {
		if s.ask = c.askable(t, 0, last); len(s.ask) == 0 {
			s.state, s.message = report.StageNotVisible, invisible(old.counts(), end.counts())
		}
		return s
	}
	if c.fork > 0 && c.fork < last && !c.mute(&t[c.fork]) {
		if !c.half(t, &s) {
			return s
		}
	}
	return c.search(t, s)
}

// half compares the merge base with both ends, and says whether it is known on which side of it the rate changes.
func (c *course) half(t []tally, s *step) bool {
	last := len(t) - 1
	base := &t[c.fork]
	used := base.done >= c.most && t[0].done >= c.most && t[last].done >= c.most
	c.down.look(&t[0], base, used)
	c.up.look(base, &t[last], used)
	switch down, up := c.down, c.up; {
	case down.sign == 0 && up.sign == 0:
		if s.ask = c.askable(t, c.fork, 0, last); len(s.ask) == 0 {
			other := &t[0]
			if fisher(base.counts(), t[last].counts()) < fisher(base.counts(), other.counts()) {
				other = &t[last]
			}
			s.state, s.message = report.StageNotVisible, "where history forks, "+invisible(base.counts(), other.counts())
		}
		return false
	case up.sign == 0, down.sign != 0 && down.at < up.at, down.sign != 0 && down.at == up.at && down.sign == c.ends.sign:
		s.hi = c.fork
	default:
		s.lo = c.fork
	}
	return true
}

// mute says whether nothing can be learned from a candidate.
func (c *course) mute(t *tally) bool {
	return t.skipped || t.untestable != "" || t.done >= c.most && len(t.hits) == 0
}

// askable are those that may have another trial.
func (c *course) askable(t []tally, of ...int) (list []int) {
	for _, i := range of {
		if t[i].done < c.most && !c.mute(&t[i]) {
			list = append(list, i)
		}
	}
	return list
}

// trouble says why there is no going on.
func trouble(t []tally) string {
	for _, i := range []int{0, len(t) - 1} {
		if why := t[i].untestable; why != "" {
			return fmt.Sprintf("the %s end cannot be tried, take another one: %s", endName(i), why)
		}
	}
	trials, invalid, worst := 0, 0, 0
	for i := range t {
		if t[i].untestable == "" {
			trials, invalid = trials+t[i].done, invalid+t[i].invalid
			if t[i].invalid > t[worst].invalid {
				worst = i
			}
		}
	}
	if trials >= atLeast && float64(invalid) > tooMany*float64(trials) {
		return fmt.Sprintf("%d of %d trials are invalid, most of them (%d) of candidate %d: see why, or skip it",
			invalid, trials, t[worst].invalid, worst)
	}
	return ""
}

func endName(i int) string {
	if i == 0 {
		return "old"
	}
	return "new"
}

func (c *course) search(t []tally, s step) step {
	c.model.Update(s.lo, s.hi, func(i int) stats.Counts { return t[i].counts() })
	from := s.lo
	for i := s.lo + 1; i <= s.hi; i++ {
		if i < s.hi && c.mute(&t[i]) {
			continue
		}
		if mass := c.model.Mass(from, i); mass > s.mass {
			s.gap, s.mass = [2]int{from, i}, mass
		}
		from = i
	}
	if s.mass >= c.confidence {
		a, b := t[s.gap[0]].counts(), t[s.gap[1]].counts()
		s.state = report.StageFound
		if s.ask = c.unconfirmed(t, s.gap); len(s.ask) > 0 {
			s.state = report.StageConfirming
		} else if fisher(a, b) >= alpha {
			s.state, s.message = report.StageOut, "at the most probable boundary "+invisible(a, b)
		}
		return s
	}
	s.state = report.StageSearching
	root := c.best(t, s.lo, s.hi, false)
	if root < 0 {
		s.state, s.message = report.StageOut, "all candidates that can be tried have had the trials that they may have"
		return s
	}
	s.ask = []int{root}
	return s
}

// unconfirmed are the neighbours that had fewer trials than it took to separate the ends, or are not separated themselves.
func (c *course) unconfirmed(t []tally, gap [2]int) []int {
	separated := fisher(t[gap[0]].counts(), t[gap[1]].counts()) < alpha
	return slices.DeleteFunc(c.askable(t, gap[0], gap[1]), func(i int) bool { return separated && len(t[i].hits) >= c.ends.at })
}

// score is the information of one trial, given that the boundary is between two candidates, for a second of what it costs.
func (c *course) score(t []tally, i, from, to int) float64 {
	return c.model.Information(i, from, to) / c.seconds(&t[i])
}

// seconds is what one trial costs.
func (c *course) seconds(t *tally) float64 {
	if t.built {
		return c.cost.Trial
	}
	return c.cost.Trial + c.cost.Build
}

// best is the candidate to ask next, given that the boundary is between two others, or -1. Of those that are nearly as good as
// the best it takes the roundest number: so it stays with one while the probabilities move a little, and what is being built for
// it is not thrown away. The two others are among those that may be asked: when what is between them hits at half the rate of the
// one, which by chance always hit, and the other by chance never did, only they can tell which is the odd one out. With onlyNew
// it is one between them that is not built.
func (c *course) best(t []tally, from, to int, onlyNew bool) (at int) {
	most := 0.0
	scores := make([]float64, to-from+1)
	for i := from; i <= to; i++ {
		if t[i].done >= c.most || c.mute(&t[i]) || onlyNew && (t[i].built || i == from || i == to) {
			continue
		}
		scores[i-from] = c.score(t, i, from, to)
		most = max(most, scores[i-from])
	}
	at = -1
	if most*c.cost.Trial < nothing {
		return at
	}
	for i := from; i <= to; i++ {
		if scores[i-from] >= nearly*most && (at < 0 || bits.TrailingZeros(uint(i)) > bits.TrailingZeros(uint(at))) {
			at = i
		}
	}
	return at
}

// following are the candidates that will be asked when it is known on which side of the boundary that one is, and those after
// them: the ones that another bench may build meanwhile. The more probable comes first. What is not built yet depends little on the
// trials of the first one, so that the list stays as it is while they are done.
func (c *course) following(t []tally, root int, s step) (list []int) {
	type part struct{ from, to int }
	parts := []part{{s.lo, root}, {root, s.hi}}
	for range 2 {
		slices.SortStableFunc(parts, func(a, b part) int {
			return cmp.Compare(c.model.Mass(b.from, b.to), c.model.Mass(a.from, a.to))
		})
		var finer []part
		for _, p := range parts {
			if c.model.Mass(p.from, p.to) < 1-c.confidence {
				continue
			}
			if i := c.best(t, p.from, p.to, true); i >= 0 {
				list = append(list, i)
				finer = append(finer, part{p.from, i}, part{i, p.to})
			}
		}
		parts = finer
	}
	return list
}

// useful are the candidates that are built and worth a trial while nothing better can begin, best first.
func (c *course) useful(t []tally, root int, s step) (list []int) {
	limit := leftover * c.score(t, root, s.lo, s.hi)
	for i := s.lo; i <= s.hi; i++ {
		if i != root && t[i].built && t[i].done < c.most && !c.mute(&t[i]) && c.score(t, i, s.lo, s.hi) > limit {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		return cmp.Compare(c.score(t, b, s.lo, s.hi), c.score(t, a, s.lo, s.hi))
	})
	return list
}
