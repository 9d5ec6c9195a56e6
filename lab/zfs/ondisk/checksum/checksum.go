// Package checksum computes the checksums of OpenZFS blocks (module/zfs/zio_checksum.c): 256 bits in four words, of data
// of either byte order. It knows no block pointer; what is verified against what is for the caller to say.
package checksum

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"lukechampine.com/blake3"
)

// Sum is a checksum, the words as a block pointer holds them (zio_cksum_t).
type Sum [4]uint64

// Algorithm is a checksum function (enum zio_checksum in include/sys/zio.h).
type Algorithm uint8

// The functions that blocks on disk can have.
const (
	Off        Algorithm = 2
	Label      Algorithm = 3
	GangHeader Algorithm = 4
	ZILog      Algorithm = 5
	Fletcher2  Algorithm = 6
	Fletcher4  Algorithm = 7
	SHA256     Algorithm = 8
	ZILog2     Algorithm = 9
	NoParity   Algorithm = 10
	SHA512     Algorithm = 11
	Skein      Algorithm = 12
	EdonR      Algorithm = 13
	BLAKE3     Algorithm = 14
)

// String is the name that OpenZFS has for the function (zio_checksum_table).
func (a Algorithm) String() string {
	names := [...]string{
		"inherit", "on", "off", "label", "gang_header", "zilog", "fletcher2", "fletcher4", "sha256", "zilog2",
		"noparity", "sha512", "skein", "edonr", "blake3",
	}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("checksum %d", uint8(a))
}

// Embedded says that the checksum lies in the block itself instead of in the pointer to it.
func (a Algorithm) Embedded() bool {
	switch a {
	case Label, GangHeader, ZILog, ZILog2:
		return true
	}
	return false
}

// Strong says that the entropy of the function is spread over all its bits, so that half of it can stand for the whole
// (ZCHECKSUM_FLAG_DEDUP).
func (a Algorithm) Strong() bool {
	switch a {
	case SHA256, SHA512, Skein, BLAKE3:
		return true
	}
	return false
}

// Salt is the secret of a pool that goes into the salted functions (org.illumos:checksum_salt).
type Salt [32]byte

// Hasher computes checksums for one pool. It is safe for concurrent use.
type Hasher struct {
	salt  Salt
	skein skeinState
	edonr edonrState
}

// NewHasher prepares the salted functions.
func NewHasher(salt Salt) *Hasher {
	return &Hasher{salt: salt, skein: newSkein(256, salt[:]), edonr: newEdonR(salt[:])}
}

// Sum is the checksum of data that was written by a host of that byte order. The embedded functions are computed like
// the plain ones below them: SHA-256 for labels and gang headers, Fletcher for logs. An error means that the function
// is not known.
func (h *Hasher) Sum(a Algorithm, data []byte, order binary.ByteOrder) (Sum, error) {
	switch a {
	case Off, NoParity:
		return Sum{}, nil
	case Fletcher2, ZILog:
		return fletcher2(data, order), nil
	case Fletcher4, ZILog2:
		return fletcher4(data, order), nil
	case SHA256, Label, GangHeader:
		sum := sha256.Sum256(data)
		return words(sum[:], binary.BigEndian), nil // on all hosts
	case SHA512:
		sum := sha512.Sum512_256(data)
		return words(sum[:], order), nil
	case Skein:
		sum := h.skein.sum(data)
		return words(sum[:32], order), nil
	case EdonR:
		// A host that reads an edonr block of the other byte order compares with what happened to be in memory
		// (module/zfs/edonr_zfs.c swaps the wrong variable); what is right is what the writing host computed.
		sum := h.edonr.sum(data)
		return words(sum[:32], order), nil
	case BLAKE3:
		b := blake3.New(32, h.salt[:])
		if _, err := b.Write(data); err != nil {
			return Sum{}, err
		}
		return words(b.Sum(nil), order), nil
	}
	return Sum{}, fmt.Errorf("unknown checksum function %d", uint8(a))
}

// words are the words of a digest as a host of that byte order sees them.
func words(p []byte, order binary.ByteOrder) (s Sum) {
	for i := range s {
		s[i] = order.Uint64(p[8*i:])
	}
	return s
}
