// Package compress undoes the compression of OpenZFS blocks (module/zfs/zio_compress.c): LZ4 and Zstandard inside
// OpenZFS's own headers, gzip (which is zlib's format), LZJB and ZLE. Hostile input gives an error; output never
// exceeds the block that the caller provides.
package compress

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Algorithm is a compression function (enum zio_compress in include/sys/zio_compress.h).
type Algorithm uint8

// The functions that blocks on disk can have. GZIP1 to GZIP9 differ in the writer's effort alone.
const (
	Off   Algorithm = 2
	LZJB  Algorithm = 3
	Empty Algorithm = 4
	GZIP1 Algorithm = 5
	GZIP9 Algorithm = 13
	ZLE   Algorithm = 14
	LZ4   Algorithm = 15
	ZSTD  Algorithm = 16
)

// String is the name that OpenZFS has for the function (zio_compress_table).
func (a Algorithm) String() string {
	names := [...]string{
		"inherit", "on", "uncompressed", "lzjb", "empty", "gzip-1", "gzip-2", "gzip-3", "gzip-4", "gzip-5", "gzip-6",
		"gzip-7", "gzip-8", "gzip-9", "zle", "lz4", "zstd",
	}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("compression %d", uint8(a))
}

// ErrCorrupt is wrapped by the errors of data that no compressor wrote.
var ErrCorrupt = errors.New("corrupt compressed data")

// maxBlock is the largest block of a pool in bytes (SPA_MAXBLOCKSIZE); more than its window no frame can ask for.
const maxBlock = 16 << 20

// Decoder keeps what is dear to make. It is safe for concurrent use. Its memory grows with the number of simultaneous
// calls, by at most two blocks each.
type Decoder struct {
	zstd *zstd.Decoder
	zlib sync.Pool
}

// NewDecoder makes a decoder. workers is how many Zstandard blocks are decompressed at the same time, more wait.
func NewDecoder(workers int) (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(max(workers, 1)), zstd.WithDecoderMaxMemory(maxBlock),
		zstd.WithDecoderMaxWindow(maxBlock), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("prepare zstd: %w", err)
	}
	return &Decoder{zstd: z}, nil
}

// Decompress fills dst, which has the block's logical size, from src. Anything but exactly that size is an error. src
// may be longer than what the compressor wrote: blocks are padded to whole sectors.
func (d *Decoder) Decompress(a Algorithm, dst, src []byte) error {
	var err error
	switch {
	case a == Off:
		if len(src) < len(dst) {
			return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, len(src), len(dst))
		}
		copy(dst, src)
	case a == LZ4:
		err = decompressLZ4(dst, src)
	case a == ZSTD:
		err = d.decompressZSTD(dst, src)
	case a >= GZIP1 && a <= GZIP9:
		err = d.decompressZlib(dst, src)
	case a == LZJB:
		err = decompressLZJB(dst, src)
	case a == ZLE:
		err = decompressZLE(dst, src)
	default:
		return fmt.Errorf("unknown compression function %d", uint8(a))
	}
	if err != nil {
		return fmt.Errorf("%w: %v: %w", ErrCorrupt, a, err)
	}
	return nil
}

// sized cuts the data that a header with a big-endian length of 32 bits says it has.
func sized(src []byte, header int) ([]byte, error) {
	if len(src) < header {
		return nil, fmt.Errorf("%d bytes are no header", len(src))
	}
	n := uint64(binary.BigEndian.Uint32(src))
	if n > uint64(len(src)-header) {
		return nil, fmt.Errorf("%d bytes announced, %d there", n, len(src)-header)
	}
	return src[header : header+int(n)], nil
}

func decompressLZ4(dst, src []byte) error {
	body, err := sized(src, 4)
	if err != nil {
		return err
	}
	n, err := lz4.UncompressBlock(body, dst)
	if err != nil {
		return err
	}
	return whole(n, dst)
}

func whole(n int, dst []byte) error {
	if n != len(dst) {
		return fmt.Errorf("%d bytes came out instead of %d", n, len(dst))
	}
	return nil
}

// decompressZSTD reads zfs_zstdhdr_t (length, version and level) and a frame without its magic number
// (module/zstd/zfs_zstd.c).
func (d *Decoder) decompressZSTD(dst, src []byte) error {
	const header, magic = 8, "\x28\xb5\x2f\xfd"
	body, err := sized(src, header)
	if err != nil {
		return err
	}
	frame := make([]byte, 0, len(magic)+len(body))
	frame = append(append(frame, magic...), body...)
	out, err := d.zstd.DecodeAll(frame, dst[:0:len(dst)])
	if err != nil {
		return err
	}
	if len(out) > 0 && &out[0] != &dst[0] {
		return fmt.Errorf("more than %d bytes came out", len(dst))
	}
	return whole(len(out), dst)
}

func (d *Decoder) decompressZlib(dst, src []byte) error {
	in := bytes.NewReader(src)
	z, _ := d.zlib.Get().(io.ReadCloser)
	if z == nil {
		var err error
		if z, err = zlib.NewReader(in); err != nil {
			return err
		}
	} else if err := z.(zlib.Resetter).Reset(in, nil); err != nil {
		return err
	}
	defer d.zlib.Put(z)
	n, err := io.ReadFull(z, dst)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, len(dst), err)
	}
	var more [1]byte
	if n, err := z.Read(more[:]); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("it does not end after %d bytes: %w", len(dst), err)
	}
	return nil
}

var errShort = errors.New("it ends too early")

// decompressLZJB is the inverse of lzjb_compress (module/zfs/lzjb.c): a byte of flags for every eight items, an item
// being a literal byte or a copy of 3 to 66 bytes from at most 1023 bytes before.
func decompressLZJB(dst, src []byte) error {
	const matchMin, offsetMask = 3, 1<<10 - 1
	flags, mask := byte(0), byte(0)
	in := 0
	for out := 0; out < len(dst); {
		if mask <<= 1; mask == 0 {
			if in >= len(src) {
				return errShort
			}
			flags, mask = src[in], 1
			in++
		}
		if flags&mask == 0 {
			if in >= len(src) {
				return errShort
			}
			dst[out] = src[in]
			in, out = in+1, out+1
			continue
		}
		if in+2 > len(src) {
			return errShort
		}
		n := int(src[in]>>2) + matchMin
		back := (int(src[in])<<8 | int(src[in+1])) & offsetMask
		in += 2
		// A distance of 0 would copy bytes that are not there yet; no compressor writes it.
		if back == 0 || back > out {
			return fmt.Errorf("a copy from %d bytes before byte %d", back, out)
		}
		for ; n > 0 && out < len(dst); n-- {
			dst[out] = dst[out-back]
			out++
		}
	}
	return nil
}

// decompressZLE is the inverse of zle_compress (module/zfs/zle.c), at the only level there is: a byte below 64 says how
// many literals follow, any other one how many zeroes there are.
func decompressZLE(dst, src []byte) error {
	const literals = 64
	for len(dst) > 0 {
		if len(src) == 0 {
			return errShort
		}
		n := 1 + int(src[0])
		src = src[1:]
		zeroes := n > literals
		if zeroes {
			n -= literals
		}
		if n > len(dst) {
			return fmt.Errorf("%d bytes more than there is room for", n-len(dst))
		}
		if zeroes {
			clear(dst[:n])
		} else {
			if n > len(src) {
				return errShort
			}
			copy(dst, src[:n])
			src = src[n:]
		}
		dst = dst[n:]
	}
	return nil
}
