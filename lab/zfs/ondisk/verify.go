package ondisk

import (
	"bytes"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

const embeddedSize = BlkPtrSize - 2*8 // all words but two (BPE_PAYLOAD_SIZE)

// Verify says what about a block pointer cannot be, whatever pool it is in: types and functions that do not exist, sizes
// that no block has, bits that nobody sets. OpenZFS refuses to read what the first two are said of, and panics when it
// frees that (zfs_blkptr_verify in module/zfs/zio.c). Nil: nothing, as about a hole.
func (b BlkPtr) Verify() error {
	if b.Hole() {
		return nil
	}
	switch {
	case !validType(b.Type()):
		return corrupt("a block pointer of type %d", b.Type())
	case !decompresses(b.Compress()):
		return corrupt("a block pointer with compression function %d", b.Compress())
	case b.LSize() > maxBlockSize:
		return corrupt("a block pointer to %d bytes", b.LSize())
	case b.Embedded():
		return b.verifyEmbedded()
	case b.Checksum() < uint8(checksum.Off) || b.Checksum() > uint8(checksum.BLAKE3):
		return corrupt("a block pointer with checksum function %d", b.Checksum())
	case b.PSize() > maxBlockSize:
		return corrupt("a block pointer to %d bytes on disk", b.PSize())
	case b.DVA[0].ASize() == 0:
		return corrupt("a block pointer without an address")
	case b.Pad[0]&^rewritten != 0 || b.Pad[1] != 0:
		return corrupt("a block pointer with %016x:%016x for padding", b.Pad[0], b.Pad[1])
	}
	return nil
}

func (b BlkPtr) verifyEmbedded() error {
	switch {
	case b.Checksum() != embeddedData && b.Checksum() != embeddedRedacted:
		return corrupt("a block pointer with embedded content of kind %d", b.Checksum())
	case b.PSize() > embeddedSize:
		return corrupt("a block pointer with %d embedded bytes", b.PSize())
	case b.Dedup() || b.Crypt():
		return corrupt("a block pointer with embedded content that is deduplicated or encrypted")
	}
	return nil
}

// decompresses says that there is a function for it. What is embedded may be kept as it is, like all else.
func decompresses(c uint8) bool {
	a := compress.Algorithm(c)
	return a >= compress.Off && a <= compress.ZSTD && a != compress.Empty
}

// verify is Verify for a pointer at its place, whose level and type must fit it: OpenZFS follows a pointer by what it says
// of itself (traverse_visitbp in module/zfs/dmu_traverse.c).
func (r Ref) verify(b BlkPtr) error {
	if err := b.Verify(); err != nil {
		return err
	}
	level, kind := max(r.Level, 0), TypeNone
	switch {
	case r.Kind == RefPending || r.Kind == RefLivelist: // blocks of all levels and types
		return nil
	case r.Kind == RefRoot:
		kind = TypeObjSet
	case r.Kind == RefZIL:
		kind = TypeIntentLog
	case r.Object == MetaDNode:
		kind = TypeDNode
	}
	if r.ObjSet == 0 && !b.Embedded() && (b.Crypt() || b.Dedup() || b.Rewritten()) {
		return corrupt("a block pointer of the MOS that is encrypted, deduplicated or rewritten, which no block of it ever is")
	}
	if b.Level() != level {
		return corrupt("a block pointer of level %d, at level %d", b.Level(), level)
	}
	switch t := b.Type(); t {
	case kind:
	case TypeObjSet, TypeIntentLog, TypeDNode:
		return corrupt("a block pointer to a %s", TypeName(t))
	default:
		if kind != TypeNone {
			return corrupt("a block pointer to a %s instead of a %s", TypeName(t), TypeName(kind))
		}
	}
	if b.Embedded() && (level > 0 || kind != TypeNone) {
		return corrupt("a block of level %d, %s, that is embedded in the pointer to it", level, TypeName(b.Type()))
	}
	return nil
}

// Verify says what about a dnode cannot be, though it can be read. OpenZFS takes it as it is, and uses the numbers as
// indices and shifts (dnode_verify in module/zfs/dnode.c has what debug builds look at).
func (d *DNode) Verify() error {
	switch {
	case d.Type == TypeNone:
		return nil
	case !validType(d.Type):
		return corrupt("a dnode of type %d", d.Type)
	case d.IndirectShift < minIndirect || d.IndirectShift > maxIndirect:
		return corrupt("a dnode with indirect blocks of 2^%d bytes", d.IndirectShift)
	case len(d.Bonus) > 0 && !validType(d.BonusType):
		return corrupt("a dnode with a bonus of type %d", d.BonusType)
	case d.Checksum > uint8(checksum.BLAKE3):
		return corrupt("a dnode with checksum function %d", d.Checksum)
	case d.Compress > uint8(compress.ZSTD):
		return corrupt("a dnode with compression function %d", d.Compress)
	}
	return nil
}

// verifyFree tells of slots in a block of dnodes that are free and not empty. OpenZFS empties them, and looks into them when
// it walks a block (traverse_visitbp).
func (w *walk) verifyFree(set uint64, block Block, first uint64) error {
	for slot := uint64(0); slot < uint64(len(block.Data))/DNodeSlot; {
		raw := block.Data[slot*DNodeSlot:][:DNodeSlot]
		if raw[0] != TypeNone {
			slot += uint64(raw[12]) + 1 // dn_extra_slots
			continue
		}
		if !bytes.Equal(raw, make([]byte, DNodeSlot)) {
			err := w.Malformed(Ref{Kind: RefDNode, ObjSet: set, Object: first + slot}, BlkPtr{}, corrupt("a free dnode that is not empty"))
			if err != nil {
				return err
			}
		}
		slot++
	}
	return nil
}
