package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

// DDT is a part of the dedup table: the entries of one checksum function and class, or a log of changes to them
// (include/sys/ddt.h).
type DDT struct {
	Name     string
	Checksum checksum.Algorithm
	// Class is "ditto", "duplicate" or "unique", empty for a log.
	Class  string
	Object uint64
	// Flat tables (fast dedup) have one place for the block, the others one for each number of copies.
	Flat bool
	// Log holds entries newer than those of the tables; Flushing says that it is being moved there, up to Checkpoint.
	Log, Flushing bool
	Length        uint64
	FirstTXG      uint64
	Checkpoint    *DDTKey
}

// DDTKey is what identifies a block in the table.
type DDTKey struct {
	Cksum [4]uint64
	Prop  uint64
}

// LSize is the size of the data in bytes.
func (k DDTKey) LSize() uint64 { return (bits(k.Prop, 0, 16) + 1) << sectorShift }

// PSize is the size in bytes after compression.
func (k DDTKey) PSize() uint64 { return (bits(k.Prop, 16, 16) + 1) << sectorShift }

// Compress is the compression function.
func (k DDTKey) Compress() uint8 { return uint8(bits(k.Prop, 32, 7)) }

// Crypt says that the block is encrypted.
func (k DDTKey) Crypt() bool { return bits(k.Prop, 39, 1) == 1 }

// DDTEntry is a block with its references.
type DDTEntry struct {
	Key DDTKey
	// Class is that of the table, or, in a log, that of the table in which the entry belongs (enum ddt_class).
	Class uint8
	// Phys are the places: of a flat table one, else four, for ditto blocks and for one to three copies.
	Phys []DDTPhys
}

// DDTPhys is where a block lies and how often it is referred to.
type DDTPhys struct {
	DVA           [3]DVA
	RefCount      uint64
	PhysicalBirth uint64
	// ClassStart is when the entry came into its class, in seconds since 1970; of flat tables.
	ClassStart uint64
}

const (
	ddtFlagFlat    = 1
	ddtFlagLog     = 2
	ddtKeyWords    = 5
	ddtTradWords   = 8
	ddtTradCount   = 4
	ddtFlatWords   = 9
	ddtLogHeader   = 8 // words: info, length, first txg, checkpoint key
	ddtLogFlushing = 1
	ddtLogHasPoint = 2
)

func ddtClasses() []string { return []string{"ditto", "duplicate", "unique"} }

