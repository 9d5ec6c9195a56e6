package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
)

// qcow2Magic begins every qcow2 image.
const qcow2Magic = "QFI\xfb"

// Incompatible features of qcow2 (docs/interop/qcow2.txt of QEMU).
const (
	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureData        = 1 << 2 // the clusters are in another file
	featureCompression = 1 << 3 // the header says how clusters are compressed
	featureExtendedL2  = 1 << 4 // clusters of 32 parts, each of which is there or not
)

// Limits of qcow2 (block/qcow2.h, docs/interop/qcow2.txt): QEMU opens nothing beyond them.
const (
	minClusterBits = 9
	maxClusterBits = 21
	maxL1          = 32 << 20 // bytes of the first table
	maxName        = 1023     // bytes of a file's name
)

// qcow2Header is what the header of an image says, after its limits were checked.
type qcow2Header struct {
	clusterBits uint32
	size        int64 // bytes of the disk
	l1Entries   uint32
	l1Offset    uint64
	features    uint64
	compression uint8
	// backing and data are the files that it names, as it names them, empty if it names none. The format is that of the
	// backing file.
	backing, format, data string
}

// parseQCOW2 reads the header of an image of size bytes. All of it comes from whoever made the image.
func parseQCOW2(r io.ReaderAt, size int64) (h qcow2Header, err error) {
	raw := make([]byte, 112)
	if n, err := r.ReadAt(raw, 0); err != nil && (err != io.EOF || n < 72) {
		return h, fmt.Errorf("header: %w", err)
	}
	u32, u64 := binary.BigEndian.Uint32, binary.BigEndian.Uint64
	version, length := u32(raw[4:]), uint32(72)
	h = qcow2Header{clusterBits: u32(raw[20:]), size: int64(u64(raw[24:])), l1Entries: u32(raw[36:]), l1Offset: u64(raw[40:])}
	switch version {
	case 2:
	case 3:
		h.features, length = u64(raw[72:]), u32(raw[100:])
		if h.features&featureCompression != 0 && length > 104 {
			h.compression = raw[104]
		}
	default:
		return h, fmt.Errorf("version %d of the format, 2 and 3 are known", version)
	}
	if encryption := u32(raw[32:]); encryption != 0 {
		return h, fmt.Errorf("it is encrypted (method %d); make an image without encryption of it with qemu-img convert", encryption)
	}
	if unknown := h.features &^ (featureDirty | featureCorrupt | featureData | featureCompression | featureExtendedL2); unknown != 0 {
		return h, fmt.Errorf("incompatible features %#x, which are not known", unknown)
	}
	if err := h.check(length, size); err != nil {
		return h, err
	}
	if err := h.extensions(r, length); err != nil {
		return h, err
	}
	at, n := u64(raw[8:]), u32(raw[16:])
	if at == 0 {
		return h, nil
	}
	if n == 0 || n > maxName || at > h.cluster()-uint64(n) {
		return h, fmt.Errorf("the name of a backing file, %d bytes at %d, is not in the first cluster", n, at)
	}
	h.backing, err = text(r, int64(at), n)
	return h, err
}

func (h *qcow2Header) cluster() uint64 { return 1 << h.clusterBits }

// check compares sizes and places with what is possible.
func (h *qcow2Header) check(length uint32, size int64) error {
	if h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits {
		return fmt.Errorf("clusters of 2^%d bytes; they have 2^%d to 2^%d", h.clusterBits, minClusterBits, maxClusterBits)
	}
	if length < 72 || length%8 != 0 || uint64(length) > h.cluster() {
		return fmt.Errorf("a header of %d bytes", length)
	}
	table := 8 * uint64(h.l1Entries)
	if table > maxL1 {
		return fmt.Errorf("a first table of %d bytes, more than the %d of the format", table, maxL1)
	}
	if h.l1Entries > 0 && (h.l1Offset%h.cluster() != 0 || h.l1Offset == 0 || h.l1Offset > uint64(size) || table > uint64(size)-h.l1Offset) {
		return fmt.Errorf("the first table, %d bytes at %d, is not in the file, which has %d bytes", table, h.l1Offset, size)
	}
	entry := uint(8)
	if h.features&featureExtendedL2 != 0 {
		entry = 16
	}
	// At most 2^22 entries of 2^18 clusters of 2^21 bytes.
	if room := uint64(h.l1Entries) * (h.cluster() / uint64(entry)) * h.cluster(); h.size < 0 || uint64(h.size) > room {
		return fmt.Errorf("a disk of %d bytes, for which its first table has no room", uint64(h.size))
	}
	return nil
}

// Extensions of the header.
const (
	extensionEnd    = 0
	extensionFormat = 0xe2792aca // of the backing file
	extensionData   = 0x44415441
)

// extensions looks for those that name files.
func (h *qcow2Header) extensions(r io.ReaderAt, at uint32) error {
	for end := uint32(h.cluster()); at+8 <= end; {
		var head [8]byte
		if _, err := r.ReadAt(head[:], int64(at)); err != nil {
			return fmt.Errorf("header extension at %d: %w", at, err)
		}
		kind, n := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		at += 8
		if kind == extensionEnd {
			return nil
		}
		if n > end-at {
			return fmt.Errorf("header extension %#x of %d bytes reaches beyond the first cluster", kind, n)
		}
		var err error
		switch kind {
		case extensionFormat:
			h.format, err = text(r, int64(at), n)
		case extensionData:
			h.data, err = text(r, int64(at), n)
		}
		if err != nil {
			return err
		}
		at += (n + 7) &^ 7
	}
	return nil
}

// text is a name in an image.
func text(r io.ReaderAt, at int64, n uint32) (string, error) {
	if n > maxName {
		return "", fmt.Errorf("a name of %d bytes", n)
	}
	p := make([]byte, n)
	if _, err := r.ReadAt(p, at); err != nil {
		return "", fmt.Errorf("name at %d: %w", at, err)
	}
	if bytes.IndexByte(p, 0) >= 0 {
		return "", fmt.Errorf("a name with a zero byte, %s", strconv.Quote(string(p)))
	}
	return string(p), nil
}

// plain is the header of an image with the same disk that names no file: what the image says elsewhere cannot add one.
func (h *qcow2Header) plain() []byte {
	p := make([]byte, 120) // the last 8 bytes end the list of extensions
	copy(p, qcow2Magic)
	put32, put64 := binary.BigEndian.PutUint32, binary.BigEndian.PutUint64
	put32(p[4:], 3)
	put32(p[20:], h.clusterBits)
	put64(p[24:], uint64(h.size))
	put32(p[36:], h.l1Entries)
	put64(p[40:], h.l1Offset)
	put64(p[72:], h.features&featureCompression)
	put32(p[96:], 4) // of the size of reference counts, which nobody reads
	put32(p[100:], 112)
	p[104] = h.compression
	return p
}
