package fault

import (
	"context"
	"time"

	"github.com/vdevil/vdevil/lab/trial"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// Moment is an instant at which a trigger has fired. The machine stands still until Release.
type Moment struct {
	Site Site
	// Scope is where paths are resolved, with the arguments of the function if a CPU stands at the entry of one.
	Scope core.Scope
	// Fired says what fired, Hit the number of the arrival at a place in code, as the trigger counts.
	Fired string
	Hit   int

	// Of a place in code, otherwise nil and zero: the debugger that holds the machine, the CPU that arrived, its
	// registers, and the function if it stands at the entry.
	Debugger  machine.Debugger
	CPU       int
	Registers machine.Registers
	Func      *kernel.Func
	// Place is where the CPU stands, in words.
	Place string

	triggers []uint64 // the places that are set
}

// Only takes the trigger, which has fired, away, and puts others in its place: arrivals there are what a debugger that continues reports
// from now on.
func (m *Moment) Only(ctx context.Context, triggers ...uint64) error {
	for _, addr := range m.triggers {
		if err := m.Debugger.Clear(ctx, addr); err != nil {
			return err
		}
	}
	m.triggers = triggers
	for _, addr := range triggers {
		if err := m.Debugger.Break(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}

// Halt pauses the machine: the moment is any that comes.
func (s Site) Halt(ctx context.Context, k *kernel.Kernel, fired string) (*Moment, error) {
	if err := s.Machine.Pause(ctx); err != nil {
		return nil, err
	}
	return &Moment{Site: s, Fired: fired, Scope: core.Scope{ZFS: core.Open(k.View(ctx)), Rand: s.Rand}}, nil
}

// Release takes the trigger away and lets the machine run, also when the context has ended.
func (m *Moment) Release(ctx context.Context) error {
	if m.Debugger != nil {
		return m.Debugger.Close()
	}
	return m.Site.Resume(ctx)
}

// deathbed is how long a hypervisor may take to end that has hung up.
const deathbed = 5 * time.Second

// Resume lets the machine run, also when the context has ended. One that ends at that moment has felt what was done to it: a kernel
// that knows no machine checks shuts the CPUs down at the first one, and QEMU is gone before it has answered.
func (s Site) Resume(ctx context.Context) error {
	err := s.Machine.Resume(context.WithoutCancel(ctx))
	if err == nil {
		return nil
	}
	select {
	case <-s.Machine.Done():
		return nil
	case <-time.After(deathbed):
		return err
	}
}

// Record begins the record of a strike at this moment.
func (m *Moment) Record(kind string) trial.Injection {
	i := trial.Injection{Fault: kind, Time: time.Now().UTC(), Trigger: m.Fired, Hit: m.Hit, Withheld: m.Site.Withhold}
	if m.Func == nil {
		return i
	}
	i.Arguments = map[string]string{}
	for _, p := range m.Func.Params {
		if text, err := m.Scope.ZFS.View().Arg(*m.Scope.Frame, p.Name).Format(); err == nil {
			i.Arguments[p.Name] = text
		}
	}
	return i
}
