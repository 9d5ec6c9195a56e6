package qemu

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts children that die with the lab, even when it is killed. The kernel ties PDEATHSIG to the thread that
// forked, not to the process, and Go may end threads: so one thread does all the starting and lives as long as the
// spawner.
type spawner struct {
	start chan func()
	once  sync.Once
}

func newSpawner() *spawner {
	s := &spawner{start: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.start {
			f()
		}
	}()
	return s
}

// Start starts cmd in a process group of its own: Ctrl-C in the terminal is for the lab to handle.
func (s *spawner) Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := make(chan error)
	s.start <- func() { err <- cmd.Start() }
	return <-err
}

// Close ends the thread, and with it every child that still runs.
func (s *spawner) Close() { s.once.Do(func() { close(s.start) }) }
