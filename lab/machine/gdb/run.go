package gdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/vdevil/vdevil/lab/machine"
)

// Signals in stop replies.
const (
	sigINT  = 2 // stopped from outside
	sigTRAP = 5 // a trigger or a step
)

// StopError says that the machine was stopped by neither a trigger nor a client.
type StopError struct {
	// Signal is the stub's word for it: 3 shut down, 6 internal error, 14 watchdog, 23 input/output error of a disk, 24
	// being migrated, 143 anything else, of which a panic noticed by pvpanic is most likely.
	Signal int
}

func (e *StopError) Error() string {
	return fmt.Sprintf("the machine stopped with signal %d", e.Signal)
}

// stopSignal is the signal of a stop reply.
func stopSignal(packet string) (int, bool) {
	if len(packet) < 3 || (packet[0] != 'T' && packet[0] != 'S') {
		return 0, false
	}
	n, err := strconv.ParseUint(packet[1:3], 16, 8)
	return int(n), err == nil
}

// trigger is the packet that sets (Z) or removes (z) one.
func (c *Client) trigger(op byte, addr uint64) string {
	return fmt.Sprintf("%c%c,%x,1", op, c.kind, addr)
}

// Break sets a trigger at a virtual address, on all CPUs. A CPU that stands there now has not executed the instruction
// yet and will be reported by the next Continue. Setting one twice is harmless.
func (c *Client) Break(ctx context.Context, addr uint64) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	if c.isTrigger(addr) {
		return nil
	}
	if err := c.order(ctx, c.trigger('Z', addr)); err != nil {
		return fmt.Errorf("setting a trigger at %#x: %w", addr, err)
	}
	c.triggers[addr] = struct{}{}
	return nil
}

// Clear removes a trigger. It is an error if there is none.
func (c *Client) Clear(ctx context.Context, addr uint64) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	if !c.isTrigger(addr) {
		return fmt.Errorf("no trigger at %#x to remove", addr)
	}
	if err := c.order(ctx, c.trigger('z', addr)); err != nil {
		return fmt.Errorf("removing the trigger at %#x: %w", addr, err)
	}
	delete(c.triggers, addr)
	return nil
}

// Continue runs the machine until a CPU is about to execute the instruction at a trigger. Every arrival of every CPU is
// reported exactly once.
//
// That is not what the stub does. When two CPUs arrive at about the same time it tells of one only and the other stands
// there, or of none, when the machine is interrupted at that moment. So the stub's word that something was hit is only
// taken as an occasion to look where all CPUs stand, and one at a trigger that was not reported is reported by the next
// call, which then does not run the machine. And the stub does not step over triggers (under TCG a CPU would be stopped
// again where it is): the first thing a call does is to step each CPU that was reported over its trigger, alone and
// without interrupts.
//
// An instruction that faults or that its step does not leave (a repeated string operation, a jump to itself) is at its
// trigger again afterwards, and is reported again. Triggers right behind a hlt report an idle CPU that has not woken.
//
// When ctx ends the machine is stopped where it is, which waits for as long as QEMU takes to answer, and the context's
// error returned. An arrival at that very moment is reported by the next call.
func (c *Client) Continue(ctx context.Context) (machine.Stop, error) { return c.proceed(ctx, nobody) }

// ContinueWithout is Continue with a CPU that stands where it is all the while: it executes nothing, and where it stands is not
// reported. The next Continue steps it over the trigger that it stands at if it was reported there. Other CPUs that wait for it in the
// guest's kernel, for an answer to an interrupt or for a lock that it spins on, wait.
func (c *Client) ContinueWithout(ctx context.Context, cpu int) (machine.Stop, error) {
	switch {
	case cpu < 0 || cpu >= len(c.threads):
		return machine.Stop{}, fmt.Errorf("no CPU %d, the machine has %d", cpu, len(c.threads))
	case len(c.threads) == 1:
		return machine.Stop{}, errors.New("the machine has one CPU: while that is held nothing runs")
	}
	return c.proceed(ctx, cpu)
}

// Step makes one CPU execute one instruction, without interrupts, while the others stand.
func (c *Client) Step(ctx context.Context, cpu int) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	at, err := c.registers(ctx, cpu)
	switch {
	case err != nil:
	case c.isTrigger(at.RIP):
		_, err = c.stepOver(ctx, cpu, at)
	default:
		_, err = c.step(ctx, cpu, at)
	}
	delete(c.reported, cpu) // where it stands now it has not been reported
	return err
}

// nobody is no CPU.
const nobody = -1

