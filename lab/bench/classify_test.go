package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/lab/zfs/status"
	"github.com/vdevil/vdevil/scenarios"
)

// console is a real one, from the golden files of package panics, without their header.
func console(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../zfs/panics/testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := bytes.Cut(text, []byte("\n\n"))
	if !found {
		t.Fatalf("%s has no header", name)
	}
	return body
}

// ended is a machine that is dead, or not; the tests need no more of one.
type ended struct {
	machine.Machine
	done chan struct{}
	err  error
}

func (m *ended) Done() <-chan struct{}      { return m.done }
func (m *ended) Wait(context.Context) error { return m.err }

func alive() *ended { return &ended{done: make(chan struct{})} }

// reset is a guest that restarted, which QEMU takes for an orderly end.
func reset() *ended {
	m := dead()
	m.err = nil
	return m
}

func dead() *ended {
	m := &ended{done: make(chan struct{}), err: machine.ErrDied}
	close(m.done)
	return m
}

const overlap = "range-tree-add-overlap@metaslab_free_concrete"

func TestClassify(t *testing.T) {
	healthy := &status.Pool{}
	withFault := scenarios.Resolved{Fault: &scenarios.Fault{}}
	struck := func(err error) *strike { return &strike{err: err} }
	refused := fmt.Errorf("step remove: %w", &guest.ExitError{Status: 1})
	lost := fmt.Errorf("step write: %w", &machine.Error{Op: "sftp", Err: errors.New("connection lost")})
	sound := &status.Pool{State: "ONLINE", Errors: "No known data errors"}
	tests := []struct {
		name      string
		machine   *ended
		resolved  scenarios.Resolved
		console   string
		ending    ending
		outcome   trial.Outcome
		signature string
		reason    string // a piece of it
	}{
		{"nothing", alive(), withFault, "clean-boot", ending{status: healthy, strike: struck(nil)}, trial.Masked, "", ""},
		{"a panic", alive(), withFault, "add-overlap-2.3.2", ending{strike: struck(nil)}, trial.Panic, overlap, ""},
		{"a panic that ended the machine", dead(), scenarios.Resolved{}, "add-overlap-halt", ending{}, trial.Panic, overlap, ""},
		{"a panic and a failed command", alive(), scenarios.Resolved{}, "add-overlap-2.3.2", ending{err: errors.New("EOF")}, trial.Panic, overlap, ""},
		{"a panic before the guest was reached", alive(), scenarios.Resolved{}, "add-overlap-2.3.2", ending{err: errNotReached}, trial.Panic, overlap, ""},
		{"a pool that was suspended", alive(), scenarios.Resolved{}, "pool-suspended", ending{}, trial.Detected, "pool-suspended", ""},
		{"an oops", alive(), scenarios.Resolved{}, "oops-null-deref", ending{}, trial.Oops, "oops:null-deref@metaslab_free_impl", ""},
		{"a warning with zfs_recover", alive(), scenarios.Resolved{}, "add-overlap-recover", ending{status: healthy}, trial.Warned, "range-tree-add-overlap", ""},
		{"the same in the text of 2.4", alive(), scenarios.Resolved{}, "add-overlap-recover-2.4.4", ending{status: healthy}, trial.Warned, "range-tree-add-overlap", ""},
		{"a warning with zfs_recover, then a panic without", alive(), scenarios.Resolved{}, "recover-then-panic", ending{}, trial.Panic, "range-tree-add-overlap@space_map_load_callback", ""},
		{"a warning, then a guest that reset without a message", reset(), scenarios.Resolved{}, "add-overlap-recover", ending{}, trial.Oops, "", "without a message"},
		{"a warning, then no end", alive(), scenarios.Resolved{}, "add-overlap-recover", ending{err: context.DeadlineExceeded}, trial.Hang, "", "had not ended"},
		{"panics of two pools at once", alive(), scenarios.Resolved{}, "two-panics", ending{}, trial.Panic, overlap, ""},
		{"a panic, and the tasks that hang behind it", alive(), withFault, "add-overlap-hung-task", ending{err: context.DeadlineExceeded, strike: struck(nil)}, trial.Panic, overlap, ""},
		{"a panic that reset the guest", reset(), scenarios.Resolved{}, "add-overlap-halt", ending{}, trial.Panic, overlap, ""},
		{"a warning of the kernel", alive(), scenarios.Resolved{}, "kernel-warning", ending{status: healthy}, trial.Masked, "", ""},
		{"a lockup that the workload outlived", alive(), scenarios.Resolved{}, "soft-lockup", ending{status: healthy}, trial.Masked, "", ""},
		{"a lockup that it did not", alive(), scenarios.Resolved{}, "soft-lockup", ending{err: context.DeadlineExceeded}, trial.Hang, "hang:soft-lockup@spa_sync", ""},
		{"a hypervisor that died", dead(), scenarios.Resolved{}, "clean-boot", ending{}, trial.Invalid, "", "hypervisor died, and the guest with it: the machine died"},
		{"a hypervisor that died after the fault", dead(), withFault, "clean-boot", ending{strike: struck(nil)}, trial.Invalid, "", "the machine died"},
		{"a hypervisor that died before the fault", dead(), withFault, "clean-boot", ending{err: errNotReached}, trial.Invalid, "", "the machine died"},
		{"a hypervisor that died when a task was slow", dead(), scenarios.Resolved{}, "soft-lockup", ending{}, trial.Invalid, "", "the machine died"},
		{"a hypervisor that died when the pool stood still", dead(), scenarios.Resolved{}, "pool-suspended", ending{}, trial.Invalid, "", "the machine died"},
		{"a machine that went quietly", reset(), scenarios.Resolved{}, "clean-boot", ending{}, trial.Oops, "", "without a message"},
		{"no message, no end", alive(), withFault, "clean-boot", ending{err: context.DeadlineExceeded, strike: struck(nil)}, trial.Hang, "", "had not ended"},
		{"a command that failed", alive(), scenarios.Resolved{}, "clean-boot", ending{err: errors.New("no such dataset")}, trial.Invalid, "", "no such dataset"},
		{
			"a command that failed after the fault", alive(), withFault, "clean-boot",
			ending{err: refused, strike: &strike{injections: []trial.Injection{{Before: trial.Bytes{0}, After: trial.Bytes{1}}}}}, trial.Detected, "", "exit status 1",
		},
		{
			"a connection that broke after the fault", alive(), withFault, "clean-boot",
			ending{err: lost, strike: &strike{injections: []trial.Injection{{Before: trial.Bytes{0}, After: trial.Bytes{1}}}}}, trial.Detected, "", "connection lost",
		},
		{
			"a connection that broke though the fault was withheld", alive(), withFault, "clean-boot",
			ending{err: lost, strike: &strike{injections: []trial.Injection{{Withheld: true}}}}, trial.Invalid, "", "connection lost",
		},
		{
			"a command that failed though the fault was withheld", alive(), withFault, "clean-boot",
			ending{err: refused, strike: &strike{injections: []trial.Injection{{Withheld: true}}}}, trial.Invalid, "", "exit status 1",
		},
		{
			"a command that failed though ECC corrected the damage", alive(), withFault, "clean-boot",
			ending{err: refused, strike: &strike{injections: []trial.Injection{{ECC: "corrected"}}}}, trial.Invalid, "", "exit status 1",
		},
		{
			"a pool that is not healthy where it must be", alive(), scenarios.Resolved{}, "clean-boot",
			ending{err: &drive.EarlyError{Reason: "not healthy"}, status: &status.Pool{State: "DEGRADED"}}, trial.Detected, "", "not healthy",
		},
		{
			"a panic that did not come", alive(), scenarios.Resolved{}, "clean-boot",
			ending{err: &drive.EarlyError{Reason: "no panic"}, status: sound}, trial.Masked, "", "no panic",
		},
		{
			"a guest that was not reached in time", alive(), scenarios.Resolved{}, "clean-boot",
			ending{err: fmt.Errorf("%w: %w", errNotReached, context.DeadlineExceeded)}, trial.Invalid, "", "not reached",
		},
		{
			"a fault that was not delivered", alive(), withFault, "add-overlap-2.3.2",
			ending{strike: struck(errors.New("never hit"))}, trial.Invalid, "", "not delivered (panic seen): never hit",
		},
		{
			"a fault that was never armed", alive(), withFault, "clean-boot",
			ending{err: context.DeadlineExceeded}, trial.Invalid, "", "did not come to where it is armed",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.ending.events = panics.Scan(console(t, tt.console))
			one := &run{lives: []*life{{vm: tt.machine}}, Trial: &Trial{resolved: tt.resolved}}
			var r result
			if s := tt.ending.strike; s != nil {
				r.Injections = s.injections
			}
			one.classify(t.Context(), &r, tt.ending)
			if r.Outcome != tt.outcome || !strings.HasPrefix(r.Signature, tt.signature) || (r.Signature == "") != (tt.signature == "") || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("got %s %q because %q; want %s %q because %q", r.Outcome, r.Signature, r.Reason, tt.outcome, tt.signature, tt.reason)
			}
		})
	}
}

