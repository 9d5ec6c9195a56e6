package bench

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// TestMust expects what must hold to decide a trial when a program has answered, and the shell's own trouble not to.
func TestMust(t *testing.T) {
	for name, c := range map[string]struct {
		step    scenarios.Step
		outcome trial.Outcome
		reason  string
	}{
		"it holds":               {scenarios.Step{Must: "cmp /dev/null /dev/null"}, trial.Masked, ""},
		"it does not":            {scenarios.Step{Must: "echo no room >&2; exit 1"}, trial.Broken, "must succeed: echo no room >&2; exit 1: exit status 1: no room"},
		"there is no program":    {scenarios.Step{Must: "no-such-program"}, trial.Invalid, "exit status 127"},
		"a signal ended it":      {scenarios.Step{Must: "kill -9 $$"}, trial.Invalid, "KILL"},
		"it is refused":          {scenarios.Step{MustFail: "exit 2"}, trial.Masked, ""},
		"it is not refused":      {scenarios.Step{MustFail: "true"}, trial.Broken, "must fail and did not: true"},
		"a refusal by the shell": {scenarios.Step{MustFail: "no-such-program"}, trial.Invalid, "exit status 127"},
		"run fails":              {scenarios.Step{Run: "exit 1"}, trial.Invalid, "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil, func(*stage) []scenarios.Step { return []scenarios.Step{c.step} })
			s.guest.Program("zpool", "cat "+healthyPool(t))
			r := s.run(func() {})
			if r.Outcome != c.outcome || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s because %q", r.Outcome, r.Reason)
			}
		})
	}
}

// TestOutput expects what commands printed in the bundle, with times, also where one does not end.
func TestOutput(t *testing.T) {
	s := newStage(t, nil, func(s *stage) []scenarios.Step {
		return []scenarios.Step{{Run: "echo one; printf two >&2"}, {Must: "echo three"}, {Run: s.reaching()}}
	})
	r := s.run(func() {
		s.reached()
		s.machine.End()
	})
	text, err := os.ReadFile(filepath.Join(r.Bundle, "output.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"step run echo one", "  one", "  two", "step must echo three", "  three", "step run echo here"} {
		if !regexp.MustCompile(`(?m)^ +\d+\.\d{3} ` + line).Match(text) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}
