package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

// maxBlockSize is the largest block of a pool in bytes (SPA_MAXBLOCKSIZE).
const maxBlockSize = 16 << 20

// Block is what a block pointer points at, verified. It may be shared: do not write to it.
type Block struct {
	Data []byte
	// Order is the byte order of the host that wrote it.
	Order binary.ByteOrder
}

// order is the byte order that a block pointer gives for what it points at.
func (b BlkPtr) order() binary.ByteOrder {
	if b.LittleEndian() {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// Read reads a block, verifies and decompresses it. A hole is zeroes. Content that is encrypted gives ErrEncrypted,
// except for dnodes and intent logs, of which only parts are. When no copy is good the error wraps ErrChecksum, or
// what kept the copies from being read.
func (p *Pool) Read(ctx context.Context, b BlkPtr) (Block, error) { return p.read(ctx, b, nil) }

// read is Read. What it decompresses goes into room if there is one, which grows as needed, and is not cached then: for
// those who look at a block once.
func (p *Pool) read(ctx context.Context, b BlkPtr, room *[]byte) (Block, error) {
	size := b.LSize()
	if size > maxBlockSize || size == 0 {
		return Block{}, fmt.Errorf("read %v: %w", b, corrupt("%d bytes", size))
	}
	switch {
	case b.Redacted():
		return Block{}, ErrRedacted
	case b.Hole():
		return Block{Data: make([]byte, size), Order: b.order()}, p.Spend(1 + size>>(sectorShift+2))
	case b.Embedded():
		if err := p.spendRead(b); err != nil {
			return Block{}, err
		}
		return p.readEmbedded(b)
	case b.Encrypted() && (b.Type() != TypeDNode && b.Type() != TypeIntentLog || b.Compress() != uint8(compress.Off)):
		return Block{}, ErrEncrypted
	}
	if block, ok := p.cache.get(b); ok {
		return block, p.Spend(4)
	}
	if err := p.spendRead(b); err != nil {
		return Block{}, err
	}
	raw, err := p.ReadRaw(ctx, b)
	if err != nil {
		return Block{}, err
	}
	block, err := p.decompress(b, raw, room)
	if err != nil {
		return Block{}, fmt.Errorf("read %v: %w", b, err)
	}
	if room == nil && (b.Level() > 0 || IsMetadata(b.Type())) {
		p.cache.put(b, block)
	}
	return block, nil
}

func (p *Pool) decompress(b BlkPtr, raw Block, room *[]byte) (Block, error) {
	a := compress.Algorithm(b.Compress())
	if a == compress.Off && uint64(len(raw.Data)) == b.LSize() {
		return raw, nil
	}
	if room == nil {
		room = new([]byte)
	}
	size := int(b.LSize()) // Read has bounded it
	if cap(*room) < size {
		*room = make([]byte, size)
	}
	data := (*room)[:size]
	if err := p.decoder.Decompress(a, data, raw.Data); err != nil {
		return Block{}, corrupt("%w", err)
	}
	return Block{Data: data, Order: raw.Order}, nil
}

// readEmbedded takes the data out of the block pointer, where it fills the words that are neither prop nor the logical
// birth (decode_embedded_bp_compressed in module/zfs/blkptr.c).
func (p *Pool) readEmbedded(b BlkPtr) (Block, error) {
	const prop, birth = 6, 10
	if b.Checksum() != embeddedData {
		return Block{}, unsupported("embedded block of kind %d", b.Checksum())
	}
	payload := make([]byte, 0, BlkPtrSize)
	for i, w := range b.words() {
		if i != prop && i != birth {
			payload = binary.LittleEndian.AppendUint64(payload, *w)
		}
	}
	size := b.PSize()
	if size > uint64(len(payload)) {
		return Block{}, fmt.Errorf("read %v: %w", b, corrupt("more than fits"))
	}
	data := make([]byte, b.LSize())
	if err := p.decoder.Decompress(compress.Algorithm(b.Compress()), data, payload[:size]); err != nil {
		return Block{}, fmt.Errorf("read %v: %w", b, corrupt("%w", err))
	}
	return Block{Data: data, Order: b.order()}, nil
}

// ReadRaw reads and verifies a block as it lies on disk: compressed, maybe encrypted. The block must not be a hole or
// embedded.
func (p *Pool) ReadRaw(ctx context.Context, b BlkPtr) (Block, error) {
	if b.Embedded() || b.Hole() {
		return Block{}, fmt.Errorf("read %v: %w", b, corrupt("it is not on disk"))
	}
	if b.Gang() {
		data, err := p.readGang(ctx, b, 0)
		if err != nil {
			return Block{}, fmt.Errorf("read %v: %w", b, err)
		}
		return Block{Data: data, Order: b.order()}, nil
	}
	var problems []error
	for i, d := range b.DVAs() {
		block, err := p.readDVA(ctx, b, d)
		if err == nil {
			return block, nil
		}
		if ctx.Err() != nil {
			return Block{}, ctx.Err()
		}
		problems = append(problems, fmt.Errorf("copy %d: %w", i, err))
	}
	if len(problems) == 0 {
		problems = append(problems, corrupt("no address"))
	}
	return Block{}, fmt.Errorf("read %v: %w", b, errors.Join(problems...))
}

// readDVA reads the copy of a block at one address.
func (p *Pool) readDVA(ctx context.Context, b BlkPtr, d DVA) (Block, error) {
	size := b.PSize()
	if size > maxBlockSize {
		return Block{}, corrupt("%d bytes", size)
	}
	v, err := p.place(d, size)
	if err != nil {
		return Block{}, err
	}
	var problems []error
	for data, err := range v.attempts(ctx, d.Offset(), size, b.Birth(), 0) {
		var order binary.ByteOrder
		if err == nil {
			order, err = p.verify(b, data)
		}
		if err == nil {
			if len(problems) > 0 && !errors.Is(problems[0], ErrMissing) {
				p.second.Add(1)
			}
			return Block{Data: data, Order: order}, nil
		}
		if len(problems) < maxProblems {
			problems = append(problems, err)
		}
	}
	return Block{}, errors.Join(problems...)
}

// SecondTries is how many blocks were read from another device than the first of a mirror, or had to be reconstructed, though the
// device was there: it is bad, wherever else it is.
func (p *Pool) SecondTries() uint64 { return p.second.Load() }

// maxProblems is how many failed attempts an error tells of.
const maxProblems = 4

// top is a top-level vdev.
func (p *Pool) top(id uint32) (*VDev, error) {
	if uint64(id) >= uint64(len(p.VDevs)) || p.VDevs[id] == nil {
		return nil, corrupt("there is no vdev %d", id)
	}
	return p.VDevs[id], nil
}

// place is the vdev that a DVA is on, if the address is possible there.
func (p *Pool) place(d DVA, size uint64) (*VDev, error) {
	v, err := p.top(d.VDev())
	if err != nil {
		return nil, err
	}
	if d.ASize() < size {
		return nil, corrupt("%v has no room for %d bytes", d, size)
	}
	if v.Concrete() && (d.Offset() > v.ASize || v.ASize-d.Offset() < d.ASize()) {
		return nil, corrupt("%v is beyond the end of vdev %d, %#x", d, d.VDev(), v.ASize)
	}
	if d.Offset()&(1<<v.AShift-1) != 0 {
		return nil, corrupt("%v is not aligned to %d bytes", d, 1<<v.AShift)
	}
	if v.draid != nil && d.Offset()%(v.draid.group<<v.AShift) != 0 {
		return nil, corrupt("%v does not begin with a row of %v", d, v)
	}
	return v, nil
}

// verify compares the checksum of data with that in the block pointer and tells the byte order of the data.
func (p *Pool) verify(b BlkPtr, data []byte) (binary.ByteOrder, error) {
	a := checksum.Algorithm(b.Checksum())
	expected, order := checksum.Sum(b.Cksum), b.order()
	var actual checksum.Sum
	var err error
	switch a {
	case checksum.Off, checksum.NoParity:
		return order, nil
	case checksum.ZILog:
		actual, expected, order, err = embeddedSums(p.hasher, a, data, len(data)-eckSize, expected)
	case checksum.ZILog2:
		actual, expected, order, err = p.logSums(data, expected)
	case checksum.Label, checksum.GangHeader:
		return nil, corrupt("checksum function %v", a)
	default:
		actual, err = p.hasher.Sum(a, data, order)
		if err != nil {
			err = corrupt("%w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	if b.Crypt() && b.Type() != TypeObjSet {
		actual, expected = withoutMAC(a, actual, expected)
	}
	if actual != expected {
		return nil, ErrChecksum
	}
	return order, nil
}

// withoutMAC are the halves that checksums of an encrypted or authenticated block have beside the MAC, which needs the key;
// that of a gang header leaves the same room, though it has none. Weak checksums are folded (zio_checksum_handle_crypt).
func withoutMAC(a checksum.Algorithm, actual, expected checksum.Sum) (checksum.Sum, checksum.Sum) {
	if !a.Strong() {
		actual[0] ^= actual[2]
		actual[1] ^= actual[3]
	}
	actual[2], actual[3], expected[2], expected[3] = 0, 0, 0, 0
	return actual, expected
}

// Copy is the state of one of the copies that a block pointer names.
type Copy struct {
	DVA DVA
	// Damage are the places on devices where it does not hold what it should; none: the copy is good everywhere, its
	// parity included.
	Damage []Damage
}

// Check reads all copies of a block, on all devices, and tells of each what is wrong with it. Members of a gang block
// are checked too, and counted to the copy with the same number. An error means that there is no good copy, or that ctx
// ended.
func (p *Pool) Check(ctx context.Context, b BlkPtr) ([]Copy, error) {
	if b.Embedded() || b.Hole() {
		return nil, nil
	}
	if b.Gang() {
		return p.checkGang(ctx, b, 0)
	}
	good, err := p.ReadRaw(ctx, b)
	if err != nil {
		return nil, err
	}
	return p.compareCopies(ctx, b, good.Data, writtenPart(b, good))
}

// writtenPart is how much of a block was written: of a log block no more than what is used, except on raidz (zio_shrink).
func writtenPart(b BlkPtr, block Block) int {
	n := len(block.Data)
	if checksum.Algorithm(b.Checksum()) == checksum.ZILog2 && n >= zilChainSize {
		used := block.Order.Uint64(block.Data[zilChainUsed:])
		n = int(min((used+zilMinBlock-1)&^(zilMinBlock-1), uint64(n)))
	}
	return n
}

func (p *Pool) compareCopies(ctx context.Context, b BlkPtr, data []byte, written int) ([]Copy, error) {
	dvas := b.DVAs()
	all := make([]Copy, 0, len(dvas))
	for _, d := range dvas {
		c := Copy{DVA: d}
		if v, err := p.place(d, 0); err != nil {
			c.Damage = []Damage{{Offset: d.Offset(), Size: uint64(len(data)), Err: err}}
		} else if d.ASize() > b.PSize() { // with parity (BP_IS_RAIDZ)
			c.Damage = v.compare(ctx, d.Offset(), data, b.Birth(), 0)
		} else {
			c.Damage = v.compare(ctx, d.Offset(), data[:written], b.Birth(), 0)
		}
		all = append(all, c)
	}
	return all, ctx.Err()
}
