// Package vm is what the drivers share: a machine as a QEMU process that is spoken to through its monitor, whoever has
// started it. Memory lies in a file of ours, which a checkpoint keeps and every fork maps privately, so that a fork costs
// neither the time nor the space of a copy. A driver adds a Launcher.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
)

// Launcher is what one driver differs in from the next: how a QEMU process comes to be.
type Launcher interface {
	// Name is the word the user chooses the driver by.
	Name() string
	// Can is machine.Driver's, where what runs the guests can do it.
	Can(a machine.Ability) bool
	// Version is everything that the device state of a checkpoint depends on.
	Version() string
	// Launch starts QEMU, its CPUs stopped only if s.Incoming, and returns when its monitor answers. What the guest
	// prints goes to console. After an error nothing runs; what QEMU said is in a *machine.Error.
	Launch(ctx context.Context, s *Spec, console io.Writer) (Process, error)
	// Close ends what the launcher needs itself. No process may be launched afterwards.
	Close() error
}

// Monitor speaks with a QEMU. A *qmp.Client is one; the errors of another wrap *qmp.Error, too, where QEMU refuses.
type Monitor interface {
	// Execute runs a QMP command: args are its arguments, the answer is decoded into result unless that is nil.
	Execute(ctx context.Context, command string, args, result any) error
}

// Process is a QEMU that was started.
type Process interface {
	Monitor
	// Unplug asks the guest to let go of a data disk and returns when it has; Plug gives the same disk back.
	Unplug(ctx context.Context, disk string) error
	Plug(ctx context.Context, disk string) error
	// PID is its number on this computer.
	PID() int
	// Memory is its memory, as OpenMemory opened it when it was started, or why it could not be opened. The caller closes it.
	Memory() (*os.File, error)
	// Command is what started it.
	Command() []string
	// Kill ends it at once, with no notice to the guest, and returns when it is gone.
	Kill()
	// Ended is closed when it has ended and all that the guest printed was written to the console.
	Ended() <-chan struct{}
	// Wait blocks until it is known, too, how it ended, which may take others a moment to say. The error tells, unless the
	// end was orderly: the guest's own doing.
	Wait() error
	// Log is what QEMU said of itself, as far as it can be read.
	Log() []byte
	// Discard calls remove, which deletes the files of a process that has ended, when nobody looks at them any more. That
	// may be later; Launcher.Close waits for it.
	Discard(remove func() error) error
}

// describer is a Process that others than the lab see, and may be told of.
type describer interface {
	Describe(ctx context.Context, text string) error
}

// Options say where a driver works.
type Options struct {
	// Dir holds the disks and memory of running machines. Checkpoints must lie on the same file system.
	Dir string
	// Run holds their sockets; its name is at most 60 bytes long. It may be Dir.
	Run string
	// Accel is what runs the guests.
	Accel machine.Accel
	// Ahead is how many forks of one checkpoint are restored before they are asked for, when ForkOptions.Next says that
	// they will be.
	Ahead int
	// Owner is who QEMU runs as, when that is somebody else than the lab: the disks and memory of machines are given to them.
	Owner *Owner
}

// Driver implements machine.Driver with a Launcher.
type Driver struct {
	opts     Options
	launcher Launcher

	mu     sync.Mutex
	closed bool
	ahead  map[string]*queue // by directory of the checkpoint
}

var _ machine.Driver = (*Driver)(nil)

// New makes a driver.
func New(l Launcher, o Options) *Driver {
	return &Driver{opts: o, launcher: l, ahead: map[string]*queue{}}
}

// Name is the launcher's.
func (d *Driver) Name() string { return d.launcher.Name() }

// Accel says what runs the guests.
func (d *Driver) Accel() machine.Accel { return d.opts.Accel }

// Can asks the launcher, but for what no KVM guest can.
func (d *Driver) Can(a machine.Ability) bool {
	emulated := a == machine.CountsTime || a == machine.TracesCode
	return d.launcher.Can(a) && (!emulated || d.opts.Accel == machine.TCG)
}

// Version is the launcher's.
func (d *Driver) Version() string { return d.launcher.Version() }

// Dir is where the machines have their disks.
func (d *Driver) Dir() string { return d.opts.Dir }

// Sockets is the directory below which NBD servers of machines may have their sockets, each in a directory that it claims.
func (d *Driver) Sockets() string { return d.opts.Run }

// Close ends the machines that were restored ahead and never used.
func (d *Driver) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	queues := d.ahead
	d.ahead = nil
	d.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	for _, q := range queues {
		err = errors.Join(err, q.close())
	}
	return errors.Join(err, d.launcher.Close())
}

// Boot powers a new machine on.
func (d *Driver) Boot(ctx context.Context, c machine.Config) (machine.Machine, error) {
	s, err := d.prepare(c)
	if err != nil {
		return nil, err
	}
	s.RAM, s.Shared = s.ram(), true
	m, err := d.boot(ctx, s)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot machine %s: %w", s.ID, err), s.remove())
	}
	return m, nil
}

func (d *Driver) boot(ctx context.Context, s *Spec) (*vm, error) {
	var err error
	if s.Clock == machine.Instructions {
		s.Base = s.root(s.Config)
		err = host.CloneFile(ctx, s.Base, s.Root)
	} else {
		err = overlay(ctx, s.Overlay(), s.Root, "raw")
	}
	if err != nil {
		return nil, err
	}
	for _, disk := range s.Disks {
		if err := sparse(s.Disk(disk.Name), disk.Size); err != nil {
			return nil, err
		}
	}
	if err := sparse(s.RAM, s.Memory); err != nil {
		return nil, err
	}
	return d.start(ctx, s, nil)
}
