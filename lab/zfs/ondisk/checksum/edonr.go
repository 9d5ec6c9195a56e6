package checksum

import (
	"encoding/binary"
	"math/bits"
)

// edonrState is Edon-R 512 after some whole blocks (Gligoroski et al., submission to the SHA-3 competition, with the
// later tweak of the feedback). OpenZFS hashes a block made of the pool's salt first and keeps half of the digest.
type edonrState struct {
	pipe  [16]uint64
	bytes uint64
}

const edonrBlock = 128 // bytes

// newEdonR is the state after the salt, which is stretched to a block: its hash and the hash of that.
func newEdonR(salt []byte) edonrState {
	var s edonrState
	for i := range s.pipe {
		for j := range 8 {
			s.pipe[i] = s.pipe[i]<<8 | uint64(0x80+8*i+j)
		}
	}
	if salt != nil {
		first := s.sum(salt)
		second := s.sum(first[:])
		s.block(append(first[:], second[:]...))
	}
	return s
}

// sum is the digest of all blocks before and p.
func (s *edonrState) sum(p []byte) (digest [64]byte) {
	t := *s
	total := (t.bytes + uint64(len(p))) * 8
	for ; len(p) >= edonrBlock; p = p[edonrBlock:] {
		t.block(p)
	}
	var last [2 * edonrBlock]byte
	end := last[:edonrBlock]
	copy(last[:], p)
	last[len(p)] = 0x80
	if len(p) >= edonrBlock-8 {
		end = last[:]
	}
	binary.LittleEndian.PutUint64(end[len(end)-8:], total)
	for ; len(end) > 0; end = end[edonrBlock:] {
		t.block(end)
	}
	for i := range 8 {
		binary.LittleEndian.PutUint64(digest[8*i:], t.pipe[8+i])
	}
	return digest
}

// block feeds the first 128 bytes of p.
func (s *edonrState) block(p []byte) {
	var lo, hi, loBack, hiBack [8]uint64
	for i := range 8 {
		lo[i] = binary.LittleEndian.Uint64(p[8*i:])
		hi[i] = binary.LittleEndian.Uint64(p[64+8*i:])
		loBack[7-i], hiBack[7-i] = lo[i], hi[i]
	}
	left, right := [8]uint64(s.pipe[:8]), [8]uint64(s.pipe[8:])
	// Four rows of quasigroup string transformations.
	a := edonrMultiply(&hiBack, &lo)
	b := edonrMultiply(&a, &hi)
	a = edonrMultiply(&right, &a)
	b = edonrMultiply(&a, &b)
	a = edonrMultiply(&a, &left)
	b = edonrMultiply(&b, &a)
	a = edonrMultiply(&loBack, &a)
	b = edonrMultiply(&a, &b)
	for i := range 8 {
		s.pipe[i] ^= hi[i] ^ a[i]
		s.pipe[8+i] ^= lo[i] ^ b[i]
	}
	s.bytes += edonrBlock
}

// edonrMultiply is the operation of the quasigroup of order 2^512: each operand goes through an orthogonal Latin square
// of additions and rotations, the results are joined.
func edonrMultiply(x, y *[8]uint64) [8]uint64 {
	const c = 0xaaaaaaaaaaaaaaaa
	s0 := c + x[0] + x[1] + x[2] + x[4] + x[7]
	s1 := bits.RotateLeft64(x[0]+x[1]+x[3]+x[4]+x[7], 5)
	s2 := bits.RotateLeft64(x[0]+x[1]+x[4]+x[6]+x[7], 15)
	s3 := bits.RotateLeft64(x[2]+x[3]+x[5]+x[6]+x[7], 22)
	s4 := bits.RotateLeft64(x[1]+x[2]+x[3]+x[5]+x[6], 31)
	s5 := bits.RotateLeft64(x[0]+x[2]+x[3]+x[4]+x[5], 40)
	s6 := bits.RotateLeft64(x[0]+x[1]+x[5]+x[6]+x[7], 50)
	s7 := bits.RotateLeft64(x[2]+x[3]+x[4]+x[5]+x[6], 59)

	t0 := ^uint64(c) + y[0] + y[1] + y[2] + y[5] + y[7]
	t1 := bits.RotateLeft64(y[0]+y[1]+y[3]+y[4]+y[6], 10)
	t2 := bits.RotateLeft64(y[0]+y[1]+y[2]+y[3]+y[5], 19)
	t3 := bits.RotateLeft64(y[2]+y[3]+y[4]+y[6]+y[7], 29)
	t4 := bits.RotateLeft64(y[0]+y[1]+y[3]+y[4]+y[5], 36)
	t5 := bits.RotateLeft64(y[2]+y[4]+y[5]+y[6]+y[7], 44)
	t6 := bits.RotateLeft64(y[1]+y[2]+y[5]+y[6]+y[7], 48)
	t7 := bits.RotateLeft64(y[0]+y[3]+y[4]+y[6]+y[7], 55)

	return [8]uint64{
		(s0 ^ s1 ^ s4) + (t0 ^ t1 ^ t5), (s0 ^ s4 ^ s7) + (t2 ^ t6 ^ t7),
		(s1 ^ s6 ^ s7) + (t0 ^ t1 ^ t3), (s2 ^ s3 ^ s4) + (t0 ^ t3 ^ t4),
		(s0 ^ s1 ^ s7) + (t1 ^ t2 ^ t5), (s3 ^ s5 ^ s6) + (t3 ^ t4 ^ t6),
		(s2 ^ s5 ^ s6) + (t2 ^ t5 ^ t7), (s2 ^ s3 ^ s5) + (t4 ^ t6 ^ t7),
	}
}
