package verdict

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// arms is a scenario of so many fault arms, with one control arm or none.
func arms(faults int, control bool, rate float64) *scenarios.Scenario {
	s := &scenarios.Scenario{Name: "q", Expect: scenarios.Expect{Verdict: scenarios.Reproduces, Rate: rate}}
	for i := range faults {
		s.Arms = append(s.Arms, scenarios.Arm{Name: fmt.Sprintf("fault%d", i)})
	}
	if control {
		s.Arms = append(s.Arms, scenarios.Arm{Name: "control", Control: true})
	}
	return s
}

func planOf(s *scenarios.Scenario, n int, fixed bool) Plan {
	p := Plan{Trials: map[string]int{}, Fixed: fixed}
	for _, a := range s.Arms {
		p.Trials[a.Name] = n
	}
	return p
}

// campaign asks for trials, the arms taking turns, until none is wanted. hits says what a trial shows.
func campaign(s *scenarios.Scenario, p Plan, hits func(arm, number int) trial.Outcome) (Summary, int) {
	var results []trial.Result
	for {
		r := Conclude(s, results, p)
		if r.Missing == 0 {
			return r, len(results)
		}
		for i, a := range r.Arms {
			if a.Wanted > 0 {
				results = append(results, trial.Result{Arm: a.Name, Control: a.Control, Number: a.Trials + 1, Outcome: hits(i, a.Trials+1)})
			}
		}
	}
}

// TestStops expects arms to have no more trials than it takes.
func TestStops(t *testing.T) {
	always := func(arms ...int) func(arm, _ int) trial.Outcome {
		return func(arm, _ int) trial.Outcome {
			if slices.Contains(arms, arm) {
				return trial.Panic
			}
			return trial.Masked
		}
	}
	for name, c := range map[string]struct {
		scenario *scenarios.Scenario
		planned  int
		hits     func(arm, number int) trial.Outcome
		verdict  scenarios.Verdict
		trials   int
		stopped  string // the first arm's
	}{
		"always against never":   {arms(1, true, 0.9), 10, always(0), scenarios.Reproduces, 8, "separated from every control arm after 4 trials"},
		"of six arms":            {arms(6, true, 0.9), 10, always(0, 1, 2, 3, 4, 5), scenarios.Reproduces, 42, "after 6 trials"},
		"never":                  {arms(1, true, 0.9), 10, always(), scenarios.DoesNotReproduce, 4, "the rate is below 0.9 after 2 trials"},
		"never, and no control":  {arms(1, false, 0.3), 20, always(), scenarios.DoesNotReproduce, 11, "the rate is below 0.3 after 11 trials"},
		"always, and no control": {arms(1, false, 0.5), 20, always(0), scenarios.Reproduces, 6, "the rate is above 0.5 after 6 trials"},
		"always, in both":        {arms(1, true, 0.9), 10, always(0, 1), Inconclusive, 20, "all planned trials are done"},
		"one of two":             {arms(2, true, 0.9), 10, always(1), scenarios.Reproduces, 12, "the rate is below 0.9 after 2 trials"},
		"seven of ten":           {arms(1, true, 0.9), 10, func(arm, n int) trial.Outcome { return always(0)(arm+n%3/2, n) }, scenarios.Reproduces, 20, "after 10 trials"},
		"invalid":                {arms(1, true, 0.9), 10, func(arm, _ int) trial.Outcome { return []trial.Outcome{trial.Invalid, trial.Masked}[arm] }, Inconclusive, 20, "all planned trials are done"},
		"invalid control": {arms(1, true, 0.9), 10, func(arm, n int) trial.Outcome {
			return []trial.Outcome{trial.Panic, []trial.Outcome{trial.Masked, trial.Invalid, trial.Invalid}[n%3]}[arm]
		}, Inconclusive, 20, ""},
		"never, and an invalid control": {arms(1, true, 0.9), 10, func(arm, _ int) trial.Outcome { return []trial.Outcome{trial.Masked, trial.Invalid}[arm] }, scenarios.DoesNotReproduce, 4, "after 2 trials"},
	} {
		t.Run(name, func(t *testing.T) {
			r, n := campaign(c.scenario, planOf(c.scenario, c.planned, false), c.hits)
			if r.Verdict != c.verdict || n != c.trials || !strings.HasSuffix(r.Arms[0].Stopped, c.stopped) {
				t.Errorf("%s after %d trials: %q", r.Verdict, n, r.Arms[0].Stopped)
			}
		})
	}
}

// TestOrder expects what ended later, and out of turn, not to change what was decided.
func TestOrder(t *testing.T) {
	s := arms(1, true, 0.9)
	results := make([]trial.Result, 0, 20)
	for n := range 10 {
		results = append(results, trial.Result{Arm: "fault0", Number: n + 1, Outcome: trial.Panic}, trial.Result{Arm: "control", Control: true, Number: n + 1, Outcome: trial.Masked})
	}
	p := planOf(s, 10, false)
	// Of the fault arm the first trial is under way: it is as if nothing of that arm were known.
	if r := Conclude(s, results[2:], p); r.Verdict != Inconclusive || r.Missing != 2 {
		t.Errorf("without the first trial: %s, %d wanted", r.Verdict, r.Missing)
	}
	want := Conclude(s, results, p)
	for range 20 {
		rand.Shuffle(len(results), func(i, j int) { results[i], results[j] = results[j], results[i] })
		if r := Conclude(s, results, p); r.Arms[0].Stopped != want.Arms[0].Stopped || *r.Arms[0].P != *want.Arms[0].P {
			t.Errorf("in another order: %q, p %g", r.Arms[0].Stopped, *r.Arms[0].P)
		}
	}
}

// BenchmarkRule simulates campaigns and counts false verdicts and trials, for scenarios of 1 and 25 fault arms. What a false
// verdict is: "reproduces" where all arms, the control arm too, have one rate; "does not reproduce" where a fault arm's rate is
// at least the stated one.
//
//	go test ./lab/verdict -run '^$' -bench Rule -benchtime 10000x
func BenchmarkRule(b *testing.B) {
	for _, faults := range []int{1, 25} {
		for _, rate := range []float64{0, 0.01, 0.05, 0.3, 0.5, 0.95, 1} {
			for _, against := range []string{"same", "never"} {
				if rate == 0 && against == "never" {
					continue
				}
				b.Run(fmt.Sprintf("arms=%d/rate=%g/control=%s", faults, rate, against), func(b *testing.B) {
					r := rand.New(rand.NewPCG(17313, uint64(faults)))
					s := arms(faults, true, 0.9)
					const planned = 10
					var reproduces, not, trials int
					for b.Loop() {
						sum, n := campaign(s, planOf(s, planned, false), func(arm, _ int) trial.Outcome {
							if (arm < faults || against == "same") && r.Float64() < rate {
								return trial.Panic
							}
							return trial.Masked
						})
						trials += n
						switch sum.Verdict {
						case scenarios.Reproduces:
							reproduces++
						case scenarios.DoesNotReproduce:
							not++
						}
					}
					b.ReportMetric(100*float64(reproduces)/float64(b.N), "%reproduces")
					b.ReportMetric(100*float64(not)/float64(b.N), "%not")
					b.ReportMetric(100*float64(trials)/float64(b.N)/float64(planned*(faults+1)), "%trials")
				})
			}
		}
	}
}
