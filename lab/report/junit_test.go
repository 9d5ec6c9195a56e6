package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/joshdk/go-junit"
	"github.com/onsi/ginkgo/v2/reporters"
	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// evil is text that breaks what does not escape it.
const evil = "]]></system-out><testcase/>\x1b[2J\x00\ufffe\u202e|`**x**` @everyone #1 <img src=x> ![x](http://example.invalid) [a](b) \xff\nhttps://example.invalid www.example.invalid a@b.invalid"

func environment(driver string) trial.Environment {
	return trial.Environment{Version: "0.1.0", Driver: driver, Accel: "kvm", Host: "linux/amd64, 8 CPUs"}
}

// night has a result in each state.
func night() Report {
	changed := doesNotReproduce()
	changed.OpenZFS = "2.3.9"
	picked := inconclusive()
	picked.OpenZFS = "2.4.4"
	lab := allInvalid()
	lab.Scenario = "lab-trouble"
	panics := controlPanics()
	panics.Scenario = "control-panics"
	return Report{
		Title: "nightly", Made: time.Date(2026, 11, 28, 4, 0, 0, 0, time.UTC), Asked: asked, Past: "30 nights",
		Runs: []Run{
			{Name: "nightly", Environment: environment("qemu"), Results: []verdict.Summary{reproduces(), inconclusive(), doesNotReproduce(), changed, lab, panics}},
			{Name: "libvirt", Environment: environment("libvirt"), Results: []verdict.Summary{reproduces(), picked}},
		},
		Changes: []Change{
			{Scenario: "snapshot-storm", OpenZFS: "2.3.9", Since: "2026-11-26", Before: "reproduces", After: "does not reproduce", Verdict: true},
			{Scenario: "snapshot-storm", OpenZFS: "2.3.2", Since: "2026-11-01", Before: "0/10", After: "1/10"},
			{Scenario: "blkptr-dva-flip", OpenZFS: "2.3.2", Driver: "libvirt", Since: "2026-11-01", Before: "reproduces", After: "inconclusive", Verdict: true, Over: true},
		},
	}
}

