package memory

import (
	"encoding/binary"
	"math/bits"
)

// ECC is how memory protects itself. It guards what lies in memory: a value that was wrong when it was written gets the
// right check bits and passes.
type ECC string

// The models.
//
// SECDED is the (72,64) code of ordinary ECC modules, single error correction, double error detection, on aligned 64-bit
// words (Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", IBM J. Res. Dev. 14, 1970). Three bits and
// more count as silent, which is the worst that the code may do: it corrects a wrong bit, or notices after all.
//
// Chipkill is the (144,128) code on modules of 4-bit-wide devices: single symbol correction, double symbol detection, a
// symbol being the 4 bits of one device. It works on aligned 128-bit words, since the check bits of 64 do not suffice
// (the 36 symbols of x4_vectors in Linux' drivers/edac/amd64_edac.c). Symbols are taken to be aligned groups of 4 bits.
//
// Both count data bits only; damage of the check bits is not modelled.
const (
	NoECC    ECC = "none"
	SECDED   ECC = "secded"
	Chipkill ECC = "chipkill"
)

// Result is what an ECC does with damage, empty when there is none.
type Result string

// The results, in ascending order of harm.
const (
	// Corrected damage is never seen by anybody.
	Corrected Result = "corrected"
	// Detected damage is reported to the guest, as a machine check.
	Detected Result = "detected"
	// Silent damage is what memory holds from now on.
	Silent Result = "silent"
)

func (r Result) worse(s Result) Result {
	for _, worst := range []Result{Silent, Detected, Corrected} {
		if r == worst || s == worst {
			return worst
		}
	}
	return ""
}

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
		diff := make([]byte, size)
		for i := from; i < to; i++ {
			diff[i-start] = before[i] ^ after[i]
		}
		r := e.judge(diff)
		if r == Corrected {
			copy(read[from:to], before[from:to])
		}
		if r.worse(worst) != worst {
			worst, at = r, phys+uint64(from)
		}
	}
	return read, worst, at
}

// judge says what becomes of one word, from the bits that are wrong in it.
func (e ECC) judge(diff []byte) Result {
	units := 0
	for i := 0; i < len(diff); i += 8 {
		wrong := binary.LittleEndian.Uint64(diff[i:])
		if e == Chipkill { // one bit for each symbol
			wrong |= wrong>>1 | wrong>>2 | wrong>>3
			wrong &= 0x1111_1111_1111_1111
		}
		units += bits.OnesCount64(wrong)
	}
	switch {
	case units == 0:
		return ""
	case e == NoECC, units > 2:
		return Silent
	case units == 1:
		return Corrected
	default:
		return Detected
	}
}
