package ondisk

import "context"

// Place is a range of a device that holds a part of a block.
type Place struct {
	// VDev is the leaf; its Device is nil when none was given.
	VDev *VDev
	// Offset is on the device in bytes, labels included.
	Offset, Size uint64
	// Copy is the number of the address in the block pointer; Parity places hold no data of the block.
	Copy   int
	Parity bool
}

// Places are all ranges of devices that a block was written to, copies and sides of mirrors, columns of raidz with their
// parity, without padding. Of a gang block they are those of its header and of its parts. Nothing but gang headers is read.
func (p *Pool) Places(ctx context.Context, b BlkPtr) ([]Place, error) {
	return p.places(ctx, b, nil, 0)
}

func (p *Pool) places(ctx context.Context, b BlkPtr, all []Place, depth int) ([]Place, error) {
	if depth > maxGangDepth {
		return all, corrupt("gang blocks nested deeper than %d", maxGangDepth)
	}
	if b.Hole() || b.Embedded() {
		return all, nil
	}
	for i, d := range b.DVAs() {
		size := b.PSize()
		if d.Gang() {
			size = oldGangHeader
		}
		v, err := p.place(d, size)
		if err != nil {
			return all, err
		}
		from := len(all)
		if all, err = v.places(d.Offset(), size, b.Birth(), all, 0); err != nil {
			return all, err
		}
		for k := range all[from:] {
			all[from+k].Copy = i
		}
	}
	if !b.Gang() {
		return all, nil
	}
	members, err := p.GangMembers(ctx, b)
	for _, m := range members {
		if all, err = p.places(ctx, m, all, depth+1); err != nil {
			return all, err
		}
	}
	return all, err
}

// places appends those of a range of the vdev.
func (v *VDev) places(offset, size, birth uint64, all []Place, depth int) (_ []Place, err error) {
	switch {
	case v.problem != nil:
		return all, v.problem
	case v.Type == vdevIndirect:
		pieces, tops, err := v.resolve(offset, size, depth)
		for i, piece := range pieces {
			if all, err = tops[i].places(piece.Offset, piece.Size, birth, all, depth+1); err != nil {
				return all, err
			}
		}
		return all, err
	case v.striped():
		for _, r := range v.rows(offset, size, birth) {
			if all, err = v.placesOfRow(r, birth, all, depth); err != nil {
				return all, err
			}
		}
		return all, nil
	case v.Type == vdevSpare:
		c, err := v.spareOf(offset, depth)
		if err != nil {
			return all, err
		}
		return c.places(offset, size, birth, all, depth+spareStep)
	case v.Leaf() || v.Type == vdevMissing:
		return append(all, Place{VDev: v, Offset: dataStart + offset, Size: size}), nil
	}
	for _, c := range v.Children {
		if all, err = c.places(offset, size, birth, all, depth); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (v *VDev) placesOfRow(r row, birth uint64, all []Place, depth int) (_ []Place, err error) {
	for i, c := range r {
		if c.size == 0 {
			continue
		}
		from := len(all)
		if all, err = v.Children[c.child].places(c.offset, c.size, birth, all, depth); err != nil {
			return all, err
		}
		for k := range all[from:] {
			all[from+k].Parity = i < v.Parity
		}
	}
	return all, nil
}
