// Package verdict says what trials mean together. It is pure: counts go in, verdicts come out.
package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

const (
	// confidence is that of every interval.
	confidence = 0.95
	// alpha is the chance that a scenario in which no fault arm differs from its control arms is said to reproduce. Its fault
	// arms share it.
	alpha = 0.01
)

// Inconclusive is the verdict when there are too few trials for another one.
const Inconclusive scenarios.Verdict = "inconclusive"

// Plan says which trials the arms may have.
type Plan struct {
	// Trials is the number of each arm's.
	Trials map[string]int
	// Fixed means that all of them are done, and looked at when they are: then the tests and intervals are those of a fixed
	// number. Otherwise an arm has no more than it takes to know.
	Fixed bool
	// Picked means that they are some of a whole, for a look at them. No verdict is asked for.
	Picked bool
}

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
	// Missing is how many trials are wanted yet: the run ended early, or goes on.
	Missing int     `json:"missing,omitempty"`
	Fixed   bool    `json:"fixed"` // as in Plan
	Seconds float64 `json:"seconds"`
	Seed    uint64  `json:"seed"`
}

// Arm sums up the trials of an arm. Rates are of valid trials.
type Arm struct {
	Name    string `json:"name"`
	Control bool   `json:"control"`
	// Planned is how many trials it may have, Trials how many it has had.
	Planned    int                   `json:"planned"`
	Trials     int                   `json:"trials"`
	Valid      int                   `json:"valid"`
	Hits       int                   `json:"hits"`
	Outcomes   map[trial.Outcome]int `json:"outcomes"`
	Signatures map[string]int        `json:"signatures"`
	// Rate is Hits of Valid, CI95 its interval: one that may be looked at at any time, or Clopper and Pearson's for a fixed
	// number of trials.
	Rate float64    `json:"rate"`
	CI95 [2]float64 `json:"ci95"`
	// Daily is of an arm whose guests have lived by their cron, if it is known of every valid trial for how long: hits without their
	// time would make the rate too high.
	Daily *Daily `json:"daily,omitempty"`
	// P is that of a fault arm against the control arm that separates from it worst, for all fault arms together and however
	// often it is looked at: below 0.01 the arm is separated.
	P *float64 `json:"p,omitempty"`
	// Verdict is a fault arm's own, Stopped why the arm has no more trials, Wanted how many it may need yet.
	Verdict scenarios.Verdict `json:"verdict,omitempty"`
	Stopped string            `json:"stopped,omitempty"`
	Wanted  int               `json:"wanted,omitempty"`

	// Results are the trials themselves, in order.
	Results []trial.Result `json:"results"`
}

// Daily is how often hits came in the time of the guests.
type Daily struct {
	// Days is the time that the guests of valid trials have lived through, each up to its hit, by their clocks.
	Days float64 `json:"days"`
	// Rate is hits a day, CI95 its interval, of Garwood's kind.
	Rate float64    `json:"rate"`
	CI95 [2]float64 `json:"ci95"`
}

// Troubled says whether more than a third of an arm's trials are invalid. Such an arm gives no verdict: what made them so may have
// chosen the rest.
func (a Arm) Troubled() bool { return a.Trials > 2 && 3*(a.Trials-a.Valid) > a.Trials }

// Conclude sums up. The same results give the same answer, in whatever order they came.
func Conclude(s *scenarios.Scenario, results []trial.Result, p Plan) Summary {
	r := Summary{Scenario: s.Name, Expected: s.Expect.Verdict, Fixed: p.Fixed}
	for _, a := range s.Arms {
		r.Arms = append(r.Arms, sum(s, a, results, p))
	}
	r.judge(s, p)
	r.Against = against(s, r, !p.Picked && (r.Missing == 0 || r.Verdict != Inconclusive))
	r.Held = len(r.Against) == 0 && (p.Picked || r.Missing == 0 || r.Verdict != Inconclusive)
	return r
}

func sum(s *scenarios.Scenario, a scenarios.Arm, results []trial.Result, p Plan) Arm {
	arm := Arm{
		Name: a.Name, Control: a.Control, Planned: p.Trials[a.Name], Outcomes: map[trial.Outcome]int{}, Signatures: map[string]int{},
	}
	n, seconds, timed := 0, 0, true
	for i := range results {
		if results[i].Arm == a.Name {
			n++
		}
	}
	arm.Results = make([]trial.Result, 0, n) // there may be a hundred thousand, and they are large
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
		lived := 0
		for _, w := range r.Workload {
			lived += w.Seconds
		}
		seconds, timed = seconds+lived, timed && lived > 0
		if r.Signature != "" {
			arm.Signatures[r.Signature]++
		}
		if Hit(s, r) {
			arm.Hits++
		}
	}
	if byNumber := func(a, b trial.Result) int { return a.Number - b.Number }; !slices.IsSortedFunc(arm.Results, byNumber) {
		slices.SortStableFunc(arm.Results, byNumber)
	}
	if arm.Valid > 0 {
		arm.Rate = float64(arm.Hits) / float64(arm.Valid)
	}
	if days := float64(seconds) / (24 * 60 * 60); timed && days > 0 {
		lo, hi := stats.Poisson(arm.Hits, days, confidence)
		arm.Daily = &Daily{Days: days, Rate: float64(arm.Hits) / days, CI95: [2]float64{lo, hi}}
	}
	interval := stats.Anytime
	if p.Fixed {
		interval = stats.ClopperPearson
	}
	arm.CI95[0], arm.CI95[1] = interval(arm.Hits, arm.Valid, confidence)
	return arm
}

// Hit says whether a trial shows what the scenario asks about.
func Hit(s *scenarios.Scenario, r trial.Result) bool {
	switch {
	case s.Expect.Signature != "":
		return r.Signature == s.Expect.Signature
	case len(s.Expect.Outcome) > 0:
		return slices.Contains(s.Expect.Outcome, string(r.Outcome))
	}
	return r.Outcome.Crash()
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
	case Hit(s, t) && !strings.Contains(t.Text, s.Expect.Text):
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
	return t.Control || Hit(s, t) == (s.Expect.Verdict == scenarios.Reproduces)
}
