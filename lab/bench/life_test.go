package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// second is another machine with the same guest, for a trial that goes on in one.
func (s *stage) second() *scripttest.Machine {
	s.t.Helper()
	m := scripttest.New(s.t)
	m.OnDial = s.machine.OnDial
	return m
}

// programs makes zpool and blockdev note what they are told, and the pool a sound one.
func (s *stage) programs() (log string) {
	s.t.Helper()
	log = filepath.Join(s.t.TempDir(), "log")
	s.guest.Program("zpool", `echo zpool "$1" >>`+log+"\n"+`[ "$1" != status ] || cat `+healthyPool(s.t))
	s.guest.Program("udevadm", "")
	s.guest.Program("install", "")
	s.guest.Program("blockdev", `echo blockdev "$1" >>`+log)
	return log
}

func (s *stage) noted(log string) string {
	s.t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ", ")
}

// TestReboot expects a trial to go on in a fresh machine, with the disks that the first one has left.
func TestReboot(t *testing.T) {
	s := newStage(t, nil, func(*stage) []scenarios.Step {
		return []scenarios.Step{{Run: "echo before"}, {Reboot: true}, {Import: true}, {Run: "echo after"}}
	})
	log := s.programs()
	s.machine.Data = []machine.Disk{{Name: "v0", Path: "/disks/v0.raw", Size: 512}, {Name: "v1", Path: "/disks/v1.raw", Size: 512}}
	s.trial.booted = &machine.Checkpoint{Dir: t.TempDir()}
	next := s.second()
	s.forks = func(n int, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
		if n == 1 {
			s.machine.Print("the first\n")
			return s.machine, nil
		}
		select {
		case <-s.machine.Done():
		default:
			t.Error("the first machine runs on")
		}
		if cp != s.trial.booted || o.Disks["v0"] != "/disks/v0.raw" || o.Disks["v1"] != "/disks/v1.raw" || len(o.Disks) != 2 {
			t.Errorf("the next machine is of %s, with %v", cp.Dir, o.Disks)
		}
		next.Print("the second\n")
		return next, nil
	}
	r := s.run(func() {})
	if r.Outcome != trial.Masked || r.LastStep != "run echo after" {
		t.Errorf("got %s because %q at %q", r.Outcome, r.Reason, r.LastStep)
	}
	if got := s.noted(log); got != "blockdev --rereadpt, zpool import, zpool sync, zpool status" {
		t.Errorf("the guest was told %s", got)
	}
	for name, want := range map[string]string{"console.log": "the first", "console-2.log": "the second"} {
		if text, err := os.ReadFile(filepath.Join(r.Bundle, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if next.Dials() == 0 {
		t.Error("nobody connected to the second machine")
	}
}

// TestRebootFails expects trouble with the second machine to be the lab's, and its panic to be the trial's.
func TestRebootFails(t *testing.T) {
	for name, c := range map[string]struct {
		next    func(*stage, *scripttest.Machine) error
		outcome trial.Outcome
		reason  string
	}{
		"no machine": {func(*stage, *scripttest.Machine) error { return errors.New("no memory") }, trial.Invalid, "step reboot: no memory"},
		"it dies":    {func(_ *stage, m *scripttest.Machine) error { m.Die("SIGKILL"); return nil }, trial.Invalid, "SIGKILL"},
		"it resets":  {func(_ *stage, m *scripttest.Machine) error { m.End(); return nil }, trial.Oops, "without a message"},
		"it panics": {func(s *stage, m *scripttest.Machine) error {
			m.Print(string(console(s.t, "add-overlap-2.3.2")))
			return nil
		}, trial.Panic, ""},
		"its disks are not new": {func(s *stage, _ *scripttest.Machine) error {
			s.guest.Program("blockdev", "echo busy >&2; exit 1")
			return nil
		}, trial.Invalid, "busy"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil, func(*stage) []scenarios.Step { return []scenarios.Step{{Reboot: true}, {Run: "sleep infinity"}} })
			s.programs()
			next := s.second()
			s.forks = func(n int, _ *machine.Checkpoint, _ machine.ForkOptions) (machine.Machine, error) {
				if n == 1 {
					return s.machine, nil
				}
				return next, c.next(s, next)
			}
			if r := s.run(func() {}); r.Outcome != c.outcome || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s because %q", r.Outcome, r.Reason)
			}
		})
	}
}

