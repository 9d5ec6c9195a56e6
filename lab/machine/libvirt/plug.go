package libvirt

import (
	"context"
	"fmt"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	xmldef "libvirt.org/go/libvirtxml"
)

// letGo is how often libvirt is asked whether a guest has let go of a disk. libvirt itself waits for five seconds, which a
// guest on a busy host may exceed.
const letGo = 50 * time.Millisecond

// Unplug asks the guest to let go of a data disk, and waits until it has.
func (p *process) Unplug(ctx context.Context, name string) error {
	disk, err := p.disk(ctx, name)
	if err != nil {
		return err
	}
	if disk == nil {
		return fmt.Errorf("domain %s has no disk %s any more", p.domain.Name, name)
	}
	text, err := disk.Marshal()
	if err != nil {
		return err
	}
	err = p.conn.call(ctx, func(lib *rpc.Libvirt) error {
		return lib.DomainDetachDeviceFlags(p.domain, text, uint32(rpc.DomainDeviceModifyLive))
	})
	for err == nil {
		if disk, err = p.disk(ctx, name); disk == nil {
			break
		}
		select {
		case <-time.After(letGo):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err == nil {
		p.pulled[name] = text
	}
	return err
}

// Plug puts the disk back into its slot.
func (p *process) Plug(ctx context.Context, name string) error {
	return p.conn.call(ctx, func(lib *rpc.Libvirt) error {
		return lib.DomainAttachDeviceFlags(p.domain, p.pulled[name], uint32(rpc.DomainDeviceModifyLive))
	})
}

// disk is what libvirt knows of a data disk, nil if the domain does not have it.
func (p *process) disk(ctx context.Context, name string) (*xmldef.DomainDisk, error) {
	var text string
	err := p.conn.call(ctx, func(lib *rpc.Libvirt) (err error) {
		text, err = lib.DomainGetXMLDesc(p.domain, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	var d xmldef.Domain
	if err := d.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("description of domain %s: %w", p.domain.Name, err)
	}
	for _, disk := range d.Devices.Disks {
		if disk.Serial == name {
			return &disk, nil
		}
	}
	return nil, nil
}
