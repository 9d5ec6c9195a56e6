package atlas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

func newAtlas(t *testing.T) *Atlas {
	t.Helper()
	found, err := scenarios.Find([]string{"blkptr-dva-flip"})
	if err != nil {
		t.Fatal(err)
	}
	a := &Atlas{Target: "bp", Trigger: scenarios.Trigger{At: "zio_free_sync"}, Asked: campaign.Ask(found)[0], Controls: 2, Repeat: "vdevil atlas bp"}
	if err := a.Read(); err != nil {
		t.Fatal(err)
	}
	return a
}

func structure(bits int) bench.Structure {
	s := bench.Structure{Path: "bp", Type: "blkptr_t", Size: bits}
	for i := range bits {
		s.Fields = append(s.Fields, fmt.Sprintf("field%d", i))
	}
	return s
}

// TestPlan expects an atlas that goes on to leave out what is known and to do again what the lab spoiled, the controls among the
// bits.
func TestPlan(t *testing.T) {
	known := func(a *Atlas) campaign.Results {
		return campaign.Results{
			a.Spec(0, false, 1).ID(): {Outcome: trial.Masked}, a.Spec(1, false, 1).ID(): {Outcome: trial.Invalid},
			a.Spec(2, false, 1).ID(): {Outcome: trial.Panic}, a.Spec(7, false, 1).ID(): {Outcome: trial.Panic},
			a.Spec(0, true, 2).ID(): {Outcome: trial.Masked},
		}
	}
	for name, c := range map[string]struct {
		again          bool
		want           string // the names of the bundles
		done, controls int
	}{
		"goes on": {false, "bit-0001 control-0001 bit-0003", 3, 1},
		"again":   {true, "bit-0000 bit-0001 control-0001 bit-0002 control-0002 bit-0003", 0, 0},
	} {
		a := newAtlas(t)
		a.Bits = &Range{0, 3}
		done := known(a)
		forget, err := a.Plan(structure(8), done, c.again)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range forget {
			delete(done, id)
		}
		want, news := a.Next(done)
		names := make([]string, 0, len(want))
		for _, w := range want {
			names = append(names, w.Bundle)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if begun := news[0].(Begun); begun != (Begun{Type: "blkptr_t", Size: 8, Trials: 6, DoneAlready: c.done, Controls: 2, ControlsAlready: c.controls}) {
			t.Errorf("%s: %+v", name, begun)
		}
		for _, w := range want {
			done[w.ID] = trial.Result{Outcome: trial.Masked, Seconds: 2}
		}
		if more, _ := a.Next(done); len(more) > 0 {
			t.Errorf("%s: %d are wanted yet", name, len(more))
		}
		m := a.Map(done) // with the bit that an earlier atlas has flipped
		if len(m.Bits) != 8 || m.Bits[7].Outcome != trial.Panic || m.Bits[7].Field != "field7" || m.Bits[6].Outcome != "" || len(m.Controls) != 2 {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func same(t *testing.T, a, b any) bool {
	t.Helper()
	one, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(one, other)
}

// TestIdentity expects those atlases to share results that differ in how much they ask for.
func TestIdentity(t *testing.T) {
	a, b := newAtlas(t), newAtlas(t)
	b.Bits, b.Controls, b.Repeat = &Range{1, 2}, 9, "other"
	made := time.Now()
	if !same(t, a.Identity(made), b.Identity(made)) {
		t.Error("the part that is asked for makes another atlas")
	}
	if same(t, a.Identity(made), a.Identity(made.Add(time.Second))) {
		t.Error("another instant makes the same atlas")
	}
	b.Seed++
	if same(t, a.Identity(made), b.Identity(made)) {
		t.Error("another seed makes the same atlas")
	}
	ids := []string{a.Spec(0, false, 1).ID(), a.Spec(1, false, 1).ID(), a.Spec(0, true, 1).ID(), a.Spec(0, true, 2).ID()}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 4 {
		t.Error("two trials have one ID")
	}
}
