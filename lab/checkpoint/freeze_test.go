package checkpoint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/scenarios"
)

// seen is a note that is kept with an instant.
type seen struct{ Text string }

// place is an address, which is found without types.
const place = "0xffffffffc0a01230"

// debugged has the third machine, the one whose workload runs, stop where a script says.
func (s *stage) debugged(on func(ctx context.Context, n int) error) *scripttest.Debugger {
	d := &scripttest.Debugger{OnContinue: func(ctx context.Context, n int) (machine.Stop, error) {
		return machine.Stop{CPU: 0, Addr: 0xffffffffc0a01230}, on(ctx, n)
	}}
	s.script = func(n int, m *scripttest.Machine) {
		if n == 3 {
			m.OnDebug = func(context.Context) (machine.Debugger, error) { return d, nil }
		}
	}
	return d
}

// TestFrozen freezes a machine in its second of three steps, and finds that again.
func TestFrozen(t *testing.T) {
	s := newStage(t)
	hangs, last := scenarios.Step{Run: s.reaching()}, scenarios.Step{Run: "echo last >>" + s.log}
	r := s.resolved(scenarios.Step{Run: "echo before >>" + s.log}, scenarios.Step{Arm: true}, scenarios.Step{Run: "echo first >>" + s.log}, hangs, last)
	s.knowKernel(r)
	d := s.debugged(func(context.Context, int) error { s.reached(); return nil })
	m := Moment{Resolved: r, Trigger: fault.Trigger{At: place}, Seed: 7, Subject: "arc"}
	note, looks := seen{}, 0
	look := func(at *fault.Moment) error {
		looks++
		if at.Fired != place || len(at.Site.Written[s.file()]) != 4096 || len(d.Triggers()) != 1 || d.Closed() {
			t.Errorf("at %+v, triggers %x", at, d.Triggers())
		}
		note.Text = "what was seen"
		return nil
	}
	instant, err := s.cache.Frozen(t.Context(), s.image, m, &note, look)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(instant.Rest, []scenarios.Step{last}) || !reflect.DeepEqual(instant.Trigger, m.Trigger) || !strings.HasPrefix(filepath.Base(instant.Checkpoint.Dir), "image-instant-") {
		t.Errorf("got %+v", instant)
	}
	if got := s.asked(); !strings.HasSuffix(got, "before\nfirst\n") {
		t.Errorf("the guest was asked %s", got)
	}
	if !s.forked[1].Options.Freezable || !strings.Contains(s.forked[1].Of, "image-prepared-") {
		t.Errorf("forked %+v", s.forked)
	}
	var again seen
	found, err := s.cache.Frozen(t.Context(), s.image, m, &again, look)
	if err != nil || !reflect.DeepEqual(found, instant) || again != note || looks != 1 || len(s.machines) != 3 {
		t.Errorf("found again: %+v, %v, with %q after %d looks", found, err, again.Text, looks)
	}
	// What stands beside it is needed.
	path := filepath.Join(instant.Checkpoint.Dir, instantNote)
	if err := os.WriteFile(path, []byte(`{"begun":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.cache.Frozen(t.Context(), s.image, m, &again, look); err == nil || !strings.Contains(err.Error(), instant.Checkpoint.Dir+" is not whole, remove it") {
		t.Errorf("cut: %v", err)
	}
	// A lab that was killed may not have come to it: the machine is frozen anew, which this one's script has no words for.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.cache.Frozen(t.Context(), s.image, m, &again, look); err == nil || !strings.HasPrefix(err.Error(), "freeze scripted of 2.3.2") || len(s.machines) != 4 {
		t.Errorf("gone: %v with %d machines", err, len(s.machines))
	}
}

// TestInstants expects each part of a moment to make another instant.
func TestInstants(t *testing.T) {
	s := newStage(t)
	r := s.resolved(scenarios.Step{Run: "true"})
	s.knowKernel(r)
	base := Moment{Resolved: r, Seed: 7, Subject: "arc"}
	other := map[string]Moment{"base": base}
	m := base
	m.Seed = 8
	other["seed"] = m
	m = base
	m.Subject = "spa"
	other["subject"] = m
	m = base
	m.Trigger = fault.Trigger{After: time.Nanosecond}
	other["trigger"] = m
	m = base
	m.Resolved.Workload = []scenarios.Step{{Run: "false"}}
	other["workload"] = m
	dirs := map[string]string{}
	for name, m := range other {
		instant, err := s.cache.Frozen(t.Context(), s.image, m, &seen{}, func(*fault.Moment) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if twice, is := dirs[instant.Checkpoint.Dir]; is {
			t.Errorf("another %s has the instant of %s", name, twice)
		}
		dirs[instant.Checkpoint.Dir] = name
		if m.Trigger.Now() && len(instant.Rest) != 1 {
			t.Errorf("%s: a step had begun at once: %v left", name, instant.Rest)
		}
	}
}

// TestFrozenFails expects no instant of what cannot be looked at, noted or kept.
func TestFrozenFails(t *testing.T) {
	trouble := errors.New("all zeros")
	for name, c := range map[string]struct {
		note   any
		look   error
		frozen error
		says   string
	}{
		"look": {note: &seen{}, look: trouble, says: "all zeros"},
		"next": {note: &seen{}, look: errors.Join(trouble, ErrNext), says: "not at this moment"},
		"keep": {note: &seen{}, frozen: trouble, says: "all zeros"},
		"note": {note: make(chan int), says: "unsupported type"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			r := s.resolved(scenarios.Step{Run: "true"})
			s.knowKernel(r)
			s.script = func(n int, m *scripttest.Machine) {
				if n == 3 {
					m.OnCheckpoint = func(context.Context, string) error { return c.frozen }
				}
			}
			_, err := s.cache.Frozen(t.Context(), s.image, Moment{Resolved: r}, c.note, func(*fault.Moment) error { return c.look })
			if err == nil || !strings.HasPrefix(err.Error(), "freeze scripted of 2.3.2 at now: ") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("told %v", err)
			}
			if got := s.checkpoints(); got != "booted prepared" {
				t.Errorf("left are %q", got)
			}
		})
	}
}

// TestLook shows a moment of each kind of trigger in a machine that is thrown away.
func TestLook(t *testing.T) {
	for name, c := range map[string]struct {
		trigger fault.Trigger
		paused  bool
	}{
		"now":   {fault.Trigger{}, true},
		"clock": {fault.Trigger{After: time.Millisecond}, true},
		"code":  {fault.Trigger{At: place}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			r := s.resolved(scenarios.Step{Arm: true}, scenarios.Step{Run: "sleep infinity"})
			s.knowKernel(r)
			d := s.debugged(func(context.Context, int) error { return nil })
			looks := 0
			err := s.cache.Look(t.Context(), s.image, Moment{Resolved: r, Trigger: c.trigger}, func(at *fault.Moment) error {
				looks++
				if m := s.machines[2]; m.Paused() != c.paused || at.Site.Machine != machine.Machine(m) || at.Fired != c.trigger.String() {
					t.Errorf("paused %v at %+v", m.Paused(), at)
				}
				if (at.Debugger != nil) != (len(d.Triggers()) == 1) {
					t.Errorf("debugger %v, triggers %x", at.Debugger, d.Triggers())
				}
				return nil
			})
			if err != nil || looks != 1 || s.forked[1].Options.Freezable || s.checkpoints() != "booted prepared" {
				t.Errorf("%v after %d looks, forked %+v, left are %s", err, looks, s.forked, s.checkpoints())
			}
		})
	}
}

// TestNextMoment expects a look that wants another moment to get it, where one will come: time passes once.
func TestNextMoment(t *testing.T) {
	for name, c := range map[string]struct {
		trigger fault.Trigger
		looks   int
		ends    bool
	}{
		"now":   {fault.Trigger{}, 1, false},
		"clock": {fault.Trigger{After: time.Millisecond}, 1, false},
		"code":  {fault.Trigger{At: place}, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			r := s.resolved(scenarios.Step{Run: "sleep infinity"})
			s.knowKernel(r)
			s.debugged(func(context.Context, int) error { return nil })
			looks := 0
			err := s.cache.Look(t.Context(), s.image, Moment{Resolved: r, Trigger: c.trigger}, func(*fault.Moment) error {
				if looks++; looks == 3 {
					return nil
				}
				return ErrNext
			})
			if looks != c.looks || (err == nil) != c.ends || err != nil && !errors.Is(err, ErrNext) {
				t.Errorf("%d looks, %v", looks, err)
			}
		})
	}
}

// TestLookFails has the workload, the trigger or the machine in the way of a moment.
func TestLookFails(t *testing.T) {
	trouble := errors.New("no room on this computer")
	code := fault.Trigger{At: place}
	for name, c := range map[string]struct {
		steps   []scenarios.Step
		trigger fault.Trigger
		refuse  error
		script  func(*scripttest.Machine)
		says    []string
	}{
		"preparation": {refuse: trouble, says: []string{"prepare scripted", trouble.Error()}},
		"fork":        {refuse: trouble, says: []string{trouble.Error()}},
		"connection":  {script: func(m *scripttest.Machine) { m.Die("was killed") }, says: []string{"the machine died"}},
		"before":      {steps: []scenarios.Step{{Run: "echo it cannot >&2; exit 1"}, {Arm: true}}, says: []string{"step run", "it cannot"}},
		"debugger":    {trigger: code, script: func(m *scripttest.Machine) { m.OnDebug = nil }, says: []string{"does not say"}},
		"a step": {
			steps: []scenarios.Step{{Arm: true}, {Run: "true"}, {Run: "echo it cannot >&2; exit 1"}, {Run: "true"}}, trigger: code,
			says: []string{"it cannot", "0 of 0 arrivals", "2 of 3 steps had begun"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			r := s.resolved(c.steps...)
			s.knowKernel(r)
			s.debugged(func(ctx context.Context, _ int) error {
				<-ctx.Done()
				return ctx.Err()
			})
			debugged := s.script
			s.script = func(n int, m *scripttest.Machine) {
				debugged(n, m)
				if n == 3 && c.script != nil {
					c.script(m)
				}
			}
			s.refuse = func(n int) error {
				if n == 1 && name == "preparation" || n == 3 {
					return c.refuse
				}
				return nil
			}
			err := s.cache.Look(t.Context(), s.image, Moment{Resolved: r, Trigger: c.trigger}, func(*fault.Moment) error {
				t.Error("a moment was shown")
				return nil
			})
			for _, want := range c.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("told %v", err)
				}
			}
		})
	}
}
