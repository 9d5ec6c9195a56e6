package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/vdevil/vdevil/lab/machine"
)

// Unplug asks the guest to let go of a data disk, and waits until it has. What is behind the disk stays with QEMU.
func (p *process) Unplug(ctx context.Context, name string) error {
	events, cancel := p.Subscribe("DEVICE_DELETED")
	defer cancel()
	if err := p.Execute(ctx, "device_del", properties{"id": diskID(name)}, nil); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return errors.New("QEMU ended before the guest let go of the disk")
			}
			var deleted struct{ Device string }
			if err := json.Unmarshal(e.Data, &deleted); err != nil {
				return err
			}
			if deleted.Device == diskID(name) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Plug puts the disk back into its slot.
func (p *process) Plug(ctx context.Context, name string) error {
	number := slices.IndexFunc(p.spec.Disks, func(d machine.DiskConfig) bool { return d.Name == name })
	return p.Execute(ctx, "device_add", disk(number, name), nil)
}
