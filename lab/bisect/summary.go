package bisect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/stats"
)

// Direction is which way the rate changes from the old end to the new one.
type Direction string

// The directions.
const (
	Introduced Direction = "introduced" // the new end has the higher rate
	Mended     Direction = "mended"     // the old end has
)

// intervals is the confidence of the intervals of rates. They may be looked at at any time: how many trials a candidate has depends on
// what they showed.
const intervals = 0.95

// Summary is what all trials say together, and what comes next.
type Summary struct {
	Scenario string `json:"scenario"`
	Arm      string `json:"arm"`
	State    State  `json:"state"`
	// Message says why it ended without an answer.
	Message string `json:"message,omitempty"`
	// Direction is empty as long as the ends are not separated. EndsP is Fisher's p-value of the two.
	Direction  Direction `json:"direction,omitempty"`
	EndsP      float64   `json:"ends_p"`
	Candidates []Row     `json:"candidates"`
	// Fork is the index of the merge base, or -1; First and Last are the ends of what is searched: all, or the half in which the
	// rate changes. With Down it is the way from the old end down to the merge base: there later candidates are earlier in history.
	Fork  int  `json:"fork"`
	First int  `json:"first"`
	Last  int  `json:"last"`
	Down  bool `json:"down,omitempty"`
	// Confidence is what the answer must have, Probability what the most probable one has: that the rate changes between the two
	// neighbours, between which are only candidates that cannot be tried. It is 0 before the search.
	Confidence  float64 `json:"confidence"`
	Probability float64 `json:"probability"`
	Neighbours  [2]int  `json:"neighbours"`
	// NeighboursP is Fisher's p-value of the two.
	NeighboursP float64 `json:"neighbours_p"`
	// Before and After are all candidates on either side of the boundary together.
	Before Side `json:"before"`
	After  Side `json:"after"`
	// Credible are the candidates, by index and the most probable first, of which one made the change, with the confidence: those
	// that cannot be tried are among them where no trial tells them from their neighbours.
	Credible []int `json:"credible,omitempty"`
	Next     *Next `json:"next,omitempty"`
	// Repeat are the commands that do a trial of each neighbour again.
	Repeat []string `json:"repeat,omitempty"`
	// Trials and Built are how many trials and candidates are done.
	Trials int `json:"trials"`
	Built  int `json:"built"`
}

// Row is a candidate with what its trials showed.
type Row struct {
	Index   int      `json:"index"`
	Name    string   `json:"name"`
	OpenZFS string   `json:"openzfs"`
	Commits []Commit `json:"commits,omitempty"` // without the paths
	// Trials are Scored, Other and Invalid ones: Other ended in a panic that was not asked about.
	Trials  int `json:"trials"`
	Scored  int `json:"scored"`
	Hits    int `json:"hits"`
	Other   int `json:"other,omitempty"`
	Invalid int `json:"invalid,omitempty"`
	// Untestable is why it cannot be tried at all, Skipped says that it is not to be.
	Untestable string     `json:"untestable,omitempty"`
	Skipped    bool       `json:"skipped,omitempty"`
	Rate       float64    `json:"rate"`
	CI95       [2]float64 `json:"ci95"`
	// Prior is the weight that the priors give it, Posterior the probability that its commits made the change, New the one that it
	// has the rate of the new end.
	Prior     float64 `json:"prior"`
	Posterior float64 `json:"posterior"`
	New       float64 `json:"new"`
	// Information is how many bits the next trial of it would tell about where the boundary is, Seconds what that costs.
	Information float64 `json:"information"`
	Seconds     float64 `json:"seconds"`
}

// Side is several candidates together.
type Side struct {
	Scored int        `json:"scored"`
	Hits   int        `json:"hits"`
	Rate   float64    `json:"rate"`
	CI95   [2]float64 `json:"ci95"`
}

