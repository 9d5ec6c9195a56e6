// Package ondisk reads pools of OpenZFS from the images of their devices: labels, blocks with all their copies, objects,
// ZAPs, datasets, space maps. It judges nothing beyond what keeps it from reading on, unless it is asked (Verify,
// Visitor.Malformed), and knows no machine and no ZFS code. Pools of either byte order are read. Only a Writer writes, to
// make pools that are wrong in a known way.
//
// Open assembles a Pool; Pool.Read reads and verifies a block; Pool.Visit walks all block pointers. Content is hostile
// until proved otherwise: whatever a device holds, the result is data or an error, in bounded time and memory.
package ondisk

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// BlkPtrSize is the size of a block pointer in bytes (SPA_BLKPTRSHIFT in include/sys/spa.h).
const BlkPtrSize = 128

// What an embedded block is (enum bp_embedded_type in include/sys/spa.h).
const (
	embeddedData     = 0
	embeddedRedacted = 2
)

const sectorShift = 9 // SPA_MINBLOCKSHIFT: sizes and offsets count 512 bytes

// DVA is a data virtual address: where a copy of a block lies. The two words are as on disk (dva_t in
// include/sys/spa.h), so that a fault can name a bit.
type DVA [2]uint64

// NewDVA makes a DVA. offset and asize are in bytes, multiples of 512, asize below 2^33; what does not fit is cut off.
func NewDVA(vdev uint32, offset, asize uint64, gang bool) DVA {
	d := DVA{asize>>sectorShift&(1<<24-1) | uint64(vdev&(1<<24-1))<<32, offset >> sectorShift & (1<<63 - 1)}
	if gang {
		d[1] |= 1 << 63
	}
	return d
}

// VDev is the index of the top-level vdev.
func (d DVA) VDev() uint32 { return uint32(bits(d[0], 32, 24)) }

// Offset is in bytes from the start of the vdev's allocatable space, which begins 4 MiB into a disk
// (VDEV_LABEL_START_SIZE). The upper nine bits of the word, which no real offset needs, are lost.
func (d DVA) Offset() uint64 { return bits(d[1], 0, 63) << sectorShift }

// ASize is the allocated size in bytes: RAID-Z parity and, for a gang block, all its members included.
func (d DVA) ASize() uint64 { return bits(d[0], 0, 24) << sectorShift }

// Gang says that the DVA points to a gang header instead of data.
func (d DVA) Gang() bool { return bits(d[1], 63, 1) == 1 }

// Empty says that both words are zero.
func (d DVA) Empty() bool { return d == DVA{} }

// String is the DVA as zdb prints it, in hexadecimal except for the vdev: <vdev:offset:asize>.
func (d DVA) String() string { return fmt.Sprintf("<%d:%x:%x>", d.VDev(), d.Offset(), d.ASize()) }

// BlkPtr is a block pointer (blkptr_t in include/sys/spa.h), word by word as on disk.
type BlkPtr struct {
	// DVA of an encrypted block has two addresses; the third one holds salt and IV.
	DVA  [3]DVA
	Prop uint64
	Pad  [2]uint64
	// PhysicalBirth is the txg that wrote the block, zero when it is LogicalBirth.
	PhysicalBirth uint64
	LogicalBirth  uint64
	Fill          uint64
	Cksum         [4]uint64
}

// words are the sixteen words in their order on disk.
func (b *BlkPtr) words() [BlkPtrSize / 8]*uint64 {
	return [...]*uint64{
		&b.DVA[0][0], &b.DVA[0][1], &b.DVA[1][0], &b.DVA[1][1], &b.DVA[2][0], &b.DVA[2][1], &b.Prop, &b.Pad[0],
		&b.Pad[1], &b.PhysicalBirth, &b.LogicalBirth, &b.Fill, &b.Cksum[0], &b.Cksum[1], &b.Cksum[2], &b.Cksum[3],
	}
}

