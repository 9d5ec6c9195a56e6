// Package scripttest is a machine without a hypervisor: it prints, dies and hangs when a test says so. What nobody has
// scripted is refused by name. Package guesttest has the guest to it.
package scripttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
)

// Machine implements machine.Machine. What it does is set before it is used.
type Machine struct {
	// OnDial makes the n-th connection to the guest, from 1.
	OnDial func(ctx context.Context, n int) (net.Conn, error)
	// OnDebug attaches a debugger.
	OnDebug func(ctx context.Context) (machine.Debugger, error)
	// OnSysRq is told the keys that are pressed with Alt and SysRq.
	OnSysRq func(key rune)
	// RAM is the guest's memory, from physical address 0.
	RAM []byte
	// Data are the data disks.
	Data []machine.Disk
	// Config is what the machine is made of, as its checkpoints say.
	Config machine.Config
	// OnCheckpoint is asked before the machine is frozen.
	OnCheckpoint func(ctx context.Context, dir string) error

	console *machine.Console
	done    chan struct{}

	mu     sync.Mutex
	dials  int
	paused bool
	err    error // how it ended
}

var (
	_ machine.Machine     = (*Machine)(nil)
	_ machine.SysRqSender = (*Machine)(nil)
)

// New makes a machine that runs, and has booted before the test began.
func New(t testing.TB) *Machine {
	t.Helper()
	console, err := machine.NewConsole(filepath.Join(t.TempDir(), "console"), []byte("[    0.0] Linux\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { console.Close() })
	return &Machine{console: console, done: make(chan struct{})}
}

// errUnscripted is what a machine says to what the test has not told it to do.
var errUnscripted = errors.New("the script of this machine does not say")

// Print is what the guest prints.
func (m *Machine) Print(text string) {
	_, _ = m.console.Write([]byte(text)) // its file is there for as long as the machine
}

// End is an end by the guest's own doing: a reset, or a shutdown.
func (m *Machine) End() { m.end(nil) }

// Die is the end of a hypervisor, such as that of a process that was killed.
func (m *Machine) Die(how string) { m.end(fmt.Errorf("%w: %s", machine.ErrDied, how)) }

// end ends it once; later ends change nothing. The console ends before the machine is known to have ended, as with drivers.
func (m *Machine) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.done:
		return
	default:
	}
	m.err = err
	m.console.Close()
	close(m.done)
}

// Dials is how many connections were asked for.
func (m *Machine) Dials() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dials
}

// ID implements machine.Machine, as all that follow.
func (m *Machine) ID() string { return "scripted" }

// Console is what was printed.
func (m *Machine) Console() *machine.Console { return m.console }

// Command is a line that starts nothing.
func (m *Machine) Command() []string { return []string{"scripted"} }

// Dial asks OnDial.
func (m *Machine) Dial(ctx context.Context, port int) (net.Conn, error) {
	if port != 22 {
		return nil, errors.New("not the port of ssh")
	}
	m.mu.Lock()
	m.dials++
	n := m.dials
	m.mu.Unlock()
	if m.OnDial == nil {
		return nil, errUnscripted
	}
	return m.OnDial(ctx, n)
}

// Disks are Data.
func (m *Machine) Disks() []machine.Disk { return m.Data }

// Unplug is refused.
func (m *Machine) Unplug(context.Context, string) error { return errUnscripted }

// Plug is refused.
func (m *Machine) Plug(context.Context, string) error { return errUnscripted }

// Pause fails when the machine has ended.
func (m *Machine) Pause(ctx context.Context) error { return m.stand(ctx, true) }

// Resume fails when the machine has ended.
func (m *Machine) Resume(ctx context.Context) error { return m.stand(ctx, false) }

func (m *Machine) stand(ctx context.Context, still bool) error {
	if err := m.alive(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = still
	return nil
}

// Paused says whether the machine was paused last, and not resumed. The guest is no part of it and goes on.
func (m *Machine) Paused() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.paused
}

