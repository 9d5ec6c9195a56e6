package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
)

// BRT is the block reference table of a top-level vdev: how often its cloned blocks are referred to beside the first
// time (include/sys/brt_impl.h).
type BRT struct {
	VDev uint64
	// Object holds a 16-bit count of entries for each range of RangeSize bytes, Size of them; EntriesObject the entries.
	Object, EntriesObject uint64
	Size, RangeSize       uint64
	// TotalCount is the number of entries, UsedSpace what the blocks take, SavedSpace what the clones would take.
	TotalCount, UsedSpace, SavedSpace uint64

	order binary.ByteOrder
}

// BRTs are the tables of all vdevs.
func (p *Pool) BRTs(ctx context.Context) ([]BRT, error) {
	var all []BRT
	for id := range p.VDevs {
		object, err := p.ObjectOf(ctx, fmt.Sprintf("com.fudosecurity:brt:vdev:%d", id))
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		o, err := p.MOS.Object(ctx, object)
		if err != nil {
			return nil, fmt.Errorf("block reference table of vdev %d: %w", id, err)
		}
		w := o.bonusWords()
		if len(w) < 7 {
			return nil, fmt.Errorf("block reference table of vdev %d: %w", id, corrupt("a bonus of %d words", len(w)))
		}
		all = append(all, BRT{
			VDev: uint64(id), Object: object, EntriesObject: w[0], Size: w[1], TotalCount: w[3], RangeSize: w[4],
			UsedSpace: w[5], SavedSpace: w[6], order: o.Order,
		})
	}
	return all, nil
}

// BRTEntry is a cloned block.
type BRTEntry struct {
	// Offset is that of its first DVA, in bytes; Count how many references there are beside the first one.
	Offset, Count uint64
}

// Entries are the cloned blocks, in no particular order.
func (b *BRT) Entries(ctx context.Context, p *Pool) iter.Seq2[BRTEntry, error] {
	return func(yield func(BRTEntry, error) bool) {
		z, err := p.MOS.ZAP(ctx, b.EntriesObject)
		if err != nil {
			yield(BRTEntry{}, fmt.Errorf("block reference table of vdev %d: %w", b.VDev, err))
			return
		}
		for e, err := range z.All(ctx) {
			var entry BRTEntry
			if err == nil {
				entry, err = b.entry(&e)
			}
			if err != nil {
				err = fmt.Errorf("block reference table of vdev %d: %w", b.VDev, err)
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// entry reads a count, which is one number, or, before the feature block_cloning_endian, eight bytes in the order of the
// host.
func (b *BRT) entry(e *ZAPEntry) (BRTEntry, error) {
	if len(e.Key) != 1 || len(e.Value) != 8 {
		return BRTEntry{}, corrupt("an entry with a key of %d words and a value of %d bytes", len(e.Key), len(e.Value))
	}
	out := BRTEntry{Offset: e.Key[0], Count: binary.BigEndian.Uint64(e.Value)}
	if e.IntSize == 1 {
		out.Count = b.order.Uint64(e.Value)
	}
	return out, nil
}

// Counts are the numbers of entries for each range of the vdev.
func (b *BRT) Counts(ctx context.Context, p *Pool) ([]uint16, error) {
	o, err := p.MOS.Object(ctx, b.Object)
	if err != nil {
		return nil, err
	}
	v, err := p.top(uint32(b.VDev))
	if err != nil {
		return nil, err
	}
	if b.RangeSize == 0 || b.Size > o.Size()/2 || b.Size > v.ASize/b.RangeSize+1 {
		return nil, corrupt("%d ranges of %d bytes on a vdev of %d", b.Size, b.RangeSize, v.ASize)
	}
	raw, order, err := o.readAll(ctx, 2*b.Size, o.Block)
	if err != nil {
		return nil, err
	}
	all := make([]uint16, b.Size)
	for i := range all {
		all[i] = order.Uint16(raw[2*i:])
	}
	return all, nil
}
