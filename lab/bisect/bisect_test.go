package bisect

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
)

const overlap = "range-tree-add-overlap@metaslab_free_concrete"

const asked = `name: asked
question: Does it?
claim: "It does."
cause: memory
cost: fast
machine: {cpus: 1, memory: 1GiB, disks: {v0: 512MiB}}
pool: {name: tank, layout: v0}
workload: [arm]
fault:
  blkptr-dva-flip: {at: zio_free_sync, after: 8}
arms:
  - name: flip
  - name: no-flip
    control: true
    withhold: true
trials: 4
limit: 24h
expect:
  verdict: reproduces
  rate: 0.9
  signature: ` + overlap + "\n"

// world says what the trials of a bisection will show.
type world struct {
	rate       func(candidate int) float64
	untestable map[int]string
	other      float64 // share of trials that end in another panic
	invalid    float64
	chance     uint64
}

// changes is a rate before a boundary and one after it.
func changes(after int, before, then float64) func(int) float64 {
	return func(i int) float64 {
		if i <= after {
			return before
		}
		return then
	}
}

// newBisect has n candidates, of one commit each.
func newBisect(t *testing.T, n int, change func(*Bisect)) *Bisect {
	t.Helper()
	b := &Bisect{
		Asked: campaign.Asked{File: "asked.yaml", Text: asked}, Arm: "flip", Driver: "qemu", Accel: "kvm", Seed: 1, Fork: -1, Confidence: 0.99,
		Most: 2000, Cost: Cost{Build: 240, Trial: 5},
	}
	for i := range n {
		b.Candidates = append(b.Candidates, Candidate{
			Image:   trial.Image{ID: fmt.Sprintf("image-%d", i), OpenZFS: fmt.Sprintf("2.3.%d", i)},
			Commits: []report.Commit{{Hash: fmt.Sprintf("%02d", i) + strings.Repeat("f", 38), Subject: fmt.Sprintf("change %d", i)}},
		})
	}
	if change != nil {
		change(b)
	}
	if err := b.Plan(); err != nil {
		t.Fatal(err)
	}
	return b
}

// do is what a trial shows: always the same, whenever it is done.
func (w world) do(b *Bisect, s trial.Spec) trial.Result {
	i := slices.IndexFunc(b.Candidates, func(c Candidate) bool { return c.Image.ID == s.Image })
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(s.ID()))
	rng := rand.New(rand.NewPCG(sum.Sum64(), w.chance))
	r := trial.Result{Arm: s.Arm, Number: s.Number, Outcome: trial.Masked, Started: time.Unix(int64(s.Number), 0)}
	switch p := rng.Float64(); {
	case w.untestable[i] != "":
		r.Outcome, r.Untestable = trial.Invalid, w.untestable[i]
	case p < w.other:
		r.Outcome, r.Signature = trial.Panic, "verify@arc_read"
	case p < w.other+w.invalid:
		r.Outcome = trial.Invalid
	case rng.Float64() < w.rate(i):
		r.Outcome, r.Signature, r.Text = trial.Panic, overlap, "adding existent segment (size=200)"
	}
	return r
}

// play does what is wanted, one trial after the other, until nothing is.
func play(t *testing.T, b *Bisect, w world) campaign.Results {
	t.Helper()
	done := campaign.Results{}
	for range len(b.Candidates)*b.Most + 1 {
		want, _ := b.Next(done)
		if len(want) == 0 {
			return done
		}
		if has(done, want[0].ID) {
			t.Fatalf("%s is done already", want[0].Spec.Title())
		}
		done[want[0].ID] = w.do(b, want[0].Spec)
	}
	t.Fatal("it goes on for ever")
	return nil
}