// TestRebootAwaitsTheFault expects no power cut while the fault has not struck: what it does would be lost.
func TestRebootAwaitsTheFault(t *testing.T) {
	s := newStage(t, nil, hanging)
	one := &run{Trial: s.trial, over: make(chan struct{})}
	if err := one.enter(t.Context(), s.machine, s.trial.image, s.trial.fork); err != nil {
		t.Fatal(err)
	}
	defer one.close()
	told, done := make(chan struct{}), make(chan struct{})
	one.strike = &strike{end: func() { close(told) }, done: done}
	s.trial.bench.Driver = &scripttest.Driver{OnFork: func(context.Context, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
		select {
		case <-done:
		default:
			t.Error("a machine is forked before the fault has struck")
		}
		return nil, errors.New("no machine")
	}}
	rebooted := make(chan error, 1)
	go func() { rebooted <- one.reboot(t.Context()) }()
	select {
	case <-told:
	case err := <-rebooted:
		t.Fatalf("nobody told the fault that the workload is at its end: %v", err)
	}
	if one.now().ended() {
		t.Error("the power is cut before the fault has struck")
	}
	close(done)
	if err := <-rebooted; err == nil || err.Error() != "no machine" || !one.now().ended() {
		t.Errorf("the machine has ended: %v, %v", one.now().ended(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	one.strike = &strike{end: func() {}, done: make(chan struct{})}
	if err := one.reboot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a fault that never strikes: %v", err)
	}
}

// TestTooLate expects a machine, and a strike, that come when the trial is over to find no place in it.
func TestTooLate(t *testing.T) {
	s := newStage(t, nil, hanging)
	one := &run{Trial: s.trial, over: make(chan struct{})}
	if err := one.enter(t.Context(), s.machine, s.trial.image, s.trial.fork); err != nil {
		t.Fatal(err)
	}
	first := one.now()
	if err := one.close(); err != nil {
		t.Fatal(err)
	}
	late := s.second()
	if err := one.enter(t.Context(), late, s.trial.image, s.trial.fork); !errors.Is(err, errOver) || len(one.all()) != 1 {
		t.Errorf("%d machines, %v", len(one.all()), err)
	}
	<-late.Done()
	first.vm = s.second() // one that would let us in
	if err := one.connect(t.Context(), first); !errors.Is(err, errOver) || first.guest != nil {
		t.Errorf("a connection that came too late: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := one.expect(ctx, &strike{}); !errors.Is(err, context.Canceled) || one.finish() != nil {
		t.Errorf("a strike that came too late: %v", err)
	}
}

// TestRequiredPanic expects steps that must end in a panic to be judged by the one that came.
func TestRequiredPanic(t *testing.T) {
	text := string(console(t, "add-overlap-2.3.2"))
	signature := panics.Scan([]byte(text))[0].Signature()
	for name, c := range map[string]struct {
		step     string // in panic; empty for one that does not end
		want     string // signature
		script   func(*scripttest.Machine)
		outcome  trial.Outcome
		reason   string
		survived bool
	}{
		"it comes":                {"", signature, func(m *scripttest.Machine) { m.Print(text) }, trial.Masked, "", true},
		"it comes and ends it":    {"", signature, func(m *scripttest.Machine) { m.Print(text); m.End() }, trial.Masked, "", true},
		"any will do":             {"", "", func(m *scripttest.Machine) { m.Print(text) }, trial.Masked, "", true},
		"another one comes":       {"", "range-tree-remove@elsewhere", func(m *scripttest.Machine) { m.Print(text) }, trial.Panic, "", false},
		"an oops comes":           {"", "", func(m *scripttest.Machine) { m.Print(string(console(t, "oops-null-deref"))) }, trial.Oops, "", false},
		"the machine resets":      {"", signature, func(m *scripttest.Machine) { m.End() }, trial.Oops, "stopped without a message", false},
		"the hypervisor dies":     {"", signature, func(m *scripttest.Machine) { m.Die("SIGKILL") }, trial.Invalid, "SIGKILL", false},
		"none comes":              {"true", signature, func(*scripttest.Machine) {}, trial.Masked, "the steps that must end in a panic did not", false},
		"none comes, and it ends": {"exit 3", signature, func(*scripttest.Machine) {}, trial.Invalid, "exit status 3", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, nil, func(s *stage) []scenarios.Step {
				command := c.step
				if command == "" {
					command = s.reaching()
				}
				return []scenarios.Step{{Panic: []scenarios.Step{{Run: command}}}, {Reboot: true}, {Import: true}}
			})
			log := s.programs()
			s.trial.scenario.Expect.Signature = c.want
			next := s.second()
			s.forks = func(n int, _ *machine.Checkpoint, _ machine.ForkOptions) (machine.Machine, error) {
				return []machine.Machine{s.machine, next}[n-1], nil
			}
			r := s.run(func() {
				if c.step == "" {
					s.reached()
					c.script(s.machine)
				}
			})
			if r.Outcome != c.outcome || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s %q because %q", r.Outcome, r.Signature, r.Reason)
			}
			if !c.survived {
				if len(r.Survived) != 0 || next.Dials() > 0 {
					t.Errorf("survived were %q, and the trial went on: %v", r.Survived, next.Dials() > 0)
				}
				return
			}
			if !slices.Equal(r.Survived, []string{signature}) || len(r.Events) == 0 || r.Events[0].Signature() != signature || !strings.Contains(s.noted(log), "zpool import") {
				t.Errorf("survived were %q, %d events, the guest was told %s", r.Survived, len(r.Events), s.noted(log))
			}
		})
	}
}

