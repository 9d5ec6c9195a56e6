package scripttest

import (
	"context"
	"slices"
	"sync"

	"github.com/vdevil/vdevil/lab/machine"
)

// Debugger implements machine.Debugger: CPUs arrive where a test says so. Memory is not its matter.
type Debugger struct {
	// OnContinue runs the machine until it stops for the n-th time, from 1.
	OnContinue func(ctx context.Context, n int) (machine.Stop, error)

	mu       sync.Mutex
	triggers []uint64
	stops    int
	regs     machine.Registers
	closed   bool
}

var _ machine.Debugger = (*Debugger)(nil)

// Triggers are the places at which the machine is to stop.
func (d *Debugger) Triggers() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.triggers)
}

// Closed says whether it has been detached.
func (d *Debugger) Closed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// Break implements machine.Debugger, as all that follow.
func (d *Debugger) Break(_ context.Context, addr uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.triggers = append(d.triggers, addr)
	return nil
}

// Clear takes a trigger away.
func (d *Debugger) Clear(_ context.Context, addr uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.triggers = slices.DeleteFunc(d.triggers, func(t uint64) bool { return t == addr })
	return nil
}

// Continue asks OnContinue.
func (d *Debugger) Continue(ctx context.Context) (machine.Stop, error) {
	d.mu.Lock()
	d.stops++
	n := d.stops
	d.mu.Unlock()
	return d.OnContinue(ctx, n)
}

// Registers are those that were set, of any CPU.
func (d *Debugger) Registers(context.Context, int) (machine.Registers, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.regs, nil
}

// SetRegisters sets those of all CPUs.
func (d *Debugger) SetRegisters(_ context.Context, _ int, r machine.Registers) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.regs = r
	return nil
}

// ReadVirt is refused.
func (d *Debugger) ReadVirt(context.Context, int, uint64, []byte) error { return errUnscripted }

// WriteVirt is refused.
func (d *Debugger) WriteVirt(context.Context, int, uint64, []byte) error { return errUnscripted }

// Close takes all triggers away.
func (d *Debugger) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.triggers, d.closed = nil, true
	return nil
}
