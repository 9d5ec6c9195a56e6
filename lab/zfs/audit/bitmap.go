package audit

import "math/bits"

// bitmap has a bit for each allocation unit of a metaslab.
type bitmap []uint64

func newBitmap(n uint64) bitmap { return make(bitmap, (n+63)/64) }

// fill sets or clears the bits of [from, to).
func (b bitmap) fill(from, to uint64, on bool) {
	for from < to {
		word, n := from/64, min(64-from%64, to-from)
		mask := ^uint64(0) >> (64 - n) << (from % 64)
		if on {
			b[word] |= mask
		} else {
			b[word] &^= mask
		}
		from += n
	}
}

// next is the first bit of [from, to) that is on, or off, and to if there is none.
func (b bitmap) next(from, to uint64, on bool) uint64 {
	for from < to {
		w := b[from/64]
		if !on {
			w = ^w
		}
		if w >>= from % 64; w != 0 {
			return min(from+uint64(bits.TrailingZeros64(w)), to)
		}
		from = (from/64 + 1) * 64
	}
	return to
}

// each calls do for each range of neighbouring bits of [from, to) that are on, or off.
func (b bitmap) each(from, to uint64, on bool, do func(from, to uint64)) {
	for from = b.next(from, to, on); from < to; {
		end := b.next(from, to, !on)
		do(from, end)
		from = b.next(end, to, on)
	}
}

// count is the number of bits that are on.
func (b bitmap) count() (n uint64) {
	for _, w := range b {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}
