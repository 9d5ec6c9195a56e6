package bisect

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
)

// tallyOf has so many trials, the hits spread evenly.
func tallyOf(hits, n int) tally {
	t := tally{done: n, built: n > 0}
	for i := range n {
		hit := (i+1)*hits/n > i*hits/n
		t.hits = append(t.hits, hit)
		if hit {
			t.sum++
		}
	}
	return t
}

// TestContradiction has a neighbour of the boundary turn out otherwise when it is tried again.
func TestContradiction(t *testing.T) {
	state := make([]tally, 10)
	state[0], state[9] = tallyOf(0, 40), tallyOf(20, 40)
	state[3], state[4] = tallyOf(0, 12), tallyOf(5, 8)
	s := simulatedCourse(10, &rates{}).next(state)
	if s.state != report.StageConfirming || s.gap != [2]int{3, 4} || !slices.Equal(s.ask, []int{3, 4}) {
		t.Fatalf("%+v", s)
	}
	state[3], state[4] = tallyOf(12, 28), tallyOf(14, 28)
	if s = simulatedCourse(10, &rates{}).next(state); s.state != report.StageSearching || s.gap == [2]int{3, 4} || s.ask[0] > 2 {
		t.Errorf("%+v", s)
	}
}

// TestLuckyEnds has ends that hit always, and never, at a rate of a half by chance: only more trials of them can tell which of the
// two is unlike all that is between them.
func TestLuckyEnds(t *testing.T) {
	state := make([]tally, 41)
	state[0], state[40] = tallyOf(0, 5), tallyOf(5, 5)
	for _, i := range []int{1, 4, 16, 36, 39} {
		state[i] = tallyOf(30, 60)
	}
	c := simulatedCourse(41, &rates{})
	if s := c.next(state); s.state != report.StageSearching || s.ask[0] != 0 && s.ask[0] != 40 {
		t.Errorf("%+v", s)
	}
	state[0] = tallyOf(0, 20)
	if s := c.next(state); s.gap != [2]int{0, 1} {
		t.Errorf("%+v", s)
	}
}

func TestPosterior(t *testing.T) {
	m := newModel([]float64{1, 1, 2, 0}, &rates{})
	m.update(0, 4, func(int) counts { return counts{} })
	if want := []float64{0.25, 0.25, 0.5, 0}; !slices.Equal(m.post, want) {
		t.Errorf("nothing was tried: %v, want the prior, %v", m.post, want)
	}
	if got := m.information(1, 0, 4); got != 0 {
		t.Errorf("a trial tells %g bits while nothing is known of the rates", got)
	}
	// By the sum over all boundaries of the likelihoods, one at a time.
	seen := []counts{{1, 30}, {0, 4}, {3, 7}, {0, 0}, {9, 12}}
	m = newModel([]float64{1, 3, 1, 1}, &rates{})
	m.update(0, 4, func(i int) counts { return seen[i] })
	total, each := 0.0, make([]float64, 4)
	for b := range each {
		var sides [2]counts
		for i, c := range seen {
			side := 0
			if i > b {
				side = 1
			}
			sides[side].hits, sides[side].scored = sides[side].hits+c.hits, sides[side].scored+c.scored
		}
		each[b] = m.prior[b] * math.Exp(m.rates.of(sides[0]).log+m.rates.of(sides[1]).log)
		total += each[b]
	}
	for b := range each {
		if got := m.post[b]; math.Abs(got-each[b]/total) > 1e-9 {
			t.Errorf("boundary %d has %g, want %g", b, got, each[b]/total)
		}
	}
}

// TestInformation compares what a trial tells with the entropies of the posteriors after it.
func TestInformation(t *testing.T) {
	seen := []counts{{0, 20}, {0, 0}, {1, 3}, {0, 0}, {0, 2}, {8, 20}}
	m := newModel([]float64{1, 2, 1, 1, 1}, &rates{})
	of := func(i int) counts { return seen[i] }
	bits := func() (h float64) {
		m.update(0, 5, of)
		for _, p := range m.post {
			h -= p * math.Log2(p)
		}
		return h
	}
	for c := range seen {
		before := bits()
		told := m.information(c, 0, 5)
		chance := expected(m, c)
		was := seen[c]
		seen[c] = counts{was.hits + 1, was.scored + 1}
		after := chance * bits()
		seen[c] = counts{was.hits, was.scored + 1}
		after += (1 - chance) * bits()
		seen[c] = was
		if math.Abs(before-after-told) > 1e-9 {
			t.Errorf("candidate %d: %g bits, want %g", c, told, before-after)
		}
	}
}

// expected is the probability that the next trial of a candidate hits.
func expected(m *model, c int) (p float64) {
	for b, post := range m.post {
		if b < c {
			p += post * m.upper[b].rate
		} else {
			p += post * m.lower[b].rate
		}
	}
	return p
}

