package ondisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// mappingEntry says where a range of a removed vdev has gone (vdev_indirect_mapping_entry_phys_t).
type mappingEntry struct {
	source uint64
	target DVA // its asize is the length of the range
}

const (
	mappingEntrySize = 24
	// maxMapping is how many entries a mapping may have: 384 MiB of them in memory.
	maxMapping = 1 << 24
)

// decodeMapping reads a mapping, which must be in order and without overlaps.
func decodeMapping(p []byte, order binary.ByteOrder) ([]mappingEntry, error) {
	all := make([]mappingEntry, len(p)/mappingEntrySize)
	end := uint64(0)
	for i := range all {
		at := p[i*mappingEntrySize:]
		e := mappingEntry{
			source: bits(order.Uint64(at), 0, 63) << sectorShift,
			target: DVA{order.Uint64(at[8:]), order.Uint64(at[16:])},
		}
		if e.source < end || e.target.ASize() == 0 {
			return nil, corrupt("entry %d of an indirect mapping is out of order", i)
		}
		end = e.source + e.target.ASize()
		all[i] = e
	}
	return all, nil
}

// loadMapping reads the mapping of a removed vdev. It is kept in memory, 24 bytes an entry.
func (v *VDev) loadMapping(ctx context.Context, mos *ObjSet) error {
	o, err := mos.Object(ctx, v.MappingObject)
	if err != nil {
		return fmt.Errorf("mapping of vdev %d: %w", v.ID, err)
	}
	head, err := readMappingHead(o)
	if err != nil {
		return fmt.Errorf("mapping of vdev %d: %w", v.ID, err)
	}
	if head.entries > maxMapping {
		return unsupported("an indirect mapping of %d entries", head.entries)
	}
	p, order, err := o.readAll(ctx, head.entries*mappingEntrySize, o.filled)
	if err != nil {
		return fmt.Errorf("mapping of vdev %d: %w", v.ID, err)
	}
	if v.mapping, err = decodeMapping(p, order); err != nil {
		return fmt.Errorf("mapping of vdev %d: %w", v.ID, err)
	}
	if v.Type == vdevIndirect {
		v.births, _ = v.readBirths(ctx, mos) // an audit tells of what is wrong with them, and no block needs them to be read
	}
	return nil
}

// birth says until which offset the content of a removed vdev was copied in a txg, since the entry before
// (vdev_indirect_birth_entry_phys_t).
type birth struct{ end, txg uint64 }

// readBirths reads when the content of a removed vdev was copied.
func (v *VDev) readBirths(ctx context.Context, mos *ObjSet) ([]birth, error) {
	const entrySize = 16
	o, err := mos.Object(ctx, v.BirthsObject)
	if err != nil {
		return nil, err
	}
	w := o.bonusWords()
	if len(w) == 0 {
		return nil, corrupt("a bonus without a count")
	}
	if w[0] > maxMapping {
		return nil, corrupt("%d entries", w[0])
	}
	p, order, err := o.readAll(ctx, w[0]*entrySize, o.filled)
	if err != nil {
		return nil, err
	}
	words := decodeWords(p, order)
	all := make([]birth, len(words)/2)
	for i := range all {
		all[i] = birth{words[2*i], words[2*i+1]}
	}
	return all, nil
}

// Remapped is a block pointer as OpenZFS makes it of b when it writes the pointer again: a first address on a removed vdev, whose
// content went to one place as a whole, becomes that place, and the physical birth the txg of the copy (spa_remap_blkptr in
// module/zfs/metaslab.c). What the head of a dataset, its snapshots and its deadlists have of one block differs by that.
func (p *Pool) Remapped(b BlkPtr) BlkPtr {
	if b.Hole() || b.Embedded() || b.Dedup() || b.Gang() {
		return b
	}
	for range maxIndirection {
		d := b.DVA[0]
		v, err := p.top(d.VDev())
		if err != nil || v.Type != vdevIndirect {
			return b
		}
		pieces, err := v.pieces(d.Offset(), d.ASize())
		i := sort.Search(len(v.births), func(i int) bool { return v.births[i].end > d.Offset() })
		if err != nil || len(pieces) != 1 || i == len(v.births) {
			return b
		}
		b.DVA[0] = NewDVA(pieces[0].VDev, pieces[0].Offset, d.ASize(), false)
		b.PhysicalBirth = v.births[i].txg
	}
	return b
}

