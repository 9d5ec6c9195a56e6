package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
)

// Visit looks at the machine of a trial each time a place in code is reached, from the first step of the workload on. Every stop lets the
// guest's timers go on to the next one that is set (see vm's bell), so that what comes after it may be otherwise than in a trial without
// it, but is the same in all with the same stops.
type Visit struct {
	At fault.Trigger
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
			armed, err := v.At.Arm(ctx, site)
			if err != nil {
				return fmt.Errorf("arm %s: %w", v.At, err)
			}
			go v.wait(ctx, armed)
		}
		return nil
	})
}

// wait looks until the trial is over, or nobody wants to any more.
func (v Visit) wait(ctx context.Context, armed *fault.Armed) {
	for {
		m, err := armed.Wait(ctx)
		if err != nil {
			return // the trial is over
		}
		if v.See(ctx, m) != nil {
			_ = m.Release(ctx) // a machine that is gone is let go
			return
		}
	}
}
