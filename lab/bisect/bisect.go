// Package bisect finds the version of OpenZFS with which the rate of a fault's outcome changes, though the outcome is noisy: a
// campaign.Search over candidates, states of OpenZFS in order. It knows no git, no images and no machines: candidates are data.
// A boundary is the place between two neighbouring candidates; one of them is where the rate changes, and each has a probability.
package bisect

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Candidate is one state of OpenZFS: commits that make the same modules and the same userland.
type Candidate struct {
	// Image has the ID that its content will have: it is known before the image is built.
	Image   trial.Image     `json:"image"`
	Commits []report.Commit `json:"commits,omitempty"` // oldest first; none for a package
}

// Name is the short hash of the newest commit, or the version of a package.
func (c Candidate) Name() string {
	if n := len(c.Commits); n > 0 {
		return c.Commits[n-1].Short()
	}
	return c.Image.OpenZFS
}

// Cost is what a candidate and a trial cost, in seconds, for choosing the next. A trial costs what those that are done took, as soon as
// there are any.
type Cost struct {
	Build float64 `json:"build"`
	Trial float64 `json:"trial"`
}

// Bisect is the search. As JSON it is the whole request: what is read back goes on where it was.
type Bisect struct {
	Asked  campaign.Asked `json:"scenario"`
	Arm    string         `json:"arm"`
	Driver string         `json:"driver"`
	Accel  string         `json:"accel"`
	Seed   uint64         `json:"seed"`
	// Flags chose the source and the driver, for the command that repeats a trial; empty, or with a blank in front.
	Flags string `json:"flags,omitempty"`
	// Candidates are in order from the old end to the new one, both included.
	Candidates []Candidate `json:"candidates"`
	// Fork is the index of the merge base where history forks: the candidates go from the old end down to it, and from there up to the
	// new end. It is -1 without.
	Fork int `json:"fork"`
	// Text must be in the message of a trial that hits: the same panic with another text is no hit. Empty is as the scenario says.
	Text string `json:"text,omitempty"`
	// Confidence is the probability that the answer must have.
	Confidence float64 `json:"confidence"`
	Priors     []Prior `json:"priors,omitempty"`
	// Paths are globs as those of priors: only commits that touch one of them can have made the change. None is all.
	Paths []string `json:"paths,omitempty"`
	// Skip are hashes whose candidates are never asked.
	Skip []string `json:"skip,omitempty"`
	// Most is how many trials a candidate may have, the ends too.
	Most int  `json:"most"`
	Cost Cost `json:"cost"`
	// There says of which candidates the image is on this computer already: they cost no build. Nil is of none.
	There []bool `json:"-"`

	scenario *scenarios.Scenario
	weights  []float64         // of the candidates, by the priors
	skipped  []bool            // by candidate
	wants    [][]campaign.Want // by candidate and number, as far as they were needed
	rates    stats.Rates
}

// ahead is how many trials of a candidate are wanted beyond the first that is missing.
const ahead = 16

// Plan checks the request and reads the scenario. It is to be called once, before the search begins.
func (b *Bisect) Plan() (err error) {
	if b.scenario, err = scenarios.Parse(b.Asked.File, []byte(b.Asked.Text)); err != nil {
		return err
	}
	if _, err = b.scenario.ForArm(b.Arm); err != nil {
		return err
	}
	n := len(b.Candidates)
	switch {
	case n < 2:
		return fmt.Errorf("bisect between %d candidates: two are needed, an old one and a new one", n)
	case b.Fork < -1 || b.Fork >= n:
		return fmt.Errorf("bisect: the merge base is candidate %d of %d", b.Fork, n)
	case b.Confidence <= 0.5 || b.Confidence >= 1:
		return fmt.Errorf("bisect with confidence %g: it must be above 0.5 and below 1", b.Confidence)
	case b.Most < 1:
		return fmt.Errorf("bisect with %d trials for a candidate: at least one is needed", b.Most)
	case b.Cost.Trial <= 0 || b.Cost.Build < 0:
		return fmt.Errorf("bisect with %g s for a trial and %g s for a build: a trial takes some time, a build not less than none",
			b.Cost.Trial, b.Cost.Build)
	}
	for _, p := range b.Priors {
		if _, err := ParsePrior(p.String()); err != nil {
			return err
		}
	}
	b.weights, b.skipped, b.wants = make([]float64, n), make([]bool, n), make([][]campaign.Want, n)
	named := make([]report.Candidate, n)
	for i, c := range b.Candidates {
		b.weights[i] = weigh(b.Priors, b.Paths, c)
		named[i] = report.Candidate{Name: c.Name(), OpenZFS: c.Image.OpenZFS, Commits: c.Commits}
	}
	for _, hash := range b.Skip {
		i, err := report.FindCandidate(named, hash)
		switch {
		case err != nil:
			return fmt.Errorf("skip %s: %w", hash, err)
		case i == 0 || i == n-1:
			return fmt.Errorf("skip %s: it is the %s end; take another one as the end", hash, endName(i))
		}
		b.skipped[i] = true
	}
	if !slices.ContainsFunc(b.priors(), func(w float64) bool { return w > 0 }) {
		return errors.New("bisect: the priors, or the paths, leave no candidate: at least one must have a weight above 0")
	}
	return nil
}

// priors are the weights of the boundaries: each has that of the candidate whose commits would have made the change.
func (b *Bisect) priors() []float64 {
	list := make([]float64, len(b.Candidates)-1)
	for i := range list {
		list[i] = b.weights[b.culprit(i)]
	}
	return list
}

