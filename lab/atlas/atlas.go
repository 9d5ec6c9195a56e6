// Package atlas flips every bit of one structure, one at a time and each in a fork of its own from one checkpoint. It is a
// search; package bitmap draws what it finds.
package atlas

import (
	"fmt"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Atlas is the search of an atlas: a structure, an instant, and which of the structure's bits to flip there.
type Atlas struct {
	// Target is the path of the structure, Trigger the instant.
	Target  string            `json:"target"`
	Trigger scenarios.Trigger `json:"trigger"`
	// Scenario gives the pool and the workload, the first fault arm of it.
	Asked campaign.Asked `json:"scenario"`
	// Image is the ID of the guest's image, OpenZFS the version in it; Driver and Accel are what the forks are to run on.
	Image   string `json:"image"`
	OpenZFS string `json:"openzfs"`
	Driver  string `json:"driver"`
	Accel   string `json:"accel"`
	Seed    uint64 `json:"seed"`
	// Bits are the first and the last bit to flip; nil means all.
	Bits *Range `json:"bits,omitempty"`
	// Controls is the number of forks without a flip.
	Controls int `json:"controls"`
	// Window is how long a fork is watched at least, after its CPUs run.
	Window time.Duration `json:"window_ns"`
	// Repeat is the command that makes the atlas again, without its bits.
	Repeat string `json:"repeat"`
	// Structure is what is known of the target at the instant.
	Structure bench.Structure `json:"structure"`

	scenario *scenarios.Scenario
	trigger  string // in words
	wants    []campaign.Want
	begun    Begun
}

// Range is a range of bits, both ends included.
type Range struct{ First, Last int }

// Begun says what will be done: so many trials, of which some were done when the atlas was broken off before.
type Begun struct {
	Type        string
	Size        int // of the structure, in bits
	Trials      int
	DoneAlready int
	// Controls are those of the trials that have no flip, ControlsAlready those of them that were done.
	Controls, ControlsAlready int
}

// drain is how many txgs are synced after the workload: what was freed passes both ms_defer, and what was changed in memory
// only is written.
const drain = 3

// Read reads the scenario. It is to be called first.
func (a *Atlas) Read() (err error) {
	if a.scenario, err = scenarios.Parse(a.Asked.File, []byte(a.Asked.Text)); err != nil {
		return err
	}
	t, err := bench.Trigger(a.Trigger)
	a.trigger = t.String()
	return err
}

// Identity is what two atlases have in common that share results: all but how much of the map is asked for. made is when the
// checkpoint of the instant was.
func (a *Atlas) Identity(made time.Time) any {
	same := *a
	same.Bits, same.Controls, same.Repeat, same.Structure = nil, 0, "", bench.Structure{}
	return []any{same, made.UTC()}
}

// Spec is the trial of a bit, or of a control when the strike is withheld; number tells controls apart.
func (a *Atlas) Spec(bit int, withhold bool, number int) trial.Spec {
	return trial.Spec{
		Version: trial.SpecVersion, Name: a.scenario.Name, Scenario: a.scenario.Source, Arm: a.arm(), Number: number, Seed: a.Seed,
		Image: a.Image, OpenZFS: a.OpenZFS, Driver: a.Driver, Accel: a.Accel, Watch: a.Window,
		Strike: &trial.Strike{Target: a.Target, Trigger: a.Trigger, Txgs: drain, Bit: bit, Withhold: withhold, Seed: a.Seed},
	}
}

// arm is the first that is no control.
func (a *Atlas) arm() string {
	return a.scenario.Arms[slices.IndexFunc(a.scenario.Arms, func(arm scenarios.Arm) bool { return !arm.Control })].Name
}

// Plan lays out the trials when the structure is known, the controls spread among the bits: what changes on the host meanwhile
// changes for both. done are results of trials that were done before; forget are those of them that must be done again: what the
// lab has spoiled, and if again is set all.
func (a *Atlas) Plan(s bench.Structure, done campaign.Results, again bool) (forget []string, err error) {
	a.Structure = s
	a.begun = Begun{Type: s.Type, Size: s.Size}
	bits := Range{0, s.Size - 1}
	if a.Bits != nil {
		bits = *a.Bits
	}
	if bits.First < 0 || bits.Last < bits.First || bits.Last >= s.Size {
		return nil, fmt.Errorf("bits %d-%d: %s has bits 0-%d", bits.First, bits.Last, s.Path, s.Size-1)
	}
	n := bits.Last - bits.First + 1
	controls := 0
	for i := range n {
		for ; controls < a.Controls && (controls+1)*n <= i*(a.Controls+1); controls++ { // they part the bits evenly
			a.wants = append(a.wants, a.want(0, true, controls+1))
		}
		a.wants = append(a.wants, a.want(bits.First+i, false, 1))
	}
	for ; controls < a.Controls; controls++ {
		a.wants = append(a.wants, a.want(0, true, controls+1))
	}
	a.begun.Trials, a.begun.Controls = len(a.wants), controls
	for _, w := range a.wants {
		r, ok := done[w.ID]
		switch {
		case ok && (again || r.Outcome == trial.Invalid):
			forget = append(forget, w.ID)
		case ok && w.Spec.Strike.Withhold:
			a.begun.ControlsAlready++
			fallthrough
		case ok:
			a.begun.DoneAlready++
		}
	}
	return forget, nil
}

func (a *Atlas) want(bit int, withhold bool, number int) campaign.Want {
	w := campaign.WantOf(a.Spec(bit, withhold, number))
	w.Bundle, w.Repeat = fmt.Sprintf("bit-%04d", bit), fmt.Sprintf("%s --bits %d --again", a.Repeat, bit)
	if withhold {
		w.Bundle, w.Repeat = fmt.Sprintf("control-%04d", number), a.Repeat
	}
	return w
}

// Next wants every bit flipped, each in a fork of its own.
func (a *Atlas) Next(done campaign.Results) (want []campaign.Want, news []campaign.Event) {
	for _, w := range a.wants {
		if _, ok := done[w.ID]; !ok {
			want = append(want, w)
		}
	}
	return want, []campaign.Event{a.begun}
}

// Map is what the results show. Bits that were flipped by an earlier search with the same specs are in it, too.
func (a *Atlas) Map(done campaign.Results) bitmap.Map {
	m := bitmap.Map{
		Target: a.Target, Trigger: a.trigger, OpenZFS: a.OpenZFS, Type: a.Structure.Type, Size: a.Structure.Size, Scenario: a.scenario.Name,
		Seed: a.Seed, Accel: a.Accel, Repeat: a.Repeat,
	}
	for i := range a.Structure.Size {
		r, ok := done[a.Spec(i, false, 1).ID()]
		m.Bits = append(m.Bits, a.bit(i, r))
		if ok {
			cover(&m, r)
		}
	}
	for i := range a.Controls {
		if r, ok := done[a.Spec(0, true, i+1).ID()]; ok {
			m.Controls = append(m.Controls, controlOf(r))
			cover(&m, r)
		}
	}
	return m
}

// cover makes the map's time include that of a trial.
func cover(m *bitmap.Map, r trial.Result) {
	if m.Started.IsZero() || r.Started.Before(m.Started) {
		m.Started = r.Started
	}
	m.Seconds += r.Seconds
}

// bit is the bit of that number with what happened.
func (a *Atlas) bit(n int, r trial.Result) bitmap.Bit {
	c := controlOf(r)
	return bitmap.Bit{Bit: n, Field: a.Structure.Fields[n], Outcome: c.Outcome, Signature: c.Signature, Text: c.Text, Seconds: c.Seconds}
}

// controlOf is a control with what happened.
func controlOf(r trial.Result) bitmap.Control {
	text := r.Text
	if text == "" {
		text = r.Reason
	}
	return bitmap.Control{Outcome: r.Outcome, Signature: r.Signature, Text: text, Seconds: r.Seconds}
}
