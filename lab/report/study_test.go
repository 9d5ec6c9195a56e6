package report

import (
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
)

// studied is a study with a state of every sort.
func studied(lying bool) Study {
	state := func(n int, kind string, o trial.Outcome, s trial.State) trial.Result {
		s.Kind, s.At = kind, 10*n
		return trial.Result{Number: n, Outcome: o, State: &s}
	}
	fallen := state(4, "torn", trial.Oops, trial.State{})
	fallen.Signature, fallen.Audit = "oops:f", []string{"leaked", "twice"}
	return Study{
		Scenario: "crash-storm", OpenZFS: "2.3.2", Lying: lying, Flush: "honest flush", Writes: 900, Flushes: 60, Bytes: 20 << 20, Promised: 5, Planned: 4,
		States: []trial.Result{
			state(1, "boundary", trial.Masked, trial.State{Promises: 3}),
			state(2, "subset", trial.Broken, trial.State{Promises: 4, Broken: oracle.Findings{{Path: "/tank/promises/promise-1", Result: oracle.Missing}}}),
			state(3, "torn", trial.Broken, trial.State{ReadOnly: "cannot import 'tank': I/O error\n\tmore", ReadWrite: "cannot import 'tank': I/O error"}),
			fallen,
		},
	}
}

func TestStudy(t *testing.T) {
	var out strings.Builder
	if err := studied(false).Table(&out); err != nil {
		t.Fatal(err)
	}
	want := `STATES    NUMBER  CONSISTENT  AUDIT  NOT AUDITED  NO IMPORT  PANIC  DAMAGED  PROMISES  BROKEN IN  INVALID
boundary  1       1           0      0            0          0      0        3         0          0
subset    1       1           0      0            0          0      0        4         1          0
torn      2       0           1      0            1          1      0        0         0          0
all       4       2           1      0            1          1      0        7         1          0

crash-storm on OpenZFS 2.3.2, honest flush: 900 writes of 20 MiB, 60 flushes, 5 files promised; recorded in 0s, judged in 0s
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

// TestStudyTrial shows a state whole.
func TestStudyTrial(t *testing.T) {
	var out strings.Builder
	r := studied(false).States[2]
	r.Outcome = trial.Broken
	if err := Trial(&out, trial.Spec{Name: "crash-storm", OpenZFS: "2.3.2", Arm: "storm", Number: 3}, r, trial.Environment{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"crash-storm on OpenZFS 2.3.2, storm/3: broken", "torn: the power is cut after 30 requests", "read-only import: cannot import 'tank': I/O error"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "repeat") {
		t.Errorf("it cannot be repeated:\n%s", &out)
	}
}

// TestStudyOfFew has states that were not audited, one that could not be, and some that were not judged.
func TestStudyOfFew(t *testing.T) {
	r := studied(false)
	boundary := &trial.State{Kind: "boundary"}
	r.Planned, r.States = 50, []trial.Result{
		{Number: 1, Outcome: trial.Masked, State: boundary, NotAudited: "not supported: x"},
		{Number: 2, Outcome: trial.Masked, State: boundary, NotAudited: "not supported: x", ZDB: []string{"leaked"}},
		{Number: 3, Outcome: trial.Latent, State: &trial.State{Kind: "boundary", Unreadable: "checksum mismatch"}},
	}
	var out strings.Builder
	if err := r.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"boundary  3       2           1      2            0 ", "the study ended early: 47 of 50 states were not judged",
		"2 not audited: not supported: x; of state 1 zdb finds nothing",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}
