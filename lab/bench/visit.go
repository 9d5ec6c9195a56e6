package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
)

// Visit looks at the machine of a trial each time a place in code is reached, from the first step of the workload on. Every stop lets the
// guest's timers go on to the next one that is set (see vm's bell), so that what comes after it may be otherwise than in a trial without
// it, but is the same in all with the same stops.
type Visit struct {
	At fault.Trigger
	// Time, in place of At, is an instant of the guest's time, which it comes to as if nobody looked.
	Time time.Duration
	// TicksFrom has the machine's Elapsed tell to a tick when At was reached, from an instant on.
	TicksFrom time.Duration
	// See is called while the machine stands; on an error nothing is looked at any more. It may end the trial by its context.
	See func(ctx context.Context, m *fault.Moment) error
}

// visitLimit is the time limit of a trial that somebody looks at, who may think.
const visitLimit = 24 * time.Hour

// visited begins the visits. The first machine of a trial is the one that is looked at.
func (t *run) visited(ctx context.Context) error {
	if len(t.visits) == 0 {
		return nil
	}
	if !t.now().guest.Counted() {
		return errors.New("the guest does not count its time, so it cannot be looked at in the course of the trial")
	}
	return t.bench.Checkpoints.Beside(ctx, t.image, t.fork, func(other *guest.Guest) error {
		site := t.site()
		site.Guest = other // who is asked for addresses
		for _, v := range t.visits {
			if err := v.setTimer(ctx, site.Machine.(machine.Ringer)); err != nil {
				return err
			}
			if v.Time > 0 {
				v.At = fault.Trigger{At: nmiEntry}
			}
			armed, err := v.At.Arm(ctx, site)
			if err != nil {
				return fmt.Errorf("arm %s: %w", v.At, err)
			}
			go v.wait(ctx, armed)
		}
		return nil
	})
}

// Tick is how exact TicksFrom is.
const Tick = 50 * machine.Instruction

func (v Visit) setTimer(ctx context.Context, m machine.Ringer) error {
	switch {
	case v.Time > 0:
		return m.SetAlarm(ctx, v.Time)
	case v.TicksFrom > 0:
		return m.SetTicks(ctx, v.TicksFrom, Tick)
	}
	return nil
}

// wait looks until the trial is over, or nobody wants to any more.
func (v Visit) wait(ctx context.Context, armed *fault.Armed) {
	for {
		m, err := armed.Wait(ctx)
		if err != nil {
			return // the trial is over
		}
		if v.Time > 0 {
			err = interrupted(ctx, m)
		}
		if err != nil || v.See(ctx, m) != nil {
			_ = m.Release(ctx) // a machine that is gone is let go
			return
		}
	}
}

// nmiEntry is where Linux is entered for a non-maskable interrupt, by which an alarm comes (arch/x86/entry/entry_64.S).
const nmiEntry = "asm_exc_nmi"

// interrupted goes back from there to the instruction that the alarm came before. Where that is one of a program, only what is shown does:
// the CPU is in the kernel.
func interrupted(ctx context.Context, m *fault.Moment) error {
	var frame struct{ RIP, CS, Flags, RSP, SS uint64 } // which the CPU has pushed
	raw := make([]byte, binary.Size(frame))
	if err := m.Debugger.ReadVirt(ctx, m.CPU, m.Registers.RSP, raw); err != nil {
		return err
	}
	if _, err := binary.Decode(raw, binary.LittleEndian, &frame); err != nil {
		return err
	}
	m.Registers.RIP, m.Registers.RSP = frame.RIP, frame.RSP
	m.Func, m.Scope.Frame, m.Hit = nil, nil, 0
	m.Place = fmt.Sprintf("%#x", frame.RIP)
	if frame.CS&3 != 0 {
		m.Place += " of a program"
		return nil
	}
	return m.Debugger.SetRegisters(ctx, m.CPU, m.Registers)
}
