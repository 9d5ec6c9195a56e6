package bisect

import (
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
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
	s := simulatedCourse(10, &stats.Rates{}).next(state)
	if s.state != report.StageConfirming || s.gap != [2]int{3, 4} || !slices.Equal(s.ask, []int{3, 4}) {
		t.Fatalf("%+v", s)
	}
	state[3], state[4] = tallyOf(12, 28), tallyOf(14, 28)
	if s = simulatedCourse(10, &stats.Rates{}).next(state); s.state != report.StageSearching || s.gap == [2]int{3, 4} || s.ask[0] > 2 {
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
	c := simulatedCourse(41, &stats.Rates{})
	if s := c.next(state); s.state != report.StageSearching || s.ask[0] != 0 && s.ask[0] != 40 {
		t.Errorf("%+v", s)
	}
	state[0] = tallyOf(0, 20)
	if s := c.next(state); s.gap != [2]int{0, 1} {
		t.Errorf("%+v", s)
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

// TestThere expects what has an image already to cost no build, and what trials took to be what the next is said to take.
func TestThere(t *testing.T) {
	b := newBisect(t, 9, nil)
	b.There = make([]bool, 9)
	b.There[3] = true
	w := b.want(0, 1)
	done := campaign.Results{w.ID: {Outcome: trial.Masked, Seconds: 30}}
	c, tallies := b.course(done), b.tallies(done)
	for i, want := range map[int]float64{0: 30, 3: 30, 4: 30 + b.Cost.Build} {
		if got := c.seconds(&tallies[i]); got != want {
			t.Errorf("a trial of candidate %d costs %g s, not %g", i, got, want)
		}
	}
	if s := b.Summary(done); s.Built != 1 {
		t.Errorf("%d candidates were tried", s.Built)
	}
}

// TestAhead expects an end that is there not to have trial after trial while the other one is being built.
func TestAhead(t *testing.T) {
	b := newBisect(t, 9, nil)
	done := campaign.Results{}
	for n := range ahead {
		done[b.want(8, n+1).ID] = trial.Result{Outcome: trial.Masked, Seconds: 5}
	}
	want, _ := b.Next(done)
	if len(want) != ahead {
		t.Errorf("%d trials are wanted, not %d", len(want), ahead)
	}
	for _, w := range want {
		if w.Spec.Image != b.Candidates[0].Image.ID {
			t.Errorf("a trial of %s is wanted, number %d", w.Spec.OpenZFS, w.Spec.Number)
		}
	}
}
