// Package qemu runs each machine as a QEMU child process: no daemon, no root. A child dies with the lab.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/qmp"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// program is the QEMU that is found in PATH.
const program = "qemu-system-x86_64"

// devices tells machines of other devices apart, whose checkpoints are no use. It changes with args.
const devices = ", data disks on root ports or as memory"

// New looks for QEMU and asks it for its version.
func New(ctx context.Context, o vm.Options) (*vm.Driver, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	version, _, _ := strings.Cut(string(out), "\n")
	spawner, err := newSpawner()
	if err != nil {
		return nil, err
	}
	return vm.New(&launcher{version: version + devices, spawner: spawner}, o), nil
}

type launcher struct {
	version string
	spawner *spawner
}

// Name is "qemu".
func (l *launcher) Name() string { return "qemu" }

// Can is true of everything.
func (l *launcher) Can(machine.Ability) bool { return true }

// Version is the first line of what QEMU says about itself, and what devices its machines have.
func (l *launcher) Version() string { return l.version }

// Close ends the children that still run.
func (l *launcher) Close() error {
	l.spawner.Close()
	return nil
}

// process is a QEMU child.
type process struct {
	*qmp.Client
	spec *vm.Spec
	cmd  *exec.Cmd
	log  string // the file that its stderr goes to

	memory  *os.File
	refused error // why there is no memory

	ended chan struct{} // closed after the child was reaped
	err   error         // how it ended; valid after ended
}

// Launch runs QEMU and connects to its monitor.
func (l *launcher) Launch(ctx context.Context, s *vm.Spec, console io.Writer) (_ vm.Process, err error) {
	log, err := os.Create(s.Log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{spec: s, log: s.Log(), ended: make(chan struct{})}
	p.cmd = exec.Command(program, args(s)...) //nolint:noctx // the machine outlives the call that started it
	p.cmd.Stdout, p.cmd.Stderr = console, log
	if err := l.spawner.Start(p.cmd); err != nil {
		return nil, err
	}
	p.memory, p.refused = vm.OpenMemory(p.PID()) // nobody has waited for it: the number is its own, be it dead
	dial, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // a QEMU that refuses its options never opens the monitor
		p.err = how(p.cmd.Wait())
		close(p.ended)
		stop()
	}()
	if p.Client, err = qmp.Dial(dial, s.Socket("qmp")); err == nil {
		return p, nil
	}
	select {
	case <-p.ended:
		if p.err != nil {
			err = fmt.Errorf("%w: QEMU %w (%w)", machine.ErrDied, p.err, err)
		}
	default:
		p.Kill()
	}
	if p.memory != nil {
		p.memory.Close()
	}
	return nil, &machine.Error{Op: "start QEMU", Err: err, Log: p.Log()}
}

// PID is that of the child.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Memory was opened when the child was started.
func (p *process) Memory() (*os.File, error) { return p.memory, p.refused }

// how says in words how a child ended that did not end in order.
func how(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Errorf("was ended by %s", unix.SignalName(status.Signal()))
	}
	return fmt.Errorf("ended by itself with %w", err)
}

// Command is QEMU's command line.
func (p *process) Command() []string { return p.cmd.Args }

// Kill kills the child.
func (p *process) Kill() {
	if p.Client != nil {
		p.Close()
	}
	_ = p.cmd.Process.Kill() // an error means that it is dead already
	<-p.ended
}

// Ended is closed when the child is gone.
func (p *process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the end of the child.
func (p *process) Wait() error {
	<-p.ended
	return p.err
}

// Discard removes the files: a child that has ended leaves nobody to look at them.
func (p *process) Discard(remove func() error) error { return remove() }

// logged is how much of QEMU's stderr is worth showing, in bytes.
const logged = 2048

// Log is the end of what the child wrote to stderr.
func (p *process) Log() []byte {
	log, err := os.ReadFile(p.log)
	if errors.Is(err, os.ErrNotExist) { // the machine is closed
		return nil
	}
	log = waiting.ReplaceAll(log, nil)
	return log[max(0, len(log)-logged):]
}

// waiting is what every QEMU says of its monitor until the lab has connected: no last words.
var waiting = regexp.MustCompile(`(?m)^.*: info: QEMU waiting for connection on: .*\n?`)
