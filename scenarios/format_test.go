package scenarios

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"
)

// meaning is all that a scenario says, and its arms.
func meaning(t *testing.T, s *Scenario) string {
	t.Helper()
	same := *s
	same.Source = ""
	text, err := json.Marshal(struct {
		Scenario
		Resolved []Resolved
	}{same, s.resolved})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFormat expects what is written anew to mean the same, and to be written as it is.
func TestFormat(t *testing.T) {
	texts := map[string]string{"good": good}
	for name, s := range embeddedByName(t) {
		texts[name] = s.Source
	}
	for name, text := range texts {
		s, err := Parse(name+".yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := Format(name+".yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(name+".yaml", formatted)
		if err != nil {
			t.Errorf("%s:\n%v\n%s", name, err, formatted)
			continue
		}
		if got, want := meaning(t, back), meaning(t, s); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s\n%s", name, got, want, formatted)
		}
		again, err := Format(name+".yaml", formatted)
		if err != nil || string(again) != string(formatted) {
			t.Errorf("%s is written in another way the second time, %v:\n%s", name, err, again)
		}
		for line := range strings.Lines(string(formatted)) {
			if strings.HasSuffix(line, " \n") {
				t.Errorf("%s: %q ends in a blank", name, line)
			}
		}
	}
}

// TestRewrite expects the arm that is left to be what it was but for its program, and a control arm for each program without something.
func TestRewrite(t *testing.T) {
	text := strings.Replace(good, "workload:\n", "workload:\n  - generate: {count: 3, features: [hole]}\n", 1)
	s, err := Parse("good.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	name := s.Arms[0].Name
	was, err := s.ForArm(name)
	if err != nil {
		t.Fatal(err)
	}
	r := Rewriting{
		Name: "small", Question: "Does this: \"it\" panic?", Arm: name, Program: "create tank/x\nsync\n", Trials: 7,
		Without: map[string]string{"no-sync": "create tank/x\n", "no-create": "sync\n"}, Names: []string{"no-create", "no-sync"},
		Expect: Expect{Verdict: Reproduces, Rate: 0.5, Outcome: []string{"latent", "panic"}},
	}
	small, err := s.Rewrite(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse("small.yaml", []byte(small))
	if err != nil {
		t.Fatalf("%v\n%s", err, small)
	}
	if back.Question != r.Question || len(back.Arms) != 3 || back.Arms[0].Trials != 7 || back.Expect.Rate != 0.5 || len(back.Expect.Outcome) != 2 {
		t.Errorf("%s", small)
	}
	is, err := back.ForArm(name)
	if err != nil {
		t.Fatal(err)
	}
	if is.PrepareKey() != was.PrepareKey() {
		t.Errorf("another pool or preparation:\n%s", small)
	}
	if got := is.Workload[0].Operations; got != "create tank/x\nsync" {
		t.Errorf("the program is %q", got)
	}
	if a, b := stepsText(is.Workload[1:]), stepsText(was.Workload[1:]); a != b {
		t.Errorf("the other steps are %s, not %s", a, b)
	}
	if control, err := back.ForArm("no-sync"); err != nil || control.Workload[0].Operations != "create tank/x" {
		t.Errorf("%+v %v", control.Workload, err)
	}
	r.Drop, r.Names = []string{"pool.options", "pool.properties.none"}, nil
	if small, err = s.Rewrite(r); err != nil {
		t.Fatal(err)
	}
	if back, err = Parse("small.yaml", []byte(small)); err != nil {
		t.Fatalf("%v\n%s", err, small)
	}
	if is, err = back.ForArm(name); err != nil || len(is.Pool.Options) != 0 || back.NoControl == "" {
		t.Errorf("%+v %v", is.Pool, err)
	}
	r.Step = 99
	if _, err := s.Rewrite(r); err == nil || !strings.Contains(err.Error(), "has no step 99") {
		t.Errorf("%v", err)
	}
	r.Arm = "nobody"
	if _, err := s.Rewrite(r); err == nil {
		t.Error("an arm of nobody was rewritten")
	}
}

func stepsText(steps []Step) string { return inBrackets(steps) }

func TestCountingTime(t *testing.T) {
	all, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	could := 0
	for _, s := range all {
		counted, err := s.CountingTime()
		if err != nil {
			if !strings.Contains(err.Error(), s.File+":") || !strings.Contains(err.Error(), "counts its time") && !strings.Contains(err.Error(), "CPU") {
				t.Errorf("%s: %v", s.Name, err)
			}
			continue
		}
		could++
		if counted.Machine.Clock != Counted || counted.Machine.CPUs != 1 || len(counted.Arms) != len(s.Arms) {
			t.Errorf("%s: %+v", s.Name, counted.Machine)
		}
		for _, arm := range s.Arms {
			was, is := mustArm(t, s, arm.Name), mustArm(t, counted, arm.Name)
			if a, b := stepsText(was.Workload), stepsText(is.Workload); a != b {
				t.Errorf("%s: %s became %s", s.Name, a, b)
			}
			if ashift := is.Pool.Options["ashift"]; ashift != cmp.Or(was.Pool.Options["ashift"], "9") {
				t.Errorf("%s: ashift=%s", s.Name, ashift)
			}
		}
	}
	if could == 0 || could == len(all) { // some need a second CPU, or disks that answer requests
		t.Errorf("%d of %d scenarios can count", could, len(all))
	}
}

func mustArm(t *testing.T, s *Scenario, arm string) Resolved {
	t.Helper()
	r, err := s.ForArm(arm)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
