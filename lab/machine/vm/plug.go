package vm

import (
	"context"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/machine"
)

// Unplug takes a data disk from the guest.
func (m *vm) Unplug(ctx context.Context, disk string) error {
	return m.plug(disk, false, func() error { return m.process.Unplug(ctx, disk) })
}

// Plug gives it back.
func (m *vm) Plug(ctx context.Context, disk string) error {
	return m.plug(disk, true, func() error { return m.process.Plug(ctx, disk) })
}

func (m *vm) plug(disk string, in bool, do func() error) error {
	if !slices.ContainsFunc(m.Config.Disks, func(d machine.DiskConfig) bool { return d.Name == disk }) {
		return fmt.Errorf("machine %s has no data disk %s", m.ID(), disk)
	}
	if m.Clock == machine.Instructions {
		return fmt.Errorf("disk %s of machine %s is memory, which stays plugged in", disk, m.ID())
	}
	m.plugging.Lock()
	defer m.plugging.Unlock()
	switch {
	case in && !m.unplugged[disk]:
		return fmt.Errorf("disk %s of machine %s is plugged in", disk, m.ID())
	case !in && m.unplugged[disk]:
		return fmt.Errorf("disk %s of machine %s is unplugged", disk, m.ID())
	}
	if err := do(); err != nil {
		op := "unplug"
		if in {
			op = "plug"
		}
		return m.explain(op+" disk "+disk, err)
	}
	if in {
		delete(m.unplugged, disk)
	} else {
		m.unplugged[disk] = true
	}
	return nil
}
