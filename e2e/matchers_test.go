package e2e

import (
	"strings"
	"testing"

	"github.com/onsi/gomega/types"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

const (
	overlap = "range-tree-add-overlap@metaslab_free_concrete"
	load    = "range-tree-add-overlap@space_map_load_callback"
	missing = "range-tree-remove-missing@metaslab_free_concrete"
)

// arm is an arm of ten valid trials, some of them hits with the signature.
func arm(name string, hits int, signatures map[string]int) verdict.Arm {
	return verdict.Arm{
		Name: name, Control: name == "control", Trials: 10, Valid: 10, Hits: hits, Signatures: signatures,
		Outcomes: map[trial.Outcome]int{trial.Panic: hits, trial.Masked: 10 - hits},
	}
}

func result(v scenarios.Verdict, arms ...verdict.Arm) verdict.Summary {
	r := verdict.Summary{Scenario: "storm", OpenZFS: "2.3.2", Verdict: v, Expected: v, Held: true, Arms: arms}
	for i := range r.Arms {
		r.Arms[i].Results = []trial.Result{{Arm: r.Arms[i].Name, Number: 1, Outcome: trial.Masked, Bundle: "/state/runs/1/storm-2.3.2/x-001"}}
	}
	return r
}

func TestReproduce(t *testing.T) {
	const yes, no, unknown = "yes", "no", "unknown"
	none := arm("control", 0, nil)
	for _, c := range []struct {
		name, ask string
		result    verdict.Summary
		want      string
	}{
		{"the signature", overlap, result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9}), none), yes},
		{"its condition", "range-tree-add-overlap", result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9, load: 1}), none), yes},
		{"half of a condition", "range-tree", result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9}), none), no},
		{"another one, never seen", missing, result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9}), none), no},
		{"another one, seen once", missing, result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9, missing: 1}), none), unknown},
		{"one that the control arm has too", "range-tree-add-overlap", result(scenarios.Reproduces,
			arm("fault", 9, map[string]int{overlap: 9}), arm("control", 0, map[string]int{load: 9})), unknown},
		{"no hit", overlap, result(scenarios.DoesNotReproduce, arm("fault", 0, nil), none), no},
		{"too few hits", overlap, result(scenarios.DoesNotReproduce, arm("fault", 1, map[string]int{overlap: 1}), none), no},
		{"another one than does not reproduce", missing, result(scenarios.DoesNotReproduce, arm("fault", 0, map[string]int{missing: 5}), none), unknown},
		{"too few trials", overlap, result(verdict.Inconclusive, arm("fault", 1, map[string]int{overlap: 1}), none), unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Reproduce(c.ask).Match(c.result)
			switch {
			case err != nil && (c.want != unknown || got):
				t.Error(err)
			case err == nil && got != (c.want == yes), err == nil && c.want == unknown:
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func TestHoldItsExpectation(t *testing.T) {
	r := result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9}))
	if ok, err := HoldItsExpectation().Match(r); !ok || err != nil {
		t.Error(ok, err)
	}
	r.Held = false
	if ok, err := HoldItsExpectation().Match(r); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestRunWithoutLabTrouble(t *testing.T) {
	invalid := func(trials, n int) verdict.Arm {
		a := arm("fault", 0, nil)
		a.Trials, a.Valid, a.Outcomes = trials, trials-n, map[trial.Outcome]int{trial.Masked: trials - n, trial.Invalid: n}
		return a
	}
	for _, c := range []struct {
		name string
		arms []verdict.Arm
		want bool
	}{
		{"none", []verdict.Arm{invalid(10, 0)}, true},
		{"1 of 21", []verdict.Arm{invalid(20, 1), invalid(1, 0)}, true},
		{"1 of 20", []verdict.Arm{invalid(20, 1)}, false},
		{"all of an arm", []verdict.Arm{invalid(1000, 0), invalid(1, 1)}, false},
		{"no trials", []verdict.Arm{invalid(0, 0)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := RunWithoutLabTrouble().Match(result(scenarios.DoesNotReproduce, c.arms...)); got != c.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

// TestMessages: whoever reads a failure sees the claim, the table and where the evidence lies.
func TestMessages(t *testing.T) {
	r := result(scenarios.Reproduces, arm("fault", 9, map[string]int{overlap: 9}))
	r.Against = []string{"control/3: a control arm ended in panic"}
	_, inconclusive := Reproduce(overlap).Match(result(verdict.Inconclusive, arm("fault", 1, nil)))
	hold, reproduce := HoldItsExpectation(), Reproduce("oops")
	for _, c := range []struct {
		text string
		want []string
	}{
		{hold.FailureMessage(r), []string{"Expected storm on OpenZFS 2.3.2 to hold its expectation", "10/10", overlap, "/state/runs/1/storm-2.3.2", r.Against[0]}},
		{reproduce.NegatedFailureMessage(r), []string{"storm on OpenZFS 2.3.2 not to reproduce oops", "/state/runs/1/storm-2.3.2"}},
		{inconclusive.Error(), []string{"whether storm on OpenZFS 2.3.2 should reproduce " + overlap, "inconclusive", "/state/runs/1/storm-2.3.2"}},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.text, want) {
				t.Errorf("%q is not in\n%s", want, c.text)
			}
		}
	}
}

func TestMatchersRefuseOthers(t *testing.T) {
	for _, m := range []types.GomegaMatcher{HoldItsExpectation(), Reproduce(overlap), RunWithoutLabTrouble()} {
		if _, err := m.Match([]verdict.Summary{}); err == nil {
			t.Errorf("%T takes a list of results", m)
		}
	}
}
