package ondisk

import (
	"encoding/binary"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// The checksum that a block carries itself: a magic number and the sum (zio_eck_t in include/sys/zio.h). While it is
// computed, a verifier stands in the place of the sum, by which a block at a wrong place is known.
const (
	eckMagic = 0x0210da7ab10c7a11
	eckSize  = 40
)

// embeddedSums computes the checksum of p and reads the one that p has at an offset, and tells the byte order in which
// p was written. p is changed while it runs and restored before it returns.
func embeddedSums(h *checksum.Hasher, a checksum.Algorithm, p []byte, at int, verifier checksum.Sum) (actual, expected checksum.Sum, order binary.ByteOrder, err error) {
	if at < 0 || at+eckSize > len(p) {
		return actual, expected, nil, corrupt("no room for a checksum at %d of %d bytes", at, len(p))
	}
	if order = magicOrder(p[at:]); order == nil {
		return actual, expected, nil, ErrChecksum
	}
	place := p[at+8 : at+eckSize]
	for i := range expected {
		expected[i] = order.Uint64(place[8*i:])
		order.PutUint64(place[8*i:], verifier[i])
	}
	actual, err = h.Sum(a, p, order)
	for i := range expected {
		order.PutUint64(place[8*i:], expected[i])
	}
	return actual, expected, order, err
}

// magicOrder is the byte order in which the magic number of an embedded checksum is written, nil if it is not there.
func magicOrder(p []byte) binary.ByteOrder {
	switch uint64(eckMagic) {
	case binary.LittleEndian.Uint64(p):
		return binary.LittleEndian
	case binary.BigEndian.Uint64(p):
		return binary.BigEndian
	}
	return nil
}

// verifyEmbedded checks the checksum inside p, at an offset.
func verifyEmbedded(h *checksum.Hasher, a checksum.Algorithm, p []byte, at int, verifier checksum.Sum) error {
	actual, expected, _, err := embeddedSums(h, a, p, at, verifier)
	if err == nil && actual != expected {
		err = ErrChecksum
	}
	return err
}
