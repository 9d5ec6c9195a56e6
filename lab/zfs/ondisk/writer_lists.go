package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Pointer changes a block pointer of an object, wherever that lies: in the dnode, or in an indirect block. The position is
// that of the block that it points to; the change is that of the block that holds it.
func (w *Writer) Pointer(ctx context.Context, at Position, edit func(*BlkPtr) error) (Change, error) {
	t, err := w.newTrace(ctx, at.ObjSet)
	if err != nil {
		return Change{}, err
	}
	o, err := t.set.Object(ctx, at.Object)
	if err != nil {
		return Change{}, err
	}
	top := int(o.Levels) - 1
	offset := uint64(0)
	change := func(block []byte, order binary.ByteOrder) error {
		if offset+BlkPtrSize > uint64(len(block)) {
			return corrupt("a pointer at %d of %d bytes", offset, len(block))
		}
		b := decodeBlkPtr(block[offset:], order)
		if err := edit(&b); err != nil {
			return err
		}
		b.encode(block[offset:], order)
		return nil
	}
	if at.Level < 0 || at.Level > top || at.Level == top && at.BlkID >= uint64(len(o.BlkPtrs)) {
		return Change{}, fmt.Errorf("pointer to %v: %w", at, ErrNotFound)
	}
	if at.Level == top {
		offset = dnodeCore + at.BlkID*BlkPtrSize
		return w.DNode(ctx, at.ObjSet, at.Object, change)
	}
	offset = at.BlkID % o.pointersPerBlock() * BlkPtrSize
	return w.Block(ctx, Position{ObjSet: at.ObjSet, Object: at.Object, Level: at.Level + 1, BlkID: at.BlkID >> o.indirectSpan()}, change)
}

// Bonus changes the bonus of an object, given as its words.
func (w *Writer) Bonus(ctx context.Context, o *Object, edit func(words []uint64) error) (Change, error) {
	start := dnodeCore + len(o.BlkPtrs)*BlkPtrSize
	return w.DNode(ctx, o.Set.ID, o.ID, func(dnode []byte, order binary.ByteOrder) error {
		bonus := dnode[start : start+len(o.Bonus)]
		words := decodeWords(bonus, order)
		if err := edit(words); err != nil {
			return err
		}
		for i, v := range words {
			order.PutUint64(bonus[8*i:], v)
		}
		return nil
	})
}

// AppendSpaceMap adds an entry to the end of a space map, as space_map_write does, and counts it in the header: in its
// length and in the sum of what is allocated. An entry of a map of a metaslab has the short form, and must fit it; one of a
// log has the long one. The map takes no new block.
func (w *Writer) AppendSpaceMap(ctx context.Context, s *SpaceMap, e SpaceMapEntry) ([]Change, error) {
	words, err := encodeSpaceMapEntry(e, s.Start, s.Shift)
	if err != nil {
		return nil, err
	}
	size := uint64(s.Object.DataBlockSize)
	if at := s.Length % size; at+8*uint64(len(words)) > size {
		return nil, unsupported("an entry that needs a new block of space map %v", s.Object)
	}
	var all []Change
	err = w.Atomically(func() error {
		at := Position{Object: s.Object.ID, BlkID: s.Length / size}
		c, err := w.Block(ctx, at, func(block []byte, order binary.ByteOrder) error {
			for i, v := range words {
				order.PutUint64(block[s.Length%size+8*uint64(i):], v)
			}
			return nil
		})
		if err != nil {
			return err
		}
		all = append(all, c)
		c, err = w.Bonus(ctx, s.Object, func(header []uint64) error {
			const length, allocated = 1, 2
			header[length] += 8 * uint64(len(words))
			if e.Free {
				header[allocated] -= e.Size
			} else {
				header[allocated] += e.Size
			}
			return nil
		})
		all = append(all, c)
		return err
	})
	return all, err
}

func encodeSpaceMapEntry(e SpaceMapEntry, start uint64, shift uint) ([]uint64, error) {
	offset, run := (e.Offset-start)>>shift, e.Size>>shift
	if e.Offset < start || e.Debug || (e.Offset-start|e.Size)&(1<<shift-1) != 0 || run == 0 {
		return nil, fmt.Errorf("no entry of a space map with units of 2^%d bytes from %#x: %+v", shift, start, e)
	}
	free := uint64(0)
	if e.Free {
		free = 1
	}
	if e.VDev == NoVDev {
		const maxOffset, maxRun = 1 << 47, 1 << 15
		if offset >= maxOffset || run > maxRun {
			return nil, unsupported("an entry of %d units at unit %#x in the short form", run, offset)
		}
		return []uint64{offset<<16 | free<<15 | (run - 1)}, nil
	}
	const maxRun, maxVDev = 1 << 36, 1 << 24
	if run > maxRun || e.VDev >= maxVDev || offset >= 1<<63 {
		return nil, unsupported("an entry of %d units at unit %#x", run, offset)
	}
	const two = 0b11
	return []uint64{two<<62 | (run-1)<<24 | uint64(e.VDev), free<<63 | offset}, nil
}

// AppendBPObj adds a block pointer to the end of a list and counts it in the header, as bpobj_enqueue does. Headers of what
// the list is in are for the caller to change. The list takes no new block.
func (w *Writer) AppendBPObj(ctx context.Context, b *BPObj, ptr BlkPtr) ([]Change, error) {
	size := uint64(b.Object.DataBlockSize)
	at := Position{ObjSet: b.Object.Set.ID, Object: b.Object.ID, BlkID: b.Count * BlkPtrSize / size}
	var all []Change
	err := w.Atomically(func() error {
		c, err := w.Block(ctx, at, func(block []byte, order binary.ByteOrder) error {
			ptr.encode(block[b.Count*BlkPtrSize%size:], order)
			return nil
		})
		if err != nil {
			return err
		}
		all = append(all, c)
		c, err = w.Bonus(ctx, b.Object, func(words []uint64) error {
			words[0]++
			return nil
		})
		if err != nil {
			return err
		}
		all = append(all, c)
		c, err = w.Account(ctx, b.Object, 1, ptr)
		all = append(all, c)
		return err
	})
	return all, err
}

// Account adds the three sizes of a block to the words of a bonus from first on: what it takes, compressed, uncompressed.
func (w *Writer) Account(ctx context.Context, o *Object, first int, ptr BlkPtr) (Change, error) {
	size, err := w.pool.deflated(ptr)
	if err != nil {
		return Change{}, err
	}
	uncompressed := ptr.LSize()
	if ptr.Level() > 0 || IsMetadata(ptr.Type()) { // BP_GET_UCSIZE
		uncompressed = ptr.PSize()
	}
	return w.Bonus(ctx, o, func(words []uint64) error {
		for i, n := range []uint64{size, ptr.PSize(), uncompressed} {
			if first+i < len(words) { // old pools have less
				words[first+i] += n
			}
		}
		return nil
	})
}

// deflated is what a block counts in the books of datasets (bp_get_dsize): of a raidz what remains without the parity that
// blocks of 128 KiB have.
func (p *Pool) deflated(b BlkPtr) (n uint64, err error) {
	const usual = 128 << 10 // SPA_OLD_MAXBLOCKSIZE
	for _, d := range b.DVAs() {
		v, err := p.top(d.VDev())
		if err != nil {
			return 0, err
		}
		if !p.Deflate {
			n += d.ASize()
			continue
		}
		ratio := uint64(usual) / (v.RawSize(usual, 0) >> sectorShift)
		n += d.ASize() >> sectorShift * ratio
	}
	return n, nil
}