// Next is what is tried next, and why.
type Next struct {
	Candidates []int  `json:"candidates"`
	Why        string `json:"why"`
	// Information, in bits, and Seconds are of one trial; 0 where trials are not chosen by them.
	Information float64 `json:"information,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
}

// Summary sums up.
func (b *Bisect) Summary(done campaign.Results) Summary {
	c, t := newCourse(b, b.priors(), &b.rates), b.tallies(done)
	return b.summary(c, t, c.next(t))
}

func (b *Bisect) summary(c *course, t []tally, s step) Summary {
	r := Summary{
		Scenario: b.scenario.Name, Arm: b.Arm, State: s.state, Message: s.message, Direction: c.direction(), Fork: b.Fork,
		First: s.lo, Last: s.hi, Down: s.hi == b.Fork, Confidence: b.Confidence, EndsP: fisher(t[0].counts(), t[len(t)-1].counts()),
	}
	for i := range t {
		row := b.row(i, &t[i])
		r.Trials += row.Trials
		if t[i].built {
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
	r.Next = r.next(s)
	if s.state == Found {
		for _, i := range r.Neighbours {
			r.Repeat = append(r.Repeat, b.want(i, 1).Repeat)
		}
	}
	return r
}

func (b *Bisect) row(i int, t *tally) Row {
	c := b.Candidates[i]
	row := Row{
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

func sideOf(c counts) Side {
	s := Side{Scored: c.scored, Hits: c.hits}
	if c.scored > 0 {
		s.Rate = float64(c.hits) / float64(c.scored)
	}
	s.CI95[0], s.CI95[1] = stats.Anytime(c.hits, c.scored, intervals)
	return s
}

// direction is known when the ends are separated.
func (c *course) direction() Direction {
	switch c.ends.sign {
	case 1:
		return Introduced
	case -1:
		return Mended
	}
	return ""
}

// searched adds what the posterior says.
func (b *Bisect) searched(r *Summary, c *course, t []tally, s step) {
	r.Probability, r.Neighbours = s.mass, s.gap
	r.NeighboursP = fisher(t[s.gap[0]].counts(), t[s.gap[1]].counts())
	var sides [2]counts
	for i := range t {
		row := &r.Candidates[i]
		switch {
		case i >= s.hi:
			row.New = 1
		case i > s.lo:
			row.New = c.model.mass(s.lo, i)
		}
		if i >= s.lo && i <= s.hi {
			row.Information = c.model.information(i, s.lo, s.hi)
		}
		if i >= s.lo && i < s.hi {
			r.Candidates[b.culprit(i)].Posterior = c.model.post[i]
		}
		at := -1
		if i >= s.lo && i <= s.gap[0] {
			at = 0
		} else if i >= s.gap[1] && i <= s.hi {
			at = 1
		}
		if at >= 0 {
			sides[at].hits, sides[at].scored = sides[at].hits+t[i].sum, sides[at].scored+len(t[i].hits)
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
			gaps = append(gaps, gap{from, i, c.model.mass(from, i)})
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
			if c.model.post[i] > 0 {
				list = append(list, b.culprit(i))
			}
		}
		slices.SortStableFunc(list[first:], func(x, y int) int {
			return cmp.Compare(b.weights[y], b.weights[x])
		})
	}
	return list
}

func (r *Summary) next(s step) *Next {
	if len(s.ask) == 0 {
		return nil
	}
	n := &Next{Candidates: s.ask}
	switch s.state {
	case Ends:
		n.Why = "whether the ends differ is not known yet"
		if r.Direction != "" {
			n.Why = "on which side of the merge base the rate changes is not known yet"
		}
	case Confirming:
		n.Why = fmt.Sprintf("the rate changes between %s and %s with probability %.4f: both get as many trials as the ends had",
			r.Candidates[s.gap[0]].Name, r.Candidates[s.gap[1]].Name, s.mass)
	case Searching:
		row := r.Candidates[s.ask[0]]
		n.Information, n.Seconds = row.Information, row.Seconds
		n.Why = "a trial of it tells most for its time: " + row.worth()
	}
	return n
}

func (row Row) worth() string {
	return fmt.Sprintf("%.3g bits in %.0f s", row.Information, row.Seconds)
}

// Why says of a commit, by its hash or the beginning of it, what is known and why it is, or is not, tried next.
func (r Summary) Why(word string) (string, error) {
	all := make([]Candidate, 0, len(r.Candidates))
	for _, row := range r.Candidates {
		all = append(all, Candidate{campaign.Image{OpenZFS: row.OpenZFS}, row.Commits})
	}
	i, err := find(all, word)
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
	return strings.Join(append(said, r.standing(row)), "; "), nil
}

// standing says why a candidate is, or is not, tried next.
func (r Summary) standing(row Row) string {
	switch {
	case row.Untestable != "":
		return "it cannot be tried: " + row.Untestable
	case row.Skipped:
		return "it is skipped"
	case r.Next == nil:
		return "the bisection is over: " + string(r.State)
	case slices.Contains(r.Next.Candidates, row.Index):
		return "it is tried next: " + r.Next.Why
	case r.State == Ends || r.State == Confirming:
		return "others are tried next: " + r.Next.Why
	case row.Index < r.First || row.Index > r.Last:
		return "it is on the other side of the merge base, where the rate does not change"
	}
	best := r.Candidates[r.Next.Candidates[0]]
	return fmt.Sprintf("a trial of it would tell %s, one of %s, the next, %s", row.worth(), best.Name, best.worth())
}
