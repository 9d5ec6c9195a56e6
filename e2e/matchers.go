package e2e

import (
	"errors"
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// HoldItsExpectation succeeds for a verdict.Summary of which everything came true that its scenario expects.
func HoldItsExpectation() types.GomegaMatcher {
	return &resultMatcher{"hold its expectation", func(r verdict.Summary) (bool, error) { return r.Held, nil }}
}

// Reproduce succeeds for a verdict.Summary that reproduces a signature, such as
// range-tree-add-overlap@metaslab_free_concrete, or range-tree-add-overlap for whatever caller. A result that settles
// neither that nor the contrary is an error: it satisfies NotTo no more than To.
func Reproduce(signature string) types.GomegaMatcher {
	return &resultMatcher{"reproduce " + signature, func(r verdict.Summary) (bool, error) { return reproduces(r, signature) }}
}

// reproduces carries the verdict, which is about the hits that the scenario counts, over to the signature: it holds for a
// signature at least as frequent in the fault arms and no more frequent in the control arms.
func reproduces(r verdict.Summary, signature string) (bool, error) {
	atLeast, atMost, none := true, true, true
	for _, a := range r.Arms {
		n := count(a, signature)
		if a.Control {
			atLeast = atLeast && n <= a.Hits
			continue
		}
		atLeast, atMost, none = atLeast && n >= a.Hits, atMost && n <= a.Hits, none && n == 0
	}
	switch {
	case r.Verdict == verdict.Inconclusive:
		return false, errors.New("the verdict is inconclusive")
	case r.Verdict == scenarios.Reproduces && atLeast:
		return true, nil
	case r.Verdict == scenarios.DoesNotReproduce && atMost, none:
		return false, nil
	}
	return false, errors.New("the verdict is about another signature")
}

// count is the number of trials that ended with a signature, or with one that begins with that condition.
func count(a verdict.Arm, signature string) (n int) {
	for s, times := range a.Signatures {
		if s == signature || strings.HasPrefix(s, signature+"@") {
			n += times
		}
	}
	return n
}

// maxInvalid is the part of all trials that lab trouble may cost before it is no longer chance.
const maxInvalid = 0.05

// RunWithoutLabTrouble succeeds for a verdict.Summary with a valid trial in every arm and less than 5 % invalid ones. It
// is what can be asked on versions that the scenario foretells nothing for.
func RunWithoutLabTrouble() types.GomegaMatcher {
	return &resultMatcher{"run without lab trouble", func(r verdict.Summary) (bool, error) {
		trials, invalid := 0, 0
		for _, a := range r.Arms {
			if a.Valid == 0 {
				return false, nil
			}
			trials += a.Trials
			invalid += a.Outcomes[trial.Invalid]
		}
		return float64(invalid) < maxInvalid*float64(trials), nil
	}}
}

// resultMatcher shows the report of the result when it does not match.
type resultMatcher struct {
	what  string
	match func(verdict.Summary) (bool, error)
}

// Match is false, or an error with the report when the result does not say.
func (m *resultMatcher) Match(actual any) (bool, error) {
	r, ok := actual.(verdict.Summary)
	if !ok {
		return false, fmt.Errorf("whether to %s is asked of a verdict.Summary, not of a %T", m.what, actual)
	}
	matched, err := m.match(r)
	if err != nil {
		return false, fmt.Errorf("whether %s is not known: %w\n\n%s", m.claim("should", r), err, table(r))
	}
	return matched, nil
}

// FailureMessage is the claim with the report.
func (m *resultMatcher) FailureMessage(actual any) string { return m.message("to", actual) }

// NegatedFailureMessage is the contrary of the claim with the report.
func (m *resultMatcher) NegatedFailureMessage(actual any) string { return m.message("not to", actual) }

func (m *resultMatcher) message(to string, actual any) string {
	r, _ := actual.(verdict.Summary) // Match has refused all others
	return fmt.Sprintf("Expected %s\n\n%s", m.claim(to, r), table(r))
}

func (m *resultMatcher) claim(verb string, r verdict.Summary) string {
	return fmt.Sprintf("%s on OpenZFS %s %s %s", r.Scenario, r.OpenZFS, verb, m.what)
}

// table is the report for people, with the bundles' paths.
func table(r verdict.Summary) string {
	var b strings.Builder
	if err := report.Table(&b, []verdict.Summary{r}, nil); err != nil {
		return err.Error()
	}
	return b.String()
}
