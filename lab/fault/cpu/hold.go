package cpu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// Hold lets a CPU that comes to a place in code stand there while the others go on, as a hypervisor does that takes a CPU away. It
// damages nothing: what goes wrong then is a race of the guest's own. What waits for that CPU waits, too, its other tasks and CPUs that
// want an answer of it.
type Hold struct {
	// Trigger is a place, Anywhere a random one if its In is set.
	Trigger  fault.Trigger
	Anywhere fault.Anywhere
	// For is how long the CPU stands, by the host's clock.
	For time.Duration
	// Until is a place in code that ends it when another CPU comes there, empty for none.
	Until string
}

// Name is "hold".
func (Hold) Name() string { return "hold" }

// Arm sets the code trigger.
func (h Hold) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	var until []uint64
	if h.Until != "" {
		addr, err := s.Address(ctx, h.Until)
		if err != nil {
			return nil, err
		}
		until = append(until, addr)
	}
	armed, err := h.arm(ctx, s)
	if err != nil {
		return nil, err
	}
	return once(armed, func(ctx context.Context, m *fault.Moment) (trial.Injection, error) { return h.strike(ctx, m, until) }), nil
}

func (h Hold) arm(ctx context.Context, s fault.Site) (waiting, error) {
	switch {
	case h.Anywhere.In != nil:
		return h.Anywhere.Arm(ctx, s)
	case h.Trigger.At == "":
		return nil, fmt.Errorf("a CPU is held at a place in code, not at %s", h.Trigger)
	}
	return h.Trigger.Arm(ctx, s)
}

// strike holds the CPU, or, when it is withheld, all of them for the same time.
func (h Hold) strike(ctx context.Context, m *fault.Moment, until []uint64) (trial.Injection, error) {
	i := m.Record(h.Name())
	i.Target = fmt.Sprintf("CPU %d at %s", m.CPU, m.Place)
	begun := time.Now()
	limit, stop := context.WithTimeout(ctx, h.For)
	defer stop()
	if i.Withheld {
		<-limit.Done()
		i.Effect = fmt.Sprintf("none: withheld, all CPUs stood for %s", h.For)
		return i, nil
	}
	d, ok := m.Debugger.(machine.Holder)
	if !ok {
		return i, errors.New("the machine cannot hold a CPU while others run")
	}
	if err := m.Only(ctx, until...); err != nil {
		return i, err
	}
	at, err := d.ContinueWithout(limit, m.CPU)
	took := time.Since(begun).Round(time.Millisecond)
	switch {
	case err == nil:
		i.Effect = fmt.Sprintf("CPU %d stood there for %s, until CPU %d came to %s", m.CPU, took, at.CPU, h.Until)
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil: // the trial may be over, by what this has brought about
		i.Effect = fmt.Sprintf("CPU %d stood there for %s while the others went on", m.CPU, took)
	default:
		return i, err
	}
	return i, nil
}