// DDTs are all parts of the dedup table, tables before logs.
func (p *Pool) DDTs(ctx context.Context) ([]DDT, error) {
	var all []DDT
	for a := checksum.Off; a <= checksum.BLAKE3; a++ {
		found, err := p.ddtsOf(ctx, a)
		if err != nil {
			return nil, fmt.Errorf("dedup table of %v: %w", a, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func (p *Pool) ddtsOf(ctx context.Context, a checksum.Algorithm) ([]DDT, error) {
	dir, flat, err := p.ddtDirectory(ctx, a)
	if err != nil {
		return nil, err
	}
	var all []DDT
	for _, class := range ddtClasses() {
		name := fmt.Sprintf("DDT-%v-zap-%s", a, class)
		e, err := dir.Lookup(ctx, name)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, DDT{Name: name, Checksum: a, Class: class, Object: e.Uint64(), Flat: flat})
	}
	for n := range 2 {
		d := DDT{Name: fmt.Sprintf("DDT-log-%v-%d", a, n), Checksum: a, Flat: flat, Log: true}
		e, err := dir.Lookup(ctx, d.Name)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d.Object = e.Uint64()
		if err := p.ddtLog(ctx, &d); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// ddtDirectory is the ZAP that names the tables of a checksum function: one of its own with fast dedup, else that of the
// pool.
func (p *Pool) ddtDirectory(ctx context.Context, a checksum.Algorithm) (*ZAP, bool, error) {
	dir, err := p.zapOf(ctx, fmt.Sprintf("DDT-%v", a))
	if isNotFound(err) {
		return p.Directory, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	version, err := dir.Lookup(ctx, "version")
	if err != nil {
		return nil, false, err
	}
	flags, err := dir.Lookup(ctx, "flags")
	if err != nil {
		return nil, false, err
	}
	if version.Uint64() != 1 || flags.Uint64()&^(ddtFlagFlat|ddtFlagLog) != 0 {
		return nil, false, unsupported("dedup table of version %d with flags %#x", version.Uint64(), flags.Uint64())
	}
	return dir, flags.Uint64()&ddtFlagFlat != 0, nil
}

func (p *Pool) ddtLog(ctx context.Context, d *DDT) error {
	o, err := p.MOS.Object(ctx, d.Object)
	if err != nil {
		return err
	}
	w := o.bonusWords()
	if len(w) < ddtLogHeader {
		return corrupt("%s has a bonus of %d words", d.Name, len(w))
	}
	if version := bits(w[0], 0, 8); version != 1 {
		return unsupported("%s of version %d", d.Name, version)
	}
	d.Length, d.FirstTXG = w[1], w[2]
	if d.Length > o.Size() && d.Length != 0 {
		return corrupt("%s is %d bytes long in %d", d.Name, d.Length, o.Size())
	}
	d.Flushing = bits(w[0], 8, 8)&ddtLogFlushing != 0
	if bits(w[0], 8, 8)&ddtLogHasPoint != 0 {
		key := decodeDDTKey(w[3:])
		d.Checkpoint = &key
	}
	return nil
}

func decodeDDTKey(w []uint64) DDTKey { return DDTKey{Cksum: [4]uint64(w[:4]), Prop: w[4]} }

// Entries are the entries of a table in no particular order, or of a log, oldest first: there the last of several with
// one key counts, and those not behind the checkpoint are in the table already. What cannot be read is told, and the
// rest of a table goes on.
func (d *DDT) Entries(ctx context.Context, p *Pool) iter.Seq2[DDTEntry, error] {
	return func(yield func(DDTEntry, error) bool) {
		if d.Log {
			d.logEntries(ctx, p, yield)
			return
		}
		z, err := p.MOS.ZAP(ctx, d.Object)
		if err != nil {
			yield(DDTEntry{}, fmt.Errorf("%s: %w", d.Name, err))
			return
		}
		class := uint8(0)
		for i, name := range ddtClasses() {
			if name == d.Class {
				class = uint8(i)
			}
		}
		for e, err := range z.All(ctx) {
			var entry DDTEntry
			if err == nil {
				entry, err = d.entry(p, &e)
				entry.Class = class
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", d.Name, err)
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// entry unpacks a value: a byte with the compression function and byte order, and the places (ddt_zap_compress).
func (d *DDT) entry(p *Pool, e *ZAPEntry) (DDTEntry, error) {
	if len(e.Key) != ddtKeyWords || e.IntSize != 1 || len(e.Value) < 1 {
		return DDTEntry{}, corrupt("an entry with a key of %d words and a value of %d bytes", len(e.Key), len(e.Value))
	}
	const function, little = 0x7f, 0x80
	var order binary.ByteOrder = binary.BigEndian
	if e.Value[0]&little != 0 {
		order = binary.LittleEndian
	}
	raw := make([]byte, d.physSize())
	a := compress.Algorithm(e.Value[0] & function)
	if a != compress.ZLE {
		a = compress.Off
	}
	if err := p.decoder.Decompress(a, raw, e.Value[1:]); err != nil {
		return DDTEntry{}, corrupt("%w", err)
	}
	return DDTEntry{Key: decodeDDTKey(e.Key), Phys: d.phys(decodeWords(raw, order))}, nil
}

func (d *DDT) physSize() int {
	if d.Flat {
		return ddtFlatWords * 8
	}
	return ddtTradWords * ddtTradCount * 8
}

func (d *DDT) phys(w []uint64) []DDTPhys {
	size := ddtTradWords
	if d.Flat {
		size = ddtFlatWords
	}
	var all []DDTPhys
	for ; len(w) >= size; w = w[size:] {
		p := DDTPhys{DVA: [3]DVA{{w[0], w[1]}, {w[2], w[3]}, {w[4], w[5]}}, RefCount: w[6], PhysicalBirth: w[7]}
		if d.Flat {
			p.ClassStart = w[8]
		}
		all = append(all, p)
	}
	return all
}

// logEntries reads the blocks of a log: records one behind another, a zero where the rest is not used (ddt_log_load_one).
func (d *DDT) logEntries(ctx context.Context, p *Pool, yield func(DDTEntry, error) bool) {
	o, err := p.MOS.Object(ctx, d.Object)
	if err != nil {
		yield(DDTEntry{}, fmt.Errorf("%s: %w", d.Name, err))
		return
	}
	for at := uint64(0); at < d.Length; at += uint64(o.DataBlockSize) {
		block, err := o.filled(ctx, at/uint64(o.DataBlockSize))
		if err != nil {
			yield(DDTEntry{}, fmt.Errorf("%s: %w", d.Name, err))
			return
		}
		for e, err := range d.records(block) {
			if err != nil {
				err = fmt.Errorf("%s: %w", d.Name, err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (d *DDT) records(block Block) iter.Seq2[DDTEntry, error] {
	return func(yield func(DDTEntry, error) bool) {
		const header, invalid, entry = 8, 0, 1
		want := header + ddtKeyWords*8 + d.physSize()
		for rest := block.Data; len(rest) >= header; {
			info := block.Order.Uint64(rest)
			if bits(info, 0, 8) == invalid {
				return
			}
			size := int(bits(info, 8, 16))
			if bits(info, 0, 8) != entry || size < want || size > len(rest) {
				yield(DDTEntry{}, corrupt("a record %#x with %d bytes left", info, len(rest)))
				return
			}
			w := decodeWords(rest[header:want], block.Order)
			e := DDTEntry{Key: decodeDDTKey(w), Class: uint8(bits(info, 56, 8)), Phys: d.phys(w[ddtKeyWords:])}
			if !yield(e, nil) {
				return
			}
			rest = rest[size:]
		}
	}
}
