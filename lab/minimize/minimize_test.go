package minimize

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

const file = `name: storm
question: Does it panic?
cause: software
cost: nightly
machine: {cpus: 1, memory: 1GiB, disks: {v0: 512MiB, v1: 512MiB}}
vars: {fast: enabled}
pool:
  name: tank
  layout: mirror v0 v1
  options: {ashift: 12, "feature@fast_dedup": "${fast}"}
  properties: {atime: off, dedup: on}
workload:
  - generate: {count: 40, features: [clone, send]}
  - sync
arms:
  - name: random
  - name: legacy
    vars: {fast: disabled}
no_control: the operations are the condition
trials: 1
limit: 60s
expect: {verdict: does not reproduce, rate: 0.5}
`

func search(t *testing.T, program string, rate float64) *Search {
	t.Helper()
	s := &Search{
		Asked: campaign.Asked{File: "storm.yaml", Text: file}, Arm: "legacy", Program: program, Signature: "a@b", Rate: rate, Confirm: 10,
		Image: trial.Image{ID: "i", OpenZFS: "2.3.2"}, Driver: "qemu", Accel: "tcg", Seed: 1,
	}
	if err := s.Plan(); err != nil {
		t.Fatal(err)
	}
	return s
}

// storm is a program of 60 operations. Those that matter are a few: the rest fills or depends on them.
func storm(t *testing.T) string {
	t.Helper()
	p := ops.Generate(5, []ops.Feature{"clone", "hole", "names", "scrub"}, 55, ops.Place{Pool: "tank"}, nil, nil)
	return p.String() + "create tank/x\nwrite /tank/x/f1 0 128K 1\nsnapshot tank/x@s1\nclone tank/y tank/x@s1\nsync\n"
}

// world ends trials: with a panic, at a rate, when a scenario has what it takes.
type world struct {
	r      *rand.Rand
	rate   float64
	takes  []string
	trials int
	most   int             // at once
	has    map[string]bool // by scenario
}

func (w *world) run(t *testing.T, s *Search, done campaign.Results) []campaign.Event {
	t.Helper()
	for {
		want, news := s.Next(done)
		if len(want) == 0 {
			return news
		}
		w.most = max(w.most, len(want))
		// A bench does two at a time.
		for _, one := range want[:min(2, len(want))] {
			w.trials++
			out := trial.Result{Arm: one.Spec.Arm, Number: one.Spec.Number, Outcome: trial.Masked}
			if w.does(t, one.Spec) && w.r.Float64() < w.rate {
				out.Outcome, out.Signature = trial.Panic, "a@b"
			}
			done[one.ID] = out
		}
		if w.trials > 20_000 {
			t.Fatal("no end")
		}
	}
}

// does says whether a scenario has what it takes.
func (w *world) does(t *testing.T, spec trial.Spec) bool {
	t.Helper()
	if known, ok := w.has[spec.Scenario]; ok {
		return known
	}
	_, r, err := spec.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	has := r.Workload[0].Operations + "\n"
	for name, v := range r.Pool.Options {
		has += name + "=" + v + "\n"
	}
	if w.has == nil {
		w.has = map[string]bool{}
	}
	w.has[spec.Scenario] = !slices.ContainsFunc(w.takes, func(line string) bool { return !strings.Contains(has, line) })
	return w.has[spec.Scenario]
}

// TestMinimum expects the operations that it takes, with those that they stand on, and no others; also of a panic that comes in some
// trials only.
func TestMinimum(t *testing.T) {
	for _, rate := range []float64{1, 0.6} {
		w := &world{r: rand.New(rand.NewPCG(1, 2)), rate: rate, takes: []string{"snapshot tank/x@s1\n", "clone tank/y tank/x@s1\n", "feature@fast_dedup=disabled\n"}}
		s := search(t, storm(t), rate)
		news := w.run(t, s, campaign.Results{})
		found, ok := news[len(news)-1].(Found)
		if !ok {
			t.Fatalf("rate %g: %#v", rate, news)
		}
		a := found.Answer
		want := "create tank/x\nsnapshot tank/x@s1\nclone tank/y tank/x@s1\n"
		if rate == 1 && a.Program != want {
			t.Errorf("the minimum is\n%s", a.Program)
		}
		// A candidate may be given up by chance.
		if n := strings.Count(a.Program, "\n"); n > 6 || !strings.Contains(a.Program, "clone tank/y tank/x@s1\n") {
			t.Errorf("rate %g: the minimum is\n%s", rate, a.Program)
		}
		if rate == 1 && !slices.Equal(a.Without, []string{"layout mirror v0 v1", "ashift=12", "atime=off", "dedup=on"}) {
			t.Errorf("of the pool it does without %q", a.Without)
		}
		if a.Valid < 10 || a.CI95[0] > rate || a.CI95[1] < rate {
			t.Errorf("rate %g: %+v", rate, a)
		}
		t.Logf("rate %g: %d trials, at most %d wanted at once, %d steps", rate, w.trials, w.most, len(news))
		checkAnswer(t, s, a)
	}
}

func checkAnswer(t *testing.T, s *Search, a Answer) {
	t.Helper()
	text, err := s.Scenario(a, "small")
	if err != nil {
		t.Fatal(err)
	}
	read, err := scenarios.Parse("small.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if n := strings.Count(a.Program, "\n"); len(read.Arms) != n+1 || read.Arms[0].Control || !read.Arms[n].Control {
		t.Errorf("%d arms for %d operations:\n%s", len(read.Arms), n, text)
	}
	script, err := s.Script(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"zpool create -f -o ", "-o feature@fast_dedup=disabled", "\nzfs clone tank/x@s1 tank/y\n", "# OpenZFS 2.3.2; a@b\n"} {
		if !strings.Contains(script, line) {
			t.Errorf("no %q in\n%s", line, script)
		}
	}
	if strings.Contains(script, "ashift=12") == slices.Contains(a.Without, "ashift=12") {
		t.Errorf("the pool is to do without %q:\n%s", a.Without, script)
	}
}

// TestNothing expects a program that does not do it to be told from one that does, soon.
func TestNothing(t *testing.T) {
	w := &world{r: rand.New(rand.NewPCG(1, 2)), takes: []string{"what nobody does"}}
	news := w.run(t, search(t, storm(t), 0.9), campaign.Results{})
	if _, ok := news[len(news)-1].(Failed); !ok || w.trials > 4 {
		t.Errorf("%d trials, %#v", w.trials, news)
	}
}

// TestResumed expects a search that was broken off to go on with what is known, and its request to be all that it takes.
func TestResumed(t *testing.T) {
	first := &world{r: rand.New(rand.NewPCG(1, 2)), rate: 1, takes: []string{"snapshot tank/x@s1\n", "clone tank/y tank/x@s1\n"}}
	s := search(t, storm(t), 1)
	done := campaign.Results{}
	news := first.run(t, s, done)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Search
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if err := again.Plan(); err != nil {
		t.Fatal(err)
	}
	second := &world{r: rand.New(rand.NewPCG(1, 2)), rate: 1, takes: first.takes}
	want, _ := s.Next(done)
	if len(want) > 0 {
		t.Errorf("%d trials are wanted after the end", len(want))
	}
	if same := second.run(t, &again, done); second.trials != 0 || len(same) != len(news) {
		t.Errorf("%d trials again, %d of %d steps", second.trials, len(same), len(news))
	}
}
