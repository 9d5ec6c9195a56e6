package core

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// buffers are all dbufs that are in the hash table, and the object sets that they belong to. Every open object set has
// some, at least those of its dnodes.
type buffers struct {
	list    []*dbuf
	at      map[dbufKey]*dbuf
	sets    []*objset // in the order of their discovery, the MOS first
	objsets map[uint64]*objset
}

type dbufKey struct {
	objset        uint64
	object, blkid int64
	level         uint64
}

// dbuf is a dmu_buf_impl_t.
type dbuf struct {
	dbufKey
	value kernel.Value
	set   *objset
	size  uint64
	data  uint64 // address, 0 if the block is not in memory
	dirty bool
	buf   uint64 // arc_buf_t, 0 for a bonus buffer
}

// newDbuf reads one; its object set is not known yet.
func (z *ZFS) newDbuf(v kernel.Value) (*dbuf, error) {
	var n numbers
	db := v.Field("db")
	d := &dbuf{value: v, dbufKey: dbufKey{
		objset: n.uint(v.Field("db_objset")), object: int64(n.uint(db.Field("db_object"))),
		level: n.uint(v.Field("db_level")), blkid: int64(n.uint(v.Field("db_blkid"))),
	}}
	d.size, d.data, d.buf = n.uint(db.Field("db_size")), n.uint(db.Field("db_data")), n.uint(v.Field("db_buf"))
	d.dirty = n.uint(v.Field("db_dirtycnt")) > 0
	return d, n.err
}

// hashLimit bounds hash tables, in entries: they are sized by the guest's memory.
const hashLimit = 1 << 24

// hashTable calls visit with the chain of every bucket that is not empty, as the address of its first element.
func (z *ZFS) hashTable(table kernel.Value, mask uint64, visit func(bucket int, first uint64) error) error {
	if mask >= hashLimit || mask&(mask+1) != 0 {
		return fmt.Errorf("%s: the mask of the hash table is %#x", table.Path(), mask)
	}
	addr, err := table.Uint()
	if err != nil {
		return err
	}
	p := make([]byte, 8*(mask+1))
	if err := z.view.Read(addr, p); err != nil {
		return fmt.Errorf("%s: %w", table.Path(), err)
	}
	for i := range int(mask) + 1 {
		if first := binary.LittleEndian.Uint64(p[8*i:]); first != 0 {
			if err := visit(i, first); err != nil {
				return err
			}
		}
	}
	return nil
}

// chain walks a hash chain.
func (z *ZFS) chain(t kernel.Type, first uint64, next string, seen map[uint64]bool, visit func(kernel.Value) error) error {
	for addr := first; addr != 0; {
		if seen[addr] {
			return fmt.Errorf("%s at %#x is in the hash table twice", z.word(t), addr)
		}
		seen[addr] = true
		v := z.view.At(t, addr, fmt.Sprintf("%s@%#x", z.word(t), addr))
		if err := visit(v); err != nil {
			return err
		}
		var err error
		if addr, err = v.Field(next).Uint(); err != nil {
			return err
		}
	}
	return nil
}

