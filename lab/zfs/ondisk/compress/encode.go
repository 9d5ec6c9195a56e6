package compress

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrNoRoom is wrapped by the errors of data that cannot be compressed to the size that is asked for.
var ErrNoRoom = errors.New("no room")

// Compress makes a block of exactly size bytes that Decompress turns into src again, padded with zeroes as blocks on disk
// are. It takes the best that the function can do, for blocks that OpenZFS wrote have no more room than they needed. What
// does not fit wraps ErrNoRoom.
func Compress(a Algorithm, src []byte, size int) ([]byte, error) {
	var out []byte
	var err error
	switch {
	case a == Off:
		out = src
	case a == LZ4:
		out, err = compressLZ4(src)
	case a == ZSTD:
		out, err = compressZSTD(src)
	case a >= GZIP1 && a <= GZIP9:
		out, err = compressZlib(src)
	case a == LZJB:
		out = compressLZJB(src)
	case a == ZLE:
		out = compressZLE(src)
	default:
		return nil, fmt.Errorf("unknown compression function %d", uint8(a))
	}
	if err != nil {
		return nil, fmt.Errorf("compress with %v: %w", a, err)
	}
	if len(out) > size {
		return nil, fmt.Errorf("%w: %d bytes with %v, %d are there", ErrNoRoom, len(out), a, size)
	}
	return append(out[:len(out):len(out)], make([]byte, size-len(out))...), nil
}

func compressLZ4(src []byte) ([]byte, error) {
	const header = 4
	out := make([]byte, header+lz4.CompressBlockBound(len(src)))
	c := lz4.CompressorHC{Level: lz4.Level9}
	n, err := c.CompressBlock(src, out[header:])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: it does not get smaller", ErrNoRoom)
	}
	binary.BigEndian.PutUint32(out, uint32(n))
	return out[:header+n], nil
}

// compressZSTD writes zfs_zstdhdr_t as the library version 1.4.5 of module/zstd would, and a frame without its magic.
func compressZSTD(src []byte) ([]byte, error) {
	const magic, version, level = 4, 10405, 19
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	frame := e.EncodeAll(src, nil)
	if err := e.Close(); err != nil {
		return nil, err
	}
	body := frame[magic:]
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = binary.BigEndian.AppendUint32(out, version<<8|level)
	return append(out, body...), nil
}

func compressZlib(src []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(src); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// compressLZJB looks for the longest match within reach, where lzjb_compress takes the last one with the same hash.
func compressLZJB(src []byte) []byte {
	const matchMin, matchMax, reach = 3, 66, 1<<10 - 1
	var out []byte
	flags := 0
	for at, bit := 0, 8; at < len(src); bit++ {
		if bit == 8 {
			bit, flags = 0, len(out)
			out = append(out, 0)
		}
		length, back := 0, 0
		for b := 1; b <= min(at, reach) && length < matchMax; b++ {
			n := 0
			for n < matchMax && at+n < len(src) && src[at+n-b] == src[at+n] {
				n++
			}
			if n > length {
				length, back = n, b
			}
		}
		if length < matchMin {
			out = append(out, src[at])
			at++
			continue
		}
		out[flags] |= 1 << bit
		out = append(out, byte((length-matchMin)<<2|back>>8), byte(back))
		at += length
	}
	return out
}

func compressZLE(src []byte) []byte {
	const literals, zeroes = 64, 256 - 64
	var out []byte
	for len(src) > 0 {
		n := 0
		for n < len(src) && n < zeroes && src[n] == 0 {
			n++
		}
		if n > 0 {
			out = append(out, byte(literals+n-1))
			src = src[n:]
			continue
		}
		// A single zero is cheaper among literals, as zle_compress has it.
		for n < len(src) && n < literals && (src[n] != 0 || n+1 < len(src) && src[n+1] != 0) {
			n++
		}
		out = append(append(out, byte(n-1)), src[:n]...)
		src = src[n:]
	}
	return out
}