// proceed runs all CPUs but one.
func (c *Client) proceed(ctx context.Context, held int) (machine.Stop, error) {
	if err := c.begin(ctx); err != nil {
		return machine.Stop{}, err
	}
	defer c.end()
	// What keeps the books must not be left half done, and takes no longer than QEMU takes to answer.
	steady := context.WithoutCancel(ctx)
	var before []machine.Registers
	for {
		if err := ctx.Err(); err != nil {
			return machine.Stop{}, err
		}
		at, err := c.positions(steady)
		if err != nil {
			return machine.Stop{}, err
		}
		for cpu, r := range at {
			if last, ok := c.reported[cpu]; ok && cpu != held && last == r.RIP && c.isTrigger(r.RIP) {
				if at[cpu], err = c.stepOver(ctx, cpu, r); err != nil {
					return machine.Stop{}, err
				}
			}
		}
		for cpu, r := range at {
			if cpu != held && c.isTrigger(r.RIP) {
				c.reported[cpu] = r.RIP
				return machine.Stop{CPU: cpu, Addr: r.RIP}, nil
			}
		}
		if slices.Equal(at, before) { // a trigger in a segment that is not flat, where an address is not RIP
			return machine.Stop{}, fmt.Errorf("the machine is stopped with no CPU at a trigger, the first is at %#x", at[0].RIP)
		}
		maps.DeleteFunc(c.reported, func(cpu int, _ uint64) bool { return cpu != held })
		if err := c.run(ctx, c.continuing(held)); err != nil {
			return machine.Stop{}, err
		}
		before = at
	}
}

// continuing is the command that lets all CPUs run but one.
func (c *Client) continuing(held int) string {
	if held == nobody {
		return "c"
	}
	command := "vCont"
	for cpu, thread := range c.threads {
		if cpu != held {
			command += ";c:" + thread
		}
	}
	return command
}

func (c *Client) isTrigger(addr uint64) bool {
	_, ok := c.triggers[addr]
	return ok
}

// positions are the registers of all CPUs. Asking for them has a use of its own: a CPU that arrived while the machine was
// being stopped leaves a request to stop behind, which QEMU's main loop drops between two commands, and which would
// otherwise stop the machine again as soon as it runs.
func (c *Client) positions(ctx context.Context) ([]machine.Registers, error) {
	at := make([]machine.Registers, len(c.threads))
	var err error
	for cpu := range at {
		if at[cpu], err = c.registers(ctx, cpu); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// stepOver lets one CPU execute the instruction at a trigger while the others stand, and returns its registers then. The
// trigger is there again afterwards, whatever happens.
func (c *Client) stepOver(ctx context.Context, cpu int, from machine.Registers) (machine.Registers, error) {
	steady := context.WithoutCancel(ctx)
	if err := c.order(steady, c.trigger('z', from.RIP)); err != nil {
		return from, fmt.Errorf("removing the trigger at %#x for a step: %w", from.RIP, err)
	}
	to, err := c.step(ctx, cpu, from)
	if again := c.order(steady, c.trigger('Z', from.RIP)); again != nil {
		err = errors.Join(err, fmt.Errorf("setting the trigger at %#x after a step: %w", from.RIP, again))
	}
	return to, err
}

// steps bounds the attempts at one step. One is enough nearly always, see step.
const steps = 16

// step makes one CPU execute one instruction. Under TCG the stub may report a step done that was not begun: a vCPU
// thread that finds a request for its attention before the first instruction raises the step's exception all the same
// (cpu_tb_exec of accel/tcg/cpu-exec.c). No register has changed then, and the step is tried again. A jump to itself
// looks the same for ever; its step is given up for done.
func (c *Client) step(ctx context.Context, cpu int, from machine.Registers) (to machine.Registers, err error) {
	steady := context.WithoutCancel(ctx)
	// A stop ends the stepping of the CPU that the stub thinks of, which Hc makes this one even if it is interrupted.
	// Otherwise it would step on and stop the machine again, without a client that could know.
	if err := c.order(steady, "Hc"+c.threads[cpu]); err != nil {
		return from, err
	}
	for range steps {
		ran := c.run(ctx, "vCont;s:"+c.threads[cpu])
		if to, err = c.registers(steady, cpu); err != nil {
			return from, errors.Join(ran, err)
		}
		if ran != nil || to != from {
			return to, ran
		}
	}
	return to, nil
}

// run lets CPUs run by a command that has no answer but the stop reply, and waits for that.
func (c *Client) run(ctx context.Context, command string) error {
	if err := c.send(encode(command)); err != nil {
		return err
	}
	for {
		p, err := c.receive(ctx, c.closing)
		if errors.Is(err, ErrClosed) && !errors.Is(err, errClosing) {
			return err
		}
		if err != nil {
			return errors.Join(err, c.interrupt(context.WithoutCancel(ctx)))
		}
		switch signal, ok := stopSignal(p); {
		case !ok:
			return fmt.Errorf("%s: unexpected packet %.40q", command, p)
		case signal == sigTRAP:
			return nil
		case signal == sigINT: // a pause from elsewhere; who made it will end it
		default:
			return &StopError{Signal: signal}
		}
	}
}

// interrupt stops the machine. Whether the stub sends a stop reply for that depends on whether the machine stopped by
// itself a moment before. The query behind the interrupt is read after it, when the machine stands in either case, and
// its answer cannot be mistaken for a stop reply.
func (c *Client) interrupt(ctx context.Context) error {
	if err := c.send(append([]byte{'\x03'}, encode("qC")...)); err != nil {
		return err
	}
	_, err := c.answer(ctx)
	return err
}
