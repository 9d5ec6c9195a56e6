package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/gdb"
)

var _ machine.Ringer = (*vm)(nil)

// bell is a code trigger that stays in place for as long as the machine lives. All stops go through it, those of a debugger's triggers,
// too. A device that stops the machine would not do: until QEMU's main loop has heard of it, it takes the CPU for idle, and has the
// guest's time go on by as much as the host likes (icount_start_warp_timer of softmmu/icount.c). At a trigger it does so once.
type bell struct {
	client *gdb.Client
	addr   uint64

	mu      sync.Mutex
	stands  bool
	idle    bool          // nobody has let it run yet
	rung    chan struct{} // closed when the machine stands
	dbgs    []*visitor
	failed  chan struct{} // closed when err is set
	err     error
	dropped []uint64 // triggers of debuggers that are gone
	// The guest's time after the last two stops.
	elapsed, before time.Duration
}

// HasBell is true of machines that count their time.
func (m *vm) HasBell() bool { return m.Clock == machine.Instructions }

func (m *vm) hung() *bell {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bell
}

// Hang attaches to QEMU's gdb stub for good. A machine that is at the address stands there from now on, any other one is let run.
func (m *vm) Hang(ctx context.Context, addr uint64) error {
	client, err := m.attach(ctx)
	if err != nil {
		return m.explain("hang the bell", err)
	}
	b := &bell{client: client, addr: addr, rung: make(chan struct{}), failed: make(chan struct{})}
	if err := client.Break(ctx, addr); err != nil {
		return m.explain("hang the bell", errors.Join(err, client.Close()))
	}
	m.mu.Lock()
	m.bell = b
	m.mu.Unlock()
	r, err := client.Registers(ctx, 0)
	if err == nil {
		err = b.look(ctx)
	}
	switch {
	case err != nil:
		return m.explain("hang the bell", err)
	case r.RIP == addr:
		return b.pass(ctx)
	case r.RIP == addr+1: // it stood when it was frozen
		b.stand()
	case m.Incoming: // it was frozen at another place, and waits for Resume
		b.idle = true
	default:
		go b.run()
	}
	return nil
}

// control pauses the machine, or lets it go on, where it does not stand at the bell. The client expects that others do.
func (b *bell) control(ctx context.Context, m *vm, command string) error {
	b.mu.Lock()
	stands, begin := b.stands, b.idle && command == "cont"
	b.idle = b.idle && !begin
	b.mu.Unlock()
	switch {
	case stands:
		return nil
	case begin:
		go b.run()
		return nil
	}
	return m.execute(ctx, command, nil)
}

// Elapsed is as the guest's HPET has it.
func (m *vm) Elapsed(context.Context) (now, before time.Duration, err error) {
	b := m.hung()
	if b == nil {
		return 0, 0, fmt.Errorf("machine %s has no bell", m.ID())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.elapsed, b.before, nil
}

// look asks the HPET of a machine that was stopped.
func (b *bell) look(ctx context.Context) error {
	low, err := b.register(ctx, hpetCounter)
	if err != nil {
		return err
	}
	high, err := b.register(ctx, hpetCounter+4)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before, b.elapsed = b.elapsed, time.Duration(high<<32|low)*hpetTick
	return err
}

// Rung waits for the bell.
func (m *vm) Rung(ctx context.Context) error {
	b := m.hung()
	if b == nil {
		return fmt.Errorf("machine %s has no bell", m.ID())
	}
	b.mu.Lock()
	rung := b.rung
	b.mu.Unlock()
	select {
	case <-rung:
		return nil
	case <-b.failed:
		select {
		case <-m.done:
			return m.explain("wait for the guest", machine.ErrDied)
		default:
			return m.explain("wait for the guest", b.err)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// LetGo lets the machine go on.
func (m *vm) LetGo(context.Context) error {
	b := m.hung()
	if b == nil || !b.standing() {
		return fmt.Errorf("machine %s does not stand at a bell", m.ID())
	}
	b.mu.Lock()
	b.stands, b.rung = false, make(chan struct{})
	b.mu.Unlock()
	go b.run()
	return nil
}

func (b *bell) standing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stands
}

// pass moves the CPU past the bell, which would otherwise be reached again, and leaves it there.
func (b *bell) pass(ctx context.Context) error {
	r, err := b.client.Registers(ctx, 0)
	if err == nil {
		r.RIP++
		err = b.client.SetRegisters(ctx, 0, r)
	}
	if err == nil {
		b.stand()
	}
	return err
}

func (b *bell) stand() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stands = true
	close(b.rung)
}

// run lets the machine run to its bell.
func (b *bell) run() {
	ctx := context.Background() // it ends with the machine
	for {
		stop, err := b.client.Continue(ctx)
		if err == nil {
			err = b.look(ctx)
		}
		if err == nil && stop.Addr == b.addr {
			b.sweep(ctx)
			if err = b.pass(ctx); err == nil {
				return
			}
		}
		if err != nil {
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
			close(b.failed)
			return
		}
		b.sweep(ctx)
		for _, d := range b.visitors(stop.Addr) {
			d.visit(stop)
		}
	}
}

// visitors are the debuggers that have a trigger at an address, in the order in which they came.
func (b *bell) visitors(addr uint64) (all []*visitor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.dbgs {
		if d.has(addr) {
			all = append(all, d)
		}
	}
	return all
}

// sweep takes away the triggers of debuggers that are gone, unless another one has them, too.
func (b *bell) sweep(ctx context.Context) {
	b.mu.Lock()
	dropped := b.dropped
	b.dropped = nil
	b.mu.Unlock()
	for _, addr := range dropped {
		if len(b.visitors(addr)) == 0 {
			_ = b.client.Clear(ctx, addr) // it fails with the connection, which the next command tells
		}
	}
}

// visitor is a debugger of a machine with a bell. There may be several: those of a trial's fault and of somebody who looks on.
type visitor struct {
	bell     *bell
	stops    chan machine.Stop
	goOn     chan struct{}
	gone     chan struct{} // closed by Close
	once     sync.Once
	mu       sync.Mutex
	holds    bool // the machine stands at a trigger of its
	triggers []uint64
}

var _ machine.Debugger = (*visitor)(nil)

func (b *bell) debug(id string) (machine.Debugger, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stands {
		return nil, fmt.Errorf("machine %s does not stand at its bell, where its debugger comes in", id)
	}
	d := &visitor{bell: b, stops: make(chan machine.Stop), goOn: make(chan struct{}), gone: make(chan struct{})}
	b.dbgs = append(b.dbgs, d)
	return d, nil
}

func (d *visitor) has(addr uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.triggers, addr)
}

// visit gives the debugger a stop and waits until it lets the machine go on.
func (d *visitor) visit(stop machine.Stop) {
	select {
	case d.stops <- stop:
	case <-d.gone:
		return
	}
	select {
	case <-d.goOn:
	case <-d.gone:
	}
}

// Break sets a trigger while the machine stands.
func (d *visitor) Break(ctx context.Context, addr uint64) error {
	err := d.bell.client.Break(ctx, addr)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.triggers = append(d.triggers, addr)
	}
	return err
}

