package ondisk

import (
	"context"
	"fmt"
	"iter"
)

// SpaceMap is a log of allocations and frees (space_map_phys_t in include/sys/space_map.h).
type SpaceMap struct {
	Object *Object
	// Length is that of the log in bytes. Allocated is the header's sum; it may be negative in maps that are a part of
	// others.
	Length    uint64
	Allocated int64
	// Histogram counts free regions of 2^(i+shift) bytes and more, nil in old pools.
	Histogram []uint64
	// Start is added to offsets, Shift is the binary logarithm of their unit.
	Start uint64
	Shift uint
}

// SpaceMapEntry is one record of a space map.
type SpaceMapEntry struct {
	// Index counts the words before it.
	Index uint64
	// Free: the range was freed; otherwise it was allocated. Of an entry that is not Debug.
	Free bool
	// Offset and Size are in bytes. VDev is the top-level vdev, NoVDev in the short form, which does not say.
	Offset, Size uint64
	VDev         uint32
	// Debug entries say in which sync pass of which txg those behind them were written. One with TXG 0 is padding.
	Debug  bool
	Action uint8
	Pass   uint16
	TXG    uint64
	// Words is 1 or 2.
	Words int
}

// NoVDev is the vdev of an entry that names none.
const NoVDev = 1 << 24 // SM_NO_VDEVID

// SpaceMap opens a space map whose offsets count units of 2^shift bytes from start.
func (p *Pool) SpaceMap(ctx context.Context, id, start uint64, shift uint) (*SpaceMap, error) {
	o, err := p.MOS.Object(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("space map: %w", err)
	}
	const sizeV0, histogram = 3, 8 // words
	w := o.bonusWords()
	if o.Type != TypeSpaceMap || len(w) < sizeV0 {
		return nil, fmt.Errorf("space map %v: %w", o, corrupt("a %s with a bonus of %d words", TypeName(o.Type), len(w)))
	}
	s := &SpaceMap{Object: o, Length: w[1], Allocated: int64(w[2]), Start: start, Shift: shift}
	if len(w) >= histogram+32 {
		s.Histogram = w[histogram : histogram+32]
	}
	if s.Length%8 != 0 || s.Length > o.Size() && s.Length != 0 {
		return nil, fmt.Errorf("space map %v: %w", o, corrupt("%d bytes of %d", s.Length, o.Size()))
	}
	return s, nil
}

// Entries are the records, oldest first. A block that cannot be read, or a record that cannot be one, ends them with an
// error. What a record says is not judged.
func (s *SpaceMap) Entries(ctx context.Context) iter.Seq2[SpaceMapEntry, error] {
	return func(yield func(SpaceMapEntry, error) bool) {
		size := uint64(s.Object.DataBlockSize)
		for at := uint64(0); at < s.Length; at += size {
			block, err := s.Object.filled(ctx, at/size)
			if err != nil {
				yield(SpaceMapEntry{}, fmt.Errorf("space map %v: %w", s.Object, err))
				return
			}
			words := decodeWords(block.Data[:min(size, s.Length-at)], block.Order)
			for e, err := range decodeSpaceMap(words, s.Start, s.Shift) {
				e.Index += at / 8
				if err != nil {
					err = fmt.Errorf("space map %v, word %d: %w", s.Object, e.Index, err)
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// decodeSpaceMap reads the records of one block; none reaches into the next.
func decodeSpaceMap(words []uint64, start uint64, shift uint) iter.Seq2[SpaceMapEntry, error] {
	return func(yield func(SpaceMapEntry, error) bool) {
		for i := 0; i < len(words); {
			e, err := decodeSpaceMapEntry(words[i:], start, shift)
			e.Index = uint64(i)
			if !yield(e, err) || err != nil {
				return
			}
			i += e.Words
		}
	}
}

func decodeSpaceMapEntry(words []uint64, start uint64, shift uint) (SpaceMapEntry, error) {
	const debug, two = 0b10, 0b11
	w := words[0]
	switch bits(w, 62, 2) {
	case debug:
		return SpaceMapEntry{Debug: true, Action: uint8(bits(w, 60, 2)), Pass: uint16(bits(w, 50, 10)), TXG: bits(w, 0, 50), Words: 1}, nil
	case two:
		if len(words) < 2 {
			return SpaceMapEntry{}, corrupt("an entry of two words is cut in the middle")
		}
		v := words[1]
		return scale(SpaceMapEntry{
			Free: bits(v, 63, 1) == 1, Offset: bits(v, 0, 63), Size: bits(w, 24, 36) + 1, VDev: uint32(bits(w, 0, 24)), Words: 2,
		}, start, shift)
	}
	return scale(SpaceMapEntry{
		Free: bits(w, 15, 1) == 1, Offset: bits(w, 16, 47), Size: bits(w, 0, 15) + 1, VDev: NoVDev, Words: 1,
	}, start, shift)
}

// scale turns units into bytes. What 64 bits cannot hold is no entry.
func scale(e SpaceMapEntry, start uint64, shift uint) (SpaceMapEntry, error) {
	if shift > maxAShift || e.Offset >= 1<<(63-shift) || e.Size >= 1<<(63-shift) {
		return e, corrupt("offset %#x, size %#x in units of 2^%d bytes", e.Offset, e.Size, shift)
	}
	e.Offset, e.Size = e.Offset<<shift+start, e.Size<<shift
	return e, nil
}