// Piece is a range of a top-level vdev.
type Piece struct {
	VDev         uint32
	Offset, Size uint64
}

// Remap says where a range of a top-level vdev lies now: on itself, or, if it was removed, in the pieces to which its
// content was copied, which may be on removed vdevs again.
func (p *Pool) Remap(vdev uint32, offset, size uint64) ([]Piece, error) {
	v, err := p.top(vdev)
	if err != nil {
		return nil, err
	}
	if v.Type != vdevIndirect {
		return []Piece{{vdev, offset, size}}, nil
	}
	return v.pieces(offset, size)
}

func (v *VDev) pieces(offset, size uint64) ([]Piece, error) {
	if v.noMapping != nil {
		return nil, v.noMapping
	}
	i := sort.Search(len(v.mapping), func(i int) bool {
		e := v.mapping[i]
		return e.source+e.target.ASize() > offset
	})
	var all []Piece
	for ; size > 0; i++ {
		if i == len(v.mapping) || v.mapping[i].source > offset {
			return nil, corrupt("offset %#x of removed vdev %d is not mapped", offset, v.ID)
		}
		if len(all) == maxPieces {
			return nil, corrupt("%d bytes at %#x of removed vdev %d are in more than %d pieces", size, offset, v.ID, maxPieces)
		}
		e := v.mapping[i]
		skip := offset - e.source
		n := min(e.target.ASize()-skip, size)
		all = append(all, Piece{e.target.VDev(), e.target.Offset() + skip, n})
		offset, size = offset+n, size-n
	}
	return all, nil
}

// maxSplit is how many combinations of copies of the pieces of one block are tried.
const maxSplit = 256

// indirectAttempts joins the pieces of a block in all combinations of their copies.
func (v *VDev) indirectAttempts(ctx context.Context, offset, size, birth uint64, depth int, yield func([]byte, error) bool) {
	pieces, tops, err := v.resolve(offset, size, depth)
	if err != nil {
		yield(nil, err)
		return
	}
	if len(pieces) == 1 {
		for p, err := range tops[0].attempts(ctx, pieces[0].Offset, size, birth, depth+1) {
			if !yield(p, err) {
				return
			}
		}
		return
	}
	choices := make([][][]byte, len(pieces))
	total := 1
	for i, piece := range pieces {
		var problems []error
		for p, err := range tops[i].attempts(ctx, piece.Offset, piece.Size, birth, depth+1) {
			if err != nil {
				problems = append(problems, err)
			} else if !contains(choices[i], p) {
				choices[i] = append(choices[i], p)
			}
			if total*(len(choices[i])+1) > maxSplit {
				break
			}
		}
		if len(choices[i]) == 0 {
			yield(nil, errors.Join(problems...))
			return
		}
		total *= len(choices[i])
	}
	for n := range total {
		joined := make([]byte, 0, size)
		for _, c := range choices {
			joined = append(joined, c[n%len(c)]...)
			n /= len(c)
		}
		if !yield(joined, nil) {
			return
		}
	}
}

func contains(all [][]byte, p []byte) bool {
	for _, q := range all {
		if bytes.Equal(p, q) {
			return true
		}
	}
	return false
}

func (v *VDev) resolve(offset, size uint64, depth int) ([]Piece, []*VDev, error) {
	if depth > maxIndirection {
		return nil, nil, corrupt("the mapping of removed vdev %d goes round in circles", v.ID)
	}
	pieces, err := v.pieces(offset, size)
	if err != nil {
		return nil, nil, err
	}
	tops := make([]*VDev, len(pieces))
	for i, piece := range pieces {
		if tops[i], err = v.pool.top(piece.VDev); err != nil {
			return nil, nil, err
		}
	}
	return pieces, tops, nil
}

func (v *VDev) indirectCompare(ctx context.Context, offset uint64, data []byte, birth uint64, depth int) []Damage {
	pieces, tops, err := v.resolve(offset, uint64(len(data)), depth)
	if err != nil {
		return []Damage{{VDev: v, Offset: offset, Size: uint64(len(data)), Err: err}}
	}
	var all []Damage
	for i, piece := range pieces {
		all = append(all, tops[i].compare(ctx, piece.Offset, data[:piece.Size], birth, depth+1)...)
		data = data[piece.Size:]
	}
	return all
}
