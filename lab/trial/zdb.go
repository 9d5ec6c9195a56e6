package trial

import (
	"context"
	"errors"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
)

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
