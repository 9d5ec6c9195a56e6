package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
)

// What an object set is for (dmu_objset_type_t in include/sys/dmu.h).
const (
	ObjSetMeta uint64 = 1
	ObjSetZFS  uint64 = 2
	ObjSetZVol uint64 = 3
)

// Objects that have no number of their own in an object set.
const (
	MetaDNode       uint64 = 0
	UserUsed        uint64 = 1<<64 - 1
	GroupUsed       uint64 = 1<<64 - 2
	ProjectUsed     uint64 = 1<<64 - 3
	objsetSizeV1           = 1 << 10 // what there is before the accounting objects
	objsetSizeV2           = 2 << 10
	objsetSizeV3           = 4 << 10
	objsetZILHeader        = DNodeSlot // offset
	objsetType             = objsetZILHeader + zilHeaderSize
)

// ObjSet is a set of objects: the MOS, a file system, a volume, or a snapshot of one.
type ObjSet struct {
	// ID is the object of its DSL dataset, 0 for the MOS.
	ID uint64
	// Root points at the structure that all hangs on.
	Root  BlkPtr
	Type  uint64
	Flags uint64
	// Meta is the object whose data are the dnodes of all others. The accounting objects are nil where there are none.
	Meta                             DNode
	UserUsed, GroupUsed, ProjectUsed *DNode
	ZIL                              ZILHeader

	pool *Pool
}

// OpenObjSet reads the root of an object set. id is for messages and visitors.
func (p *Pool) OpenObjSet(ctx context.Context, root BlkPtr, id uint64) (*ObjSet, error) {
	if root.Type() != TypeObjSet || root.Level() != 0 || root.Hole() {
		return nil, fmt.Errorf("object set %d: %w", id, corrupt("its root is %v", root))
	}
	block, err := p.Read(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("object set %d: %w", id, err)
	}
	o, err := decodeObjSet(block.Data, block.Order)
	if err != nil {
		return nil, fmt.Errorf("object set %d: %w", id, err)
	}
	o.ID, o.Root, o.pool = id, root, p
	return o, nil
}

// decodeObjSet reads objset_phys_t (include/sys/dmu_objset.h), of which there are three sizes.
func decodeObjSet(p []byte, order binary.ByteOrder) (*ObjSet, error) {
	if len(p) < objsetSizeV1 {
		return nil, corrupt("%d bytes are no object set", len(p))
	}
	o := &ObjSet{
		Type: order.Uint64(p[objsetType:]), Flags: order.Uint64(p[objsetType+8:]),
		ZIL: decodeZILHeader(p[objsetZILHeader:], order),
	}
	var err error
	if o.Meta, err = DecodeDNode(p[:DNodeSlot], order); err != nil {
		return nil, fmt.Errorf("meta dnode: %w", err)
	}
	if o.Meta.Type != TypeDNode && o.Meta.Type != TypeNone {
		return nil, corrupt("a meta dnode of type %d", o.Meta.Type)
	}
	for _, x := range []struct {
		at, size int
		d        **DNode
	}{{objsetSizeV1, objsetSizeV2, &o.UserUsed}, {objsetSizeV1 + DNodeSlot, objsetSizeV2, &o.GroupUsed}, {objsetSizeV2, objsetSizeV3, &o.ProjectUsed}} {
		if len(p) < x.size {
			continue
		}
		d, err := DecodeDNode(p[x.at:x.at+DNodeSlot], order)
		if err != nil {
			return nil, fmt.Errorf("accounting dnode: %w", err)
		}
		if d.Type != TypeNone {
			*x.d = &d
		}
	}
	return o, nil
}

// Pool is the pool that the object set is read from.
func (o *ObjSet) Pool() *Pool { return o.pool }

// Object reads the dnode of an object. A free number gives ErrNotFound.
func (o *ObjSet) Object(ctx context.Context, id uint64) (*Object, error) {
	obj := &Object{ID: id, Set: o}
	switch id {
	case MetaDNode:
		obj.DNode = o.Meta
	case UserUsed, GroupUsed, ProjectUsed:
		d := map[uint64]*DNode{UserUsed: o.UserUsed, GroupUsed: o.GroupUsed, ProjectUsed: o.ProjectUsed}[id]
		if d == nil {
			return nil, fmt.Errorf("%v: %w", obj, ErrNotFound)
		}
		obj.DNode = *d
	default:
		perBlock := uint64(o.Meta.DataBlockSize) / DNodeSlot
		if o.Meta.Type == TypeNone || perBlock == 0 || id/perBlock > o.Meta.MaxBlkID {
			return nil, fmt.Errorf("%v: %w", obj, ErrNotFound)
		}
		meta := &Object{ID: MetaDNode, Set: o, DNode: o.Meta}
		b, err := meta.BlkPtr(ctx, 0, id/perBlock)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", obj, err)
		}
		block, err := o.pool.Read(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", obj, err)
		}
		if err := obj.decode(block, id%perBlock, b.Encrypted()); err != nil {
			return nil, fmt.Errorf("%v: %w", obj, err)
		}
	}
	if obj.Type == TypeNone {
		return nil, fmt.Errorf("%v: %w", obj, ErrNotFound)
	}
	return obj, nil
}

// decode takes a dnode out of a block. A number in the middle of a larger dnode is not found out: whoever asks for it
// followed a reference.
func (obj *Object) decode(block Block, slot uint64, encrypted bool) error {
	at := slot * DNodeSlot
	if at >= uint64(len(block.Data)) {
		return corrupt("a block of %d bytes with dnodes", len(block.Data))
	}
	d, err := DecodeDNode(block.Data[at:], block.Order)
	if err != nil {
		return err
	}
	d.bonusEncrypted = encrypted && encryptedType(d.BonusType)
	obj.DNode = d
	return nil
}

// Objects are all allocated objects in the order of their numbers. A block of dnodes that cannot be read gives an error
// for the first number in it, and what follows goes on; the same for a dnode that is corrupt.
func (o *ObjSet) Objects(ctx context.Context) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		if o.Meta.Type == TypeNone {
			return
		}
		meta := &Object{ID: MetaDNode, Set: o, DNode: o.Meta}
		for entry, err := range meta.Blocks(ctx) {
			perBlock := uint64(o.Meta.DataBlockSize) / DNodeSlot
			first := entry.BlkID * perBlock
			if err == nil {
				var block Block
				if block, err = o.pool.Read(ctx, entry.Ptr); err == nil {
					if !o.objectsOf(block, first, entry.Ptr.Encrypted(), yield) {
						return
					}
					continue
				}
			}
			if !yield(nil, fmt.Errorf("%v: %w", &Object{ID: first, Set: o}, err)) || ctx.Err() != nil {
				return
			}
		}
	}
}

func (o *ObjSet) objectsOf(block Block, first uint64, encrypted bool, yield func(*Object, error) bool) bool {
	slots := uint64(len(block.Data)) / DNodeSlot
	if err := o.pool.Spend(2 * slots); err != nil {
		yield(nil, fmt.Errorf("%v: %w", &Object{ID: first, Set: o}, err))
		return false
	}
	for slot := uint64(0); slot < slots; {
		obj := &Object{ID: first + slot, Set: o}
		err := obj.decode(block, slot, encrypted)
		if err != nil {
			if !yield(nil, fmt.Errorf("%v: %w", obj, err)) {
				return false
			}
			slot++
			continue
		}
		if obj.Type != TypeNone && obj.ID != MetaDNode && !yield(obj, nil) {
			return false
		}
		slot += uint64(obj.Slots)
	}
	return true
}