func TestSearch(t *testing.T) {
	tests := []struct {
		name      string
		n         int
		change    func(*Bisect)
		world     world
		state     report.Stage
		direction report.Direction
		credible  []int // in any order
	}{
		{"certain and introduced", 30, nil, world{rate: changes(17, 0, 1)}, report.StageFound, report.Introduced, []int{18}},
		{"certain and mended", 30, nil, world{rate: changes(3, 1, 0)}, report.StageFound, report.Mended, []int{4}},
		{"the first boundary", 30, nil, world{rate: changes(0, 0, 1)}, report.StageFound, report.Introduced, []int{1}},
		{"the last boundary", 30, nil, world{rate: changes(28, 0, 1)}, report.StageFound, report.Introduced, []int{29}},
		{"two candidates", 2, nil, world{rate: changes(0, 0, 1)}, report.StageFound, report.Introduced, []int{1}},
		{"every second", 30, nil, world{rate: changes(11, 0, 0.5)}, report.StageFound, report.Introduced, []int{12}},
		{"every fifth, with stray hits", 30, nil, world{rate: changes(20, 0.2, 0.005)}, report.StageFound, report.Mended, []int{21}},
		{"one of twenty", 12, nil, world{rate: changes(5, 0, 0.05)}, report.StageFound, report.Introduced, []int{6}},
		{"rarer, but not gone", 12, nil, world{rate: changes(8, 0.9, 0.3)}, report.StageFound, report.Mended, []int{9}},
		{
			"on the way down to the merge base", 20, func(b *Bisect) { b.Fork = 8 },
			world{rate: changes(4, 1, 0)}, report.StageFound, report.Mended, []int{4},
		},
		{
			"on the way up from the merge base", 20, func(b *Bisect) { b.Fork = 8 },
			world{rate: changes(12, 1, 0)}, report.StageFound, report.Mended, []int{13},
		},
		{
			"where history forks, every fifth", 20, func(b *Bisect) { b.Fork = 8 },
			world{rate: changes(7, 0, 0.2)}, report.StageFound, report.Introduced, []int{7},
		},
		{
			"a merge base that cannot be tried", 20, func(b *Bisect) { b.Fork = 8 },
			world{rate: changes(8, 1, 0), untestable: map[int]string{8: "does not build"}}, report.StageFound, report.Mended, []int{7, 9},
		},
		{
			"untestable ones on the way", 30, nil,
			world{rate: changes(20, 0, 1), untestable: map[int]string{14: "no boot", 15: "no boot", 16: "no boot"}}, report.StageFound, report.Introduced, []int{21},
		},
		{
			"untestable ones at the boundary", 30, nil,
			world{rate: changes(15, 0, 0.5), untestable: map[int]string{15: "no boot", 16: "no boot"}}, report.StageFound, report.Introduced, []int{15, 16, 17},
		},
		{
			"all between the ends untestable", 4, nil,
			world{rate: changes(1, 0, 1), untestable: map[int]string{1: "no boot", 2: "no boot"}}, report.StageFound, report.Introduced, []int{1, 2, 3},
		},
		{
			"skipped at the boundary", 30, func(b *Bisect) { b.Skip = []string{"16ffff"} },
			world{rate: changes(15, 0, 1)}, report.StageFound, report.Introduced, []int{16, 17},
		},
		{"other panics", 30, nil, world{rate: changes(15, 0, 0.5), other: 0.4}, report.StageFound, report.Introduced, []int{16}},
		{"some trouble", 30, nil, world{rate: changes(15, 0, 1), invalid: 0.1}, report.StageFound, report.Introduced, []int{16}},
		{"too much trouble", 30, nil, world{rate: changes(15, 0, 1), invalid: 0.7}, report.StageTrouble, "", nil},
		{"an end that cannot be tried", 30, nil, world{rate: changes(15, 0, 1), untestable: map[int]string{29: "no boot"}}, report.StageTrouble, "", nil},
		{"nothing to see", 30, func(b *Bisect) { b.Most = 20 }, world{rate: changes(15, 0, 0)}, report.StageNotVisible, "", nil},
		{
			"the message lacks the text", 30, func(b *Bisect) { b.Most, b.Text = 20, "size=1000" },
			world{rate: changes(15, 0, 1)}, report.StageNotVisible, "", nil,
		},
		{"the message has the text", 30, func(b *Bisect) { b.Text = "size=200" }, world{rate: changes(15, 0, 1)}, report.StageFound, report.Introduced, []int{16}},
		{
			"the priors exclude it", 6, func(b *Bisect) { b.Priors, b.Most = []Prior{{"3", 0}}, 100 },
			world{rate: changes(2, 0, 1)}, report.StageOut, report.Introduced, nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBisect(t, tt.n, tt.change)
			done := play(t, b, tt.world)
			s := b.Summary(done)
			if _, err := json.Marshal(s); err != nil {
				t.Error(err)
			}
			if s.State != tt.state || s.Direction != tt.direction {
				t.Fatalf("%s, %q (%s); want %s, %q", s.State, s.Direction, s.Message, tt.state, tt.direction)
			}
			if got := slices.Sorted(slices.Values(s.Credible)); s.State == report.StageFound && !slices.Equal(got, tt.credible) {
				t.Errorf("credible: %v, want %v", got, tt.credible)
			}
			if s.State != report.StageFound {
				return
			}
			if s.Probability < b.Confidence || s.NeighboursP >= alpha {
				t.Errorf("probability %g, p of the neighbours %g", s.Probability, s.NeighboursP)
			}
			for _, i := range s.Neighbours {
				row := s.Candidates[i]
				if at := min(s.Candidates[0].Scored, s.Candidates[tt.n-1].Scored); row.Scored < 5 || row.Scored+row.Other+row.Invalid < at/2 {
					t.Errorf("neighbour %d has %d trials, the ends %d", i, row.Scored, at)
				}
			}
			for i, why := range tt.world.untestable {
				if row := s.Candidates[i]; row.Scored > 0 || row.Hits > 0 || row.Untestable != why && row.Untestable != "" {
					t.Errorf("untestable candidate: %+v", row)
				}
			}
		})
	}
}

