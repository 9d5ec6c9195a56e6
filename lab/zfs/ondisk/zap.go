package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"iter"
)

// ZAP is an object that maps names to values: a micro ZAP, one block of names with one number each, or a fat one, a
// hash table of leaf blocks (include/sys/zap_impl.h, include/sys/zap_leaf.h).
type ZAP struct {
	Object *Object
	// Micro says which of the two it is.
	Micro bool
	// Salt goes into the hash; NormFlags say how names are compared, 0 byte by byte; Flags are zap_flags_t.
	Salt, NormFlags, Flags uint64
	// Leaves and Entries are what the header of a fat ZAP counts.
	Leaves, Entries uint64

	head  Block
	shift uint   // binary logarithm of the length of the pointer table
	table uint64 // its first block, 0: it is embedded in the header
}

// ZAPEntry is a name with its value: NumInts integers of IntSize bytes.
type ZAPEntry struct {
	Name string
	// Key is the name of a ZAP whose names are numbers (ZAP_FLAG_UINT64_KEY), nil in all others.
	Key     []uint64
	IntSize int
	NumInts int
	// Value are the integers, big endian.
	Value []byte
	// Hash is that of the name, with a collision differentiator for names of equal hash; of a fat ZAP's entry.
	Hash uint64
	CD   uint32
}

// Uint64s are the integers of the value.
func (e *ZAPEntry) Uint64s() []uint64 {
	all := make([]uint64, 0, e.NumInts)
	for i := 0; i+e.IntSize <= len(e.Value) && e.IntSize > 0; i += e.IntSize {
		var v uint64
		for _, b := range e.Value[i : i+e.IntSize] {
			v = v<<8 | uint64(b)
		}
		all = append(all, v)
	}
	return all
}

// Uint64 is the first integer of the value, 0 if there is none.
func (e *ZAPEntry) Uint64() uint64 {
	if all := e.Uint64s(); len(all) > 0 {
		return all[0]
	}
	return 0
}

const (
	zapMicro  = 1<<63 + 3 // ZBT_MICRO
	zapHeader = 1<<63 + 1 // ZBT_HEADER
	zapLeaf   = 1<<63 + 0 // ZBT_LEAF
	zapMagic  = 0x2f52ab2ab
	leafMagic = 0x2ab1eaf

	mzapHead  = 64 // bytes before the first entry of a micro ZAP, and the size of an entry
	mzapName  = 14 // offset of the name in an entry
	mzapEntry = 64

	zapFlagHash64    = 1 << 0
	zapFlagUint64Key = 1 << 1
	zapFlagPreHashed = 1 << 2

	maxZAPShift = 40 // of the pointer table: beyond what any object can hold
)

// ZAP opens the object as a ZAP. Encrypted ones give ErrEncrypted.
func (o *Object) ZAP(ctx context.Context) (*ZAP, error) {
	if !IsZAP(o.Type) {
		return nil, fmt.Errorf("%v: %w", o, corrupt("a %s is no ZAP", TypeName(o.Type)))
	}
	head, err := o.Block(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("ZAP %v: %w", o, err)
	}
	z, err := decodeZAPHead(head)
	if err != nil {
		return nil, fmt.Errorf("ZAP %v: %w", o, err)
	}
	z.Object = o
	if z.table != 0 {
		// The table must lie in the object, so that walking it ends.
		blocks := uint64(1) << z.shift * 8 / uint64(o.DataBlockSize)
		if z.table > o.MaxBlkID || blocks > o.MaxBlkID || z.table+blocks-1 > o.MaxBlkID {
			return nil, fmt.Errorf("ZAP %v: %w", o, corrupt("a pointer table of 2^%d entries", z.shift))
		}
	}
	return z, nil
}

// ZAP opens an object of the set as a ZAP.
func (o *ObjSet) ZAP(ctx context.Context, id uint64) (*ZAP, error) {
	obj, err := o.Object(ctx, id)
	if err != nil {
		return nil, err
	}
	return obj.ZAP(ctx)
}

