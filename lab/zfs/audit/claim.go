package audit

import (
	"cmp"
	"encoding/binary"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// claim says that something counts on a range of a top-level vdev. It has no pointers, so that millions of them cost the
// garbage collector nothing.
type claim struct {
	offset uint64 // bytes
	// extra is the logical birth of a block, or the count of an entry in a table of shared blocks.
	extra uint64
	// size is in sectors, 0 for an entry that does not say.
	size uint32
	// print tells blocks from each other: two claims of one block have the same.
	print uint32
	// of says whose the claim is: of a block in a tree its place there, of an entry of a deadlist the DSL directory.
	of    uint32
	vdev  uint16
	kind  claimKind
	flags claimFlags
}

const (
	claimSize   = 32 // bytes, in memory and on disk
	sectorShift = 9
)

type claimKind uint8

const (
	claimTree     claimKind = iota // part of a tree, or of an intent log
	claimPending                   // on a list of blocks to be freed
	claimDDT                       // an entry of the dedup table
	claimBRT                       // an entry of the block reference table
	claimDeadlist                  // an entry of a deadlist
	claimShared                    // a dataset's reference to a block that the snapshot before it has too
)

type claimFlags uint8

const (
	// inCheckpoint: the claim is that of the checkpointed state.
	inCheckpoint claimFlags = 1 << iota
	// secondary: not the beginning of the first copy, by which tables know a block.
	secondary
)

func (c *claim) end() uint64 { return c.offset + uint64(c.size)<<sectorShift }

// compare sorts by place; at one place the longest come first, and claims of one block are neighbours.
func (c *claim) compare(d *claim) int {
	switch {
	case c.vdev != d.vdev:
		return cmp.Compare(c.vdev, d.vdev)
	case c.offset != d.offset:
		return cmp.Compare(c.offset, d.offset)
	case c.size != d.size:
		return cmp.Compare(d.size, c.size)
	case c.print != d.print:
		return cmp.Compare(c.print, d.print)
	}
	return cmp.Or(cmp.Compare(c.flags, d.flags), cmp.Compare(c.kind, d.kind))
}

func (c *claim) encode(p []byte) {
	binary.LittleEndian.PutUint64(p, c.offset)
	binary.LittleEndian.PutUint64(p[8:], c.extra)
	binary.LittleEndian.PutUint32(p[16:], c.size)
	binary.LittleEndian.PutUint32(p[20:], c.print)
	binary.LittleEndian.PutUint32(p[24:], c.of)
	binary.LittleEndian.PutUint16(p[28:], c.vdev)
	p[30], p[31] = byte(c.kind), byte(c.flags)
}

func (c *claim) decode(p []byte) {
	*c = claim{
		offset: binary.LittleEndian.Uint64(p), extra: binary.LittleEndian.Uint64(p[8:]),
		size: binary.LittleEndian.Uint32(p[16:]), print: binary.LittleEndian.Uint32(p[20:]),
		of: binary.LittleEndian.Uint32(p[24:]), vdev: binary.LittleEndian.Uint16(p[28:]),
		kind: claimKind(p[30]), flags: claimFlags(p[31]),
	}
}

// fingerprint tells a block from all others that were ever written to the same place. It leaves out what references to one
// block may differ in, when it is deduplicated or cloned, the logical birth and the number of copies; when its vdev was removed,
// the first address and the physical birth; and what entries of lists lack, the checksum.
func (s *state) fingerprint(b ondisk.BlkPtr) uint32 {
	b = s.pool.Remapped(b)
	const sizesAndCompression = 1<<39 - 1 // the part of the prop that keys of the dedup table have too
	return hash(b.DVA[0][0], b.DVA[0][1], b.Birth(), b.Prop&sizesAndCompression)
}

// place is where in a tree a block is. A dataset and its snapshots have what they share at one place.
func place(r ondisk.Ref) uint32 {
	return hash(uint64(r.Kind), r.Object, uint64(int64(r.Level)), r.BlkID)
}

func hash(words ...uint64) uint32 {
	h := uint64(0)
	for _, w := range words {
		h = (h ^ w) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return uint32(h >> 32)
}
