package ondisk

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrExcess says that a pool leads its reader through more than it has room for: blocks that are met over and over, and
// lists without end. OpenZFS makes no such pool, whatever is shared in it.
var ErrExcess = errors.New("the pool refers to more than its devices have room for; it is badly damaged, or made to keep whoever reads it busy")

// Work is counted in units of about what it costs to read, verify and decompress 512 bytes. Each block that leads to
// others lies on space of its own, and is read some times in an audit, by each of its parts; clones and deduplicated
// blocks need a pointer each, in such a block. So what there is to do is bounded by the room there is, and this many units
// a sector are more than any pool needs: 128 KiB of metadata that are compressed into one sector may be read eight times.
const (
	workPerSector = 2048
	workAnyway    = 1 << 29 // for small pools
)

// sparse is how much more there may be in a file than it takes on its file system, which may compress it.
const sparse = 64

// room is how many bytes there can be on a device.
func (d *Device) room() uint64 {
	if d.Filled > 0 && d.Filled < d.Size/sparse {
		return uint64(d.Filled) * sparse
	}
	return uint64(d.Size)
}

// maxWork is the work that a pool on devices may need.
func maxWork(devices []Device) int64 {
	var sectors uint64
	for i := range devices {
		sectors += devices[i].room() >> sectorShift
	}
	return int64(min(sectors, 1<<50))*workPerSector + workAnyway
}

// Room is how many bytes there can be on all devices that the pool was opened with.
func (p *Pool) Room() uint64 { return p.room }

// Spend counts work that is done because of what the pool says, in units of about 0.2 µs. ErrExcess says that it is too
// much; all that is read from then on gives it, too. A pool and its checkpoint count together.
func (p *Pool) Spend(units uint64) error {
	if p == nil || p.work == nil { // parts of pools, in tests
		return nil
	}
	if p.work.Add(-int64(min(units, 1<<40))) < 0 {
		return ErrExcess
	}
	return nil
}

// spendRead counts the reading of a block.
func (p *Pool) spendRead(b BlkPtr) error {
	if err := p.Spend(16 + (min(b.LSize(), maxBlockSize)+min(b.PSize(), maxBlockSize))>>sectorShift); err != nil {
		return fmt.Errorf("read %v: %w", b, err)
	}
	return nil
}

// visits tells blocks that a walk meets over and over. Each block that leads to others has one that leads to it. Counting
// all of them would take memory for each, so that many have a counter together; a counter far above the mean has one that
// is met again.
type visits struct {
	total    atomic.Uint64
	counters [1 << 18]atomic.Uint32
}

// maxVisits is how often a block may be met, so that a pool in which a few trees are damaged is walked as far as possible.
// The counters of blocks that are met once are below it: that one of 2^18 counters is over 32 when the mean is 1, or over
// 32 and four times a higher mean, is less likely than 1 in 10^20.
const maxVisits = 32

// again counts a block that leads to others, and says whether that was met too often.
func (v *visits) again(b BlkPtr) bool {
	mean := v.total.Add(1) / uint64(len(v.counters))
	often := false
	for _, d := range b.DVAs() {
		h := (uint64(d.VDev())<<48 ^ d.Offset()>>sectorShift) * 0x9e3779b97f4a7c15
		h ^= h >> 32
		h *= 0xd6e8feb86659fd93
		if n := v.counters[h>>46].Add(1); uint64(n) > maxVisits+12*(mean+1) { // each block counts at up to three places
			often = true
		}
	}
	return often
}
