package trial

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
)

// Judge says whether the disks of a machine that was switched off hold a consistent pool.
type Judge interface {
	// Judge returns what is inconsistent, in words; nothing means that all is well. An error is trouble of the judge's own.
	Judge(ctx context.Context, p Plan, disks []machine.Disk) (findings []string, err error)
}

// ZDB judges by zdb of the guest's own OpenZFS, in a fresh fork that has never seen the fault.
type ZDB struct {
	Driver machine.Driver
}

// zdbLimit is what zdb gets on the reference host.
const zdbLimit = connectLimit + prepareLimit

// Judge implements Judge.
func (z ZDB) Judge(ctx context.Context, p Plan, disks []machine.Disk) (findings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Booted.Scale.Limit(zdbLimit))
	defer cancel()
	vm, err := fresh(ctx, z.Driver, p.Booted, disks, p.Next)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	g, err := guest.Connect(ctx, vm, keys(p.Image))
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if err := g.Rescan(ctx); err != nil {
		return nil, err
	}
	return g.ZDB(ctx, p.Resolved.Pool.Name)
}

// audit switches the machine off and has its disks judged, unless what was seen is worse than anything that could be found.
func (t *run) audit(ctx context.Context, r *Result) {
	if t.Judge == nil || r.Outcome == Invalid || Worst(r.Outcome, Latent) == r.Outcome {
		return
	}
	err := t.now().leave()
	if err == nil {
		r.Audit, err = t.Judge.Judge(ctx, t.Plan, t.now().vm.Disks())
	}
	if err != nil {
		r.invalid(fmt.Errorf("judge the disks (%s seen): %w", r.Outcome, err))
		return
	}
	if len(r.Audit) > 0 {
		r.atLeast(Latent, strings.Join(r.Audit, "; "))
	}
}