// culprit is the candidate whose commits changed the rate if it changes after candidate i: of two neighbours the one that is later in
// history. On the way down to the merge base that is the first of the two.
func (b *Bisect) culprit(i int) int {
	if i < b.Fork {
		return i
	}
	return i + 1
}

// want is the trial of that number, from 1, of a candidate.
func (b *Bisect) want(i, number int) campaign.Want {
	c := b.Candidates[i]
	frame := campaign.Frame{Driver: b.Driver, Accel: b.Accel, Seed: b.Seed}
	for n := len(b.wants[i]) + 1; n <= number; n++ {
		w := frame.Want(b.scenario, c.Image, b.Arm, n)
		version, word := c.Image.OpenZFS, c.Image.OpenZFS
		if len(c.Commits) > 0 {
			version, word = version+"-"+c.Name(), c.Commits[len(c.Commits)-1].Hash
		}
		w.Bundle = filepath.Join(version, campaign.BundleOf(b.Arm, n))
		w.Repeat = campaign.Repeat(b.scenario, word, b.Seed, b.Arm, n) + b.Flags
		b.wants[i] = append(b.wants[i], w)
	}
	return b.wants[i][number-1]
}

// tallies count what the results show of each candidate.
func (b *Bisect) tallies(done campaign.Results) []tally {
	list := make([]tally, len(b.Candidates))
	for i := range list {
		t := &list[i]
		t.skipped = b.skipped[i]
		t.built = i < len(b.There) && b.There[i]
		for n := 1; n <= min(t.done+ahead, b.Most); n++ {
			r, ok := done[b.want(i, n).ID]
			if !ok {
				continue
			}
			t.built, t.tried = true, true
			if r.Untestable != "" {
				t.untestable = r.Untestable
			}
			if n == t.done+1 {
				t.add(b.scenario, b.Text, r)
			}
		}
		if t.skipped || t.untestable != "" { // what some of its trials showed all the same is not to be trusted
			t.hits, t.sum = nil, 0
		}
	}
	return list
}

// course is that of the search, with what trials have been found to cost.
func (b *Bisect) course(done campaign.Results) *course {
	c := newCourse(b, b.priors(), &b.rates)
	var took time.Duration // of which the sum is the same in any order
	for _, r := range done {
		took += report.Seconds(r.Seconds)
	}
	if took > 0 {
		c.cost.Trial = took.Seconds() / float64(len(done))
	}
	return c
}

// Score says whether a trial hits, with the text if there is one, and whether it counts at all.
func Score(s *scenarios.Scenario, text string, r trial.Result) (hit, counts bool) {
	hit = verdict.Hit(s, r)
	if r.Outcome == trial.Invalid || !hit && r.Outcome.Crash() { // it would have hit, or not, had it not ended so
		return false, false
	}
	return hit && strings.Contains(r.Text, text), true
}

// Hit says whether a trial hits.
func (b *Bisect) Hit(r trial.Result) bool {
	hit, counts := Score(b.scenario, b.Text, r)
	return hit && counts
}

// add takes the next trial.
func (t *tally) add(s *scenarios.Scenario, text string, r trial.Result) {
	t.done++
	hit, counts := Score(s, text, r)
	switch {
	case r.Outcome == trial.Invalid:
		t.invalid++
	case !counts:
		t.other++
	case hit:
		t.sum++
		fallthrough
	default:
		t.hits = append(t.hits, hit)
	}
}

// Next asks both ends first, then where history forks, then what tells most for its cost, and at the end the two neighbours of the
// boundary again.
func (b *Bisect) Next(done campaign.Results) (want []campaign.Want, news []campaign.Event) {
	c, t := b.course(done), b.tallies(done)
	s := c.next(t)
	news = b.news(c, t, s, done)
	switch {
	case s.state.Over():
		return nil, news
	case s.state == report.StageSearching:
		return b.spread(c, t, s, done), news
	}
	return b.turns(s.ask, t, done), news
}

// turns are the next trials of candidates, by number: what changes on the host while they run changes for all of them. None has more
// than some ahead of another, which may be built yet.
func (b *Bisect) turns(ask []int, t []tally, done campaign.Results) (want []campaign.Want) {
	first := b.Most
	for _, i := range ask {
		first = min(first, t[i].done)
	}
	for n := first + 1; n <= min(b.Most, first+ahead); n++ {
		for _, i := range ask {
			if n <= t[i].done {
				continue
			}
			if w := b.want(i, n); !has(done, w.ID) {
				want = append(want, w)
			}
		}
	}
	return want
}

// spread has the trials of the best candidate, among them the first ones of those that may be best next, so that they are built
// meanwhile; then trials of others that are built. The list is long, for what runs must stay in it until it has become worthless.
func (b *Bisect) spread(c *course, t []tally, s step, done campaign.Results) (want []campaign.Want) {
	root := s.ask[0]
	next := b.firsts(c.following(t, root, s))
	for i, w := range b.turns([]int{root}, t, done) {
		want = append(want, w)
		if i%2 == 1 && len(next) > 0 {
			want, next = append(want, next[0]), next[1:]
		}
	}
	want = append(want, next...)
	for _, i := range c.useful(t, root, s) {
		want = append(want, b.turns([]int{i}, t, done)...)
	}
	return want
}

func (b *Bisect) firsts(of []int) (want []campaign.Want) {
	for _, i := range of {
		want = append(want, b.want(i, 1))
	}
	return want
}

func has(done campaign.Results, id string) bool {
	_, ok := done[id]
	return ok
}
