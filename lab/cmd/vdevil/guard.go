package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// guard is a process that gives the terminal back when this one ends without having done so: a goroutine that panics, or a signal
// that nobody catches, leaves no time for it. It is the same program under another name.
type guard struct {
	cmd  *exec.Cmd
	pipe *os.File // whose end is that of this process
}

// guardName is what the process is called. Its argument is the state of the terminal, which it has as descriptor 3.
const guardName = "vdevil-terminal"

func newGuard(tty *os.File, saved *unix.Termios) (*guard, error) {
	state, err := json.Marshal(saved)
	if err != nil {
		return nil, err
	}
	ends, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ends.Close()
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe")
	cmd.Args = []string{guardName, string(state)}
	cmd.Stdin, cmd.ExtraFiles = ends, []*os.File{tty}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what the terminal's keys end is not for it
	if err := cmd.Start(); err != nil {
		pipe.Close()
		return nil, err
	}
	// Of a panic it learns as soon as there is the first word of it, before the shell can.
	_ = debug.SetCrashOutput(pipe, debug.CrashOptions{})
	return &guard{cmd, pipe}, nil
}

// well is what the guard is told when there is nothing to do for it. No message of a panic begins with it.
const well = 0

// close ends the process. The terminal is as it was.
func (g *guard) close() {
	_, _ = g.pipe.Write([]byte{well})
	_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
	g.pipe.Close()
	_ = g.cmd.Wait()
}

// guarded says whether this process is a guard, and if so does what it is for.
func guarded() bool {
	if len(os.Args) != 2 || os.Args[0] != guardName {
		return false
	}
	// One in the background may write to the terminal only if it takes no notice of SIGTTOU.
	signal.Ignore(unix.SIGTTOU, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP)
	var saved unix.Termios
	if err := json.Unmarshal([]byte(os.Args[1]), &saved); err != nil {
		return true
	}
	first := make([]byte, 1)
	if n, _ := os.Stdin.Read(first); n > 0 && first[0] == well {
		return true
	}
	_ = unix.IoctlSetTermios(3, unix.TCSETS, &saved)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}
