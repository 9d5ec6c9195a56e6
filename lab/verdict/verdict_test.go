package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

const overlap = "range-tree-add-overlap@metaslab_free_concrete"

// question is a scenario with one fault arm and, if asked for, one control arm.
func question(expect scenarios.Expect, control bool) *scenarios.Scenario {
	s := &scenarios.Scenario{Name: "q", Expect: expect, Arms: []scenarios.Arm{{Name: "fault"}}}
	if control {
		s.Arms = append(s.Arms, scenarios.Arm{Name: "control", Control: true})
	}
	return s
}

// outcomes makes n results of an arm.
func outcomes(arm string, n int, o trial.Outcome, signature string) []trial.Result {
	all := make([]trial.Result, n)
	for i := range all {
		all[i] = trial.Result{Arm: arm, Control: arm == "control", Number: i + 1, Outcome: o, Signature: signature, Text: "PANIC: size=200"}
	}
	return all
}

// fixed is the plan of trials that are all there.
func fixed(results []trial.Result) Plan {
	p := Plan{Trials: map[string]int{}, Fixed: true}
	for i := range results {
		p.Trials[results[i].Arm]++
		results[i].Number = p.Trials[results[i].Arm]
	}
	return p
}

func TestJudge(t *testing.T) {
	reproduces := scenarios.Expect{Verdict: scenarios.Reproduces, Signature: overlap, Text: "size=200", Rate: 0.5}
	never := scenarios.Expect{Verdict: scenarios.DoesNotReproduce, Rate: 0.3}
	silent := scenarios.Expect{Verdict: scenarios.Reproduces, Outcome: []string{string(trial.Broken), string(trial.Corrupt)}, Rate: 0.5}
	healed := scenarios.Expect{Verdict: scenarios.DoesNotReproduce, Rate: 0.5, Outcomes: map[string]string{"fault": "healed"}}
	tests := []struct {
		name    string
		expect  scenarios.Expect
		control bool
		results [][]trial.Result
		verdict scenarios.Verdict
		against []string // a piece of each line
	}{
		{
			"all against none", reproduces, true,
			[][]trial.Result{outcomes("fault", 5, trial.Panic, overlap), outcomes("control", 5, trial.Masked, "")},
			scenarios.Reproduces, nil,
		},
		{ // Fisher: 4 of 4 against 0 of 4 gives p = 1/35.
			"too few trials", reproduces, true,
			[][]trial.Result{outcomes("fault", 4, trial.Panic, overlap), outcomes("control", 4, trial.Masked, "")},
			Inconclusive, []string{`the verdict is "inconclusive"`},
		},
		{
			"the same rate in both arms proves nothing", reproduces, true,
			[][]trial.Result{outcomes("fault", 9, trial.Panic, overlap), outcomes("control", 9, trial.Panic, overlap)},
			Inconclusive, append([]string{"the verdict is"}, slices.Repeat([]string{"a control arm ended in panic"}, 9)...),
		},
		{
			"a control arm that is worse does not make the fault reproduce", reproduces, true,
			[][]trial.Result{outcomes("fault", 20, trial.Masked, ""), outcomes("control", 20, trial.Panic, overlap)},
			scenarios.DoesNotReproduce, append([]string{"the verdict is"}, slices.Repeat([]string{"a control arm ended in panic"}, 20)...),
		},
		{
			"one panic in a control arm is a finding", reproduces, true,
			[][]trial.Result{outcomes("fault", 9, trial.Panic, overlap), outcomes("control", 8, trial.Masked, ""), outcomes("control", 1, trial.Panic, "verify@f")},
			scenarios.Reproduces, []string{"control/9: a control arm ended in panic"},
		},
		{
			"another signature is no hit", reproduces, true,
			[][]trial.Result{outcomes("fault", 9, trial.Panic, "verify@f"), outcomes("control", 9, trial.Masked, "")},
			scenarios.DoesNotReproduce, []string{"the verdict is"},
		},
		{
			"invalid trials count for nothing", reproduces, true,
			[][]trial.Result{outcomes("fault", 4, trial.Panic, overlap), outcomes("fault", 20, trial.Invalid, ""), outcomes("control", 4, trial.Masked, "")},
			Inconclusive, []string{"the verdict is"},
		},
		{
			"no valid trial at all", never, false,
			[][]trial.Result{outcomes("fault", 9, trial.Invalid, "")},
			Inconclusive, []string{"the verdict is", "no valid trial"},
		},
		{ // upper bound of 0/11 is 0.285
			"clean for long enough", never, false,
			[][]trial.Result{outcomes("fault", 11, trial.Masked, "")},
			scenarios.DoesNotReproduce, nil,
		},
		{
			"without a signature any crash is a hit", never, false,
			[][]trial.Result{outcomes("fault", 10, trial.Masked, ""), outcomes("fault", 10, trial.Hang, "")},
			Inconclusive, nil,
		},
		{
			"an outcome can be what makes a hit", silent, true,
			[][]trial.Result{outcomes("fault", 9, trial.Corrupt, ""), outcomes("control", 9, trial.Masked, "")},
			scenarios.Reproduces, nil,
		},
		{
			"then a crash is none", silent, true,
			[][]trial.Result{outcomes("fault", 20, trial.Hang, ""), outcomes("control", 20, trial.Masked, "")},
			scenarios.DoesNotReproduce, []string{"the verdict is"},
		},
		{
			"an outcome that was foretold", healed, false,
			[][]trial.Result{outcomes("fault", 6, trial.Healed, "")},
			scenarios.DoesNotReproduce, nil,
		},
		{
			"one that was not", healed, false,
			[][]trial.Result{outcomes("fault", 5, trial.Healed, ""), outcomes("fault", 1, trial.Corrupt, "")},
			scenarios.DoesNotReproduce, []string{"the outcome is corrupt, expected was healed"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results := slices.Concat(tt.results...)
			r := Conclude(question(tt.expect, tt.control), results, fixed(results))
			if r.Verdict != tt.verdict {
				t.Errorf("verdict %q, want %q", r.Verdict, tt.verdict)
			}
			if tt.name == "without a signature any crash is a hit" {
				// 10 of 20 without a control arm: the lower bound, 0.27, is below the stated rate.
				if r.Arms[0].Hits != 10 {
					t.Errorf("%d hits, want 10", r.Arms[0].Hits)
				}
				return
			}
			if len(r.Against) != len(tt.against) {
				t.Fatalf("against: %q, want %q", r.Against, tt.against)
			}
			for i, want := range tt.against {
				if !strings.Contains(r.Against[i], want) {
					t.Errorf("against: %q, want %q", r.Against[i], want)
				}
			}
			if r.Held != (len(tt.against) == 0) {
				t.Errorf("held is %t", r.Held)
			}
		})
	}
}