// DecodeBlkPtr reads a little-endian block pointer from exactly BlkPtrSize bytes. Any content is accepted.
func DecodeBlkPtr(p []byte) (BlkPtr, error) {
	if len(p) != BlkPtrSize {
		return BlkPtr{}, fmt.Errorf("decode block pointer: %d bytes instead of %d", len(p), BlkPtrSize)
	}
	return decodeBlkPtr(p, binary.LittleEndian), nil
}

// decodeBlkPtr reads the first BlkPtrSize bytes of p, written by a host of that byte order.
func decodeBlkPtr(p []byte, order binary.ByteOrder) (b BlkPtr) {
	p = p[:BlkPtrSize]
	if order == binary.ByteOrder(binary.LittleEndian) { // without a call for every word
		for i, w := range b.words() {
			*w = binary.LittleEndian.Uint64(p[8*i:])
		}
		return b
	}
	for i, w := range b.words() {
		*w = order.Uint64(p[8*i:])
	}
	return b
}

// Encode gives the BlkPtrSize bytes that DecodeBlkPtr reads.
func (b BlkPtr) Encode() []byte {
	p := make([]byte, 0, BlkPtrSize)
	for _, w := range b.words() {
		p = binary.LittleEndian.AppendUint64(p, *w)
	}
	return p
}

// Embedded says that the block pointer holds data instead of pointing to it.
func (b BlkPtr) Embedded() bool { return bits(b.Prop, 39, 1) == 1 }

// Hole says that the block pointer stands for zeroes.
func (b BlkPtr) Hole() bool { return !b.Embedded() && b.DVA[0].Empty() }

// Gang says that the block is split into parts.
func (b BlkPtr) Gang() bool { return !b.Embedded() && b.DVA[0].Gang() }

// Level is 0 for data and above for indirect blocks.
func (b BlkPtr) Level() int { return int(bits(b.Prop, 56, 5)) }

// Type is the DMU object type (dmu_object_type_t in include/sys/dmu.h).
func (b BlkPtr) Type() uint8 { return uint8(bits(b.Prop, 48, 8)) }

// Checksum is the function (enum zio_checksum in include/sys/zio.h); for an embedded block, what its data is.
func (b BlkPtr) Checksum() uint8 { return uint8(bits(b.Prop, 40, 8)) }

// Compress is the function (enum zio_compress in include/sys/zio_compress.h).
func (b BlkPtr) Compress() uint8 { return uint8(bits(b.Prop, 32, 7)) }

// Dedup says that the block has an entry in the dedup table.
func (b BlkPtr) Dedup() bool { return bits(b.Prop, 62, 1) == 1 }

// LittleEndian is the byte order of the data, not of the pointer.
func (b BlkPtr) LittleEndian() bool { return bits(b.Prop, 63, 1) == 1 }

// Crypt says that the block is encrypted, authenticated or, above level 0, carries a checksum of such below it.
func (b BlkPtr) Crypt() bool { return bits(b.Prop, 61, 1) == 1 }

// Encrypted says that the block itself is encrypted, so that DVA[2] and the upper half of Fill are no such things.
func (b BlkPtr) Encrypted() bool { return b.Crypt() && b.Level() == 0 && encryptedType(b.Type()) }

// LSize is the size of the data in bytes, before compression.
func (b BlkPtr) LSize() uint64 {
	if b.Embedded() {
		return bits(b.Prop, 0, 25) + 1
	}
	return (bits(b.Prop, 0, 16) + 1) << sectorShift
}

// PSize is the size in bytes after compression; for an embedded block, of what it holds.
func (b BlkPtr) PSize() uint64 {
	if b.Embedded() {
		return bits(b.Prop, 25, 7) + 1
	}
	return (bits(b.Prop, 16, 16) + 1) << sectorShift
}

// Redacted says that the block is not there because its dataset came out of a redacted send.
func (b BlkPtr) Redacted() bool { return b.Embedded() && b.Checksum() == embeddedRedacted }

