package checksum

import "encoding/binary"

// fletcher2 sums pairs of 64-bit words (module/zcommon/zfs_fletcher.c). Bytes after the last whole pair do not count.
func fletcher2(p []byte, order binary.ByteOrder) Sum {
	var a0, a1, b0, b1 uint64
	for ; len(p) >= 16; p = p[16:] {
		a0 += order.Uint64(p)
		a1 += order.Uint64(p[8:])
		b0 += a0
		b1 += a1
	}
	return Sum{a0, a1, b0, b1}
}

// fletcher4 sums 32-bit words (module/zcommon/zfs_fletcher.c). Bytes after the last whole word do not count.
func fletcher4(p []byte, order binary.ByteOrder) Sum {
	var a, b, c, d uint64
	if order == binary.ByteOrder(binary.LittleEndian) {
		// Most of what an audit does is this loop: the concrete type spares a call for every word.
		for ; len(p) >= 4; p = p[4:] {
			a += uint64(binary.LittleEndian.Uint32(p))
			b += a
			c += b
			d += c
		}
		return Sum{a, b, c, d}
	}
	for ; len(p) >= 4; p = p[4:] {
		a += uint64(order.Uint32(p))
		b += a
		c += b
		d += c
	}
	return Sum{a, b, c, d}
}