func TestNotVisible(t *testing.T) {
	b := newBisect(t, 5, func(b *Bisect) { b.Most = 20 })
	done := campaign.Results{}
	for n := 1; n <= 20; n++ {
		for i, hits := range map[int]int{0: 3, 4: 2} {
			w := b.want(i, n)
			done[w.ID] = trial.Result{Outcome: trial.Masked}
			if n <= hits {
				done[w.ID] = trial.Result{Outcome: trial.Panic, Signature: overlap}
			}
		}
	}
	want, news := b.Next(done)
	if len(want) != 0 {
		t.Errorf("%d trials are wanted", len(want))
	}
	ended, ok := news[len(news)-1].(Ended)
	const text = "the difference is not visible: 3/20 against 2/20, p = 1.0; "
	if !ok || ended.Summary.State != report.StageNotVisible || !strings.HasPrefix(ended.Summary.Message, text) {
		t.Fatalf("got %+v", news)
	}
	more := 0
	if _, err := fmt.Sscanf(ended.Summary.Message[len(text):], "%d more trials of each would show it", &more); err != nil {
		t.Fatal(err)
	}
	// 3/20 against 2/20 is 0.15 against 0.1.
	enough, few := 20+more, (20+more)/2
	if p := fisher(stats.Counts{Hits: enough * 15 / 100, Scored: enough}, stats.Counts{Hits: enough / 10, Scored: enough}); p > 0.01 {
		t.Errorf("with %d more trials p is %g", more, p)
	}
	if p := fisher(stats.Counts{Hits: few * 15 / 100, Scored: few}, stats.Counts{Hits: few / 10, Scored: few}); p < 0.01 {
		t.Errorf("half of %d trials would do: p is %g", enough, p)
	}
}

// TestResume breaks a search off after each trial, and goes on with what JSON has kept.
func TestResume(t *testing.T) {
	w := world{rate: changes(6, 0, 0.5), other: 0.1, untestable: map[int]string{8: "no boot"}}
	b := newBisect(t, 16, func(b *Bisect) { b.Fork, b.Skip, b.Priors = 3, []string{"11"}, []Prior{{"5", 3}} })
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	done, told := campaign.Results{}, []campaign.Event{}
	for {
		want, news := b.Next(done)
		again := &Bisect{}
		if err := json.Unmarshal(text, again); err != nil {
			t.Fatal(err)
		}
		if err := again.Plan(); err != nil {
			t.Fatal(err)
		}
		wantAgain, newsAgain := again.Next(done)
		if !reflect.DeepEqual(want, wantAgain) || !reflect.DeepEqual(news, newsAgain) {
			t.Fatalf("after %d trials it goes on elsewhere", len(done))
		}
		alike := func(a, b campaign.Event) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }
		if len(news) < len(told) || !slices.EqualFunc(told, news[:len(told)], alike) {
			t.Fatalf("after %d trials what was said is taken back: %T then %T", len(done), told, news)
		}
		if told = news; len(want) == 0 {
			break
		}
		done[want[0].ID] = w.do(b, want[0].Spec)
	}
	tried := 0
	for _, c := range told[0].(Begun).Tried {
		tried += c.Trials
	}
	if s := b.Summary(done); tried != s.Trials || tried == 0 {
		t.Errorf("who comes late is told of %d trials, there were %d", tried, s.Trials)
	}
	if s := b.Summary(done); s.State != report.StageFound || !slices.Equal(s.Credible, []int{7}) {
		t.Errorf("%s: %v", s.State, s.Credible)
	}
}

