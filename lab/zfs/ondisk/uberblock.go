package ondisk

import (
	"cmp"
	"encoding/binary"
	"time"
)

// UberblockSize is how much of a slot of the ring an uberblock takes (struct uberblock in
// include/sys/uberblock_impl.h).
const UberblockSize = 216

// Uberblock is the root of a pool at one transaction group.
type Uberblock struct {
	Version         uint64
	TXG             uint64
	GUIDSum         uint64
	Timestamp       uint64 // seconds since 1970
	Root            BlkPtr // of the MOS
	SoftwareVersion uint64
	// MMP is what multihost protection wrote, nil in uberblocks made before there was such.
	MMP *MMP
	// CheckpointTXG is the txg that a checkpointed uberblock had, 0 in others.
	CheckpointTXG uint64
	// RAIDZReflow is ub_raidz_reflow_info: the progress of the expansion of a raidz vdev.
	RAIDZReflow uint64
	// Order is the byte order of the host that wrote it.
	Order binary.ByteOrder
}

// MMP are the multihost fields of an uberblock. What the valid bits do not cover is 0.
type MMP struct {
	// Delay is what passed since the write before, 0 when multihost is off.
	Delay time.Duration
	// Interval is between two writes.
	Interval time.Duration
	// Seq tells uberblocks of one txg apart; FailIntervals is after how many missed writes the pool suspends.
	Seq           uint16
	FailIntervals uint16
}

const (
	uberblockMagic = 0x00bab10c
	mmpMagic       = 0xa11cea11
)

// DecodeUberblock reads an uberblock of either byte order. The checksum is that of the slot, for whoever reads it.
func DecodeUberblock(p []byte) (Uberblock, error) {
	if len(p) < UberblockSize {
		return Uberblock{}, corrupt("%d bytes are no uberblock", len(p))
	}
	var order binary.ByteOrder
	switch uint64(uberblockMagic) {
	case binary.LittleEndian.Uint64(p):
		order = binary.LittleEndian
	case binary.BigEndian.Uint64(p):
		order = binary.BigEndian
	default:
		return Uberblock{}, corrupt("no uberblock magic")
	}
	word := func(i int) uint64 { return order.Uint64(p[8*i:]) }
	const root, after = 5, 5 + BlkPtrSize/8
	u := Uberblock{
		Version: word(1), TXG: word(2), GUIDSum: word(3), Timestamp: word(4), Root: decodeBlkPtr(p[8*root:], order),
		SoftwareVersion: word(after), CheckpointTXG: word(after + 4), RAIDZReflow: word(after + 5), Order: order,
	}
	if word(after+1) == mmpMagic {
		u.MMP = decodeMMP(word(after+2), word(after+3))
	}
	return u, nil
}

func decodeMMP(delay, config uint64) *MMP {
	const intervalValid, seqValid, failValid = 1, 2, 4
	m := &MMP{Delay: time.Duration(delay & (1<<63 - 1))}
	if config&intervalValid != 0 {
		m.Interval = time.Duration(bits(config, 8, 24)) * time.Millisecond
	}
	if config&seqValid != 0 {
		m.Seq = uint16(bits(config, 32, 16))
	}
	if config&failValid != 0 {
		m.FailIntervals = uint16(bits(config, 48, 16))
	}
	return m
}

// Reflow is how far the expansion of a raidz vdev had come, in bytes, and the state of its scratch area
// (raidz_reflow_scratch_state_t).
func (u *Uberblock) Reflow() (offset uint64, state uint16) {
	return bits(u.RAIDZReflow, 0, 55) << sectorShift, uint16(bits(u.RAIDZReflow, 55, 9))
}

// compare orders uberblocks as vdev_uberblock_compare does: the one to import is the greatest.
func (u *Uberblock) compare(v *Uberblock) int {
	seq := func(u *Uberblock) uint16 {
		if u.MMP == nil {
			return 0
		}
		return u.MMP.Seq
	}
	return cmp.Or(cmp.Compare(u.TXG, v.TXG), cmp.Compare(u.Timestamp, v.Timestamp), cmp.Compare(seq(u), seq(v)))
}