func TestStates(t *testing.T) {
	cells := night().Cells()
	got := make([]string, 0, len(cells))
	for _, c := range cells {
		got = append(got, fmt.Sprintf("%s/%s: %s", c.Summary.Scenario, c.Column, c.State))
	}
	want := []string{
		"blkptr-dva-flip/2.3.2 qemu kvm: as expected", "blkptr-dva-flip/2.3.9 qemu kvm: undecided",
		"blkptr-dva-flip/2.3.2 libvirt kvm: as expected", "blkptr-dva-flip/2.4.4 libvirt kvm: undecided",
		"snapshot-storm/2.3.2 qemu kvm: as expected", "snapshot-storm/2.3.9 qemu kvm: changed",
		"control-panics/2.3.2 qemu kvm: not as expected", "lab-trouble/2.3.2 qemu kvm: lab trouble",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What package verdict says of trials is understood: its own words of a missing verdict are no finding.
func TestStateOfConclusions(t *testing.T) {
	s := &scenarios.Scenario{
		Name: "x", Arms: []scenarios.Arm{{Name: "on"}, {Name: "off", Control: true}}, Expect: scenarios.Expect{Verdict: scenarios.Reproduces, Rate: 0.5},
	}
	run := func(on, off []trial.Outcome) (all []trial.Result) {
		for arm, list := range map[string][]trial.Outcome{"on": on, "off": off} {
			for i, o := range list {
				all = append(all, trial.Result{Arm: arm, Control: arm == "off", Number: i + 1, Outcome: o, Reason: "why"})
			}
		}
		return all
	}
	of := func(o trial.Outcome, n int) []trial.Outcome { return slices.Repeat([]trial.Outcome{o}, n) }
	for _, c := range []struct {
		name    string
		on, off []trial.Outcome
		want    State
	}{
		{"reproduces", of(trial.Panic, 10), of(trial.Masked, 10), Expected},
		{"does not", of(trial.Masked, 10), of(trial.Masked, 10), Unexpected},
		{"undecided", append(of(trial.Panic, 2), of(trial.Masked, 3)...), of(trial.Masked, 5), Unsure},
		{"undecided, and the control panics", append(of(trial.Panic, 2), of(trial.Masked, 3)...), append(of(trial.Masked, 4), trial.Panic), Unexpected},
		{"decided, and the control panics", of(trial.Panic, 20), append(of(trial.Masked, 19), trial.Panic), Unexpected},
		{"nothing valid", of(trial.Invalid, 5), of(trial.Invalid, 5), Trouble},
		{"no valid control", of(trial.Panic, 5), of(trial.Invalid, 5), Trouble},
		{"too much invalid", append(of(trial.Panic, 3), of(trial.Invalid, 3)...), of(trial.Masked, 6), Trouble},
		{"no trial yet", nil, nil, Unsure},
	} {
		sum := verdict.Conclude(s, run(c.on, c.off), verdict.Plan{Trials: map[string]int{"on": len(c.on), "off": len(c.off)}, Fixed: true})
		cells := Report{Runs: []Run{{Results: []verdict.Summary{sum}}}}.Cells()
		if cells[0].State != c.want {
			t.Errorf("%s: %s, want %s; %q", c.name, cells[0].State, c.want, sum.Against)
		}
	}
}

func junitOf(t *testing.T, r Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.JUnit(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read reads a file with two readers of others, which must agree; it gives the names of the cases and the counts.
func read(t *testing.T, file []byte) (names []string, counts string) {
	t.Helper()
	suites, err := junit.Ingest(file)
	if err != nil {
		t.Fatal(err)
	}
	var suite reporters.JUnitTestSuites
	if err := xml.Unmarshal(file, &suite); err != nil {
		t.Fatal(err)
	}
	one := suite.TestSuites[0]
	skipped := 0
	kinds := map[string]int{}
	for _, c := range one.TestCases {
		names = append(names, c.Classname+" "+c.Name)
		switch {
		case c.Failure != nil:
			kinds["failed"]++
		case c.Error != nil:
			kinds["error"]++
		case c.Skipped != nil:
			skipped++
		}
	}
	if suite.Tests != len(one.TestCases) || suite.Failures != kinds["failed"] || suite.Errors != kinds["error"] || one.Skipped != skipped {
		t.Errorf("the counts of the head are %d, %d, %d, %d; there are %d cases: %v, %d skipped", suite.Tests, suite.Failures, suite.Errors, one.Skipped,
			len(one.TestCases), kinds, skipped)
	}
	totals := suites[0].Totals
	if len(suites) != 1 || totals.Tests != suite.Tests || totals.Failed != suite.Failures || totals.Error != suite.Errors || totals.Skipped != skipped {
		t.Errorf("one reader counts %+v, another one %d, %d, %d, %d", totals, suite.Tests, suite.Failures, suite.Errors, skipped)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(names)))); n != len(names) {
		t.Errorf("%d cases have %d names", len(names), n)
	}
	return names, fmt.Sprintf("%d tests, %d failed, %d errors, %d skipped", totals.Tests, totals.Failed, totals.Error, totals.Skipped)
}

func TestJUnit(t *testing.T) {
	file := junitOf(t, night())
	names, counts := read(t, file)
	if want := "8 tests, 2 failed, 1 errors, 2 skipped"; counts != want {
		t.Errorf("%s, want %s", counts, want)
	}
	if want := "vdevil.blkptr-dva-flip OpenZFS 2.3.2 qemu"; names[0] != want {
		t.Errorf("the first case is %q, want %q", names[0], want)
	}
	golden.Assert(t, string(file), "night.xml")

	later := night() // another night has other seeds and names
	for i := range later.Runs {
		later.Runs[i].Name = "tonight"
		for j := range later.Runs[i].Results {
			later.Runs[i].Results[j].Seed++
		}
	}
	if again, _ := read(t, junitOf(t, later)); !slices.Equal(again, names) {
		t.Errorf("the names are %q one night and %q the next", names, again)
	}
}

// Of two results of one name the worst counts, and both are told of.
func TestJUnitOneName(t *testing.T) {
	r := night()
	worse := controlPanics() // of the scenario, version and driver of the first
	r.Runs = append(r.Runs, Run{Name: "again", Environment: environment("qemu"), Results: []verdict.Summary{worse}})
	file := junitOf(t, r)
	if _, counts := read(t, file); counts != "8 tests, 3 failed, 1 errors, 2 skipped" {
		t.Errorf("%s", counts)
	}
	suites, _ := junit.Ingest(file)
	if out := suites[0].Tests[0].SystemOut; !strings.Contains(out, "no-flip/10: a control arm ended") || !strings.Contains(out, "reproduces, as expected") {
		t.Errorf("not both results are in\n%s", out)
	}
}

func TestJUnitHostile(t *testing.T) {
	r := night()
	r.Title, r.Error = evil, evil
	for i := range r.Runs[0].Results {
		s := &r.Runs[0].Results[i]
		s.Scenario += evil
		s.Against = append(s.Against, evil)
		for j := range s.Arms {
			s.Arms[j].Name += evil
			for k := range s.Arms[j].Results {
				s.Arms[j].Results[k].Text, s.Arms[j].Results[k].Repeat = evil, evil
			}
		}
	}
	r.Changes[0].Scenario, r.Changes[0].After = r.Runs[0].Results[3].Scenario, evil
	file := junitOf(t, r)
	if names, _ := read(t, file); len(names) != 8 {
		t.Errorf("%d cases", len(names))
	}
	d := xml.NewDecoder(bytes.NewReader(file))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok && strings.ContainsAny(string(text), "\x00\x1b\u202e\ufffe\ufffd") {
			t.Errorf("%q", text)
		}
	}
}

// Whatever the input, the file is one that GitLab reads: below 30 MB.
func TestJUnitSize(t *testing.T) {
	const beside = 30_000_000 - junitMost // room for what stands before and after the cases
	big := strings.Repeat("<&>\"'\x01", 100_000)
	for _, c := range []struct{ cases, most, text int }{{40, junitMost, 500_000}, {1000, 500_000, 2000}} {
		s := doesNotReproduce()
		s.Arms[0].Results = s.Arms[0].Results[:1]
		s.Arms[0].Results[0].Repeat = big[:5000]
		s.Against, s.Held = []string{big[:c.text]}, false
		r := Report{Title: big, Error: big}
		run := Run{Environment: environment("qemu")}
		for i := range c.cases {
			s.Scenario = fmt.Sprintf("%s%d", big[:500], i)
			run.Results = append(run.Results, s)
		}
		r.Runs = []Run{run}
		var b bytes.Buffer
		if err := r.junit(&b, c.most); err != nil {
			t.Fatal(err)
		}
		file := b.Bytes()
		if len(file) >= c.most+beside || len(file) < min(c.most, 1_000_000) {
			t.Errorf("%d cases take %d bytes", c.cases, len(file))
		}
		names, _ := read(t, file)
		left := fmt.Sprintf("%d cases, for which", c.cases-len(names))
		if all := c.most == junitMost; all != (len(names) == c.cases) || !all && !bytes.Contains(file, []byte(left)) {
			t.Errorf("%d of %d cases are there, and the file does not say so", len(names), c.cases)
		}
		if !bytes.Contains(file, []byte("left out")) && !bytes.Contains(file, []byte("cut after")) {
			t.Errorf("%d cases: nothing says that something is left out", c.cases)
		}
	}
}
