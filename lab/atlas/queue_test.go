package atlas

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/trial"
)

// An atlas that goes on leaves out what is known, and does again what the lab spoiled.
func TestQueue(t *testing.T) {
	s, err := OpenStore(filepath.Join(t.TempDir(), "results.jsonl"), Header{Target: "bp"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for bit, o := range []trial.Outcome{trial.Masked, trial.Invalid, trial.Panic} {
		if err := s.Add(ended(bit, "f", o, "", "")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		again bool
		bits  []int
		done  int
	}{{false, []int{1, 3}, 2}, {true, []int{0, 1, 2, 3}, 0}} {
		var begun Begun
		r := &runner{Atlas: &Atlas{Again: c.again, Controls: 2, Observe: func(e Event) { begun = e.(Begun) }}, store: s}
		var bits []int
		controls := 0
		for _, task := range r.queue(Range{0, 3}) {
			if task.bit == control {
				controls++
			} else {
				bits = append(bits, task.bit)
			}
		}
		if !slices.Equal(bits, c.bits) || controls != 2 || begun.Trials != 6 || begun.DoneAlready != c.done {
			t.Errorf("again %v: bits %v, %d controls, %+v", c.again, bits, controls, begun)
		}
	}
}
