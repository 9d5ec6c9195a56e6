// Package fault defines what a fault is: one way to damage a machine from outside. A fault is armed, strikes when its
// trigger fires, and leaves a record of every strike, the injection. The faults themselves are in sub-packages, by what
// they hit.
package fault

import (
	"context"
	"math/rand/v2"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// Site is where a fault strikes.
type Site struct {
	Machine machine.Machine
	Guest   *guest.Guest
	// Written is what the workload has written, by path in the guest.
	Written map[string][]byte
	// Rand is the trial's: all choices of a fault come from it.
	Rand *rand.Rand
	// Kernel gives the types and the layout of the running guest, which are loaded on first use: while the guest runs, as it
	// is asked for its addresses.
	Kernel func(ctx context.Context) (*kernel.Kernel, error)
	// Over is closed when the workload has come to its end: faults that go on for the length of a trial end then. Nil
	// lets them go on until the context of the strike ends.
	Over <-chan struct{}
	// Withhold makes it a control: trigger and pause as in earnest, but nothing is changed.
	Withhold bool
}

// Fault is one way to damage a machine.
type Fault interface {
	// Name is the kind that a scenario file says.
	Name() string
	// Arm makes the fault ready and returns the strike. When Arm returns the trigger is in place.
	Arm(ctx context.Context, s Site) (Strike, error)
}

// Strike waits for the trigger, does the damage and says what it changed. It is called once, while the workload runs. It
// must be called even when it is no longer wanted, with a context that has ended, to take the trigger away. An error
// means that the fault was not delivered.
type Strike func(ctx context.Context) ([]trial.Injection, error)
