package ondisk

import (
	"context"
	"fmt"
	"io"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// write puts data, which has the size of a whole block that was written in txg birth, at an offset of the vdev: on every side of
// a mirror, on the columns of a raidz with their parity, to where the content of a removed vdev went.
func (v *VDev) write(ctx context.Context, offset uint64, data []byte, birth uint64, depth int) error {
	switch {
	case v.problem != nil:
		return v.problem
	case v.Type == vdevIndirect:
		return v.indirectWrite(ctx, offset, data, birth, depth)
	case v.striped():
		s := v.newStripe(offset, uint64(len(data)), birth)
		for _, c := range s.contentOf(data) {
			if err := v.Children[c.child].write(ctx, c.offset, c.data, birth, depth); err != nil {
				return err
			}
		}
		return nil
	case v.Leaf() || v.Type == vdevMissing:
		if v.Device == nil {
			return fmt.Errorf("%w: %v", ErrMissing, v)
		}
		return v.Device.write(ctx, data, dataStart+offset)
	}
	if v.Type == vdevSpare {
		c, err := v.spareOf(offset, depth)
		if err != nil {
			return err
		}
		return c.write(ctx, offset, data, birth, depth+spareStep)
	}
	for _, c := range v.Children {
		if err := c.write(ctx, offset, data, birth, depth); err != nil {
			return err
		}
	}
	return nil
}

func (v *VDev) indirectWrite(ctx context.Context, offset uint64, data []byte, birth uint64, depth int) error {
	pieces, tops, err := v.resolve(offset, uint64(len(data)), depth)
	if err != nil {
		return err
	}
	for i, piece := range pieces {
		if err := tops[i].write(ctx, piece.Offset, data[:piece.Size], birth, depth+1); err != nil {
			return err
		}
		data = data[piece.Size:]
	}
	return nil
}

// write writes to a device of a Writer, or to a partition of one.
func (d *Device) write(ctx context.Context, p []byte, offset uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if offset > uint64(d.Size) || uint64(len(p)) > uint64(d.Size)-offset {
		return fmt.Errorf("write %s: %d bytes at %d are beyond its %d", d.Name, len(p), offset, d.Size)
	}
	data, at := d.Data, int64(offset)
	for {
		section, ok := data.(*io.SectionReader)
		if !ok {
			break
		}
		outer, start, _ := section.Outer()
		data, at = outer, at+start
	}
	w, ok := data.(io.WriterAt)
	if !ok {
		return fmt.Errorf("write %s: it was opened for reading", d.Name)
	}
	if _, err := w.WriteAt(p, at); err != nil {
		return fmt.Errorf("write %s at %d: %w", d.Name, at, err)
	}
	return nil
}

// setEmbeddedSum makes the checksum that a block carries itself right.
func setEmbeddedSum(h *checksum.Hasher, a checksum.Algorithm, p []byte, verifier checksum.Sum) error {
	at := len(p) - eckSize
	actual, _, order, err := embeddedSums(h, a, p, at, verifier)
	if err != nil {
		return err
	}
	for i, w := range actual {
		order.PutUint64(p[at+8+8*i:], w)
	}
	return nil
}

// encode writes the pointer as a host of that byte order does.
func (b *BlkPtr) encode(p []byte, order interface{ PutUint64([]byte, uint64) }) {
	for i, w := range b.words() {
		order.PutUint64(p[8*i:], *w)
	}
}
