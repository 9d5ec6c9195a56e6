package compress

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

func decoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder(2)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// block is data with repetitions, zeroes and noise.
func block(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		switch {
		case i%1024 < 300:
			p[i] = byte(i >> 3)
		case i%1024 < 600:
			p[i] = byte(i*i>>5 ^ i)
		}
	}
	return p
}

// pack compresses as OpenZFS does, as far as a Go library can; the rest is tested with real pools.
func pack(t testing.TB, a Algorithm, p []byte) []byte {
	t.Helper()
	var out []byte
	switch a {
	case LZ4:
		body := make([]byte, lz4.CompressBlockBound(len(p)))
		n, err := lz4.CompressBlock(p, body, nil)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		out = append(binary.BigEndian.AppendUint32(nil, uint32(n)), body[:n]...)
	case ZSTD:
		e, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
		if err != nil {
			t.Fatal(err)
		}
		body := e.EncodeAll(p, nil)[4:]
		out = append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), 0, 0, 0, 3)
		out = append(out, body...)
	case GZIP1:
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		w.Close()
		out = b.Bytes()
	case ZLE:
		for len(p) > 0 {
			n := 0
			for n < len(p) && n < 192 && p[n] == 0 {
				n++
			}
			if n > 0 {
				out = append(out, byte(n+63))
			} else {
				for n < len(p) && n < 64 && p[n] != 0 {
					n++
				}
				out = append(append(out, byte(n-1)), p[:n]...)
			}
			p = p[n:]
		}
	case Off:
		out = p
	}
	for len(out)%512 != 0 {
		out = append(out, 0)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	d := decoder(t)
	want := block(128 << 10)
	for _, a := range []Algorithm{Off, LZ4, ZSTD, GZIP1, ZLE} {
		src := pack(t, a, want)
		got := make([]byte, len(want))
		if err := d.Decompress(a, got, src); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %v", a, err)
		}
		// A block of another size is not what was compressed.
		if a == Off {
			continue
		}
		for _, n := range []int{len(want) - 512, len(want) + 512} {
			err := d.Decompress(a, make([]byte, n), src)
			if a == ZLE && n < len(want) {
				continue // a ZLE stream has no end of its own
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v into %d bytes: %v", a, n, err)
			}
		}
		if err := d.Decompress(a, got, src[:len(src)/3]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v, a third of it: %v", a, err)
		}
	}
}

func TestLZJB(t *testing.T) {
	d := decoder(t)
	// Literals "abc", then a copy of six bytes from three before, then a literal.
	src := []byte{0b1000, 'a', 'b', 'c', 3 << 2, 3, '!'}
	got := make([]byte, 10)
	if err := d.Decompress(LZJB, got, src); err != nil || string(got) != "abcabcabc!" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {0}, {1, 0, 1}, {2, 'a', 0, 2}, {2, 'a', 0, 0}, src[:5]} {
		if err := d.Decompress(LZJB, got, bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestUnknown(t *testing.T) {
	d := decoder(t)
	for _, a := range []Algorithm{0, 1, Empty, 17, 127} {
		if err := d.Decompress(a, make([]byte, 512), make([]byte, 512)); err == nil {
			t.Errorf("%v is known", a)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for _, a := range []Algorithm{LZ4, ZSTD, GZIP1, ZLE} {
		f.Add(uint8(a), uint16(1024), pack(f, a, block(1024)))
	}
	f.Add(uint8(LZJB), uint16(10), []byte{0b1000, 'a', 'b', 'c', 3 << 2, 3, '!'})
	d := decoder(f)
	f.Fuzz(func(t *testing.T, a uint8, size uint16, src []byte) {
		guarded := make([]byte, int(size)+1)
		guarded[size] = 0xa5
		dst := guarded[:size]
		err := d.Decompress(Algorithm(a), dst, src)
		if guarded[size] != 0xa5 {
			t.Error("wrote behind the block")
		}
		again := make([]byte, size)
		if (d.Decompress(Algorithm(a), again, src) == nil) != (err == nil) || err == nil && !bytes.Equal(again, dst) {
			t.Error("the second time it is different")
		}
	})
}
