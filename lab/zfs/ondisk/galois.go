package ondisk

import "sync"

// parityOf computes parity column j (0 is P, 1 Q, 2 R) of data columns, by Horner's rule: the first column has the
// highest power of the generator 2^j, short columns are padded with zeroes, nil ones are zero.
func parityOf(j int, data [][]byte, size int) []byte {
	out := make([]byte, size)
	times := &gfProducts()[1<<j]
	for _, d := range data {
		if j > 0 {
			for i, b := range out {
				out[i] = times[b]
			}
		}
		for i, b := range d {
			out[i] ^= b
		}
	}
	return out
}

// solve computes the lost data columns from as many parity columns.
func solve(data [][]byte, lost []int, parity [][]byte, from []int) bool {
	for _, i := range lost {
		data[i] = nil
	}
	k := len(lost)
	matrix, syndromes := make([][]byte, k), make([][]byte, k)
	for r, j := range from {
		syndromes[r] = parityOf(j, data, len(parity[j]))
		for i, b := range parity[j] {
			syndromes[r][i] ^= b
		}
		matrix[r] = make([]byte, k)
		for c, i := range lost {
			matrix[r][c] = gfPower(1<<j, len(data)-1-i)
		}
	}
	inverse := gfInvert(matrix)
	if inverse == nil {
		return false
	}
	for c, i := range lost {
		out := make([]byte, len(syndromes[0]))
		for r, s := range syndromes {
			times := &gfProducts()[inverse[c][r]]
			for b, x := range s {
				out[b] ^= times[x]
			}
		}
		data[i] = out
	}
	return true
}

// gfProducts are all products: rows of single sectors are too short to make a table for each.
var gfProducts = sync.OnceValue(func() *[256][256]byte {
	var all [256][256]byte
	for a := range all {
		for b := range all[a] {
			all[a][b] = gfMultiply(byte(a), byte(b))
		}
	}
	return &all
})

// gfMultiply multiplies in the field of RAID-Z: GF(2^8) with the polynomial 0x11d.
func gfMultiply(a, b byte) (p byte) {
	for ; b != 0; b >>= 1 {
		if b&1 != 0 {
			p ^= a
		}
		high := a & 0x80
		a <<= 1
		if high != 0 {
			a ^= 0x1d
		}
	}
	return p
}

func gfPower(a byte, n int) byte {
	p := byte(1)
	for range n % 255 {
		p = gfMultiply(p, a)
	}
	return p
}

// gfInvert inverts a small square matrix, or gives nil if it has no inverse. The matrix is overwritten.
func gfInvert(m [][]byte) [][]byte {
	n := len(m)
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, n)
		out[i][i] = 1
	}
	for c := range n {
		pivot := c
		for pivot < n && m[pivot][c] == 0 {
			pivot++
		}
		if pivot == n {
			return nil
		}
		m[c], m[pivot] = m[pivot], m[c]
		out[c], out[pivot] = out[pivot], out[c]
		inverse := gfPower(m[c][c], 254)
		for i := range n {
			m[c][i], out[c][i] = gfMultiply(m[c][i], inverse), gfMultiply(out[c][i], inverse)
		}
		for r := range n {
			if f := m[r][c]; r != c && f != 0 {
				for i := range n {
					m[r][i] ^= gfMultiply(f, m[c][i])
					out[r][i] ^= gfMultiply(f, out[c][i])
				}
			}
		}
	}
	return out
}