// allBuffers walks dbuf_hash_table (module/zfs/dbuf.c), once.
func (z *ZFS) allBuffers() (*buffers, error) {
	if z.buffers != nil {
		return z.buffers, nil
	}
	t, err := z.typed("dmu_buf_impl_t")
	if err != nil {
		return nil, err
	}
	spas, err := z.Spas()
	if err != nil {
		return nil, err
	}
	b := &buffers{at: map[dbufKey]*dbuf{}, objsets: map[uint64]*objset{}}
	for _, spa := range spas {
		mos := spa.Field("spa_meta_objset")
		if null, err := mos.IsNull(); err != nil || null {
			if err != nil {
				return nil, err
			}
			continue // the pool is just being opened or closed
		}
		if err := z.addObjset(b, mos.Deref(), spas); err != nil {
			return nil, err
		}
	}
	h := z.view.Var("dbuf_hash_table")
	mask, err := h.Field("hash_table_mask").Uint()
	if err != nil {
		return nil, err
	}
	seen := map[uint64]bool{}
	err = z.hashTable(h.Field("hash_table"), mask, func(_ int, first uint64) error {
		return z.chain(t, first, "db_hash_next", seen, func(v kernel.Value) error {
			d, err := z.newDbuf(v)
			if err != nil {
				return err
			}
			if b.objsets[d.objset] == nil {
				if err := z.addObjset(b, v.Field("db_objset").Deref(), spas); err != nil {
					return err
				}
			}
			b.add(d)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the buffers: %w", err)
	}
	z.buffers = b
	return b, nil
}

func (z *ZFS) addObjset(b *buffers, v kernel.Value, spas []kernel.Value) error {
	spa, err := v.Field("os_spa").Uint()
	if err != nil {
		return err
	}
	for _, s := range spas {
		if s.Addr() != spa {
			continue
		}
		os, err := z.newObjset(v, s)
		if err != nil {
			return err
		}
		b.objsets[v.Addr()], b.sets = os, append(b.sets, os)
		return nil
	}
	return fmt.Errorf("object set at %#x belongs to no pool", v.Addr())
}

// add names a buffer and takes it in.
func (b *buffers) add(d *dbuf) {
	d.set = b.objsets[d.objset]
	d.value = d.value.Rename(fmt.Sprintf("%s.dnode[%d].dbuf(%d, %d)", d.set.value.Path(), d.object, d.level, d.blkid))
	b.list, b.at[d.dbufKey] = append(b.list, d), d
}

// bonus is the bonus buffer of a dnode, nil if it is not in memory. It is in no hash table.
func (z *ZFS) bonus(dn *dnode) (*dbuf, error) {
	p := dn.value.Field("dn_bonus")
	if null, err := p.IsNull(); err != nil || null {
		return nil, err
	}
	d, err := z.newDbuf(p.Deref())
	if err != nil {
		return nil, err
	}
	d.set = dn.objset
	d.value = d.value.Rename(fmt.Sprintf("%s.dbuf(0, %d)", dn.value.Path(), bonusBlkid))
	return d, nil
}

// dbufOf finds what is known of a buffer.
func (z *ZFS) dbufOf(v kernel.Value) (*dbuf, *dnode, error) {
	d, err := z.newDbuf(v)
	if err != nil {
		return nil, nil, err
	}
	os, err := z.objsetOf(v.Field("db_objset").Deref())
	if err != nil {
		return nil, nil, err
	}
	d.set = os
	if _, err := z.dnodes(os); err != nil {
		return nil, nil, err
	}
	return d, os.byID[d.object], nil
}

// dbufCall is dnode.dbuf(level, blkid).
func (z *ZFS) dbufCall(from place, args []argument) (place, error) {
	if len(args) != 2 || args[0].isText || args[1].isText {
		return from, errors.New("dbuf wants a level and a block id")
	}
	b, err := z.allBuffers()
	if err != nil {
		return from, err
	}
	dn, err := z.dnodeOf(from.Value)
	if err != nil {
		return from, err
	}
	level, blkid := args[0].number, args[1].number
	if d, err := z.bonus(dn); level == 0 && blkid == bonusBlkid && (err != nil || d != nil) {
		if err != nil {
			return from, err
		}
		return place{Value: d.value}, nil
	}
	if d, ok := b.at[dbufKey{dn.objset.value.Addr(), dn.object, blkid, uint64(level)}]; ok {
		return place{Value: d.value}, nil
	}
	var there []string
	for _, d := range b.list {
		if d.set == dn.objset && d.object == dn.object {
			there = append(there, fmt.Sprintf("(%d, %d)", d.level, d.blkid))
		}
	}
	return from, absent("no dbuf(%d, %d) in memory; there %s", level, blkid, are(there))
}

// dbufData is the data of a buffer, typed by what the object is.
func (z *ZFS) dbufData(d *dbuf, dn *dnode) (kernel.Value, error) {
	if d.data == 0 {
		return kernel.Value{}, absent("%s has no data in memory", d.value.Path())
	}
	return z.dataAt(d, dn, d.data, d.value.Path()+".data")
}

func (z *ZFS) dataAt(d *dbuf, dn *dnode, addr uint64, path string) (kernel.Value, error) {
	const most = 16 << 20 // SPA_MAXBLOCKSIZE
	if d.size == 0 || d.size > most {
		return kernel.Value{}, fmt.Errorf("%s has %d bytes", d.value.Path(), d.size)
	}
	t, err := z.dataType(dn, d.level, d.blkid, d.size)
	if err != nil {
		return kernel.Value{}, err
	}
	return z.view.At(t, addr, path), nil
}

func (z *ZFS) dbufDataPlace(from place) (place, error) {
	d, dn, err := z.dbufOf(from.Value)
	if err != nil {
		return from, err
	}
	d.value = from.Value
	v, err := z.dbufData(d, dn)
	return place{Value: v}, err
}

// dirtyData is the data of a dirty record of a level-0 buffer; a record of another transaction group than the last may
// have a copy of its own (dr_data).
func (z *ZFS) dirtyData(dr kernel.Value, d *dbuf, dn *dnode) (kernel.Value, error) {
	if d.level > 0 {
		return kernel.Value{}, absent("%s is of an indirect block, whose data is that of the buffer", dr.Path())
	}
	p := dr.Field("dt").Field("dl").Field("dr_data")
	addr, err := p.Uint()
	if err == nil && addr != 0 && d.blkid != bonusBlkid { // of a bonus buffer it is the data itself
		addr, err = p.Field("b_data").Uint()
	}
	if err != nil {
		return kernel.Value{}, err
	}
	if addr == 0 {
		return kernel.Value{}, absent("%s has no data", dr.Path())
	}
	return z.dataAt(d, dn, addr, dr.Path()+".data")
}

func (z *ZFS) dirtyDataPlace(from place) (place, error) {
	d, dn, err := z.dbufOf(from.Field("dr_dbuf").Deref())
	if err != nil {
		return from, err
	}
	v, err := z.dirtyData(from.Value, d, dn)
	return place{Value: v}, err
}

// blockItems are the level-0 buffers of a dnode, a space map or a bpobj.
func (z *ZFS) blockItems(from place) (items, error) {
	b, err := z.allBuffers()
	if err != nil {
		return items{}, err
	}
	var set, object string
	switch z.kind(from.Type()) {
	case "space_map_t":
		set, object = "sm_os", "sm_object"
	case "bpobj_t":
		set, object = "bpo_os", "bpo_object"
	default:
		set, object = "dn_objset", "dn_object"
	}
	var n numbers
	os, id := n.uint(from.Field(set)), int64(n.uint(from.Field(object)))
	if n.err != nil {
		return items{}, n.err
	}
	values := map[int64]kernel.Value{}
	for _, d := range b.list {
		if d.objset == os && d.object == id && d.level == 0 && d.blkid >= 0 {
			values[d.blkid] = d.value
		}
	}
	return keyed("block in memory", values), nil
}
