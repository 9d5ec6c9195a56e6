package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// WriteMode says which uberblock a changed pool gets.
type WriteMode uint8

// The modes. Blocks are rewritten where they lie in both, so that no space has to be found and accounted for, and older
// uberblocks that share them become unreadable in both.
const (
	// InPlace changes the newest uberblock where it lies.
	InPlace WriteMode = iota
	// NewTXG writes one of the next transaction group into the next slot of every label.
	NewTXG
)

// Writer changes the content of blocks of a pool and makes all checksums above them right, up to the uberblock. It exists
// to make pools that are wrong in a known way. Changes are kept in memory until Commit, and no device is written to before.
//
// A changed block stays where it is, in all its copies, so what it is compressed to must fit there: otherwise the change is
// refused and nothing has changed. Refused by name, too, are holes, gang, deduplicated and cloned blocks, all that carries a
// MAC, and pools with a checkpoint, missing devices, an expanded raidz, a dRAID or a vdev that is being removed. Snapshots and
// clones that share a block follow the change.
type Writer struct {
	mode     WriteMode
	options  Options
	devices  []Device // with overlays as their data
	overlays []*overlay
	pool     *Pool
	labels   []writerLabel
	cloned   map[DVA]bool // first DVAs, without their size, of cloned blocks
	raised   bool         // NewTXG has made its uberblock
	// rewritten are the blocks with other content by where they lie; the pointers are the new ones.
	rewritten map[blockKey]BlkPtr
}

// writerLabel is a label that has the uberblock of the pool.
type writerLabel struct {
	device *Device
	Label
	ashift uint
}

// NewWriter opens the pool on devices, which are only read.
func NewWriter(ctx context.Context, devices []Device, mode WriteMode, o Options) (*Writer, error) {
	if o.TXG != 0 {
		return nil, unsupported("writing to a pool at an older txg")
	}
	w := &Writer{mode: mode, options: o, cloned: map[DVA]bool{}, rewritten: map[blockKey]BlkPtr{}}
	for _, d := range devices {
		v := newOverlay(d)
		w.overlays = append(w.overlays, v)
		w.devices = append(w.devices, Device{Name: d.Name, Data: v, Size: d.Size})
	}
	if err := w.reopen(ctx); err != nil {
		return nil, err
	}
	if len(w.pool.Missing) > 0 {
		return nil, fmt.Errorf("write to pool %s: %w: %v", w.pool.Name, ErrMissing, w.pool.Missing)
	}
	if err := w.pool.checkLayouts(); err != nil {
		return nil, err
	}
	switch _, err := w.pool.Checkpoint(ctx); {
	case err == nil:
		return nil, unsupported("writing to a pool with a checkpoint, which shares its blocks")
	case !isNotFound(err):
		return nil, err
	}
	return w, w.findCloned(ctx)
}

// checkLayouts names what a Writer does not write to.
func (p *Pool) checkLayouts() error {
	for v := range p.vdevs() {
		switch {
		case v.Type == vdevDRAID:
			return unsupported("writing to a dRAID")
		case v.Expanded():
			return unsupported("writing to an expanded raidz")
		case v.Removing():
			return unsupported("writing to a pool while a vdev is being removed")
		}
	}
	return nil
}

// Pool is the pool with all changes so far. It is another one after each change.
func (w *Writer) Pool() *Pool { return w.pool }

func (w *Writer) reopen(ctx context.Context) error {
	p, err := Open(ctx, w.devices, w.options)
	if err != nil {
		return err
	}
	w.pool, w.labels = p, nil
	for _, v := range p.VDevs {
		if v == nil {
			continue
		}
		for leaf := range v.All() {
			if leaf.Device == nil {
				continue
			}
			all, err := ReadLabels(ctx, *leaf.Device)
			if err != nil {
				return err
			}
			for _, l := range all {
				w.labels = append(w.labels, writerLabel{leaf.Device, l, v.AShift})
			}
		}
	}
	return nil
}

