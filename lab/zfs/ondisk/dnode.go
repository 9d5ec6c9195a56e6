package ondisk

import "encoding/binary"

// DNodeSlot is the size of the smallest dnode in bytes; larger ones are multiples of it (DNODE_MIN_SIZE).
const DNodeSlot = 512

const (
	dnodeCore      = 64 // bytes before the block pointers
	maxDNodeSlots  = 32
	maxLevels      = 12 // what 64 bits of offset can need with the smallest indirect blocks
	minIndirect    = 12 // DN_MIN_INDBLKSHIFT
	maxIndirect    = 17 // DN_MAX_INDBLKSHIFT
	dnodeUsedBytes = 1 << 0
	dnodeSpill     = 1 << 2
	blkPtrShift    = 7
)

// DNode is the head of an object (dnode_phys_t in include/sys/dnode.h).
type DNode struct {
	Type           uint8
	IndirectShift  uint8
	Levels         uint8 // 1: the block pointers point at data
	BonusType      uint8
	Checksum       uint8
	Compress       uint8
	Flags          uint8
	DataBlockSize  uint32 // bytes
	MaxBlkID       uint64
	Used           uint64 // bytes of disk space
	Slots          int    // of 512 bytes
	BlkPtrs        []BlkPtr
	Bonus          []byte
	Spill          *BlkPtr
	Order          binary.ByteOrder
	bonusEncrypted bool
}

// DecodeDNode reads a dnode from the start of p, which may be longer. A free one has type 0 and one slot.
func DecodeDNode(p []byte, order binary.ByteOrder) (DNode, error) {
	if len(p) < DNodeSlot {
		return DNode{}, corrupt("%d bytes are no dnode", len(p))
	}
	d := DNode{
		Type: p[0], IndirectShift: p[1], Levels: p[2], BonusType: p[4], Checksum: p[5], Compress: p[6], Flags: p[7],
		DataBlockSize: uint32(order.Uint16(p[8:])) << sectorShift, MaxBlkID: order.Uint64(p[16:]),
		Used: order.Uint64(p[24:]), Slots: int(p[12]) + 1, Order: order,
	}
	if d.Type == TypeNone {
		return DNode{Slots: 1, Order: order}, nil
	}
	pointers, bonus := int(p[3]), int(order.Uint16(p[10:]))
	if d.Flags&dnodeUsedBytes == 0 {
		d.Used <<= sectorShift
	}
	size := d.Slots * DNodeSlot
	start := dnodeCore + pointers*BlkPtrSize
	end := size
	if d.Flags&dnodeSpill != 0 {
		end -= BlkPtrSize
	}
	switch {
	case d.Slots > maxDNodeSlots || size > len(p):
		return DNode{}, corrupt("a dnode of %d slots in %d bytes", d.Slots, len(p))
	case pointers < 1 || pointers > 3:
		return DNode{}, corrupt("a dnode with %d block pointers", pointers)
	case d.Levels < 1 || d.Levels > maxLevels:
		return DNode{}, corrupt("a dnode with %d levels", d.Levels)
	case d.Levels > 1 && (d.IndirectShift < minIndirect || d.IndirectShift > maxIndirect):
		return DNode{}, corrupt("a dnode with indirect blocks of 2^%d bytes", d.IndirectShift)
	case d.DataBlockSize == 0 || d.DataBlockSize > maxBlockSize:
		return DNode{}, corrupt("a dnode with blocks of %d bytes", d.DataBlockSize)
	case start+bonus > end:
		return DNode{}, corrupt("a dnode with a bonus of %d bytes", bonus)
	}
	for i := range pointers {
		d.BlkPtrs = append(d.BlkPtrs, decodeBlkPtr(p[dnodeCore+i*BlkPtrSize:], order))
	}
	d.Bonus = p[start : start+bonus : start+bonus]
	if d.Flags&dnodeSpill != 0 {
		spill := decodeBlkPtr(p[end:], order)
		d.Spill = &spill
	}
	return d, nil
}

// bonusWords are the 64-bit words of the bonus.
func (d *DNode) bonusWords() []uint64 { return decodeWords(d.Bonus, d.Order) }

func decodeWords(p []byte, order binary.ByteOrder) []uint64 {
	words := make([]uint64, len(p)/8)
	for i := range words {
		words[i] = order.Uint64(p[8*i:])
	}
	return words
}

// indirectSpan is the binary logarithm of how many pointers an indirect block of the object holds.
func (d *DNode) indirectSpan() uint { return uint(d.IndirectShift) - blkPtrShift }

// pointersPerBlock is how many blocks of the level below an indirect block points at.
func (d *DNode) pointersPerBlock() uint64 { return 1 << d.indirectSpan() }