func TestMessageMustHold(t *testing.T) {
	s := question(scenarios.Expect{Verdict: scenarios.Reproduces, Signature: overlap, Text: "size=1000", Rate: 0.5}, true)
	results := slices.Concat(outcomes("fault", 9, trial.Panic, overlap), outcomes("control", 9, trial.Masked, ""))
	r := Conclude(s, results, fixed(results))
	if r.Verdict != scenarios.Reproduces || r.Held || len(r.Against) != 9 {
		t.Errorf("verdict %q, held %t, %d lines against", r.Verdict, r.Held, len(r.Against))
	}
}

// TestDaily expects the time of the guests to be that of valid trials alone, and arms without any to have no rate a day.
func TestDaily(t *testing.T) {
	s := question(scenarios.Expect{Verdict: scenarios.Reproduces, Signature: overlap, Rate: 0.5}, true)
	results := slices.Concat(outcomes("fault", 2, trial.Panic, overlap), outcomes("fault", 1, trial.Invalid, ""), outcomes("control", 2, trial.Masked, ""))
	for i := range results[:3] {
		results[i].Workload = []trial.Work{{}, {Counts: trial.Counts{Seconds: 6 * 60 * 60}}}
	}
	r := Conclude(s, results, fixed(results))
	if d := r.Arms[0].Daily; d == nil || d.Days != 0.5 || d.Rate != 4 || d.CI95[0] < 0.48 || d.CI95[0] > 0.49 || d.CI95[1] < 14.4 || d.CI95[1] > 14.5 {
		t.Errorf("daily is %+v", d)
	}
	results[0].Workload = nil
	if d := Conclude(s, results, fixed(results)).Arms[0].Daily; d != nil {
		t.Errorf("with a hit whose time nobody knows %+v", d)
	}
	if d := r.Arms[1].Daily; d != nil {
		t.Errorf("of guests without cron %+v", d)
	}
}

func TestNeeded(t *testing.T) {
	s := question(scenarios.Expect{Verdict: scenarios.DoesNotReproduce, Rate: 0.3}, false)
	conclude := func(n int) Summary {
		results := outcomes("fault", n, trial.Masked, "")
		return Conclude(s, results, fixed(results))
	}
	r := conclude(5)
	if r.Verdict != Inconclusive {
		t.Fatalf("verdict %q", r.Verdict)
	}
	if r = conclude(5 + r.Needed); r.Verdict != scenarios.DoesNotReproduce {
		t.Errorf("still %q with the trials that were said to be needed", r.Verdict)
	}
	if r = conclude(5 + 6 - 1); r.Verdict != Inconclusive {
		t.Errorf("%q with fewer", r.Verdict)
	}
}

func TestOneTrialIsNoVerdict(t *testing.T) {
	s := question(scenarios.Expect{Verdict: scenarios.Reproduces, Signature: overlap, Rate: 0.5}, true)
	if r := Conclude(s, outcomes("fault", 1, trial.Panic, overlap), Plan{Trials: map[string]int{"fault": 1}, Picked: true}); !r.Held {
		t.Errorf("against: %q", r.Against)
	}
}

func TestKeep(t *testing.T) {
	s := question(scenarios.Expect{Verdict: scenarios.Reproduces, Signature: overlap, Rate: 0.5}, true)
	for _, tt := range []struct {
		result []trial.Result
		want   bool
	}{
		{outcomes("fault", 1, trial.Panic, overlap), true},
		{outcomes("fault", 1, trial.Masked, ""), false},
		{outcomes("fault", 1, trial.Invalid, ""), false},
		{outcomes("control", 1, trial.Masked, ""), true},
		{outcomes("control", 1, trial.Panic, overlap), false},
	} {
		if got := AsExpected(s, tt.result[0]); got != tt.want {
			t.Errorf("%s %s: %t", tt.result[0].Arm, tt.result[0].Outcome, got)
		}
	}
}
