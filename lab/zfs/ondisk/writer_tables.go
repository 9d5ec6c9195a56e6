package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

// ZAPValue changes the value of an entry of a fat ZAP whose names are numbers. The edit is given the bytes as they lie on
// disk, integers big endian; their number stays.
func (w *Writer) ZAPValue(ctx context.Context, z *ZAP, key []uint64, edit func(value []byte) error) (Change, error) {
	return w.zapEntry(ctx, z, key, func(l *zapLeafBlock, entry []byte) error { return l.edit(entry, edit) })
}

// ZAPHash changes the hash in an entry of a fat ZAP whose names are numbers: what a lookup compares first.
func (w *Writer) ZAPHash(ctx context.Context, z *ZAP, key []uint64, edit func(hash uint64) uint64) (Change, error) {
	return w.zapEntry(ctx, z, key, func(l *zapLeafBlock, entry []byte) error {
		l.order.PutUint64(entry[16:], edit(l.order.Uint64(entry[16:])))
		return nil
	})
}

func (w *Writer) zapEntry(ctx context.Context, z *ZAP, key []uint64, edit func(l *zapLeafBlock, entry []byte) error) (Change, error) {
	o := z.Object
	for id := uint64(1); id <= o.MaxBlkID; id++ {
		block, err := o.Block(ctx, id)
		if err != nil {
			return Change{}, err
		}
		if l, err := decodeZAPLeaf(block); err != nil || l.find(key) == nil {
			continue // a part of the table of pointers
		}
		return w.Block(ctx, Position{ObjSet: o.Set.ID, Object: o.ID, BlkID: id}, func(data []byte, order binary.ByteOrder) error {
			l, err := decodeZAPLeaf(Block{Data: data, Order: order})
			if err != nil {
				return err
			}
			entry := l.find(key)
			if entry == nil {
				return ErrNotFound
			}
			return edit(l, entry)
		})
	}
	return Change{}, fmt.Errorf("%v in ZAP %v: %w", key, o, ErrNotFound)
}

// find gives the chunk of the entry with a key.
func (l *zapLeafBlock) find(key []uint64) []byte {
	for at := 0; at < len(l.chunks); at += chunkSize {
		c := l.chunks[at : at+chunkSize]
		if c[0] != chunkEntry {
			continue
		}
		if e, err := l.entry(c, true); err == nil && slices.Equal(e.Key, key) {
			return c
		}
	}
	return nil
}

// edit changes the value of an entry where it lies.
func (l *zapLeafBlock) edit(c []byte, edit func(value []byte) error) error {
	e, err := l.entry(c, true)
	if err != nil {
		return err
	}
	n := len(e.Value)
	if err := edit(e.Value); err != nil {
		return err
	}
	if len(e.Value) != n {
		return errors.New("the value of a ZAP entry cannot change its size")
	}
	chunk := int(l.order.Uint16(c[8:]))
	for rest := e.Value; len(rest) > 0; {
		part := l.chunks[chunk*chunkSize : (chunk+1)*chunkSize]
		rest = rest[copy(part[1:1+chunkData], rest):]
		chunk = int(l.order.Uint16(part[22:]))
	}
	return nil
}

// BRTCount sets how many references an entry of a block reference table says there are beside the first.
func (w *Writer) BRTCount(ctx context.Context, b *BRT, e BRTEntry, count uint64) (Change, error) {
	z, err := w.pool.MOS.ZAP(ctx, b.EntriesObject)
	if err != nil {
		return Change{}, err
	}
	found, err := z.LookupKey(ctx, e.Offset)
	if err != nil {
		return Change{}, err
	}
	return w.ZAPValue(ctx, z, []uint64{e.Offset}, func(value []byte) error {
		if len(value) != 8 {
			return corrupt("a count of %d bytes", len(value))
		}
		if found.IntSize == 1 {
			b.order.PutUint64(value, count)
		} else {
			binary.BigEndian.PutUint64(value, count)
		}
		return nil
	})
}

// DDTRefCount sets the reference count of one of the places of a block in a dedup table; in a log it is that of the last
// record with the key, which is the one that counts.
func (w *Writer) DDTRefCount(ctx context.Context, d *DDT, e DDTEntry, phys int, count uint64) (Change, error) {
	if phys < 0 || phys >= len(e.Phys) {
		return Change{}, fmt.Errorf("place %d of %d: %w", phys, len(e.Phys), ErrNotFound)
	}
	if d.Log {
		return w.ddtLogCount(ctx, d, e, phys, count)
	}
	z, err := w.pool.MOS.ZAP(ctx, d.Object)
	if err != nil {
		return Change{}, err
	}
	key := append(slices.Clone(e.Key.Cksum[:]), e.Key.Prop)
	return w.ZAPValue(ctx, z, key, func(value []byte) error {
		const function, little = 0x7f, 0x80
		var order binary.ByteOrder = binary.BigEndian
		if value[0]&little != 0 {
			order = binary.LittleEndian
		}
		a := compress.Algorithm(value[0] & function)
		if a != compress.ZLE {
			a = compress.Off
		}
		raw := make([]byte, d.physSize())
		if err := w.pool.decoder.Decompress(a, raw, value[1:]); err != nil {
			return corrupt("%w", err)
		}
		order.PutUint64(raw[d.countAt(phys):], count)
		packed, err := compress.Compress(a, raw, len(value)-1)
		copy(value[1:], packed)
		return err
	})
}

// countAt is where the reference count of a place lies among the places of an entry.
func (d *DDT) countAt(phys int) int {
	const count = 6 // behind three addresses
	if d.Flat {
		return 8 * (phys*ddtFlatWords + count)
	}
	return 8 * (phys*ddtTradWords + count)
}

func (w *Writer) ddtLogCount(ctx context.Context, d *DDT, e DDTEntry, phys int, count uint64) (Change, error) {
	o, err := w.pool.MOS.Object(ctx, d.Object)
	if err != nil {
		return Change{}, err
	}
	size := uint64(o.DataBlockSize)
	last, found := Position{Object: d.Object}, false
	for at := uint64(0); at < d.Length; at += size {
		block, err := o.filled(ctx, at/size)
		if err != nil {
			return Change{}, err
		}
		offset := 0
		for record, err := range d.records(block) {
			if err != nil {
				return Change{}, err
			}
			if record.Key == e.Key {
				last.BlkID, last.Offset, found = at/size, uint64(offset), true
			}
			offset += int(bits(block.Order.Uint64(block.Data[offset:]), 8, 16))
		}
	}
	if !found {
		return Change{}, fmt.Errorf("entry in %s: %w", d.Name, ErrNotFound)
	}
	return w.Block(ctx, last, func(block []byte, order binary.ByteOrder) error {
		const header = 8
		order.PutUint64(block[int(last.Offset)+header+ddtKeyWords*8+d.countAt(phys):], count)
		return nil
	})
}