// Free says that an entry of a livelist stands for a block that was freed instead of allocated.
func (b BlkPtr) Free() bool { return b.Fill&1 == 1 }

// Rewritten says that the block was moved without being changed (zfs rewrite).
func (b BlkPtr) Rewritten() bool { return !b.Embedded() && b.Pad[0]&rewritten != 0 }

// rewritten is the bit for it, in what is padding up to 2.3.
const rewritten = 1 << 63

// Birth is the txg in which the block was written where it lies, 0 for an embedded block.
func (b BlkPtr) Birth() uint64 {
	switch {
	case b.Embedded():
		return 0
	case b.PhysicalBirth != 0:
		return b.PhysicalBirth
	}
	return b.LogicalBirth
}

// Allocated is the txg in which the block was allocated for the one who refers to it: what decides whether a snapshot
// shares it (BP_GET_BIRTH in include/sys/spa.h).
func (b BlkPtr) Allocated() uint64 {
	if b.Rewritten() {
		return b.Birth()
	}
	return b.LogicalBirth
}

// ASize is the allocated size in bytes of all copies; that of a gang block includes its members.
func (b BlkPtr) ASize() (n uint64) {
	for _, d := range b.DVAs() {
		n += d.ASize()
	}
	return n
}

// DVAs are the addresses in use: those with an allocated size.
func (b BlkPtr) DVAs() []DVA {
	if b.Embedded() {
		return nil
	}
	all := b.DVA[:]
	if b.Encrypted() {
		all = b.DVA[:2]
	}
	var out []DVA
	for _, d := range all {
		if d.ASize() != 0 {
			out = append(out, d)
		}
	}
	return out
}

// String is close to what zdb -bbbbbb prints, with numbers for the names of types and functions.
func (b BlkPtr) String() string {
	name := fmt.Sprintf("[L%d type %d]", b.Level(), b.Type())
	switch {
	case b.Embedded():
		return fmt.Sprintf("EMBEDDED %s et=%d size=%xL/%xP birth=%dL", name, b.Checksum(), b.LSize(), b.PSize(), b.LogicalBirth)
	case b.Hole():
		return fmt.Sprintf("HOLE %s size=%xL birth=%dL", name, b.LSize(), b.LogicalBirth)
	}
	var s strings.Builder
	for i, d := range b.DVAs() {
		fmt.Fprintf(&s, "DVA[%d]=%v ", i, d)
	}
	s.WriteString(name)
	for _, f := range []struct {
		on   bool
		word string
	}{{b.Gang(), " gang"}, {b.Dedup(), " dedup"}, {b.Encrypted(), " encrypted"}} {
		if f.on {
			s.WriteString(f.word)
		}
	}
	fill := b.Fill
	if b.Encrypted() {
		fill = bits(fill, 0, 32)
	}
	fmt.Fprintf(&s, " size=%xL/%xP birth=%dL/%dP fill=%d cksum=%016x:%016x:%016x:%016x", b.LSize(), b.PSize(),
		b.LogicalBirth, b.Birth(), fill, b.Cksum[0], b.Cksum[1], b.Cksum[2], b.Cksum[3])
	return s.String()
}

// encryptedType says whether blocks of a DMU object type are encrypted in an encrypted dataset: ot_encrypt of the table
// dmu_ot in module/zfs/dmu.c, and a bit of the types made later (DMU_OT_ENCRYPTED in include/sys/dmu.h).
func encryptedType(t uint8) bool {
	const newType, encrypted = 0x80, 0x20
	if t&newType != 0 {
		return t&encrypted != 0
	}
	switch t {
	case 9, 10, 18, 19, 20, 22, 23, 25, 26, 33, 34, 35, 39, 40, 44, 45, 46, 47, 49:
		return true
	}
	return false
}

// bits are n bits of w from bit low on.
func bits(w uint64, low, n uint) uint64 { return w >> low & (1<<n - 1) }