// findCloned fills the set of cloned blocks.
func (w *Writer) findCloned(ctx context.Context) error {
	tables, err := w.pool.BRTs(ctx)
	if err != nil {
		return err
	}
	for _, b := range tables {
		for e, err := range b.Entries(ctx, w.pool) {
			if err != nil {
				return err
			}
			w.cloned[NewDVA(uint32(b.VDev), e.Offset, 0, false)] = true
		}
	}
	return nil
}

// Cloned says whether a block has an entry in a block reference table.
func (w *Writer) Cloned(b BlkPtr) bool {
	return !b.Embedded() && w.cloned[NewDVA(b.DVA[0].VDev(), b.DVA[0].Offset(), 0, false)]
}

// Position is content of a pool: Size bytes at an offset of a block.
type Position struct {
	// ObjSet is the object of the dataset, 0 for the MOS.
	ObjSet uint64 `json:"objset"`
	Object uint64 `json:"object"`
	Level  int    `json:"level"`
	BlkID  uint64 `json:"blkid"`
	// Offset is in bytes from the start of the block, before compression.
	Offset uint64 `json:"offset"`
}

func (p Position) String() string {
	return fmt.Sprintf("object set %d, object %d, level %d, block %d, offset %#x", p.ObjSet, p.Object, p.Level, p.BlkID, p.Offset)
}

// Change is what was changed in a block.
type Change struct {
	Position
	// Before and After are what differs, and no more.
	Before, After []byte
	// DVAs are where the block lies; none: it is embedded in the pointer to it.
	DVAs []DVA
}

// Edit changes the content of a block, given in the byte order in which it was written. The size stays.
type Edit func(block []byte, order binary.ByteOrder) error

// Block changes a block of an object and carries checksums up. Everything is as before if there is an error.
func (w *Writer) Block(ctx context.Context, at Position, edit Edit) (c Change, err error) {
	err = w.Atomically(func() (err error) {
		c, err = w.change(ctx, at, edit)
		return err
	})
	return c, err
}

// DNode changes the dnode of an object: the edit is given the block of dnodes from there on.
func (w *Writer) DNode(ctx context.Context, set, object uint64, edit Edit) (Change, error) {
	t, err := w.newTrace(ctx, set)
	if err != nil {
		return Change{}, err
	}
	if object == MetaDNode || object >= ProjectUsed {
		return Change{}, unsupported("changing the dnode of object %d, which lies in the root of the object set", object)
	}
	perBlock := uint64(t.set.Meta.DataBlockSize) / DNodeSlot
	if perBlock == 0 {
		return Change{}, corrupt("dnodes in blocks of %d bytes", t.set.Meta.DataBlockSize)
	}
	slot := object % perBlock * DNodeSlot
	return w.Block(ctx, Position{ObjSet: set, Object: MetaDNode, BlkID: object / perBlock, Offset: slot}, func(block []byte, order binary.ByteOrder) error {
		if slot > uint64(len(block)) {
			return corrupt("a block of %d bytes with dnodes", len(block))
		}
		return edit(block[slot:], order)
	})
}

// Atomically does several changes: all of them, or, if there is an error, none.
func (w *Writer) Atomically(do func() error) error {
	states := make([]map[int64][]byte, len(w.overlays))
	for i, v := range w.overlays {
		states[i] = v.state()
	}
	before := *w
	before.rewritten = make(map[blockKey]BlkPtr, len(w.rewritten))
	for k, b := range w.rewritten {
		before.rewritten[k] = b
	}
	err := do()
	if err != nil {
		*w = before
		for i, v := range w.overlays {
			v.restore(states[i])
		}
	}
	return err
}

