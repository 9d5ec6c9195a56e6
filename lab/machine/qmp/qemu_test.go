package qmp_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine/qmp"
	"github.com/vdevil/vdevil/lab/machine/qmp/qmptest"
)

// qemu starts a machine that never runs and has nothing to run on.
func qemu(t *testing.T) *qmptest.QEMU {
	t.Helper()
	return qmptest.Start(t, "-accel", "tcg", "-machine", "none", "-S")
}

func TestExecuteConcurrently(t *testing.T) {
	c := qemu(t).Dial(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			var status struct {
				Status  string
				Running bool
			}
			if err := c.Execute(t.Context(), "query-status", nil, &status); err != nil {
				t.Error(err)
			} else if status.Status != "prelaunch" || status.Running {
				t.Errorf("query-status: %+v", status)
			}
		})
		wg.Go(func() {
			out, err := c.HMP(t.Context(), "info version")
			if err != nil {
				t.Error(err)
			} else if out == "" || strings.Contains(out, "prelaunch") {
				t.Errorf("info version: %q", out)
			}
		})
	}
	wg.Wait()
}

func TestRefusals(t *testing.T) {
	c := qemu(t).Dial(t)
	tests := []struct {
		command string
		args    any
		class   string
	}{
		{"no-such-command", nil, "CommandNotFound"},
		{"device_del", map[string]string{"id": "nothing"}, "DeviceNotFound"},
		{"human-monitor-command", nil, "GenericError"},
	}
	for _, tt := range tests {
		err := c.Execute(t.Context(), tt.command, tt.args, nil)
		var refusal *qmp.Error
		if !errors.As(err, &refusal) || refusal.Class != tt.class || refusal.Desc == "" {
			t.Errorf("%s: %v, want a %s", tt.command, err, tt.class)
		} else if !strings.HasPrefix(err.Error(), tt.command+": ") {
			t.Errorf("error %q does not name the command %s", err, tt.command)
		}
	}
	if err := c.Execute(t.Context(), "query-status", func() {}, nil); err == nil {
		t.Error("arguments that are not JSON were accepted")
	}
	if err := c.Execute(t.Context(), "query-status", nil, new(int)); err == nil {
		t.Error("an answer was decoded into the wrong type")
	}
	if err := c.Execute(t.Context(), "query-status", nil, nil); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

func TestEvents(t *testing.T) {
	c := qemu(t).Dial(t)
	begin := time.Now().Truncate(time.Microsecond)
	events, cancel := c.Subscribe("STOP", "RESUME")
	defer cancel()
	all, cancelAll := c.Subscribe()
	defer cancelAll()
	// Nobody receives before the last command was answered: the reader of the connection must not mind.
	const rounds = 100
	for range rounds {
		for _, command := range []string{"cont", "stop"} {
			if err := c.Execute(t.Context(), command, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 2 * rounds {
		want := []string{"RESUME", "STOP"}[i%2]
		for _, ch := range []<-chan qmp.Event{events, all} {
			if e := <-ch; e.Name != want || e.Time.Before(begin) || e.Time.After(time.Now()) {
				t.Fatalf("event %d: %+v, want %s after %s", i, e, want, begin)
			}
		}
	}
	cancelAll()
	cancelAll()
	if e, ok := <-all; ok {
		t.Errorf("after cancel: %+v", e)
	}
	// The last words come before the end, and carry their data.
	last, cancelLast := c.Subscribe("SHUTDOWN")
	defer cancelLast()
	if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	var data struct{ Reason string }
	if e, ok := <-last; !ok {
		t.Error("no SHUTDOWN event")
	} else if err := json.Unmarshal(e.Data, &data); err != nil || data.Reason != "host-qmp-quit" {
		t.Errorf("SHUTDOWN event has %s: %v", e.Data, err)
	}
	for range last {
	}
	late, cancelLate := c.Subscribe()
	defer cancelLate()
	if e, ok := <-late; ok {
		t.Errorf("after the end: %+v", e)
	}
}

func TestQEMUKilledMidCommand(t *testing.T) {
	q := qemu(t)
	c := q.Dial(t)
	if err := q.Process.Signal(syscall.SIGSTOP); err != nil { // so that no command can be answered
		t.Fatal(err)
	}
	const callers = 8
	started, ended := make(chan struct{}, callers), make(chan error, callers)
	for range callers {
		go func() {
			started <- struct{}{}
			ended <- c.Execute(t.Context(), "query-status", nil, nil)
		}()
	}
	for range callers {
		<-started
	}
	if err := q.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for range callers {
		if err := <-ended; !errors.Is(err, qmp.ErrClosed) {
			t.Errorf("caller got %v", err)
		}
	}
	if err := c.Execute(t.Context(), "query-status", nil, nil); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("later caller got %v", err)
	}
}

func TestContextEnds(t *testing.T) {
	q := qemu(t)
	c := q.Dial(t)
	if err := q.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := c.Execute(ctx, "no-such-command", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a stopped QEMU: %v", err)
	}
	if err := q.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The answer to the first command is an error and arrives now; it must not be taken for that of the second.
	if err := c.Execute(t.Context(), "query-status", nil, nil); err != nil {
		t.Errorf("after the context of another call ended: %v", err)
	}
	if err := c.Execute(ctx, "query-status", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a context that had ended before: %v", err)
	}
}

func TestClose(t *testing.T) {
	q := qemu(t)
	c := q.Dial(t)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := c.Execute(t.Context(), "query-status", nil, nil); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	// The machine is still there, for the next client.
	if err := q.Dial(t).Execute(t.Context(), "query-status", nil, nil); err != nil {
		t.Errorf("second client: %v", err)
	}
}

func TestDialNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := qmp.Dial(ctx, filepath.Join(t.TempDir(), "qmp"))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
	_, err = qmp.Dial(t.Context(), "/tmp/"+strings.Repeat("x", 200))
	if !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a path too long for a socket: %v", err)
	}
}