// TestRates has the probabilities of all numbers of hits add up, and a stray hit cost little.
func TestRates(t *testing.T) {
	r, sum := &rates{}, 0.0
	for k := range 13 {
		choose, _ := math.Lgamma(13)
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(13 - k))
		sum += math.Exp(choose - a - b + r.of(counts{k, 12}).log)
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("the probabilities of 0 to 12 hits are %g together", sum)
	}
	for _, tt := range []struct {
		seen   counts
		lo, hi float64
	}{
		{counts{0, 0}, 0.5, 0.5},
		{counts{0, 300}, 5e-5, 1e-3},
		{counts{1, 300}, 2e-3, 8e-3},
		{counts{5, 5}, 0.95, 1},
		{counts{10, 20}, 0.45, 0.55},
	} {
		if got := r.of(tt.seen).next.rate; got < tt.lo-1e-9 || got > tt.hi+1e-9 {
			t.Errorf("after %+v the rate is %g, want %g to %g", tt.seen, got, tt.lo, tt.hi)
		}
	}
}

func TestPriors(t *testing.T) {
	c := Candidate{Commits: []report.Commit{
		{Hash: "a", Subject: "Fix a typo", Paths: []string{"man/man8/zpool.8"}},
		{Hash: "b", Subject: "ddt: lock the (gang) header.", Paths: []string{"module/zfs/ddt.c", "include/sys/ddt.h"}},
	}}
	for text, want := range map[string]float64{
		"module/zfs/ddt*=5": 5, "module/*=5": 5, "ddt.?=5": 5, "module/zfs/(brt|ddt)*=5": 5, "GANG=5": 5, "header=5": 5, "head=5": 1,
		"zfs/ddt.c=5": 1, "man/*=0.5": 1, "*=0.5": 0.5, "*=0": 0, "typo=3": 3,
	} {
		p, err := ParsePrior(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := weigh([]Prior{p}, nil, c); got != want {
			t.Errorf("%s: %g, want %g", text, got, want)
		}
		if p.String() != text {
			t.Errorf("%s is written %s", text, p)
		}
	}
	if got := weigh([]Prior{{"ddt*", 5}, {"gang", 2}, {"typo", 7}}, nil, c); got != 10 {
		t.Errorf("the better commit has 5 times 2: %g", got)
	}
	for _, text := range []string{"", "=5", "ddt", "ddt=", "ddt=x", "ddt=-1", "ddt=NaN", "ddt=+Inf", "(ddt=5"} {
		if p, err := ParsePrior(text); err == nil {
			t.Errorf("%q was read as %+v", text, p)
		}
	}
}

// TestPriorsLead has a search begin where the priors say, and need fewer builds when they are right.
func TestPriorsLead(t *testing.T) {
	w := world{rate: changes(44, 0, 1)}
	without := newBisect(t, 64, nil)
	with := newBisect(t, 64, func(b *Bisect) {
		b.Candidates[45].Commits[0].Paths = []string{"module/zfs/ddt.c"}
		b.Priors = []Prior{{"ddt.c", 100}}
	})
	a := play(t, without, w)
	b := play(t, with, w)
	x, y := without.Summary(a), with.Summary(b)
	if !slices.Equal(y.Credible, []int{45}) || y.Built >= x.Built {
		t.Errorf("%v with %d builds; without priors %d", y.Credible, y.Built, x.Built)
	}
	if y.Candidates[45].Prior != 100 {
		t.Errorf("the prior is %g", y.Candidates[45].Prior)
	}
}

func TestWhy(t *testing.T) {
	w := world{rate: changes(9, 0, 0.5), untestable: map[int]string{8: "no boot"}, other: 0.1}
	b := newBisect(t, 16, func(b *Bisect) { b.Skip = []string{"03"} })
	done := campaign.Results{}
	why := func(word, want string) {
		t.Helper()
		got, err := Why(b.Summary(done), word)
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %q, %v; want %q", word, got, err, want)
		}
	}
	why("00", "it is tried next: whether the ends differ is not known yet")
	why("05", "others are tried next: whether the ends differ")
	var s report.Bisection
	for s.Candidates == nil || s.State == report.StageEnds || s.Candidates[8].Untestable == "" {
		want, _ := b.Next(done)
		done[want[0].ID] = w.do(b, want[0].Spec)
		s = b.Summary(done)
	}
	why("08fff", "it cannot be tried: no boot")
	why("03", "it is skipped")
	why("00", "a trial of it would tell ")
	next := s.Candidates[s.Next.Candidates[0]]
	if s.State != report.StageSearching || next.Information <= 0 || next.Seconds != 245 {
		t.Errorf("%s, next %+v", s.State, next)
	}
	why(next.Name, "a trial of it tells most for its time: ")
	why("14", "a trial of it would tell ")
	if _, err := Why(s, "abc"); err == nil {
		t.Error("a commit that is none was found")
	}
	done = play(t, b, w)
	why("10", "the bisection is over: found")
}
