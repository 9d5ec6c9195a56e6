package judge

import (
	"context"
	"errors"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
)

// ZDB judges by zdb of the guest's own OpenZFS, in a fresh fork that has never seen the fault.
type ZDB struct {
	Driver machine.Driver
}

// zdbLimit is what zdb gets on the reference host, the connection to its guest included.
const zdbLimit = 33 * time.Second

// Judge implements Judge.
func (z ZDB) Judge(ctx context.Context, s Subject) (findings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Booted.Scale.Limit(zdbLimit))
	defer cancel()
	vm, err := z.Driver.Fork(ctx, s.Booted, machine.ForkOptions{Disks: machine.Contents(s.Disks)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	g, err := guest.Connect(ctx, vm, s.Keys)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if err := g.Rescan(ctx); err != nil {
		return nil, err
	}
	return g.ZDB(ctx, s.Pool)
}
