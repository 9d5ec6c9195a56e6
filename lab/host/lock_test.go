package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the process that a test kills: with the variable set it takes the lock and waits.
func TestMain(m *testing.M) {
	if path := os.Getenv("VDEVIL_TEST_HOLD"); path != "" {
		if _, err := TryLock(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

// holdElsewhere has another process hold the lock.
func holdElsewhere(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "hold", "it")
	cmd.Env = append(os.Environ(), "VDEVIL_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q", line)
	}
	return cmd
}

func TestTryLockNamesHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new/dir/lock")
	cmd := holdElsewhere(t, path)
	_, err := TryLock(path)
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("got %v, want a LockedError", err)
	}
	if locked.Holder.PID != cmd.Process.Pid || !strings.HasSuffix(locked.Holder.Command, "hold it") {
		t.Errorf("holder is %+v, want process %d", locked.Holder, cmd.Process.Pid)
	}
	for _, want := range []string{path, fmt.Sprint(cmd.Process.Pid), "hold it", "kill"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestLockDiesWithHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := holdElsewhere(t, path)
	waiting := make(chan Holder, 2)
	got := make(chan error, 1)
	go func() {
		unlock, err := Lock(t.Context(), path, func(h Holder) { waiting <- h })
		if err == nil {
			unlock()
		}
		got <- err
	}()
	if h := <-waiting; h.PID != cmd.Process.Pid {
		t.Errorf("waiting for %v, want process %d", h, cmd.Process.Pid)
	}
	cmd.Process.Kill()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if len(waiting) != 0 {
		t.Error("told twice that it waits")
	}
}

func TestLockEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Lock(ctx, path, func(Holder) { cancel() })
	var locked *LockedError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &locked) || locked.Holder.PID != os.Getpid() {
		t.Fatalf("got %v, want the context's error and the holder", err)
	}
	unlock()
	unlock, err = Lock(t.Context(), path, func(Holder) { t.Error("waits for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestProcess(t *testing.T) {
	self, err := Self()
	if err != nil || self.PID != os.Getpid() || !self.Alive() {
		t.Fatalf("%+v, %v, alive %v", self, err, self.Alive())
	}
	if again, err := ParseProcess(self.String()); err != nil || again != self {
		t.Errorf("parsed back as %+v, %v", again, err)
	}
	if (Process{self.PID, self.Started + 1}).Alive() {
		t.Error("another process of the same PID is taken for this one")
	}
	for _, bad := range []string{"", "12", "a-1", "1-b"} {
		if _, err := ParseProcess(bad); err == nil {
			t.Errorf("parsed %q", bad)
		}
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	zombie := Process{PID: cmd.Process.Pid}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if _, err = startTime("/proc", zombie.PID); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("an ended, unawaited process: %v", err)
	}
	cmd.Wait()
}

func TestStartTimeOfStrangeName(t *testing.T) {
	proc := t.TempDir()
	os.Mkdir(proc+"/7", 0o755)
	os.WriteFile(proc+"/7/stat", []byte("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n"), 0o644)
	if got, err := startTime(proc, 7); err != nil || got != 4711 {
		t.Errorf("got %d, %v; want 4711", got, err)
	}
}

// TestLockedByItself expects a process to be told neither its own command nor to end itself.
func TestLockedByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := TryLock(path); err == nil || !strings.HasPrefix(err.Error(), "this process holds the lock") || strings.Contains(err.Error(), "kill") {
		t.Errorf("got %v", err)
	}
}