// change is Block without the way back.
func (w *Writer) change(ctx context.Context, at Position, edit Edit) (Change, error) {
	t, err := w.newTrace(ctx, at.ObjSet)
	if err != nil {
		return Change{}, fmt.Errorf("change %v: %w", at, err)
	}
	n, err := t.find(ctx, at)
	if err != nil {
		return Change{}, fmt.Errorf("change %v: %w", at, err)
	}
	before := slices.Clone(n.data)
	if err := edit(n.data, n.order); err != nil {
		return Change{}, fmt.Errorf("change %v: %w", at, err)
	}
	c := Change{Position: at, DVAs: n.ptr.DVAs()}
	c.Offset, c.Before, c.After = difference(before, n.data)
	if len(n.data) != len(before) {
		return Change{}, fmt.Errorf("change %v: from %d to %d bytes", at, len(before), len(n.data))
	}
	if err := t.carry(ctx, n); err != nil {
		return Change{}, fmt.Errorf("change %v: %w", at, err)
	}
	return c, w.reopen(ctx)
}

// difference cuts off what is equal at both ends.
func difference(before, after []byte) (offset uint64, a, b []byte) {
	from, to := 0, min(len(before), len(after))
	for from < to && before[from] == after[from] {
		from++
	}
	for to > from && before[to-1] == after[to-1] {
		to--
	}
	return uint64(from), slices.Clone(before[from:to]), slices.Clone(after[from:to])
}

// setUberblock makes the root of the pool that of all labels that have its newest uberblock, or of a newer one.
func (w *Writer) setUberblock(ctx context.Context, root BlkPtr) error {
	old := w.pool.Uberblock
	raise := w.mode == NewTXG && !w.raised
	written := 0
	for _, l := range w.labels {
		for _, s := range l.Ring {
			if s.Uberblock.TXG != old.TXG || s.Uberblock.Root != old.Root {
				continue
			}
			p := make([]byte, 1<<l.slotShift)
			if err := l.device.read(ctx, p, s.Offset); err != nil {
				return err
			}
			offset := s.Offset
			if raise {
				const txgWord = 2
				old.Order.PutUint64(p[8*txgWord:], old.TXG+1)
				slots := uint64(labelRingLen >> l.slotShift)
				offset = l.Offset + labelRing + (old.TXG+1)%slots<<l.slotShift
			}
			const rootWord = 5
			root.encode(p[8*rootWord:], s.Uberblock.Order)
			if err := setEmbeddedSum(w.pool.hasher, checksum.Label, p, checksum.Sum{offset}); err != nil {
				return err
			}
			if err := l.device.write(ctx, p, offset); err != nil {
				return err
			}
			written++
		}
	}
	if written == 0 {
		return corrupt("no label has the uberblock of txg %d any more", old.TXG)
	}
	w.raised = true
	return nil
}

// Target is where a device is written to: itself or a copy of it.
type Target interface {
	io.WriterAt
	Sync() error
}

// Commit verifies all changes, then writes them: blocks first, then the labels. The targets are those of the devices, in
// their order.
func (w *Writer) Commit(ctx context.Context, targets []Target) error {
	if len(targets) != len(w.overlays) {
		return fmt.Errorf("%d targets for %d devices", len(targets), len(w.overlays))
	}
	if err := w.Verify(ctx, nil); err != nil {
		return err
	}
	for _, labelsToo := range []bool{false, true} {
		for i, v := range w.overlays {
			if err := ctx.Err(); err != nil {
				return err
			}
			want := func(at int64) bool { return w.inLabel(i, at) == labelsToo }
			if err := errors.Join(v.writeOut(targets[i], want), targets[i].Sync()); err != nil {
				return fmt.Errorf("write %s: %w", w.devices[i].Name, err)
			}
		}
	}
	return nil
}

// inLabel says whether a page of a device may belong to a label. In a partition that cannot be told apart, nor need it: the
// order only matters to a pool that is changed in place while the lights go out.
func (w *Writer) inLabel(device int, at int64) bool {
	size := uint64(w.devices[device].Size)
	return at < 2*labelSize || uint64(at) >= LabelOffset(size, labels/2)
}