func decodeZAPHead(head Block) (*ZAP, error) {
	p, order := head.Data, head.Order
	if len(p) < DNodeSlot {
		return nil, corrupt("a block of %d bytes", len(p))
	}
	word := func(i int) uint64 { return order.Uint64(p[8*i:]) }
	switch word(0) {
	case zapMicro:
		return &ZAP{Micro: true, Salt: word(1), NormFlags: word(2), head: head}, nil
	case zapHeader:
	default:
		return nil, corrupt("block type %#x", word(0))
	}
	if word(1) != zapMagic {
		return nil, corrupt("magic %#x", word(1))
	}
	z := &ZAP{
		Leaves: word(8), Entries: word(9), Salt: word(10), NormFlags: word(11), Flags: word(12), head: head,
		table: word(2),
	}
	blocks, shift := word(3), word(4)
	if shift > maxZAPShift {
		return nil, corrupt("a pointer table of 2^%d entries", shift)
	}
	z.shift = uint(shift)
	embedded := uint64(len(p)) / 2 / 8
	if z.table == 0 && (1<<z.shift != embedded || blocks != 0) || z.table != 0 && 1<<z.shift*8 != blocks*uint64(len(p)) {
		return nil, corrupt("a pointer table of 2^%d entries in %d blocks", shift, blocks)
	}
	return z, nil
}

// All are the entries, in the order in which they lie. A leaf that cannot be read gives an error, and what follows goes
// on, for a while. So does, behind them, what keeps OpenZFS from finding entries that are there.
func (z *ZAP) All(ctx context.Context) iter.Seq2[ZAPEntry, error] {
	return func(yield func(ZAPEntry, error) bool) {
		if z.Micro {
			microEntries(z.head, func(e ZAPEntry) bool { return yield(e, nil) })
			return
		}
		for i, bad := uint64(0), 0; i < 1<<z.shift; {
			leaf, err := z.leafAt(ctx, i)
			if err == nil && i&(1<<(z.shift-leaf.prefixLen)-1) != 0 {
				err = corrupt("entry %d of the pointer table points into the middle of a leaf", i)
			}
			if err != nil {
				if bad++; !yield(ZAPEntry{}, fmt.Errorf("ZAP %v: %w", z.Object, err)) || bad > maxBadLeaves || ctx.Err() != nil {
					return
				}
				i++
				continue
			}
			for e, err := range leaf.entries(z.Flags&zapFlagUint64Key != 0) {
				if err != nil {
					err = fmt.Errorf("ZAP %v: %w", z.Object, err)
				}
				if !yield(e, err) {
					return
				}
				if err == nil && !z.placed(leaf, &e) && !yield(ZAPEntry{}, fmt.Errorf("ZAP %v: %w", z.Object, brokenTable("no lookup finds entry %s", e.label()))) {
					return
				}
			}
			i += 1 << (z.shift - leaf.prefixLen)
		}
	}
}

// maxBadLeaves is after how many errors a walk gives up: a forged table can have more than one can wait for.
const maxBadLeaves = 1024

// leafAt reads the leaf that an entry of the pointer table points at.
func (z *ZAP) leafAt(ctx context.Context, i uint64) (*zapLeafBlock, error) {
	table, at := z.head, uint64(len(z.head.Data))/2+8*i
	if z.table != 0 {
		size := uint64(z.Object.DataBlockSize)
		var err error
		if table, err = z.Object.Block(ctx, z.table+8*i/size); err != nil {
			return nil, err
		}
		at = 8 * i % size
	}
	blkid := table.Order.Uint64(table.Data[at:])
	if blkid == 0 || blkid > z.Object.MaxBlkID {
		return nil, corrupt("entry %d of the pointer table is %d", i, blkid)
	}
	block, err := z.Object.Block(ctx, blkid)
	if err != nil {
		return nil, err
	}
	leaf, err := decodeZAPLeaf(block)
	if err != nil {
		return nil, fmt.Errorf("leaf %d: %w", blkid, err)
	}
	// The prefix says which part of the table points at this leaf: one that does not fit would be walked twice.
	if leaf.prefixLen > z.shift || i>>(z.shift-leaf.prefixLen) != leaf.prefix {
		return nil, corrupt("leaf %d has prefix %#x of %d bits and entry %d of 2^%d points at it", blkid, leaf.prefix, leaf.prefixLen, i, z.shift)
	}
	return leaf, nil
}

// Lookup finds an entry by its name, byte by byte, also where the ZAP's owner would ignore case or form. No such entry
// gives ErrNotFound.
func (z *ZAP) Lookup(ctx context.Context, name string) (ZAPEntry, error) {
	return z.find(ctx, z.All(ctx), func(e *ZAPEntry) bool { return e.Name == name }, z.NormFlags == 0 && z.Flags&zapFlagUint64Key == 0, func() uint64 {
		return z.hash([]byte(name))
	}, name)
}

