package ondisk

import (
	"encoding/binary"
	"iter"
	mathbits "math/bits"
)

// zapLeafBlock is a leaf of a fat ZAP (zap_leaf_phys_t): a header, a hash table, and chunks of 24 bytes, of which some
// are entries and some the pieces of their names and values.
type zapLeafBlock struct {
	prefix    uint64
	prefixLen uint
	count     int
	// free is how many chunks are free, firstFree the first of their chain.
	free, firstFree int
	table           []byte // the first entries of the chains, 16 bits each
	chunks          []byte
	order           binary.ByteOrder
}

const (
	leafHead  = 48
	chunkSize = 24
	chunkData = 21 // bytes of an array chunk that are content
	chunkEnd  = 0xffff

	chunkFree  = 253
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
	start := leafHead + len(p)/32*2 // 16-bit words, one for 32 bytes of the block
	l := &zapLeafBlock{
		prefix: order.Uint64(p[16:]), prefixLen: uint(order.Uint16(p[32:])), free: int(order.Uint16(p[28:])), count: int(order.Uint16(p[30:])),
		firstFree: int(order.Uint16(p[34:])), table: p[leafHead:start], order: order,
	}
	n := (len(p)-2*(len(p)/32))/chunkSize - 2
	l.chunks = p[start : start+n*chunkSize]
	return l, nil
}

// entries are found by looking at all chunks instead of following the hash chains: a bad chain then costs no more than
// what it leads to, and every entry is seen once. What keeps OpenZFS from finding them is told after them.
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
			return
		}
		if err := l.verify(); err != nil {
			yield(ZAPEntry{}, err)
		}
	}
}

// verify follows the chains of entries, and that of free chunks, as zap_leaf_lookup and zap_leaf_chunk_alloc in
// module/zfs/zap_leaf.c do, which trust them.
func (l *zapLeafBlock) verify() error {
	found := 0
	for bucket := range len(l.table) / 2 {
		n, err := l.chain(int(l.order.Uint16(l.table[2*bucket:])), chunkEntry, func(c []byte) error {
			if b := l.bucket(l.order.Uint64(c[16:])); b != bucket {
				return brokenTable("an entry is in chain %d of a leaf, and not in %d", bucket, b)
			}
			return nil
		})
		if err != nil {
			return err
		}
		found += n
	}
	if found != l.count {
		return brokenTable("the chains of a leaf have %d of its %d entries", found, l.count)
	}
	n, err := l.chain(l.firstFree, chunkFree, func([]byte) error { return nil })
	if err == nil && n != l.free {
		err = brokenTable("a leaf with %d free chunks says it has %d", n, l.free)
	}
	return err
}

// bucket is the number of the chain in which an entry is looked for (LEAF_HASH).
func (l *zapLeafBlock) bucket(hash uint64) int {
	n := len(l.table) / 2
	return int(hash << l.prefixLen >> (64 - mathbits.TrailingZeros(uint(n))))
}

// chain calls do for each chunk of a chain, which must be of a kind.
func (l *zapLeafBlock) chain(chunk int, kind byte, do func(c []byte) error) (n int, err error) {
	next := 22 // la_next, lf_next
	if kind == chunkEntry {
		next = 2 // le_next
	}
	for chunk != chunkEnd {
		at := chunk * chunkSize
		if at >= len(l.chunks) || l.chunks[at] != kind {
			return n, brokenTable("a chain in a leaf leads to chunk %d, which is none of its kind", chunk)
		}
		if n++; n > len(l.chunks)/chunkSize {
			return n, brokenTable("a chain in a leaf does not end")
		}
		c := l.chunks[at : at+chunkSize]
		if err := do(c); err != nil {
			return n, err
		}
		chunk = int(l.order.Uint16(c[next:]))
	}
	return n, nil
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
