package ondisk

import "context"

// maxPieces is how many pieces a block can have: three copies of 16 MiB in sectors, with a gang header for each two.
const maxPieces = 3 << 16

// Extents are the ranges of top-level vdevs that are allocated for a block: every copy with its parity and padding, the
// header and all parts of a gang block. What lies on removed vdevs is where it was moved to; what was copied from a vdev that is
// being removed is there and here. A gang block needs its header read; what cannot be told gives an error beside the ranges that
// can.
func (p *Pool) Extents(ctx context.Context, b BlkPtr) ([]Piece, error) {
	return p.extents(ctx, b, nil, 0)
}

func (p *Pool) extents(ctx context.Context, b BlkPtr, all []Piece, depth int) ([]Piece, error) {
	if depth > maxGangDepth {
		return all, corrupt("gang blocks nested deeper than %d", maxGangDepth)
	}
	if b.Hole() {
		return all, nil
	}
	if len(all) > maxPieces {
		return all, corrupt("a block of more than %d pieces", maxPieces)
	}
	for _, d := range b.DVAs() {
		size := d.ASize()
		v, err := p.top(d.VDev())
		if err != nil {
			return all, err
		}
		if d.Gang() {
			size = v.RawSize(oldGangHeader, b.Birth()) // metaslab_free_dva; the asize counts the parts
		}
		if all, err = p.concrete(Piece{d.VDev(), d.Offset(), size}, all, 0); err != nil {
			return all, err
		}
	}
	if !b.Gang() {
		return all, nil
	}
	members, err := p.GangMembers(ctx, b)
	for _, m := range members {
		if all, err = p.extents(ctx, m, all, depth+1); err != nil {
			return all, err
		}
	}
	return all, err
}

// concrete appends the places of a range on vdevs that were not removed.
func (p *Pool) concrete(piece Piece, all []Piece, depth int) ([]Piece, error) {
	v, err := p.top(piece.VDev)
	if err != nil {
		return all, err
	}
	if v.Type != vdevIndirect {
		all = append(all, piece)
		if !v.Removing() {
			return all, nil
		}
		if v.noMapping != nil {
			return all, v.noMapping
		}
		if copied := v.copied(); piece.Offset >= copied {
			return all, nil
		} else {
			piece.Size = min(piece.Size, copied-piece.Offset)
		}
	}
	if depth > maxIndirection {
		return all, corrupt("the mapping of removed vdev %d goes round in circles", v.ID)
	}
	pieces, err := v.pieces(piece.Offset, piece.Size)
	if err != nil {
		return all, err
	}
	if len(all)+len(pieces) > maxPieces {
		return all, corrupt("a block of more than %d pieces", maxPieces)
	}
	for _, q := range pieces {
		if all, err = p.concrete(q, all, depth+1); err != nil {
			return all, err
		}
	}
	return all, nil
}

// copied is where on a vdev that is being removed the part ends that was copied elsewhere.
func (v *VDev) copied() uint64 {
	if len(v.mapping) == 0 {
		return 0
	}
	last := v.mapping[len(v.mapping)-1]
	return last.source + last.target.ASize()
}
