package memory

import (
	"bytes"
	"math/bits"
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
		{"three bits that look like two", SECDED, 0x1000, []int{0, 1, 2}, Miscorrected, 0x1000, false},
		{"four bits of one device", Chipkill, 0x1000, []int{4, 5, 6, 7}, Corrected, 0x1000, true},
		{"two neighbours of two devices", Chipkill, 0x1000, []int{3, 4}, Detected, 0x1000, false},
		{"two devices in the halves of a word", Chipkill, 0x1000, []int{0, 127}, Detected, 0x1000, false},
		{"the halves belong to two words", Chipkill, 0x1008, []int{0, 127}, Corrected, 0x1008, true},
		{"three devices", Chipkill, 0x1000, []int{0, 4, 9}, Detected, 0x1000, false},
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

// words calls f with every way to have n of a code's bits, or symbols, wrong, from first on, as f wants them.
func words(n, of, first int, chosen []int, f func([]int)) {
	if n == 0 {
		f(chosen)
		return
	}
	for i := first; i <= of-n; i++ {
		words(n-1, of, i+1, append(chosen, i), f)
	}
}

// wrong is a word with these bits wrong, and its check bits.
func wrong(e ECC, bits ...int) (data []byte, check uint16) {
	data = make([]byte, e.word())
	for _, bit := range bits {
		if bit < 8*len(data) {
			data[bit/8] ^= 1 << (bit % 8)
		} else {
			check ^= 1 << (bit - 8*len(data))
		}
	}
	return data, check
}

// TestHsiao holds the code against its own tables: what it does with one bit and two, and with three as often as its codewords
// of weight 4 say, of which each makes four triples look like a single bit.
func TestHsiao(t *testing.T) {
	columns := hsiao().columns
	sums := map[uint16]int{} // of pairs of columns
	words(2, len(columns), 0, nil, func(b []int) { sums[columns[b[0]]^columns[b[1]]]++ })
	weight4 := 0 // two pairs with the same sum, each codeword being three such
	for _, n := range sums {
		weight4 += n * (n - 1) / 2
	}
	weight4 /= 3
	ones := 0
	for _, c := range columns {
		ones += bits.OnesCount16(c)
	}
	if len(columns) != 72 || ones != 216 {
		t.Errorf("%d columns with %d ones, want 72 with 216", len(columns), ones)
	}
	for n, want := range map[int]map[Result]int{
		1: {Corrected: 72},
		2: {Detected: 72 * 71 / 2},
		3: {Miscorrected: 4 * weight4, Detected: 72*71*70/6 - 4*weight4},
	} {
		got := map[Result]int{}
		words(n, 72, 0, nil, func(b []int) {
			data, check := wrong(SECDED, b...)
			left, r := SECDED.decode(data, check)
			got[r]++
			if r == Corrected && !bytes.Equal(left, make([]byte, 8)) {
				t.Errorf("bits %v: corrected to %x", b, left)
			}
		})
		for r, k := range want {
			if r == Miscorrected { // one that leaves the data right has turned a check bit
				k -= got[Corrected]
			}
			if got[r] != k {
				t.Errorf("%d wrong bits: %v, want %v", n, got, want)
			}
		}
	}
	if share := 4 * float64(weight4) / (72 * 71 * 70 / 6); share < 0.5 || share > 0.6 {
		t.Errorf("%.4f of three wrong bits are miscorrected", share)
	}
}

// TestChipkillCode expects all of one device to be corrected, all of two to be detected, and of three now and then to be taken
// for another device.
func TestChipkillCode(t *testing.T) {
	bitsOf := func(device, value int) (all []int) {
		for bit := range 4 {
			if value>>bit&1 == 1 {
				all = append(all, 4*device+bit)
			}
		}
		return all
	}
	for a := range 36 {
		for x := 1; x < 16; x++ {
			data, check := wrong(Chipkill, bitsOf(a, x)...)
			if left, r := Chipkill.decode(data, check); r != Corrected || !bytes.Equal(left, make([]byte, 16)) {
				t.Fatalf("device %d, %x: %s, %x", a, x, r, left)
			}
			for b := range a {
				for y := 1; y < 16; y++ {
					data, check := wrong(Chipkill, append(bitsOf(a, x), bitsOf(b, y)...)...)
					if _, r := Chipkill.decode(data, check); r != Detected {
						t.Fatalf("devices %d and %d, %x and %x: %s", a, b, x, y, r)
					}
				}
			}
		}
	}
	got := map[Result]int{}
	words(3, 36, 0, nil, func(d []int) {
		data, check := wrong(Chipkill, append(append(bitsOf(d[0], 5), bitsOf(d[1], 9)...), bitsOf(d[2], 1)...)...)
		_, r := Chipkill.decode(data, check)
		got[r]++
	})
	// 540 of 65,535 syndromes are those of one device.
	if got[Miscorrected] == 0 || got[Miscorrected] > got[Detected]/20 || got[Silent] != 0 {
		t.Errorf("three devices: %v", got)
	}
}
