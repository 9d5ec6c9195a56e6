package core

import (
	"encoding/binary"
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// The words of a space map entry (include/sys/space_map.h).
const (
	smPrefixShift = 62
	smDebug       = 2 // SM_DEBUG_PREFIX
	smTwoWords    = 3 // SM2_PREFIX
)

// entryTypes are the three kinds of space map entries, their bits named as in the comment in include/sys/space_map.h.
// The kind is told by the uppermost bits, prefix; that of one word has a prefix of one bit.
func (z *ZFS) entryTypes() (one, two, debug kernel.Type, err error) {
	word, err := z.typed("uint64_t")
	bits := func(name string, offset, size int) kernel.Field {
		return kernel.Field{Name: name, Type: word, Offset: offset / 8, BitOffset: offset % 8, BitSize: size}
	}
	one = z.types.StructOf("space_map_entry_1", 8, bits("run", 0, 15), bits("type", 15, 1), bits("offset", 16, 47), bits("prefix", 63, 1))
	two = z.types.StructOf("space_map_entry_2", 16, bits("vdev", 0, 24), bits("run", 24, 36), bits("pad", 60, 2), bits("prefix", 62, 2),
		bits("offset", 64, 63), bits("type", 127, 1))
	debug = z.types.StructOf("space_map_entry_debug", 8, bits("txg", 0, 50), bits("syncpass", 50, 10), bits("action", 60, 2), bits("prefix", 62, 2))
	return one, two, debug, err
}

// entryItems are the entries in use in a level-0 block of a space map or a bpobj.
func (z *ZFS) entryItems(from place) (items, error) {
	d, dn, err := z.dbufOf(from.Value)
	if err != nil {
		return items{}, err
	}
	d.value = from.Value
	dmu, err := z.dmuTypes()
	if err != nil {
		return items{}, err
	}
	if dn == nil || d.level > 0 || d.blkid < 0 {
		return items{}, fmt.Errorf("%s is no block of a space map or bpobj", from.Path())
	}
	var values []kernel.Value
	switch kind := dmu.name(dn.dmuType); kind {
	case "DMU_OT_SPACE_MAP":
		values, err = z.spaceMapEntries(d, dn)
	case "DMU_OT_BPOBJ":
		values, err = z.bpobjEntries(d, dn)
	default:
		err = fmt.Errorf("%s is a block of %s, not of a space map or bpobj", from.Path(), kind)
	}
	return valueItems("entry", from, values), err
}

// header is a member of the bonus buffer, from the dbuf, or from the dnode_phys_t when there is no dbuf.
func (z *ZFS) header(dn *dnode, typ, name string) (uint64, error) {
	bonus, err := z.bonus(dn)
	if err != nil {
		return 0, err
	}
	t, err := z.typed(typ)
	if err != nil {
		return 0, err
	}
	if bonus != nil && bonus.data != 0 {
		return z.view.At(t, bonus.data, bonus.value.Path()+".data").Field(name).Uint()
	}
	phys := dn.value.Field("dn_phys")
	blocks, err := phys.Field("dn_nblkptr").Uint()
	if err != nil {
		return 0, err
	}
	at := phys.Field("dn_blkptr").Index(0).Addr() + blocks*uint64(z.named["blkptr_t"].Size()) // DN_BONUS
	return z.view.At(t, at, dn.value.Path()+".dn_phys.dn_bonus").Field(name).Uint()
}

// used is how many bytes of a block are within the first length bytes of its object.
func used(d *dbuf, length uint64) uint64 {
	start := uint64(d.blkid) * d.size
	if length <= start {
		return 0
	}
	return min(d.size, length-start)
}

func (z *ZFS) spaceMapEntries(d *dbuf, dn *dnode) ([]kernel.Value, error) {
	length, err := z.header(dn, "space_map_phys_t", "smp_length")
	if err != nil {
		return nil, err
	}
	one, two, debug, err := z.entryTypes()
	if err != nil {
		return nil, err
	}
	data, err := z.dbufData(d, dn)
	if err != nil {
		return nil, err
	}
	p := make([]byte, used(d, length)&^7)
	if err := z.view.Read(data.Addr(), p); err != nil {
		return nil, err
	}
	var out []kernel.Value
	for at := 0; at < len(p); {
		t := one
		switch binary.LittleEndian.Uint64(p[at:]) >> smPrefixShift {
		case smDebug:
			t = debug
		case smTwoWords:
			t = two
		}
		if at+t.Size() > len(p) {
			return out, fmt.Errorf("%s: an entry of two words begins in the last one", d.value.Path())
		}
		out = append(out, z.view.At(t, data.Addr()+uint64(at), fmt.Sprintf("%s.entry[%d]", d.value.Path(), len(out))))
		at += t.Size()
	}
	return out, nil
}

func (z *ZFS) bpobjEntries(d *dbuf, dn *dnode) ([]kernel.Value, error) {
	count, err := z.header(dn, "bpobj_phys_t", "bpo_num_blkptrs")
	if err != nil {
		return nil, err
	}
	t, err := z.typed("blkptr_t")
	if err != nil {
		return nil, err
	}
	data, err := z.dbufData(d, dn)
	if err != nil {
		return nil, err
	}
	size := uint64(t.Size())
	out := make([]kernel.Value, used(d, count*size)/size)
	for i := range out {
		out[i] = z.view.At(t, data.Addr()+uint64(i)*size, fmt.Sprintf("%s.entry[%d]", d.value.Path(), i))
	}
	return out, nil
}
