package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// audit switches the machine off and has its disks judged, unless what was seen is worse than anything that could be found.
// What the judge finds is shown to zdb, whose answer is written down and decides nothing. So is that of a pool which the judge
// does not know: what was seen of it stands. A pool that has reported what was damaged on its disks is not judged: that it
// cannot be read is no news.
func (t *run) audit(ctx context.Context, r *result) {
	if t.bench.Judge == nil || r.Outcome == trial.Invalid || trial.Worst(r.Outcome, trial.Latent) == r.Outcome || r.Outcome == trial.Detected && onDisks(r.Injections) {
		return
	}
	err := t.off(ctx)
	subject := judge.Subject{Pool: t.resolved.Pool.Name, Disks: t.now().vm.Disks(), Booted: t.booted, Keys: checkpoint.Keys(t.later)}
	if err == nil {
		r.Audit, err = t.bench.Judge.Judge(ctx, subject)
	}
	var unsupported *ondisk.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		r.NotAudited = unsupported.What
	case err != nil:
		r.invalid(fmt.Errorf("judge the disks (%s seen): %w", r.Outcome, err))
		return
	case len(r.Audit) == 0:
		return
	default:
		r.atLeast(trial.Latent, strings.Join(r.Audit, "; "))
	}
	if t.bench.Second != nil {
		if r.ZDB, err = t.bench.Second.Judge(ctx, subject); err != nil {
			r.ZDB = []string{err.Error()}
		}
	}
}

// onDisks says that a fault changed something on a disk.
func onDisks(injections []trial.Injection) bool {
	return slices.ContainsFunc(injections, func(i trial.Injection) bool { return i.Disk != "" && !i.Withheld })
}
