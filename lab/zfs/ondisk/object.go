package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
)

// Object is an object of an object set: a dnode and the tree of blocks below it.
type Object struct {
	DNode
	ID  uint64
	Set *ObjSet
}

func (o *Object) String() string { return fmt.Sprintf("object %d of object set %d", o.ID, o.Set.ID) }

// Size is the size in bytes of the blocks that there may be; how much of it is content only the owner knows.
func (o *Object) Size() uint64 {
	if o.DataBlockSize == 0 { // free
		return 0
	}
	if o.MaxBlkID >= 1<<63/uint64(o.DataBlockSize) {
		return 1<<63 - 1
	}
	return (o.MaxBlkID + 1) * uint64(o.DataBlockSize)
}

// Entry is a block pointer and its place in the tree of an object.
type Entry struct {
	Level int
	BlkID uint64
	Ptr   BlkPtr
}

// BlkPtr is the pointer to a block of a level. Beyond the end, and below a hole, it is a hole.
func (o *Object) BlkPtr(ctx context.Context, level int, blkid uint64) (BlkPtr, error) {
	top := int(o.Levels) - 1
	if level > top || level < 0 {
		return BlkPtr{}, corrupt("level %d of an object of %d", level, o.Levels)
	}
	index := func(l int) uint64 { return shiftRight(blkid, uint(l-level)*o.indirectSpan()) }
	if index(top) >= uint64(len(o.BlkPtrs)) {
		return BlkPtr{}, nil
	}
	b := o.BlkPtrs[index(top)]
	for l := top; l > level; l-- {
		if b.Hole() {
			return BlkPtr{}, nil
		}
		pointers, err := o.indirect(ctx, b, l, nil)
		if err != nil {
			return BlkPtr{}, err
		}
		b = decodeBlkPtr(pointers.Data[index(l-1)%o.pointersPerBlock()*BlkPtrSize:], pointers.Order)
	}
	return b, nil
}

func shiftRight(v uint64, n uint) uint64 {
	if n > 63 {
		return 0
	}
	return v >> n
}

// indirect reads an indirect block, into room if there is one, and makes sure that it is one.
func (o *Object) indirect(ctx context.Context, b BlkPtr, level int, room *[]byte) (Block, error) {
	if b.Level() != level || b.LSize() != 1<<o.IndirectShift {
		return Block{}, corrupt("%v as block of level %d of %v", b, level, o)
	}
	return o.Set.pool.read(ctx, b, room)
}

// pointers are those in an indirect block, with their places. The ones that are all zeroes are left out, holes that nobody
// ever wrote to: the only indirect block of a small file has hardly anything else.
func (o *Object) pointers(block Block) iter.Seq2[uint64, BlkPtr] {
	return func(yield func(uint64, BlkPtr) bool) {
		for i := range o.pointersPerBlock() {
			raw := block.Data[i*BlkPtrSize:][:BlkPtrSize]
			if [BlkPtrSize]byte(raw) == [BlkPtrSize]byte{} {
				continue
			}
			if !yield(i, decodeBlkPtr(raw, block.Order)) {
				return
			}
		}
	}
}

// Blocks are the data blocks that exist, holes left out, in order. An indirect block that cannot be read gives an error
// with the first number below it, and what follows goes on.
func (o *Object) Blocks(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i, b := range o.BlkPtrs {
			if !o.blocks(ctx, b, int(o.Levels)-1, uint64(i), yield) {
				return
			}
		}
	}
}

func (o *Object) blocks(ctx context.Context, b BlkPtr, level int, blkid uint64, yield func(Entry, error) bool) bool {
	if b.Hole() {
		return true
	}
	if level == 0 {
		return yield(Entry{BlkID: blkid, Ptr: b}, nil)
	}
	block, err := o.indirect(ctx, b, level, nil)
	if err != nil {
		return yield(Entry{BlkID: blkid << (uint(level) * o.indirectSpan()), Ptr: b}, err) && ctx.Err() == nil
	}
	for i, child := range o.pointers(block) {
		if !o.blocks(ctx, child, level-1, blkid<<o.indirectSpan()+i, yield) {
			return false
		}
	}
	return true
}

// Block reads a data block. A hole gives zeroes in the byte order of the dnode.
func (o *Object) Block(ctx context.Context, blkid uint64) (Block, error) {
	b, err := o.BlkPtr(ctx, 0, blkid)
	if err != nil {
		return Block{}, err
	}
	if b.Hole() {
		return Block{Data: make([]byte, o.DataBlockSize), Order: o.Order}, o.Set.pool.Spend(1 + uint64(o.DataBlockSize)>>(sectorShift+2))
	}
	if b.LSize() != uint64(o.DataBlockSize) || b.Level() != 0 {
		return Block{}, corrupt("%v as block %d of %v, whose blocks have %d bytes", b, blkid, o, o.DataBlockSize)
	}
	return o.Set.pool.Read(ctx, b)
}

// filled reads a data block that cannot be a hole, because what the object holds is never all zeroes. A forged length then
// leads no further than there are blocks.
func (o *Object) filled(ctx context.Context, blkid uint64) (Block, error) {
	b, err := o.BlkPtr(ctx, 0, blkid)
	if err == nil && b.Hole() {
		err = corrupt("block %d of %v is a hole", blkid, o)
	}
	if err != nil {
		return Block{}, err
	}
	return o.Block(ctx, blkid)
}

// ReadAt fills p with what the object has at an offset. At the end of the last block it stops with io.EOF.
func (o *Object) ReadAt(ctx context.Context, p []byte, offset uint64) (int, error) {
	done := 0
	for done < len(p) {
		at := offset + uint64(done)
		if at >= o.Size() {
			return done, io.EOF
		}
		block, err := o.Block(ctx, at/uint64(o.DataBlockSize))
		if err != nil {
			return done, fmt.Errorf("read %v at %d: %w", o, at, err)
		}
		done += copy(p[done:], block.Data[at%uint64(o.DataBlockSize):])
	}
	return done, nil
}

// maxWhole is how much of an object is read into memory at once at most.
const maxWhole = 1 << 30

// readAll reads the first n bytes of a small object. The byte order is that of its first block.
func (o *Object) readAll(ctx context.Context, n uint64, read func(context.Context, uint64) (Block, error)) ([]byte, binary.ByteOrder, error) {
	if n > o.Size() || n > maxWhole {
		return nil, nil, corrupt("%d bytes of %v, which has %d", n, o, o.Size())
	}
	if n == 0 {
		return nil, o.Order, nil
	}
	var order binary.ByteOrder
	p := make([]byte, 0, min(n, maxBlockSize))
	for at := uint64(0); at < n; {
		block, err := read(ctx, at/uint64(o.DataBlockSize))
		if err != nil {
			return nil, nil, fmt.Errorf("read %v at %d: %w", o, at, err)
		}
		if order == nil {
			order = block.Order
		}
		part := block.Data[:min(n-at, uint64(len(block.Data)))]
		p = append(p, part...)
		at += uint64(len(part))
	}
	return p, order, nil
}
