package checksum

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"testing"
)

// Vectors of "The Skein Hash Function Family" 1.3, appendix C.
func TestSkeinVectors(t *testing.T) {
	long := make([]byte, 128)
	for i := range long {
		long[i] = byte(255 - i)
	}
	for _, c := range []struct {
		message []byte
		want    string
	}{
		{long[:1], "71b7bce6fe6452227b9ced6014249e5bf9a9754c3ad618ccc4e0aae16b316cc8ca698d864307ed3e80b6ef1570812ac5272dc409b5a012df2a579102f340617a"},
		{long[:64], "45863ba3be0c4dfc27e75d358496f4ac9a736a505d9313b42b2f5eada79fc17f63861e947afb1d056aa199575ad3f8c9a3cc1780b5e5fa4cae050e989876625b"},
		{long[:128], "91cca510c263c4ddd010530a33073309628631f308747e1bcbaa90e451cab92e5188087af4188773a332303e6667a7a210856f742139000071f48e8ba2a5adb7"},
	} {
		s := newSkein(512, nil)
		if got := s.sum(c.message); hex.EncodeToString(got[:]) != c.want {
			t.Errorf("%d bytes: %x", len(c.message), got)
		}
	}
}

// Vectors of the test suite of OpenZFS (tests/zfs-tests/cmd/checksum/edonr_test.c).
func TestEdonRVectors(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		{"abc", "1b14db155f1d406594b8cef70a4362ec6b5de6a5daf50ec999e987c19d3049e2de5977bb05b1bb220050a1ea5b46a9f1740acafbf6b45032adc90c628372c22b"},
		{
			"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
			"5351070dc51c3b2baca5a60d0252ccb4e4921a96fe5a69e76dad48fd21a0845ad57f880b3e4a907bc503151842bb949e1cba7439a6409a34b8436cb46921583c",
		},
	} {
		s := newEdonR(nil)
		if got := s.sum([]byte(c.message)); hex.EncodeToString(got[:]) != c.want {
			t.Errorf("%q: %x", c.message, got)
		}
	}
}

// A host of the other byte order sees the words of the data swapped, and what it stores are the same bytes swapped.
func TestByteOrders(t *testing.T) {
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	swapped := func(width int) []byte {
		p := bytes.Clone(data)
		for i := 0; i < len(p); i += width {
			for j := range width / 2 {
				p[i+j], p[i+width-1-j] = p[i+width-1-j], p[i+j]
			}
		}
		return p
	}
	h := NewHasher(Salt{1, 2, 3})
	for _, c := range []struct {
		a     Algorithm
		width int // of the words that are summed; 0: the function hashes bytes, and the host order shows in the digest alone
	}{{Fletcher2, 8}, {Fletcher4, 4}, {SHA256, 0}, {SHA512, 0}, {Skein, 0}, {EdonR, 0}, {BLAKE3, 0}} {
		little, err := h.Sum(c.a, data, binary.LittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		other := data
		if c.width != 0 {
			other = swapped(c.width)
		}
		big, err := h.Sum(c.a, other, binary.BigEndian)
		if err != nil {
			t.Fatal(err)
		}
		if c.width == 0 && c.a != SHA256 {
			for i := range big {
				big[i] = bits.ReverseBytes64(big[i])
			}
		}
		if little != big || little == (Sum{}) {
			t.Errorf("%v: %x of little, %x of big endian data", c.a, little, big)
		}
	}
}

// The salted functions depend on the salt, the others do not.
func TestSalt(t *testing.T) {
	data := []byte("some data of a block of a pool, long enough for all functions")
	a, b := NewHasher(Salt{1}), NewHasher(Salt{2})
	for alg := Off; alg <= BLAKE3; alg++ {
		x, err := a.Sum(alg, data, binary.LittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		y, _ := b.Sum(alg, data, binary.LittleEndian)
		if salted := alg == Skein || alg == EdonR || alg == BLAKE3; (x != y) != salted {
			t.Errorf("%v with two salts: %x, %x", alg, x, y)
		}
	}
	if _, err := a.Sum(15, data, binary.LittleEndian); err == nil {
		t.Error("function 15 is known")
	}
}

func BenchmarkFletcher4(b *testing.B) {
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		fletcher4(p, binary.LittleEndian)
	}
}

func BenchmarkSkein(b *testing.B) {
	p := make([]byte, 128<<10)
	s := newSkein(256, p[:32])
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		s.sum(p)
	}
}
