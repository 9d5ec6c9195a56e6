package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawner starts children that die with the lab, even when it is killed, and that have no capability, not even as root, and
// gain none. The kernel ties all of that to the thread that forked, not to the process, and Go may end threads: so one
// thread does all the starting and lives as long as the spawner.
type spawner struct {
	start    chan func()
	confined chan error // what confine said, once
	once     sync.Once
}

func newSpawner() (*spawner, error) {
	s := &spawner{start: make(chan func()), confined: make(chan error, 1)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := confine()
		if err != nil {
			err = fmt.Errorf("give up privileges: %w", err)
		}
		s.confined <- err
		for f := range s.start {
			f()
		}
	}()
	if err := <-s.confined; err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// confine gives up, for the thread and what it starts, what no QEMU needs: new privileges, and if the lab is root, all
// capabilities, which a program that root starts would have by its bounding set.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for capability := uintptr(0); ; capability++ {
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); {
		case errors.Is(err, unix.EINVAL): // the last one was before it
			return nil
		case errors.Is(err, unix.EPERM): // root of a container, who has not even what it takes
			return nil
		case err != nil:
			return err
		}
	}
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