// The kernel reports hung tasks in the order of their birth: a shell that waits for a file's lock may come before the
// writer that holds it and stands still in ZFS.
func TestHungTasks(t *testing.T) {
	hung := func(caller string) panics.Event {
		return panics.Event{Class: panics.Hang, Condition: "hung-task", Caller: caller}
	}
	for _, tt := range []struct {
		want    string
		callers []string
	}{
		{"hang:hung-task@zfs_getpage", []string{"", "zfs_getpage", "txg_quiesce"}},
		{"hang:hung-task@zfs_getpage", []string{"zfs_getpage", "", "txg_quiesce"}},
		{"hang:hung-task", []string{"", ""}},
	} {
		var e ending
		for _, c := range tt.callers {
			e.events = append(e.events, hung(c))
		}
		one := &run{lives: []*life{{vm: alive()}}, Trial: &Trial{}}
		var r result
		if one.classify(t.Context(), &r, e); r.Outcome != trial.Hang || r.Signature != tt.want {
			t.Errorf("%q: %s %q, want %q", tt.callers, r.Outcome, r.Signature, tt.want)
		}
	}
}

func TestJudgePool(t *testing.T) {
	damaged := []trial.Injection{{File: "/tank/a"}, {File: "/tank/b"}, {File: "/tank/a"}}
	tests := []struct {
		name       string
		status     status.Pool
		findings   oracle.Findings
		injections []trial.Injection
		want       trial.Outcome
	}{
		{"clean", status.Pool{}, oracle.Findings{{Path: "/tank/a", Result: oracle.Intact}}, nil, trial.Masked},
		{"repaired", status.Pool{Repaired: 512}, nil, damaged, trial.Healed},
		{"a bad copy was met and written anew", status.Pool{Devices: []status.Device{{Leaf: true, Checksum: 1}}}, nil, nil, trial.Healed},
		{"repaired, but wrong bytes", status.Pool{Repaired: 512}, oracle.Findings{{Path: "/tank/a", Result: oracle.Wrong}}, damaged, trial.Corrupt},
		{
			"named in full", status.Pool{ScanErrors: 2, Damaged: []string{"/tank/b", "/tank/a"}},
			oracle.Findings{{Path: "/tank/a", Result: oracle.Unreadable}}, damaged, trial.Detected,
		},
		{"one named too few", status.Pool{ScanErrors: 2, Damaged: []string{"/tank/a"}}, nil, damaged, trial.Corrupt},
		{"one named too many", status.Pool{Damaged: []string{"/tank/a", "/tank/b", "/tank/c"}}, nil, damaged, trial.Corrupt},
		{"missing, in a dataset that is named", status.Pool{ScanErrors: 1, Damaged: []string{"tank/d:<0x0>"}}, oracle.Findings{{Path: "/tank/d/a", Result: oracle.Missing}}, nil, trial.Detected},
		{"missing, in another dataset", status.Pool{ScanErrors: 1, Damaged: []string{"tank/e:<0x0>"}}, oracle.Findings{{Path: "/tank/d/a", Result: oracle.Missing}}, nil, trial.Corrupt},
		{"unreadable, as its reader was told", status.Pool{}, oracle.Findings{{Path: "/tank/a", Result: oracle.Unreadable}}, nil, trial.Detected},
		{"missing, and nobody said so", status.Pool{}, oracle.Findings{{Path: "/tank/a", Result: oracle.Missing}}, nil, trial.Corrupt},
		{
			"a withheld strike damaged nothing", status.Pool{ScanErrors: 1, Damaged: []string{"/tank/a"}}, nil,
			[]trial.Injection{{File: "/tank/b", Withheld: true}}, trial.Detected,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := result{Result: trial.Result{Outcome: trial.Masked, Findings: tt.findings, Injections: tt.injections}}
			r.judgePool(tt.status)
			if r.Outcome != tt.want {
				t.Errorf("got %s because %q, want %s", r.Outcome, r.Reason, tt.want)
			}
		})
	}
}

// TestWatch feeds a real panic in pieces and expects the crash to be seen before the last one.
func TestWatch(t *testing.T) {
	w := newWatch()
	text := console(t, "add-overlap-2.3.2")
	at := bytes.Index(text, []byte("PANIC:"))
	w.feed(text[:at])
	select {
	case <-w.crash:
		t.Fatal("a crash was seen before there was one")
	default:
	}
	w.feed(text[at:])
	select {
	case <-w.crash:
	default:
		t.Fatal("the panic was not seen")
	}
	if e := w.events(); len(e) == 0 || e[0].Signature() != overlap {
		t.Errorf("events: %v", e)
	}
}
