package main

import (
	"errors"
	"testing"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// studied is a study with a state of every sort.
func studied(lying bool) report.Study {
	state := func(n int, kind string, o trial.Outcome, s trial.State) trial.Result {
		s.Kind, s.At = kind, 10*n
		return trial.Result{Number: n, Outcome: o, State: &s}
	}
	fallen := state(4, "torn", trial.Oops, trial.State{})
	fallen.Signature, fallen.Audit = "oops:f", []string{"leaked", "twice"}
	return report.Study{
		Scenario: "crash-storm", OpenZFS: "2.3.2", Lying: lying, Flush: "honest flush", Writes: 900, Flushes: 60, Bytes: 20 << 20, Promised: 5, Planned: 4,
		States: []trial.Result{
			state(1, "boundary", trial.Masked, trial.State{Promises: 3}),
			state(2, "subset", trial.Broken, trial.State{Promises: 4, Broken: oracle.Findings{{Path: "/tank/promises/promise-1", Result: oracle.Missing}}}),
			state(3, "torn", trial.Broken, trial.State{ReadOnly: "cannot import 'tank': I/O error\n\tmore", ReadWrite: "cannot import 'tank': I/O error"}),
			fallen,
		},
	}
}

func TestCrashIsHeldToItsPromises(t *testing.T) {
	var broken *notHeldError
	if err := kept(studied(false)); !errors.As(err, &broken) || err.Error() != "3 of 4 states are inconsistent or break a promise" {
		t.Errorf("%v", err)
	}
	if err := kept(studied(true)); err != nil {
		t.Errorf("a disk that lies has promised nothing: %v", err)
	}
	r := studied(true)
	r.States[0].Outcome = trial.Invalid
	if err := kept(r); err == nil || errors.As(err, &broken) {
		t.Errorf("a state that was not judged: %v", err)
	}
}
