package trial

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
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/scenarios"
)

// stage is a trial without a hypervisor: a scripted machine with a guest whose commands run on this computer.
type stage struct {
	t       *testing.T
	guest   *guesttest.Server
	machine *scripttest.Machine
	plan    Plan
	fifo    string // the guest writes into it when it has come to what the test waits for
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
	s.plan = Plan{
		Scenario: &scenarios.Scenario{Name: "scripted", Source: "name: scripted\n"},
		Resolved: scenarios.Resolved{
			Scenario: "scripted", Arm: scenarios.Arm{Name: "arm"}, Pool: scenarios.Pool{Name: "tank"}, Fault: f,
			Workload: workload(s), Limit: 24 * time.Hour,
		},
		OpenZFS: "2.3.2", Number: 1, Seed: 1, Bundle: filepath.Join(t.TempDir(), "bundle"),
		Image:      &images.Image{ID: "image", LoginKey: s.guest.Login, HostKey: s.guest.Host},
		Checkpoint: &machine.Checkpoint{Dir: t.TempDir(), Scale: 1},
		Kernels:    &Kernels{types: map[string]*kernel.Types{"image": {}}},
		Keep:       func(Result) bool { return false },
	}
	return s
}

// run does the trial while the script is played.
func (s *stage) run(script func()) Result {
	s.t.Helper()
	played := make(chan struct{})
	go func() {
		defer close(played)
		script()
	}()
	driver := &scripttest.Driver{OnFork: func(context.Context, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
		return s.machine, nil
	}}
	r, err := Run(s.t.Context(), driver, s.plan)
	if err != nil {
		s.t.Fatal(err)
	}
	<-played
	return r
}

// hanging is a workload of one command that does not end.
func hanging(s *stage) []scenarios.Step { return []scenarios.Step{{Run: s.reaching()}} }

func TestEndsOfMachines(t *testing.T) {
	panicText := string(console(t, "add-overlap-2.3.2"))
	for name, c := range map[string]struct {
		script  func(*scripttest.Machine)
		outcome Outcome
		reason  string
	}{
		"killed":             {func(m *scripttest.Machine) { m.Die("QEMU was ended by SIGKILL") }, Invalid, "the hypervisor died, and the guest with it: the machine died: QEMU was ended by SIGKILL"},
		"reset":              {func(m *scripttest.Machine) { m.End() }, Oops, "stopped without a message"},
		"panic":              {func(m *scripttest.Machine) { m.Print(panicText) }, Panic, ""},
		"panic, then killed": {func(m *scripttest.Machine) { m.Print(panicText); m.Die("QEMU was ended by SIGKILL") }, Panic, ""},
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
		outcome Outcome
		reason  string
	}{
		"killed": {func(m *scripttest.Machine) { m.Die("QEMU was ended by SIGKILL") }, Invalid, "QEMU was ended by SIGKILL"},
		"panic": {
			func(m *scripttest.Machine) { m.Print(string(console(t, "add-overlap-2.3.2"))) }, Invalid, "the fault was not delivered (panic seen): arm blkptr-dva-flip",
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
	s.plan.Resolved.Limit = time.Second
	if r := s.run(func() {}); r.Outcome != Invalid || !strings.Contains(r.Reason, "context deadline exceeded") {
		t.Errorf("got %s because %q", r.Outcome, r.Reason)
	}
}

// TestKernelsWaitForNobody opens the kernel of a fork while another fork of the same checkpoint hangs.
func TestKernelsWaitForNobody(t *testing.T) {
	s, other := newStage(t, nil, hanging), newStage(t, nil, hanging)
	s.guest.Program("grep", s.reaching())
	other.guest.Program("grep", "echo as the other says >&2; exit 3")
	k := s.plan.Kernels
	open := func(ctx context.Context, from *stage) error {
		g, err := guest.Connect(t.Context(), from.machine, keys(from.plan.Image))
		if err != nil {
			return err
		}
		defer g.Close()
		_, err = k.Open(ctx, s.plan.Image, s.plan.Checkpoint, from.machine, g)
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangs := make(chan error)
	go func() { hangs <- open(ctx, s) }()
	s.reached()
	if err := open(t.Context(), other); err == nil || !strings.Contains(err.Error(), "as the other says") {
		t.Errorf("the other fork was told %v", err)
	}
	cancel()
	if err := <-hangs; err == nil {
		t.Error("a fork that hangs was opened")
	}
}
