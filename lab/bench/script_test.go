package bench

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// stage is a trial without a hypervisor: a scripted machine with a guest whose commands run on this computer.
type stage struct {
	t       *testing.T
	guest   *guesttest.Server
	machine *scripttest.Machine
	trial   *Trial
	fifo    string // the guest writes into it when it has come to what the test waits for
	// forks gives the n-th machine, from 1, of a trial that has several.
	forks func(n int, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error)
	keep  func(*scenarios.Scenario, trial.Result) bool
}

// reaching is a command that tells the test that the guest has come there, and never ends.
func (s *stage) reaching() string { return "echo here >" + s.fifo + "; sleep infinity" }

// reached waits until a command that is reaching runs.
func (s *stage) reached() {
	s.t.Helper()
	if _, err := os.ReadFile(s.fifo); err != nil { // to its end: a writer without a reader is killed
		s.t.Fatal(err)
	}
}

// newStage sets the scene for a workload, with a fault if there is one. The limit of the trial is longer than the test's.
func newStage(t *testing.T, f *scenarios.Fault, workload func(*stage) []scenarios.Step) *stage {
	t.Helper()
	s := &stage{t: t, guest: guesttest.New(t), machine: scripttest.New(t), fifo: filepath.Join(t.TempDir(), "fifo")}
	if err := syscall.Mkfifo(s.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	s.machine.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return s.guest.Dial(ctx) }
	img := &images.Image{ID: "image", LoginKey: s.guest.Login, HostKey: s.guest.Host}
	s.trial = &Trial{
		bench:    &Bench{Checkpoints: &checkpoint.Cache{Kernels: &checkpoint.Kernels{}}},
		spec:     trial.Spec{Version: trial.SpecVersion, Name: "scripted", Scenario: "name: scripted\n", OpenZFS: "2.3.2", Arm: "arm", Number: 1, Seed: 1},
		scenario: &scenarios.Scenario{Name: "scripted"},
		resolved: scenarios.Resolved{
			Scenario: "scripted", Arm: scenarios.Arm{Name: "arm"}, Pool: scenarios.Pool{Name: "tank"}, Fault: f,
			Workload: workload(s), Limit: 24 * time.Hour,
		},
		image: img, later: img,
		fork: &machine.Checkpoint{Dir: t.TempDir(), Scale: 1},
	}
	return s
}

// run does the trial while the script is played.
func (s *stage) run(script func()) trial.Result {
	s.t.Helper()
	r, err := s.do(s.t.Context(), script)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// do is run for a trial that may be broken off.
func (s *stage) do(ctx context.Context, script func()) (trial.Result, error) {
	s.t.Helper()
	played := make(chan struct{})
	go func() {
		defer close(played)
		script()
	}()
	n := 0
	s.trial.bench.Driver = &scripttest.Driver{OnFork: func(_ context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
		if n++; s.forks != nil {
			return s.forks(n, cp, o)
		}
		return s.machine, nil
	}}
	r, err := s.trial.Do(ctx, Options{Bundle: filepath.Join(s.t.TempDir(), "bundle"), Keep: s.keep})
	<-played
	return r, err
}

// hanging is a workload of one command that does not end.
func hanging(s *stage) []scenarios.Step { return []scenarios.Step{{Run: s.reaching()}} }

func TestEndsOfMachines(t *testing.T) {
	panicText := string(console(t, "add-overlap-2.3.2"))
	for name, c := range map[string]struct {
		script  func(*scripttest.Machine)
		outcome trial.Outcome
		reason  string
	}{
		"killed":             {func(m *scripttest.Machine) { m.Die("QEMU was ended by SIGKILL") }, trial.Invalid, "the hypervisor died, and the guest with it: the machine died: QEMU was ended by SIGKILL"},
		"reset":              {func(m *scripttest.Machine) { m.End() }, trial.Oops, "stopped without a message"},
		"panic":              {func(m *scripttest.Machine) { m.Print(panicText) }, trial.Panic, ""},
		"panic, then killed": {func(m *scripttest.Machine) { m.Print(panicText); m.Die("QEMU was ended by SIGKILL") }, trial.Panic, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil, hanging)
			r := s.run(func() {
				s.reached()
				c.script(s.machine)
			})
			if r.Outcome != c.outcome || r.Reason != c.reason && !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s because %q", r.Outcome, r.Reason)
			}
		})
	}
}

// TestArming expects a guest that hangs while a fault is being armed not to keep a trial that is decided.
func TestArming(t *testing.T) {
	for name, c := range map[string]struct {
		script  func(*scripttest.Machine)
		outcome trial.Outcome
		reason  string
	}{
		"killed": {func(m *scripttest.Machine) { m.Die("QEMU was ended by SIGKILL") }, trial.Invalid, "QEMU was ended by SIGKILL"},
		"panic": {
			func(m *scripttest.Machine) { m.Print(string(console(t, "add-overlap-2.3.2"))) }, trial.Invalid, "the fault was not delivered (panic seen): arm blkptr-dva-flip",
		},
	} {
		t.Run(name, func(t *testing.T) {
			flip := &scenarios.Fault{BlkptrDVAFlip: &scenarios.BlkptrDVAFlip{At: "zio_free_sync"}}
			s := newStage(t, flip, func(*stage) []scenarios.Step { return []scenarios.Step{{Arm: true}} })
			s.guest.Program("grep", s.reaching()) // by which it is asked for its symbols
			r := s.run(func() {
				s.reached()
				c.script(s.machine)
			})
			if r.Outcome != c.outcome || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s because %q", r.Outcome, r.Reason)
			}
		})
	}
}

// TestDeadline expects a trial to end at its limit though the guest hangs while a fault is being armed.
func TestDeadline(t *testing.T) {
	flip := &scenarios.Fault{BlkptrDVAFlip: &scenarios.BlkptrDVAFlip{At: "zio_free_sync"}}
	s := newStage(t, flip, func(*stage) []scenarios.Step { return []scenarios.Step{{Arm: true}} })
	s.guest.Program("grep", "sleep infinity")
	s.trial.resolved.Limit = time.Second
	if r := s.run(func() {}); r.Outcome != trial.Invalid || !strings.Contains(r.Reason, "context deadline exceeded") {
		t.Errorf("got %s because %q", r.Outcome, r.Reason)
	}
}
