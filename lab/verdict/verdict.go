// Package verdict says what trials mean together. It is pure: counts go in, verdicts come out.
package verdict

import (
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

const (
	// confidence is that of every interval, alpha the level of Fisher's test.
	confidence = 0.95
	alpha      = 0.01
)

// Inconclusive is the verdict when there are too few trials for another one.
const Inconclusive scenarios.Verdict = "inconclusive"

// Summary is what all trials of a scenario on one version say together.
type Summary struct {
	Scenario string            `json:"scenario"`
	OpenZFS  string            `json:"openzfs"`
	Arms     []Arm             `json:"arms"`
	Verdict  scenarios.Verdict `json:"verdict"`
	Expected scenarios.Verdict `json:"expected"`
	// Held says whether everything that the scenario expects came true; Against lists what did not.
	Held    bool     `json:"held"`
	Against []string `json:"against,omitempty"`
	// Needed is how many more trials of each arm an inconclusive verdict needs, should rates stay as they are; 0 when
	// no number of them would do.
	Needed int `json:"needed,omitempty"`
	// Missing is how many trials were not done, as the run ended early. The verdict is inconclusive then, whatever the others
	// were.
	Missing int     `json:"missing,omitempty"`
	Seconds float64 `json:"seconds"`
	Seed    uint64  `json:"seed"`
}

// Arm sums up the trials of an arm. Rates are of valid trials.
type Arm struct {
	Name       string                `json:"name"`
	Control    bool                  `json:"control"`
	Trials     int                   `json:"trials"`
	Valid      int                   `json:"valid"`
	Hits       int                   `json:"hits"`
	Outcomes   map[trial.Outcome]int `json:"outcomes"`
	Signatures map[string]int        `json:"signatures"`
	// Rate is Hits of Valid, CI95 its Clopper-Pearson interval.
	Rate float64    `json:"rate"`
	CI95 [2]float64 `json:"ci95"`
	// P is Fisher's exact test of a fault arm against the control arm that separates from it worst.
	P *float64 `json:"p,omitempty"`

	// Results are the trials themselves, in order.
	Results []trial.Result `json:"-"`
}

// Conclude sums up. When only one trial was picked, no verdict was asked for and so none is against the expectation; when some
// are missing there is none.
func Conclude(s *scenarios.Scenario, results []trial.Result, missing int, whole bool) Summary {
	r := Summary{Scenario: s.Name, Expected: s.Expect.Verdict, Missing: missing}
	for _, a := range s.Arms {
		r.Arms = append(r.Arms, sum(s, a, results))
	}
	r.Verdict, r.Needed = verdict(s.Expect.Rate, r.Arms)
	if missing > 0 {
		r.Verdict, r.Needed = Inconclusive, 0
	}
	r.Against = against(s, r, whole && missing == 0)
	r.Held = len(r.Against) == 0 && missing == 0
	return r
}

func sum(s *scenarios.Scenario, a scenarios.Arm, results []trial.Result) Arm {
	arm := Arm{Name: a.Name, Control: a.Control, Outcomes: map[trial.Outcome]int{}, Signatures: map[string]int{}}
	for _, r := range results {
		if r.Arm != a.Name {
			continue
		}
		arm.Results = append(arm.Results, r)
		arm.Trials++
		arm.Outcomes[r.Outcome]++
		if r.Outcome == trial.Invalid {
			continue
		}
		arm.Valid++
		if r.Signature != "" {
			arm.Signatures[r.Signature]++
		}
		if hit(s, r) {
			arm.Hits++
		}
	}
	if arm.Valid > 0 {
		arm.Rate = float64(arm.Hits) / float64(arm.Valid)
	}
	arm.CI95[0], arm.CI95[1] = stats.ClopperPearson(arm.Hits, arm.Valid, confidence)
	return arm
}

// hit says whether a trial shows what the scenario asks about.
func hit(s *scenarios.Scenario, r trial.Result) bool {
	switch {
	case s.Expect.Signature != "":
		return r.Signature == s.Expect.Signature
	case s.Expect.Outcome != "":
		return string(r.Outcome) == s.Expect.Outcome
	}
	return r.Outcome.Crash()
}

// verdict compares each fault arm with every control arm. One arm that reproduces is enough; none does only when every
// one is shown not to.
func verdict(rate float64, arms []Arm) (scenarios.Verdict, int) {
	all, needed := scenarios.DoesNotReproduce, 0
	for i := range arms {
		if arms[i].Control {
			continue
		}
		v, n := armVerdict(rate, &arms[i], arms)
		switch v {
		case scenarios.Reproduces:
			return v, 0
		case Inconclusive:
			all, needed = Inconclusive, max(needed, n)
		}
	}
	return all, needed
}

func armVerdict(rate float64, a *Arm, arms []Arm) (scenarios.Verdict, int) {
	controls, separated, needed := 0, 0, 0
	for _, c := range arms {
		if !c.Control {
			continue
		}
		controls++
		p := stats.Fisher(a.Hits, a.Valid-a.Hits, c.Hits, c.Valid-c.Hits)
		if a.P == nil || p > *a.P {
			a.P = &p
		}
		if p < alpha && a.Rate > c.Rate {
			separated++
			continue
		}
		if n, ok := stats.TrialsForSeparation(a.Hits, a.Valid-a.Hits, c.Hits, c.Valid-c.Hits, alpha); ok {
			needed = max(needed, n)
		}
	}
	switch {
	case controls > 0 && separated == controls, controls == 0 && a.CI95[0] > rate:
		return scenarios.Reproduces, 0
	case a.CI95[1] < rate:
		return scenarios.DoesNotReproduce, 0
	}
	if a.Hits == 0 {
		needed, _ = stats.TrialsForUpperBelow(a.Hits, a.Valid, confidence, rate)
	}
	return Inconclusive, needed
}

// against lists what did not come out as the scenario expects. A crash in a control arm is always listed: it is a
// finding, never noise.
func against(s *scenarios.Scenario, r Summary, whole bool) (list []string) {
	if whole && r.Verdict != r.Expected {
		list = append(list, fmt.Sprintf("the verdict is %q, expected was %q", r.Verdict, r.Expected))
	}
	for _, a := range r.Arms {
		if a.Valid == 0 && a.Trials > 0 {
			list = append(list, fmt.Sprintf("arm %s has no valid trial: %s", a.Name, a.Results[0].Reason))
		}
		for _, t := range a.Results {
			if why := wrong(s, t); why != "" {
				list = append(list, fmt.Sprintf("%s/%d: %s", t.Arm, t.Number, why))
			}
		}
	}
	return list
}

// wrong says what in a valid trial cannot be reconciled with the expectation, whatever the other trials were.
func wrong(s *scenarios.Scenario, t trial.Result) string {
	want := s.Expect.Outcomes[t.Arm]
	switch {
	case t.Outcome == trial.Invalid:
		return ""
	case want != "" && string(t.Outcome) != want:
		return fmt.Sprintf("the outcome is %s, expected was %s%s", t.Outcome, want, because(t))
	case want == "" && t.Control && t.Outcome.Crash():
		return fmt.Sprintf("a control arm ended in %s%s", t.Outcome, because(t))
	case hit(s, t) && !strings.Contains(t.Text, s.Expect.Text):
		return fmt.Sprintf("the message lacks %q: %s", s.Expect.Text, t.Text)
	}
	return ""
}

func because(t trial.Result) string {
	for _, why := range []string{t.Text, t.Reason} {
		if why != "" {
			return ": " + why
		}
	}
	return ""
}

// AsExpected says whether a trial by itself fits the expectation; those that do not are worth a look.
func AsExpected(s *scenarios.Scenario, t trial.Result) bool {
	if t.Outcome == trial.Invalid || wrong(s, t) != "" {
		return false
	}
	return t.Control || hit(s, t) == (s.Expect.Verdict == scenarios.Reproduces)
}