// TestOrder has trials end before earlier ones: what ends soonest, by a panic, must not be seen first.
func TestOrder(t *testing.T) {
	b := newBisect(t, 5, nil)
	hit := trial.Result{Outcome: trial.Panic, Signature: overlap}
	done := campaign.Results{b.want(4, 2).ID: hit, b.want(4, 3).ID: hit}
	if row := b.Summary(done).Candidates[4]; row.Trials != 0 || row.Seconds != b.Cost.Trial {
		t.Errorf("the first trial is missing: %+v", row)
	}
	want, _ := b.Next(done)
	if want[0].ID != b.want(0, 1).ID || want[1].ID != b.want(4, 1).ID || want[3].ID != b.want(0, 3).ID {
		t.Errorf("wanted: %s, %s, .., %s", want[0].Spec.Title(), want[1].Spec.Title(), want[3].Spec.Title())
	}
	done[b.want(4, 1).ID] = trial.Result{Outcome: trial.Masked}
	if row := b.Summary(done).Candidates[4]; row.Hits != 2 || row.Scored != 3 {
		t.Errorf("all three are done: %+v", row)
	}
}

// TestUntestable has a version that boots at first.
func TestUntestable(t *testing.T) {
	b := newBisect(t, 5, nil)
	done := campaign.Results{}
	for n := 1; n <= 5; n++ {
		done[b.want(0, n).ID] = trial.Result{Outcome: trial.Masked}
		done[b.want(4, n).ID] = trial.Result{Outcome: trial.Panic, Signature: overlap}
	}
	done[b.want(2, 1).ID] = trial.Result{Outcome: trial.Panic, Signature: overlap}
	done[b.want(2, 2).ID] = trial.Result{Outcome: trial.Invalid, Untestable: "no boot"}
	s := b.Summary(done)
	if row := s.Candidates[2]; row.Scored != 0 || row.Untestable != "no boot" || row.Posterior != 0.25 {
		t.Errorf("%+v", row)
	}
	want, news := b.Next(done)
	if slices.ContainsFunc(want, func(w campaign.Want) bool { return w.Spec.Image == "image-2" }) {
		t.Error("it is asked again")
	}
	if told, ok := news[len(news)-1].(Untestable); !ok || told.Candidate.Index != 2 {
		t.Errorf("it is not told: %+v", news)
	}
}

func TestPlan(t *testing.T) {
	for name, change := range map[string]func(*Bisect){
		"two are needed":                     func(b *Bisect) { b.Candidates = b.Candidates[:1] },
		"has no arm":                         func(b *Bisect) { b.Arm = "flap" },
		"the merge base":                     func(b *Bisect) { b.Fork = 5 },
		"confidence":                         func(b *Bisect) { b.Confidence = 1 },
		"at least one":                       func(b *Bisect) { b.Most = 0 },
		"takes some time":                    func(b *Bisect) { b.Cost.Trial = 0 },
		"none of the candidates":             func(b *Bisect) { b.Skip = []string{"abc"} },
		"give more of the hash":              func(b *Bisect) { b.Skip = []string{"0"} },
		"it is the old end":                  func(b *Bisect) { b.Skip = []string{"00"} },
		"the priors, or the paths, leave no": func(b *Bisect) { b.Priors = []Prior{{"change", 0}} },
		"the weight must be":                 func(b *Bisect) { b.Priors = []Prior{{"change", -1}} },
		"missing closing ): `(?i)^":          func(b *Bisect) { b.Priors = []Prior{{"(change", 1}} },
	} {
		b := newBisect(t, 5, nil)
		change(b)
		if err := b.Plan(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}

func TestNames(t *testing.T) {
	b := newBisect(t, 3, func(b *Bisect) { b.Candidates[0].Commits, b.Flags = nil, " --accel kvm" })
	want, _ := b.Next(campaign.Results{})
	if got := want[0].Bundle; got != "2.3.0/flip-001" {
		t.Errorf("bundle %q", got)
	}
	if got := want[1].Bundle; got != "2.3.2-02ffffffff/flip-001" {
		t.Errorf("bundle %q", got)
	}
	if got := want[1].Repeat; got != "vdevil run asked --zfs "+b.Candidates[2].Commits[0].Hash+" --seed 1 --only flip/1 --accel kvm" {
		t.Errorf("repeat %q", got)
	}
	q := &campaign.Questions{
		Asked: []campaign.Asked{b.Asked}, Images: []trial.Image{b.Candidates[2].Image}, Driver: b.Driver, Accel: b.Accel, Seed: b.Seed,
	}
	if err := q.Plan(); err != nil {
		t.Fatal(err)
	}
	if run, _ := q.Next(campaign.Results{}); run[0].ID != want[1].ID {
		t.Error("a run asks for another trial")
	}
}
