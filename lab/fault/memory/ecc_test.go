package memory

import (
	"bytes"
	"testing"
)

func TestECC(t *testing.T) {
	// flips are bits of 32 bytes at physical phys.
	for _, c := range []struct {
		name     string
		ecc      ECC
		phys     uint64
		flips    []int
		want     Result
		at       uint64
		restored bool
	}{
		{"nothing is wrong", SECDED, 0x1000, nil, "", 0, true},
		{"no ECC sees nothing", NoECC, 0x1000, []int{5}, Silent, 0x1000, false},
		{"one bit", SECDED, 0x1000, []int{63}, Corrected, 0x1000, true},
		{"two bits of a word", SECDED, 0x1000, []int{64, 127}, Detected, 0x1008, false},
		{"two bits of two words", SECDED, 0x1000, []int{63, 64}, Corrected, 0x1000, true},
		{"two bits of a word that begins before the bytes", SECDED, 0x1004, []int{0, 31}, Detected, 0x1004, false},
		{"two bits that an aligned word parts", SECDED, 0x1004, []int{31, 32}, Corrected, 0x1004, true},
		{"three bits", SECDED, 0x1000, []int{0, 1, 2}, Silent, 0x1000, false},
		{"four bits of one device", Chipkill, 0x1000, []int{4, 5, 6, 7}, Corrected, 0x1000, true},
		{"two neighbours of two devices", Chipkill, 0x1000, []int{3, 4}, Detected, 0x1000, false},
		{"two devices in the halves of a word", Chipkill, 0x1000, []int{0, 127}, Detected, 0x1000, false},
		{"the halves belong to two words", Chipkill, 0x1008, []int{0, 127}, Corrected, 0x1008, true},
		{"three devices", Chipkill, 0x1000, []int{0, 4, 8}, Silent, 0x1000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Repeat([]byte{0x5a}, 32)
			after := bytes.Clone(before)
			for _, bit := range c.flips {
				after[bit/8] ^= 1 << (bit % 8)
			}
			read, result, at := c.ecc.pass(c.phys, before, after)
			if result != c.want || at != c.at {
				t.Errorf("%q at %#x, want %q at %#x", result, at, c.want, c.at)
			}
			if want := map[bool][]byte{true: before, false: after}[c.restored]; !bytes.Equal(read, want) {
				t.Errorf("reads %x, want %x", read, want)
			}
		})
	}
}

// A word that is corrected stays so beside one that is not.
func TestECCWordByWord(t *testing.T) {
	before := make([]byte, 16)
	after := []byte{0: 1, 8: 3, 15: 0}
	read, result, at := SECDED.pass(0x2000, before, after)
	if result != Detected || at != 0x2008 || read[0] != 0 || read[8] != 3 {
		t.Errorf("%q at %#x, reads %x", result, at, read)
	}
}
