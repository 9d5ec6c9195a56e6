package memory

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync"
)

// ECC is how memory protects itself. It guards what lies in memory: a value that was wrong when it was written gets the
// right check bits and passes.
type ECC string

// The codes. Both are linear, so that what becomes of a word depends on which bits of it are wrong, and not on its value.
//
// SECDED is a (72,64) code of ordinary ECC modules, single error correction, double error detection, on aligned 64-bit
// words: the columns of its parity-check matrix have odd weights, all 56 of weight 3, 8 of weight 5, and 8 of weight 1 for the
// check bits (Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", IBM J. Res. Dev. 14, 1970). Which column a
// bit has is not the same in all memory controllers.
//
// Chipkill is a (144,128) code on modules of 4-bit-wide devices: single symbol correction, double symbol detection, a symbol
// being the 4 bits of one device (the 36 symbols of x4_vectors in Linux' drivers/edac/amd64_edac.c). It works on aligned 128-bit
// words, and symbols are aligned groups of 4 bits. Its columns are points of an elliptic quadric over GF(16), of which no three
// lie on a line; controllers have codes of their own with the same properties.
const (
	NoECC    ECC = "none"
	SECDED   ECC = "secded"
	Chipkill ECC = "chipkill"
)

// Result is what an ECC does with damage, empty when there is none.
type Result string

// The results, in ascending order of harm.
const (
	// Corrected damage is never seen by anybody but those who count it.
	Corrected Result = "corrected"
	// Detected damage is reported to the guest, as a machine check.
	Detected Result = "detected"
	// Silent damage is what memory holds from now on.
	Silent Result = "silent"
	// Miscorrected damage looked like another one, and bits that were right have been turned over beside it.
	Miscorrected Result = "miscorrected"
)

func (r Result) worse(s Result) Result {
	for _, worst := range []Result{Miscorrected, Silent, Detected, Corrected} {
		if r == worst || s == worst {
			return worst
		}
	}
	return ""
}

// unnoticed says whether the guest reads wrong data without a word.
func (r Result) unnoticed() bool { return r == Silent || r == Miscorrected }

// word is what the code protects at a time, in bytes.
func (e ECC) word() int {
	if e == Chipkill {
		return 16
	}
	return 8
}

// pass takes damaged bytes at a physical address through the code. It returns the bytes that are read from then on, the
// worst result of all words and the first word, if any, with that result.
func (e ECC) pass(phys uint64, before, after []byte) (read []byte, worst Result, at uint64) {
	read = append([]byte(nil), after...)
	size := e.word()
	for start := -int(phys % uint64(size)); start < len(before); start += size {
		from, to := max(start, 0), min(start+size, len(before))
		wrong := make([]byte, size)
		for i := from; i < to; i++ {
			wrong[i-start] = before[i] ^ after[i]
		}
		left, r := e.decode(wrong, 0)
		for i := from; i < to; i++ {
			read[i] = before[i] ^ left[i-start]
		}
		if r.worse(worst) != worst {
			worst, at = r, phys+uint64(from)
		}
	}
	return read, worst, at
}

// decode takes a word through the code: the bits of its data and of its check bits that are wrong. Left are those of the data
// that are wrong when it is read.
func (e ECC) decode(data []byte, check uint16) (left []byte, r Result) {
	none := make([]byte, len(data))
	if bytes.Equal(data, none) && (check == 0 || e == NoECC) {
		return data, ""
	}
	if e == NoECC {
		return data, Silent
	}
	c := e.code()
	syndrome := c.syndrome(data, check)
	if syndrome == 0 {
		return data, Silent
	}
	fix, ok := c.fixes[syndrome]
	if !ok {
		return data, Detected
	}
	left = bytes.Clone(data)
	for _, bit := range fix {
		if bit < 8*len(left) {
			left[bit/8] ^= 1 << (bit % 8)
		}
	}
	if bytes.Equal(left, none) {
		return left, Corrected
	}
	return left, Miscorrected
}

// code is a linear code.
type code struct {
	// columns of the parity-check matrix are the syndromes of single bits, those of the check bits last.
	columns []uint16
	// fixes are the bits to turn over, by the syndrome of an error that is corrected.
	fixes map[uint16][]int
}

func (c *code) syndrome(data []byte, check uint16) (s uint16) {
	for i := 0; i < len(data); i += 8 {
		for w := binary.LittleEndian.Uint64(data[i:]); w != 0; w &= w - 1 {
			s ^= c.columns[8*i+bits.TrailingZeros64(w)]
		}
	}
	for ; check != 0; check &= check - 1 {
		s ^= c.columns[8*len(data)+bits.TrailingZeros16(check)]
	}
	return s
}

func (e ECC) code() *code {
	if e == Chipkill {
		return chipkill()
	}
	return hsiao()
}

var hsiao = sync.OnceValue(func() *code {
	c := &code{fixes: map[uint16][]int{}}
	for column := range uint16(1 << 8) {
		if bits.OnesCount16(column) == 3 {
			c.columns = append(c.columns, column)
		}
	}
	for turn := range 8 {
		c.columns = append(c.columns, uint16(bits.RotateLeft8(0b11111, turn)))
	}
	for bit := range 8 {
		c.columns = append(c.columns, 1<<bit)
	}
	for bit, column := range c.columns {
		c.fixes[column] = []int{bit}
	}
	return c
})

// symbol is the number of bits that a device of a chipkill word has.
const symbol = 4

var chipkill = sync.OnceValue(func() *code {
	// The points (1, x, y, x^2 + xy + cy^2), where the form has no zero but (0, 0), and (0, 0, 0, 1).
	const c, dataSymbols = 8, 32
	at := func(x, y uint16) [4]uint16 {
		return [4]uint16{1, x, y, times(x, x) ^ times(x, y) ^ times(c, times(y, y))}
	}
	// Four that are independent are for the check bits, so that each of their values can be had.
	check := [][4]uint16{{0, 0, 0, 1}, at(0, 0), at(1, 0), at(0, 1)}
	var points [][4]uint16
	for n := uint16(0); len(points) < dataSymbols; n++ {
		if x, y := n%16, n/16; x > 1 || y > 1 || x == 1 && y == 1 {
			points = append(points, at(x, y))
		}
	}
	out := &code{fixes: map[uint16][]int{}}
	for _, p := range append(points, check...) {
		first := len(out.columns)
		for bit := range symbol {
			var column uint16
			for i, coordinate := range p {
				column |= times(1<<bit, coordinate) << (symbol * i)
			}
			out.columns = append(out.columns, column)
		}
		for wrong := 1; wrong < 1<<symbol; wrong++ {
			var syndrome uint16
			var fix []int
			for bit := range symbol {
				if wrong>>bit&1 == 1 {
					syndrome ^= out.columns[first+bit]
					fix = append(fix, first+bit)
				}
			}
			out.fixes[syndrome] = fix
		}
	}
	return out
})

// times multiplies in GF(16), modulo x^4 + x + 1.
func times(a, b uint16) (p uint16) {
	for ; b != 0; b >>= 1 {
		if b&1 == 1 {
			p ^= a
		}
		if a <<= 1; a&16 != 0 {
			a ^= 0b10011
		}
	}
	return p
}
