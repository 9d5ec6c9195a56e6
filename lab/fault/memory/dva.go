package memory

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// DVAFlip flips one bit in the offset of a block pointer that is about to be freed, so that the block seems to lie where
// another one was freed before in the same txg. It strikes at the entry of
//
//	zio_free_sync(zio_t *pio, spa_t *spa, uint64_t txg, const blkptr_t *bp, zio_flag_t flags)
//
// (module/zfs/zio.c), which frees plain blocks at once, in sync pass 1. Later passes defer their frees to the next txg,
// so two blocks of one txg meet in the same ms_freeing.
type DVAFlip struct {
	// At is the function to stop at; it must have the parameters above.
	At string
	// After is the number of frees that pass before one is chosen. Up to as many again pass at random.
	After int
}

// Name is "blkptr-dva-flip".
func (DVAFlip) Name() string { return "blkptr-dva-flip" }

// Arm attaches a debugger and sets the code trigger.
func (f DVAFlip) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	symbols, err := s.Guest.Symbols(ctx, f.At)
	if err != nil {
		return nil, err
	}
	dbg, err := fault.Break(ctx, s.Machine, symbols[f.At])
	if err != nil {
		return nil, err
	}
	hunt := &hunt{DVAFlip: f, site: s, dbg: dbg, wait: f.After + s.Rand.IntN(f.After+1)}
	return hunt.strike, nil
}

// hunt follows the frees until one can be made to overlap an earlier one.
type hunt struct {
	DVAFlip
	site fault.Site
	dbg  machine.Debugger
	wait int
	hits int

	txg   uint64
	freed []extent
	// align collects the bits of all offsets and sizes: a flip below the lowest would be caught as misaligned.
	align uint64
}

// extent is what one DVA frees, in bytes of its top-level vdev.
type extent struct {
	vdev       uint32
	start, end uint64
	hit        int
}

func (e extent) overlaps(f extent) bool {
	return e.vdev == f.vdev && e.start < f.end && f.start < e.end
}

func (e extent) String() string { return fmt.Sprintf("%#x bytes at %#x", e.end-e.start, e.start) }

func (h *hunt) strike(ctx context.Context) (done []trial.Injection, err error) {
	defer func() { err = errors.Join(err, h.dbg.Close()) }()
	for {
		stop, err := h.dbg.Continue(ctx)
		if err != nil {
			return nil, fmt.Errorf("no block to flip in %d hits of %s: %w", h.hits, h.At, err)
		}
		h.hits++
		regs, err := h.dbg.Registers(ctx, stop.CPU)
		if err != nil {
			return nil, err
		}
		raw := make([]byte, ondisk.BlkPtrSize)
		if err := h.dbg.ReadVirt(ctx, stop.CPU, regs.RCX, raw); err != nil {
			return nil, err
		}
		bp, err := ondisk.DecodeBlkPtr(raw)
		if err != nil {
			return nil, err
		}
		if choice := h.look(regs.RDX, bp); len(choice) > 0 && h.hits > h.wait {
			i, err := h.flip(ctx, stop.CPU, regs.RCX, choice[h.site.Rand.IntN(len(choice))])
			if err != nil {
				return nil, err
			}
			return []trial.Injection{i}, nil
		}
	}
}

// offsetBits is the width of the offset in the second word of a DVA; the bit above says gang.
const offsetBits = 63

// candidate is a bit of that word and what flipping it makes of the DVA.
type candidate struct {
	bit  int
	own  extent
	lies extent // where the block seems to be
	into extent // the earlier free that this overlaps
}

// look notes what a block pointer frees and returns the bits that would make it overlap what was freed before.
func (h *hunt) look(txg uint64, bp ondisk.BlkPtr) (choice []candidate) {
	if txg != h.txg {
		h.txg, h.freed, h.align = txg, nil, 0
	}
	if bp.Embedded() || bp.Hole() || bp.Gang() || bp.Dedup() {
		return nil // not freed here, or not all of it
	}
	for _, d := range bp.DVAs() {
		h.align |= d.Offset() | d.ASize()
	}
	choice = h.candidates(bp.DVA[0])
	for _, d := range bp.DVAs() {
		h.freed = append(h.freed, h.extent(d))
	}
	return choice
}

func (h *hunt) extent(d ondisk.DVA) extent {
	return extent{d.VDev(), d.Offset(), d.Offset() + d.ASize(), h.hits}
}

func (h *hunt) candidates(d ondisk.DVA) (choice []candidate) {
	for bit := range offsetBits {
		flipped := d
		flipped[1] ^= 1 << bit
		c := candidate{bit: bit, own: h.extent(d), lies: h.extent(flipped)}
		if (c.own.start^c.lies.start)&(h.align&-h.align-1) != 0 {
			continue
		}
		for _, c.into = range h.freed {
			if c.lies.overlaps(c.into) {
				choice = append(choice, c)
				break
			}
		}
	}
	return choice
}

// flip does it, behind the back of the guest's CPU: to the guest it is what a bad memory cell does.
func (h *hunt) flip(ctx context.Context, cpu int, bp uint64, c candidate) (trial.Injection, error) {
	const word1 = 8 // of DVA[0], which is at the beginning of the block pointer
	virt := bp + word1
	phys, err := h.site.Machine.Translate(ctx, cpu, virt)
	if err != nil {
		return trial.Injection{}, err
	}
	before := make([]byte, 8)
	if err := h.site.Machine.ReadPhys(ctx, phys, before); err != nil {
		return trial.Injection{}, err
	}
	after := binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(before)^1<<c.bit)
	i := trial.Injection{
		Fault: h.Name(), Time: time.Now().UTC(), Withheld: h.site.Withhold,
		Target:  fmt.Sprintf("%s(bp)->blk_dva[0].dva_word[1] bit %d", h.At, c.bit),
		Trigger: fmt.Sprintf("hit %d of %s, txg %d", h.hits, h.At, h.txg),
		Virt:    virt, Phys: phys, Before: before, After: after,
	}
	if i.Withheld {
		i.After = before
		i.Effect = fmt.Sprintf("none: the flip would have moved %s to %#x, over %s freed at hit %d", c.own, c.lies.start, c.into, c.into.hit)
		return i, nil
	}
	i.Effect = fmt.Sprintf("%s seem to lie at %#x, over %s freed at hit %d", c.own, c.lies.start, c.into, c.into.hit)
	return i, h.site.Machine.WritePhys(ctx, phys, after)
}
