package ondisk

import (
	"encoding/binary"
	"iter"
)

// zapLeafBlock is a leaf of a fat ZAP (zap_leaf_phys_t): a header, a hash table, and chunks of 24 bytes, of which some
// are entries and some the pieces of their names and values.
type zapLeafBlock struct {
	prefix    uint64
	prefixLen uint
	count     int
	chunks    []byte
	order     binary.ByteOrder
}

const (
	leafHead  = 48
	chunkSize = 24
	chunkData = 21 // bytes of an array chunk that are content
	chunkEnd  = 0xffff

	chunkEntry = 252
	chunkArray = 251
)

func decodeZAPLeaf(b Block) (*zapLeafBlock, error) {
	p, order := b.Data, b.Order
	if len(p) < DNodeSlot || len(p)&(len(p)-1) != 0 {
		return nil, corrupt("a leaf of %d bytes", len(p))
	}
	if order.Uint64(p) != zapLeaf || order.Uint32(p[24:]) != leafMagic {
		return nil, corrupt("block type %#x, magic %#x", order.Uint64(p), order.Uint32(p[24:]))
	}
	l := &zapLeafBlock{
		prefix: order.Uint64(p[16:]), prefixLen: uint(order.Uint16(p[32:])), count: int(order.Uint16(p[30:])), order: order,
	}
	start := leafHead + len(p)/32*2 // 16-bit words, one for 32 bytes of the block
	n := (len(p)-2*(len(p)/32))/chunkSize - 2
	l.chunks = p[start : start+n*chunkSize]
	return l, nil
}

// entries are found by looking at all chunks instead of following the hash chains: a bad chain then costs no more than
// what it leads to, and every entry is seen once.
func (l *zapLeafBlock) entries(keys bool) iter.Seq2[ZAPEntry, error] {
	return func(yield func(ZAPEntry, error) bool) {
		found := 0
		for at := 0; at < len(l.chunks); at += chunkSize {
			c := l.chunks[at : at+chunkSize]
			if c[0] != chunkEntry {
				continue
			}
			found++
			e, err := l.entry(c, keys)
			if !yield(e, err) {
				return
			}
		}
		if found != l.count {
			yield(ZAPEntry{}, corrupt("a leaf with %d entries says it has %d", found, l.count))
		}
	}
}

func (l *zapLeafBlock) entry(c []byte, keys bool) (ZAPEntry, error) {
	half := func(at int) int { return int(l.order.Uint16(c[at:])) }
	e := ZAPEntry{IntSize: int(c[1]), NumInts: half(10), CD: l.order.Uint32(c[12:]), Hash: l.order.Uint64(c[16:])}
	switch e.IntSize {
	case 1, 2, 4, 8:
	default:
		return e, corrupt("an entry with integers of %d bytes", e.IntSize)
	}
	width := 1
	if keys {
		width = 8
	}
	name, err := l.array(half(4), half(6)*width)
	if err != nil {
		return e, err
	}
	if keys {
		for ; len(name) >= 8; name = name[8:] {
			e.Key = append(e.Key, binary.BigEndian.Uint64(name))
		}
	} else {
		if len(name) == 0 || name[len(name)-1] != 0 {
			return e, corrupt("a name that does not end: %q", name)
		}
		e.Name = string(name[:len(name)-1])
	}
	e.Value, err = l.array(half(8), e.NumInts*e.IntSize)
	return e, err
}

// array joins n bytes from a chain of chunks. The chain cannot be longer than the leaf has chunks, since n bytes need
// that many.
func (l *zapLeafBlock) array(chunk, n int) ([]byte, error) {
	if n > len(l.chunks) {
		return nil, corrupt("%d bytes in a leaf of %d", n, len(l.chunks))
	}
	out := make([]byte, 0, n)
	for len(out) < n {
		at := chunk * chunkSize
		if chunk == chunkEnd || at >= len(l.chunks) || l.chunks[at] != chunkArray {
			return nil, corrupt("a chain of chunks that leads to %d after %d of %d bytes", chunk, len(out), n)
		}
		c := l.chunks[at : at+chunkSize]
		out = append(out, c[1:1+min(chunkData, n-len(out))]...)
		chunk = int(l.order.Uint16(c[22:]))
	}
	return out, nil
}
