package ondisk

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// EditConfig changes the packed configuration of a label, which lies in the beginning of packed, on the device with a name.
type EditConfig func(device string, l *Label, packed []byte) error

// LabelConfigs gives an edit the configuration of all labels in turn, and makes the checksums of all right. Everything is as
// before if there is an error, which there is, too, when the pool cannot be opened any more.
func (w *Writer) LabelConfigs(ctx context.Context, edit EditConfig) error {
	return w.Atomically(func() error {
		for i := range w.labels {
			l := &w.labels[i]
			if l.Config == nil {
				continue
			}
			err := w.editLabel(ctx, l.device, l.Offset+labelConfig, labelConfigLen, func(p []byte) error {
				return edit(l.device.Name, &l.Label, p[:len(p)-eckSize])
			})
			if err != nil {
				return fmt.Errorf("change label %d of %s: %w", l.Index, l.device.Name, err)
			}
		}
		return w.reopen(ctx)
	})
}

// EditUberblock changes the bytes of an uberblock, which are in the order that its host wrote them in.
type EditUberblock func(device string, l *Label, s *Slot, raw []byte) error

// LabelUberblocks does the same with the uberblocks of all labels.
func (w *Writer) LabelUberblocks(ctx context.Context, edit EditUberblock) error {
	return w.Atomically(func() error {
		for i := range w.labels {
			l := &w.labels[i]
			for k := range l.Ring {
				s := &l.Ring[k]
				err := w.editLabel(ctx, l.device, s.Offset, 1<<l.slotShift, func(p []byte) error {
					return edit(l.device.Name, &l.Label, s, p[:UberblockSize])
				})
				if err != nil {
					return fmt.Errorf("change uberblock %d of label %d of %s: %w", s.Index, l.Index, l.device.Name, err)
				}
			}
		}
		return w.reopen(ctx)
	})
}

// editLabel changes a part of a label that has a checksum of its own at its end.
func (w *Writer) editLabel(ctx context.Context, d *Device, offset uint64, size int, edit func(p []byte) error) error {
	p := make([]byte, size)
	if err := d.read(ctx, p, offset); err != nil {
		return err
	}
	if err := edit(p); err != nil {
		return err
	}
	if err := setEmbeddedSum(w.pool.hasher, checksum.Label, p, checksum.Sum{offset}); err != nil {
		return err
	}
	return d.write(ctx, p, offset)
}
