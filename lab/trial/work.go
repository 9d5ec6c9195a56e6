package trial

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/scenarios"
)

// CheckWorkload refuses a workload with steps that a trial takes part in.
func CheckWorkload(r scenarios.Resolved) error {
	for _, s := range r.Workload {
		if s.Arm || s.Reboot || s.Panic != nil || s.Healthy || s.Must != "" || s.MustFail != "" {
			return fmt.Errorf("the workload of %s has the step %s, which only a trial can do", r.Scenario, s)
		}
	}
	return nil
}

// RunWorkload runs the workload of an arm, which CheckWorkload must have found in order, in a guest that was prepared for
// it: for those who look at something else than a trial does.
func RunWorkload(ctx context.Context, g *guest.Guest, r scenarios.Resolved, seed uint64) error {
	w := worker{guest: g, pool: r.Pool.Name, seed: seed}
	w.recall(r.Prepare)
	return w.run(ctx, r.Workload)
}

// Connect makes a connection to a guest that runs already.
func Connect(ctx context.Context, vm machine.Machine, img *images.Image, scale machine.Scale) (*guest.Guest, error) {
	limited, cancel := context.WithTimeout(ctx, scale.Limit(connectLimit))
	defer cancel()
	return guest.Connect(limited, vm, keys(img))
}