func (m *Machine) alive(ctx context.Context) error {
	select {
	case <-m.done:
		return machine.ErrDied
	default:
		return ctx.Err()
	}
}

// Debug asks OnDebug.
func (m *Machine) Debug(ctx context.Context) (machine.Debugger, error) {
	if m.OnDebug == nil {
		return nil, errUnscripted
	}
	return m.OnDebug(ctx)
}

// SysRq tells OnSysRq.
func (m *Machine) SysRq(ctx context.Context, key rune) error {
	if m.OnSysRq == nil {
		return errUnscripted
	}
	if err := m.alive(ctx); err != nil {
		return err
	}
	m.OnSysRq(key)
	return nil
}

// ReadPhys reads RAM.
func (m *Machine) ReadPhys(ctx context.Context, addr uint64, p []byte) error {
	return m.access(ctx, addr, len(p), func(ram []byte) { copy(p, ram) })
}

// WritePhys writes RAM.
func (m *Machine) WritePhys(ctx context.Context, addr uint64, p []byte) error {
	return m.access(ctx, addr, len(p), func(ram []byte) { copy(ram, p) })
}

func (m *Machine) access(ctx context.Context, addr uint64, n int, do func([]byte)) error {
	if err := m.alive(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if addr > uint64(len(m.RAM)) || uint64(n) > uint64(len(m.RAM))-addr {
		return fmt.Errorf("no memory at physical %#x", addr)
	}
	do(m.RAM[addr : addr+uint64(n)])
	return nil
}

// Translate is refused.
func (m *Machine) Translate(context.Context, int, uint64) (uint64, error) { return 0, errUnscripted }

// Checkpoint writes what OpenCheckpoint reads, unless OnCheckpoint refuses it, and ends the machine.
func (m *Machine) Checkpoint(ctx context.Context, dir string, scale machine.Scale) (*machine.Checkpoint, error) {
	if m.OnCheckpoint == nil {
		return nil, errUnscripted
	}
	if err := m.alive(ctx); err != nil {
		return nil, err
	}
	if err := m.OnCheckpoint(ctx, dir); err != nil {
		return nil, err
	}
	if err := writeCheckpoint(dir, machine.Checkpoint{Config: m.Config, Driver: "scripted", Scale: scale}); err != nil {
		return nil, err
	}
	m.end(nil)
	return OpenCheckpoint(dir)
}

// PowerOff ends the machine in order.
func (m *Machine) PowerOff() error {
	m.end(nil)
	return nil
}

// Done is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Wait says how it ended.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.done:
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the machine in order.
func (m *Machine) Close() error { return m.PowerOff() }

// Driver implements machine.Driver with machines of a script.
type Driver struct {
	// OnBoot gives the next machine that is booted.
	OnBoot func(ctx context.Context, c machine.Config) (machine.Machine, error)
	// OnFork gives the next machine.
	OnFork func(ctx context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error)
	// Cannot is what it is not able to do.
	Cannot []machine.Ability
}

var _ machine.Driver = (*Driver)(nil)

// Name implements machine.Driver, as all that follow.
func (d *Driver) Name() string { return "scripted" }

// Accel is emulation.
func (d *Driver) Accel() machine.Accel { return machine.TCG }

// Version is the only one.
func (d *Driver) Version() string { return "1" }

// Can is true of what Cannot does not name.
func (d *Driver) Can(a machine.Ability) bool { return !slices.Contains(d.Cannot, a) }

// Boot asks OnBoot.
func (d *Driver) Boot(ctx context.Context, c machine.Config) (machine.Machine, error) {
	if d.OnBoot == nil {
		return nil, errUnscripted
	}
	return d.OnBoot(ctx, c)
}

// Fork asks OnFork.
func (d *Driver) Fork(ctx context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
	return d.OnFork(ctx, cp, o)
}

// Close has nothing to do.
func (d *Driver) Close() error { return nil }
