// Package memory holds faults of the guest's memory: damage of places that are found by their type, by what they are
// used for, or at random, once or again and again, below an ECC or not.
package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// Fault damages memory when its trigger fires, or at a rate until the workload ends. A strike that waits for nothing is
// done when Arm returns.
type Fault struct {
	Trigger fault.Trigger
	// Rate, if set, stands in place of Trigger.
	Rate *Rate
	// Targets are the paths of what is hit, each in the same way: a value and its copy elsewhere, if both are to be wrong
	// alike. If there is none, Class names the class of memory that a target is drawn from, each byte with the same
	// chance: "ram" is all pages of the guest that are in use, "kernel-text" the kernel's code; the others are those of
	// core.Classes.
	Targets []string
	Class   string
	Damage  Damage
	ECC     ECC
}

// Name is "memory".
func (Fault) Name() string { return "memory" }

// attempts bounds how often a machine that was stopped at any instant is stopped again because the target could not be
// found at that one: what is just being changed cannot be read.
const attempts = 16

// Arm puts the trigger in place.
func (f Fault) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	checker, ok := s.Machine.(machine.MCEInjector)
	if !ok && f.ECC != NoECC {
		return nil, fmt.Errorf("ecc %s: this driver cannot report damaged memory to the guest", f.ECC)
	}
	h := &hand{Fault: f, site: s, checker: checker}
	var err error
	if f.Class == classRAM {
		if h.ram, err = usableRAM(ctx, s.Guest); err != nil {
			return nil, err
		}
	}
	if h.armed, err = f.Trigger.Arm(ctx, s); err != nil {
		return nil, err
	}
	if f.Rate != nil {
		return h.campaign, nil
	}
	if !f.Trigger.Now() {
		return h.strike, nil
	}
	done, err := h.once(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]trial.Injection, error) { return h.hold(ctx, done) }, nil
}

// hand does the strikes of a fault.
type hand struct {
	Fault
	site    fault.Site
	checker machine.MCEInjector
	armed   *fault.Armed
	ram     []span
	// size is that of what a target was drawn from last, in bytes.
	size uint64
	// stuck is a bit that is held at its value after the strike.
	stuck *edit
}

func (h *hand) strike(ctx context.Context) ([]trial.Injection, error) {
	done, err := h.once(ctx)
	if err != nil {
		return nil, err
	}
	return h.hold(ctx, done)
}

// once waits for the trigger and strikes.
func (h *hand) once(ctx context.Context) (done []trial.Injection, err error) {
	m, edits, err := h.catch(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(ctx, m)) }()
	for _, e := range edits {
		i, err := h.do(ctx, m, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		done = append(done, i)
	}
	return done, nil
}

// release lets the machine run on. A kernel that falls over at its next instruction, or takes no machine check, has reset its machine
// before the hypervisor has said that it runs, and then there is nothing to let go.
func release(ctx context.Context, m *fault.Moment) error {
	err := m.Release(ctx)
	if err == nil {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	if m.Site.Machine.Wait(soon) == nil {
		return nil
	}
	return err
}

// endLimit is how long it may take until a machine is known to have ended whose hypervisor does not answer any more.
const endLimit = 5 * time.Second

// catch waits for the trigger and finds out what to change. The machine stands still then.
func (h *hand) catch(ctx context.Context) (m *fault.Moment, edits []edit, err error) {
	for range attempts {
		m, waited := h.armed.Wait(ctx)
		if waited != nil {
			return nil, nil, errors.Join(waited, err)
		}
		if edits, err = h.plan(ctx, m); err == nil {
			return m, edits, nil
		}
		if released := m.Release(ctx); released != nil || m.Debugger != nil || ctx.Err() != nil {
			return nil, nil, errors.Join(err, released)
		}
	}
	return nil, nil, err
}

func (h *hand) plan(ctx context.Context, m *fault.Moment) ([]edit, error) {
	targets, err := h.aim(m)
	if err != nil {
		return nil, err
	}
	var all []edit
	for _, t := range targets {
		edits, err := h.Damage.edits(ctx, t, h.ECC.word(), m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		all = append(all, edits...)
	}
	return all, nil
}

// do changes memory as far as the ECC lets it.
func (h *hand) do(ctx context.Context, m *fault.Moment, e edit) (trial.Injection, error) {
	i := m.Record(h.Name())
	i.Target, i.Virt, i.Phys, i.Before = e.name, e.virt, e.phys, e.before
	read, result, at := e.pass(h.ECC)
	i.After, i.ECC = read, string(result)
	if h.ECC == NoECC {
		_, would, _ := e.pass(SECDED)
		i.ECC, i.SECDED = "", string(would)
	}
	if result == Corrected {
		i.Effect = fmt.Sprintf("none: %x would stand there without ECC", e.after)
	}
	if i.Withheld {
		i.Effect = fmt.Sprintf("none: withheld, %x would have been read", read)
		i.After = i.Before
		return i, nil
	}
	if err := h.write(ctx, m, e, read); err != nil {
		return i, err
	}
	switch result {
	case Detected:
		i.Effect = fmt.Sprintf("machine check for physical %#x", at)
		return i, h.checker.MachineCheck(ctx, at)
	case Corrected:
		return i, h.checker.CorrectedError(ctx, at)
	}
	if e.stuck != nil && result.unnoticed() {
		h.stuck = &e
	}
	return i, nil
}

// write puts bytes into memory: below the guest, or through a debugger if they are code, of which an emulator keeps a
// translation.
func (h *hand) write(ctx context.Context, m *fault.Moment, e edit, data []byte) error {
	if slices.Equal(data, e.before) {
		return nil
	}
	if h.Class != classText {
		return h.site.Machine.WritePhys(ctx, e.phys, data)
	}
	if m.Debugger != nil {
		return m.Debugger.WriteVirt(ctx, m.CPU, e.virt, data)
	}
	d, err := h.site.Machine.Debug(ctx)
	if err != nil {
		return err
	}
	return errors.Join(d.WriteVirt(ctx, m.CPU, e.virt, data), d.Close())
}
