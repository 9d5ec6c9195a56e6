package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

// blockKey is a block wherever it is referred to: where its first copy lies. An embedded one has its holder's key and its
// place there.
type blockKey struct {
	at       DVA // without its size
	embedded uint64
}

// node is a block on the way from the uberblock to a block that is changed.
type node struct {
	key   blockKey
	ptr   BlkPtr
	data  []byte
	order binary.ByteOrder
	// holders are the blocks with a pointer to this one; none: it is the root of the MOS.
	holders []holder
}

type holder struct {
	node   *node
	offset uint64 // of the pointer
}

// trace finds all ways from the uberblock to a block.
type trace struct {
	w     *Writer
	set   *ObjSet // of the block
	nodes map[blockKey]*node
}

func (w *Writer) newTrace(ctx context.Context, set uint64) (*trace, error) {
	t := &trace{w: w, set: w.pool.MOS, nodes: map[blockKey]*node{}}
	if set == 0 {
		return t, nil
	}
	d, err := w.pool.DSLDataset(ctx, set)
	if err != nil {
		return nil, err
	}
	t.set, err = w.pool.OpenDataset(ctx, d)
	return t, err
}

// find gives the block at a place, with all that refer to it: a block of a dataset may belong to snapshots and clones too,
// at the same place of theirs.
func (t *trace) find(ctx context.Context, at Position) (*node, error) {
	n, err := t.block(ctx, t.set, at.Object, at.Level, at.BlkID)
	if err != nil || at.ObjSet == 0 {
		return n, err
	}
	for o, err := range t.w.pool.MOS.Objects(ctx) {
		if err != nil {
			return nil, err
		}
		if o.BonusType != TypeDSLDataset || o.ID == at.ObjSet {
			continue
		}
		d, err := o.dslDataset(ctx)
		if err != nil {
			return nil, err
		}
		set, err := t.w.pool.OpenDataset(ctx, d)
		if err != nil {
			if isNotFound(err) {
				continue
			}
			return nil, err
		}
		// One that has no such block does not share it; whether one was forgotten, Verify finds out.
		if _, err := t.block(ctx, set, at.Object, at.Level, at.BlkID); errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return n, nil
}

// block gives the node of a block of an object.
func (t *trace) block(ctx context.Context, set *ObjSet, object uint64, level int, blkid uint64) (*node, error) {
	o, err := set.Object(ctx, object)
	if err != nil {
		return nil, err
	}
	h, span := holder{}, o.spanOrZero()
	switch top := int(o.Levels) - 1; {
	case level < 0 || level > top:
		return nil, corrupt("level %d of an object of %d", level, o.Levels)
	case level == top && blkid >= uint64(len(o.BlkPtrs)):
		return nil, fmt.Errorf("block %d of %v: %w", blkid, o, ErrNotFound)
	case level == top:
		if h, err = t.dnode(ctx, set, object); err != nil {
			return nil, err
		}
		h.offset += dnodeCore + blkid*BlkPtrSize
	default:
		if h.node, err = t.block(ctx, set, object, level+1, blkid>>span); err != nil {
			return nil, err
		}
		h.offset = blkid % o.pointersPerBlock() * BlkPtrSize
	}
	return t.node(ctx, h)
}

// dnode says where the dnode of an object lies.
func (t *trace) dnode(ctx context.Context, set *ObjSet, object uint64) (holder, error) {
	inRoot := map[uint64]uint64{
		MetaDNode: 0, UserUsed: objsetSizeV1, GroupUsed: objsetSizeV1 + DNodeSlot, ProjectUsed: objsetSizeV2,
	}
	if at, ok := inRoot[object]; ok {
		n, err := t.root(ctx, set)
		return holder{n, at}, err
	}
	perBlock := uint64(set.Meta.DataBlockSize) / DNodeSlot // Object has found it, so it is not 0
	n, err := t.block(ctx, set, MetaDNode, 0, object/perBlock)
	return holder{n, object % perBlock * DNodeSlot}, err
}

// root is the node of the root of an object set.
func (t *trace) root(ctx context.Context, set *ObjSet) (*node, error) {
	if set.ID == 0 {
		return t.node(ctx, holder{})
	}
	mos := t.w.pool.MOS
	o, err := mos.Object(ctx, set.ID)
	if err != nil {
		return nil, err
	}
	h, err := t.dnode(ctx, mos, set.ID)
	if err != nil {
		return nil, err
	}
	h.offset += dnodeCore + uint64(len(o.BlkPtrs))*BlkPtrSize + 8*dslDatasetWords
	return t.node(ctx, h)
}

// node reads the block to which a pointer points.
func (t *trace) node(ctx context.Context, h holder) (*node, error) {
	b := t.w.pool.Uberblock.Root
	if h.node != nil {
		b = decodeBlkPtr(h.node.data[h.offset:], h.node.order)
	}
	key := blockKey{at: NewDVA(b.DVA[0].VDev(), b.DVA[0].Offset(), 0, false)}
	if b.Embedded() {
		key = blockKey{h.node.key.at, h.offset + 1}
	}
	if n, ok := t.nodes[key]; ok {
		if h.node != nil && !slices.Contains(n.holders, h) {
			n.holders = append(n.holders, h)
		}
		return n, nil
	}
	switch {
	case b.Hole():
		return nil, unsupported("writing to a hole, for which space would have to be found")
	case b.Crypt():
		return nil, unsupported("writing %v, which is encrypted or authenticated", b)
	}
	block, err := t.w.pool.Read(ctx, b)
	if err != nil {
		return nil, err
	}
	n := &node{key: key, ptr: b, data: slices.Clone(block.Data), order: block.Order}
	if h.node != nil {
		n.holders = []holder{h}
	}
	t.nodes[key] = n
	return n, nil
}

// carry writes a changed block, puts its new pointer into those that refer to it, and so on up to the uberblock.
func (t *trace) carry(ctx context.Context, changed *node) error {
	// A block is written when all pointers in it that change have changed.
	waits := map[*node]int{}
	var count func(n *node)
	count = func(n *node) {
		for _, h := range n.holders {
			if waits[h.node]++; waits[h.node] == 1 {
				count(h.node)
			}
		}
	}
	count(changed)
	for ready := []*node{changed}; len(ready) > 0; ready = ready[1:] {
		n := ready[0]
		if err := t.w.writeBlock(ctx, n); err != nil {
			return err
		}
		if len(n.holders) == 0 {
			if err := t.w.setUberblock(ctx, n.ptr); err != nil {
				return err
			}
		}
		for _, h := range n.holders {
			n.ptr.encode(h.node.data[h.offset:], h.node.order)
			if waits[h.node]--; waits[h.node] == 0 {
				ready = append(ready, h.node)
			}
		}
	}
	return nil
}

// writeBlock makes n.ptr point at n.data.
func (w *Writer) writeBlock(ctx context.Context, n *node) error {
	b := &n.ptr
	switch {
	case b.Gang():
		return unsupported("writing gang block %v", *b)
	case b.Dedup():
		return unsupported("writing deduplicated block %v, which its entry in the dedup table names by its checksum", *b)
	case w.cloned[n.key.at] && !b.Embedded():
		return unsupported("writing cloned block %v, which others refer to", *b)
	case b.Embedded():
		return setEmbedded(b, n.data)
	case checksum.Algorithm(b.Checksum()).Embedded():
		return unsupported("writing %v with checksum function %v", *b, checksum.Algorithm(b.Checksum()))
	}
	raw, function, err := recompress(compress.Algorithm(b.Compress()), n.data, int(b.PSize()))
	if err != nil {
		return fmt.Errorf("write %v: %w", *b, err)
	}
	b.Prop = b.Prop&^(0x7f<<32) | uint64(function)<<32
	sum, err := w.pool.hasher.Sum(checksum.Algorithm(b.Checksum()), raw, b.order())
	if err != nil {
		return err
	}
	b.Cksum = sum
	for _, d := range b.DVAs() {
		v, err := w.pool.place(d, b.PSize())
		if err == nil {
			err = v.write(ctx, d.Offset(), raw, b.Birth(), 0)
		}
		if err != nil {
			return fmt.Errorf("write %v: %w", *b, err)
		}
	}
	w.rewritten[n.key] = *b
	return nil
}

// recompress makes a block of a size with the function that it has, or, where that makes it too large, with the best one
// that all pools know.
func recompress(a compress.Algorithm, data []byte, size int) ([]byte, compress.Algorithm, error) {
	raw, err := compress.Compress(a, data, size)
	if errors.Is(err, compress.ErrNoRoom) && a != compress.Off {
		if better, err := compress.Compress(compress.GZIP9, data, size); err == nil {
			return better, compress.GZIP9, nil
		}
	}
	return raw, a, err
}

// setEmbedded puts data into a pointer (encode_embedded_bp_compressed in module/zfs/blkptr.c). What holds it is the
// pointer's birth and properties, the size apart.
func setEmbedded(b *BlkPtr, data []byte) error {
	const prop, birth, payload = 6, 10, BlkPtrSize - 16
	function := compress.Algorithm(b.Compress())
	var raw []byte
	var err error
	size := int(b.PSize())
	for ; size <= payload; size++ {
		if raw, err = compress.Compress(function, data, size); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("write embedded block %v: %w", *b, err)
	}
	b.Prop = b.Prop&^(0x7f<<25) | uint64(size-1)<<25
	raw = append(raw, make([]byte, payload-len(raw))...)
	for i, w := range b.words() {
		if i != prop && i != birth {
			*w, raw = binary.LittleEndian.Uint64(raw), raw[8:]
		}
	}
	return nil
}
