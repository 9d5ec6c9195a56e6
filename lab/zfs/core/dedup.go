package core

import (
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// ddtItems are the deduplication tables of a pool, by checksum (spa_ddt). There is one for each checksum that may be used
// for deduplication, most of them empty.
func (z *ZFS) ddtItems(from place) (items, error) {
	tables := from.Field("spa_ddt")
	if err := tables.Err(); err != nil {
		return items{}, err
	}
	values := map[int64]kernel.Value{}
	for i := range tables.Type().Base().Len() {
		p := tables.Index(i)
		null, err := p.IsNull()
		if err != nil {
			return items{}, err
		}
		if !null {
			values[int64(i)] = p.Deref().Rename(fmt.Sprintf("%s.ddt[%d]", from.Path(), i))
		}
	}
	return keyed("ddt", values), nil
}

// brtItems are the block reference tables of a pool's vdevs. OpenZFS before 2.2 has none.
func (z *ZFS) brtItems(from place) (items, error) {
	if !z.has("brt_vdev_t") {
		return items{}, absent("this version clones no blocks")
	}
	return pointerItems("brt", "spa_brt_vdevs", "spa_brt_nvdevs", "bv_vdevid")(z, from)
}

// pendingItems are the entries of the trees of open transaction groups, one after the other.
func (z *ZFS) pendingItems(from place) (items, error) {
	trees := from.Field("bv_pending_tree")
	if err := trees.Err(); err != nil {
		return items{}, err
	}
	var values []kernel.Value
	for i := range trees.Type().Base().Len() {
		entries, err := z.avl(trees.Index(i), "brt_entry_t")
		if err != nil {
			return items{}, err
		}
		for _, e := range entries {
			values = append(values, e.Rename(fmt.Sprintf("%s.pending[%d]", from.Path(), len(values))))
		}
	}
	return valueItems("entry", from, values), nil
}

// ddtPhysSize is how many bytes an entry of a table has behind the struct, in its flexible array: whether it is flat or
// traditional is for the table to say.
func (z *ZFS) ddtPhysSize(ddt kernel.Value) (int, error) {
	entry, err := z.typed("ddt_entry_t")
	if err != nil {
		return 0, err
	}
	phys, ok := entry.Field("dde_phys")
	if !ok {
		return 0, fmt.Errorf("ddt_entry_t has no dde_phys: %w", kernel.ErrUnknown)
	}
	if phys.Type.Base().Len() != kernel.Flexible {
		return 0, nil // before fast deduplication: within the entry
	}
	const flat = 1 << 0 // DDT_FLAG_FLAT in include/sys/ddt.h
	flags, err := ddt.Field("ddt_flags").Uint()
	if err != nil {
		return 0, err
	}
	name := "ddp_trad"
	if flags&flat != 0 {
		name = "ddp_flat"
	}
	part, ok := phys.Type.Base().Elem().Field(name)
	if !ok {
		return 0, fmt.Errorf("ddt_univ_phys_t has no %s: %w", name, kernel.ErrUnknown)
	}
	return part.Type.Size(), nil
}