// LookupKey finds an entry of a ZAP whose names are numbers.
func (z *ZAP) LookupKey(ctx context.Context, key ...uint64) (ZAPEntry, error) {
	match := func(e *ZAPEntry) bool {
		if len(e.Key) != len(key) {
			return false
		}
		for i := range key {
			if e.Key[i] != key[i] {
				return false
			}
		}
		return true
	}
	return z.find(ctx, z.All(ctx), match, z.Flags&zapFlagUint64Key != 0 && len(key) > 0, func() uint64 { return z.hashKey(key) }, key)
}

func (z *ZAP) hashKey(key []uint64) uint64 {
	if z.Flags&zapFlagPreHashed != 0 {
		return key[0]
	}
	p := make([]byte, 0, 8*len(key))
	for _, w := range key {
		p = binary.LittleEndian.AppendUint64(p, w)
	}
	return z.hash(p)
}

// Unsalted says that names are hashed without a salt, which OpenZFS never leaves out and zap_hash asserts.
func (z *ZAP) Unsalted() bool { return z.Salt == 0 && z.Flags&zapFlagPreHashed == 0 }

// placed says that a lookup comes to the leaf of an entry, and takes the entry there for what it looks for. Names that are
// compared in another form are hashed in it, which is not known here.
func (z *ZAP) placed(leaf *zapLeafBlock, e *ZAPEntry) bool {
	hash := e.Hash
	switch {
	case e.Key != nil:
		hash = z.hashKey(e.Key)
	case z.NormFlags == 0:
		hash = z.hash([]byte(e.Name))
	}
	unused := uint(64 - 28) // zap_hashbits
	if z.Flags&zapFlagHash64 != 0 {
		unused = 64 - 48
	}
	return e.Hash == hash>>unused<<unused && e.Hash>>(64-leaf.prefixLen) == leaf.prefix
}

// label is the name, or what stands for it.
func (e *ZAPEntry) label() string {
	if e.Key != nil {
		return fmt.Sprintf("%#x", e.Key)
	}
	return fmt.Sprintf("%q", e.Name)
}

// find looks into the leaf of the hash alone if that is known, into all entries otherwise.
func (z *ZAP) find(ctx context.Context, all iter.Seq2[ZAPEntry, error], match func(*ZAPEntry) bool, hashed bool, hash func() uint64, name any) (ZAPEntry, error) {
	if !z.Micro && hashed {
		leaf, err := z.leafAt(ctx, z.tableIndex(hash()))
		if err != nil {
			return ZAPEntry{}, fmt.Errorf("ZAP %v: %w", z.Object, err)
		}
		all = leaf.entries(z.Flags&zapFlagUint64Key != 0)
	}
	for e, err := range all {
		switch {
		case errors.Is(err, ErrBrokenTable): // what OpenZFS may not find is found here
		case err != nil:
			return ZAPEntry{}, err
		case match(&e):
			return e, nil
		}
	}
	return ZAPEntry{}, fmt.Errorf("%v in ZAP %v: %w", name, z.Object, ErrNotFound)
}

func (z *ZAP) tableIndex(hash uint64) uint64 {
	if z.shift == 0 {
		return 0
	}
	return hash >> (64 - z.shift)
}

// hash is zap_hash of module/zfs/zap_micro.c: a CRC that starts with the salt. Its lower bits, which OpenZFS clears, lie
// below those that choose the leaf.
func (z *ZAP) hash(p []byte) uint64 {
	h := z.Salt
	table := crc64.MakeTable(crc64.ECMA)
	for _, b := range p {
		h = h>>8 ^ table[byte(h)^b]
	}
	return h
}

// microEntries are the entries of a micro ZAP: a number, a collision differentiator and a name each.
func microEntries(head Block, yield func(ZAPEntry) bool) {
	p := head.Data
	for at := mzapHead; at+mzapEntry <= len(p); at += mzapEntry {
		e := p[at : at+mzapEntry]
		name := e[mzapName:]
		n := 0
		for n < len(name) && name[n] != 0 {
			n++
		}
		if n == 0 {
			continue
		}
		value := binary.BigEndian.AppendUint64(nil, head.Order.Uint64(e))
		if !yield(ZAPEntry{Name: string(name[:n]), IntSize: 8, NumInts: 1, Value: value, CD: head.Order.Uint32(e[8:])}) {
			return
		}
	}
}
