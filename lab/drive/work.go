package drive

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/guest"
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
	w := Worker{Guest: g, Pool: r.Pool.Name, Disks: r.Machine.Names(), Layout: r.Pool.Layout, Seed: seed}
	if err := w.Recall(r.Prepare); err != nil {
		return err
	}
	return w.Run(ctx, r.Workload)
}
