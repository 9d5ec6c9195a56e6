package checksum

import (
	"encoding/binary"
	"math/bits"
)

// skeinState is Skein-512 after its key and configuration, before the message ("The Skein Hash Function Family",
// version 1.3). OpenZFS uses it as a MAC keyed with the pool's salt, with 256 bits of output.
type skeinState struct{ chain [8]uint64 }

const (
	skeinBlock = 64 // bytes

	// The second word of the tweak: type of the block, and whether it is the first or last of its type.
	skeinKey     = 0 << 56
	skeinConfig  = 4 << 56
	skeinMessage = 48 << 56
	skeinOutput  = 63 << 56
	skeinFirst   = 1 << 62
	skeinFinal   = 1 << 63
)

// newSkein makes the state for an output of so many bits; key may be empty.
func newSkein(outputBits uint64, key []byte) skeinState {
	var s skeinState
	if len(key) > 0 {
		s.absorb(skeinKey, key)
	}
	var config [32]byte
	copy(config[:], "SHA3\x01\x00")
	binary.LittleEndian.PutUint64(config[8:], outputBits)
	s.absorb(skeinConfig, config[:])
	return s
}

// sum is the first output block of the hash of a message: more than the 256 bits that are wanted.
func (s *skeinState) sum(message []byte) [skeinBlock]byte {
	t := *s
	t.absorb(skeinMessage, message)
	var counter [8]byte
	t.absorb(skeinOutput, counter[:])
	var out [skeinBlock]byte
	for i, w := range t.chain {
		binary.LittleEndian.PutUint64(out[8*i:], w)
	}
	return out
}

// absorb is the UBI mode of operation: it chains the blocks of one input, of which there is at least one.
func (s *skeinState) absorb(kind uint64, p []byte) {
	tweak := [2]uint64{0, kind | skeinFirst}
	for len(p) > skeinBlock {
		tweak[0] += skeinBlock
		s.block(&tweak, p)
		tweak[1] = kind
		p = p[skeinBlock:]
	}
	var last [skeinBlock]byte
	tweak[0] += uint64(copy(last[:], p))
	tweak[1] |= skeinFinal
	s.block(&tweak, last[:])
}

// block encrypts one block with Threefish-512 under the chaining value and adds the block to the result.
func (s *skeinState) block(tweak *[2]uint64, p []byte) {
	const parity = 0x1bd11bdaa9fc1a22
	var key [9]uint64
	key[8] = parity
	var x, in [8]uint64
	for i := range in {
		key[i] = s.chain[i]
		key[8] ^= s.chain[i]
		in[i] = binary.LittleEndian.Uint64(p[8*i:])
		x[i] = in[i]
	}
	t := [3]uint64{tweak[0], tweak[1], tweak[0] ^ tweak[1]}
	inject := func(r int) {
		for i := range x {
			x[i] += key[(r+i)%9]
		}
		x[5] += t[r%3]
		x[6] += t[(r+1)%3]
		x[7] += uint64(r)
	}
	inject(0)
	for r := 1; r <= 18; r += 2 {
		skeinRounds(&x, 46, 36, 19, 37, 33, 27, 14, 42, 17, 49, 36, 39, 44, 9, 54, 56)
		inject(r)
		skeinRounds(&x, 39, 30, 34, 24, 13, 50, 10, 17, 25, 29, 39, 43, 8, 35, 56, 22)
		inject(r + 1)
	}
	for i := range x {
		s.chain[i] = x[i] ^ in[i]
	}
}

// skeinRounds are four rounds with their sixteen rotations, the permutation of words between them written out.
func skeinRounds(x *[8]uint64, a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3 int) {
	x0, x1, x2, x3, x4, x5, x6, x7 := x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
	x0 += x1
	x1 = bits.RotateLeft64(x1, a0) ^ x0
	x2 += x3
	x3 = bits.RotateLeft64(x3, a1) ^ x2
	x4 += x5
	x5 = bits.RotateLeft64(x5, a2) ^ x4
	x6 += x7
	x7 = bits.RotateLeft64(x7, a3) ^ x6

	x2 += x1
	x1 = bits.RotateLeft64(x1, b0) ^ x2
	x4 += x7
	x7 = bits.RotateLeft64(x7, b1) ^ x4
	x6 += x5
	x5 = bits.RotateLeft64(x5, b2) ^ x6
	x0 += x3
	x3 = bits.RotateLeft64(x3, b3) ^ x0

	x4 += x1
	x1 = bits.RotateLeft64(x1, c0) ^ x4
	x6 += x3
	x3 = bits.RotateLeft64(x3, c1) ^ x6
	x0 += x5
	x5 = bits.RotateLeft64(x5, c2) ^ x0
	x2 += x7
	x7 = bits.RotateLeft64(x7, c3) ^ x2

	x6 += x1
	x1 = bits.RotateLeft64(x1, d0) ^ x6
	x0 += x7
	x7 = bits.RotateLeft64(x7, d1) ^ x0
	x2 += x5
	x5 = bits.RotateLeft64(x5, d2) ^ x2
	x4 += x3
	x3 = bits.RotateLeft64(x3, d3) ^ x4
	*x = [8]uint64{x0, x1, x2, x3, x4, x5, x6, x7}
}