// TestLinger expects a trial to be watched for as long as its spec says, though the workload has ended, and what comes then
// to count.
func TestLinger(t *testing.T) {
	for name, c := range map[string]struct {
		watch   time.Duration
		script  func(*scripttest.Machine)
		outcome trial.Outcome
	}{
		"nothing comes": {500 * time.Millisecond, func(*scripttest.Machine) {}, trial.Masked},
		"a panic comes": {24 * time.Hour, func(m *scripttest.Machine) { m.Print(string(console(t, "add-overlap-2.3.2"))) }, trial.Panic},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil, func(*stage) []scenarios.Step { return []scenarios.Step{{Sync: true}} })
			s.guest.Program("zpool", `[ "$1" != status ] || { cat `+healthyPool(t)+"; echo here >"+s.fifo+"; }")
			s.trial.spec.Watch = c.watch
			r := s.run(func() {
				s.reached()
				c.script(s.machine)
			})
			if r.Outcome != c.outcome || c.outcome == trial.Masked && r.Seconds < c.watch.Seconds() {
				t.Errorf("got %s because %q after %.3f s", r.Outcome, r.Reason, r.Seconds)
			}
		})
	}
}

// TestStatusUnknown expects a trial whose pool does not say how it is to be invalid, not masked.
func TestStatusUnknown(t *testing.T) {
	for name, status := range map[string]string{"refused": "echo no pool >&2; exit 1", "not understood": "echo hello"} {
		s := newStage(t, nil, func(*stage) []scenarios.Step { return []scenarios.Step{{Sync: true}} })
		s.guest.Program("zpool", `[ "$1" != status ] || { `+status+"; }")
		if r := s.run(func() {}); r.Outcome != trial.Invalid || !strings.Contains(r.Reason, "the state of the pool is not known: ") {
			t.Errorf("%s: %s because %q", name, r.Outcome, r.Reason)
		}
	}
}

// TestFollow expects a follower to tell of a crash, to wait for the whole message, and to tell how the machine ended.
func TestFollow(t *testing.T) {
	text := string(console(t, "add-overlap-2.3.2"))
	for name, c := range map[string]struct {
		end         func(*scripttest.Machine)
		ended, died bool
	}{
		"it stands": {func(*scripttest.Machine) {}, false, false},
		"it resets": {func(m *scripttest.Machine) { m.End() }, true, false},
		"it dies":   {func(m *scripttest.Machine) { m.Die("SIGKILL") }, true, true},
	} {
		m := scripttest.New(t)
		m.Print("history\n")
		f := Follow(t.Context(), m, m.Console().Start(), 1)
		m.Print(text)
		<-f.Crash()
		c.end(m)
		if c.ended {
			<-m.Done()
		}
		// The console's end comes to the follower a little after it.
		for c.ended && !f.l.watch.ended() {
			_, changed := f.l.watch.since(0)
			if f.l.watch.ended() {
				break
			}
			<-changed
		}
		events, ended, died := f.Aftermath(t.Context())
		if len(events) == 0 || !strings.HasPrefix(events[0].Signature(), overlap) || ended != c.ended || (died != nil) != c.died {
			t.Errorf("%s: %d events, ended %v, %v", name, len(events), ended, died)
		}
	}
}