// Clear removes one.
func (d *visitor) Clear(ctx context.Context, addr uint64) error {
	if !d.has(addr) {
		return fmt.Errorf("no trigger at %#x to remove", addr)
	}
	d.mu.Lock()
	d.triggers = slices.DeleteFunc(d.triggers, func(t uint64) bool { return t == addr })
	d.mu.Unlock()
	if len(d.bell.visitors(addr)) > 0 {
		return nil
	}
	return d.bell.client.Clear(ctx, addr)
}

// Continue waits for the next trigger. From the bell it is for others to let the machine go on. When ctx ends first the machine runs on.
func (d *visitor) Continue(ctx context.Context) (machine.Stop, error) {
	d.mu.Lock()
	held := d.holds
	d.holds = false
	d.mu.Unlock()
	if held {
		d.goOn <- struct{}{}
	}
	select {
	case stop := <-d.stops:
		d.mu.Lock()
		d.holds = true
		d.mu.Unlock()
		return stop, nil
	case <-d.bell.failed:
		return machine.Stop{}, d.bell.err
	case <-ctx.Done():
		return machine.Stop{}, ctx.Err()
	}
}

// Registers are those of a CPU.
func (d *visitor) Registers(ctx context.Context, cpu int) (machine.Registers, error) {
	return d.bell.client.Registers(ctx, cpu)
}

// SetRegisters changes them.
func (d *visitor) SetRegisters(ctx context.Context, cpu int, r machine.Registers) error {
	return d.bell.client.SetRegisters(ctx, cpu, r)
}

// ReadVirt reads memory as a CPU sees it.
func (d *visitor) ReadVirt(ctx context.Context, cpu int, addr uint64, p []byte) error {
	return d.bell.client.ReadVirt(ctx, cpu, addr, p)
}

// Step executes instructions on the CPU, without interrupts.
func (d *visitor) Step(ctx context.Context, n int) error {
	for range n {
		if err := d.bell.client.Step(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// WriteVirt writes it.
func (d *visitor) WriteVirt(ctx context.Context, cpu int, addr uint64, p []byte) error {
	return d.bell.client.WriteVirt(ctx, cpu, addr, p)
}

// Close removes the triggers, at once where the machine stands and at its next stop otherwise.
func (d *visitor) Close() error {
	d.once.Do(func() {
		b := d.bell
		d.mu.Lock()
		held, triggers := d.holds, d.triggers
		d.mu.Unlock()
		b.mu.Lock()
		b.dropped = append(b.dropped, triggers...)
		b.dbgs = slices.DeleteFunc(b.dbgs, func(one *visitor) bool { return one == d })
		stands := b.stands
		b.mu.Unlock()
		if stands || held {
			b.sweep(context.Background())
		}
		close(d.gone)
	})
	return nil
}
