package ondisk

import (
	"context"
	"errors"
	"slices"
	"sort"
)

// Names in the MOS directory, and in the ZAP of a removed vdev (include/sys/dmu.h, include/sys/fs/zfs.h).
const (
	removingName    = "com.delphix:removing"
	condensingName  = "com.delphix:condensing_indirect"
	noIndirectVDev  = 1<<64 - 1 // there is no removed vdev before this one
	removalScanning = 1         // DSS_SCANNING: a vdev is being removed
)

// mappingHead is the bonus of a mapping (vdev_indirect_mapping_phys_t).
type mappingHead struct {
	// maxOffset is where the last range ends, bytes how long all of them are, entries how many.
	maxOffset, bytes, entries uint64
	// counts is the object that says how many bytes of each range nobody refers to any more, 0 if counted is false, as in pools
	// without the feature obsolete_counts.
	counts  uint64
	counted bool
}

func readMappingHead(o *Object) (h mappingHead, err error) {
	const words = 3 // VDEV_INDIRECT_MAPPING_SIZE_V0; with counts there is one more
	w := o.bonusWords()
	if len(w) < words {
		return h, corrupt("a bonus of %d words", len(w))
	}
	h = mappingHead{maxOffset: w[0], bytes: w[1], entries: w[2]}
	if h.counted = len(w) > words; h.counted {
		h.counts = w[words]
	}
	return h, nil
}

// removals looks at what tells where the content of removed vdevs went. An import opens all of it (spa_remove_init in
// module/zfs/vdev_removal.c and what that calls), and takes it for granted: what is not there panics.
func (d *demands) removals(ctx context.Context) {
	d.removalChain(ctx)
	condensed, old := d.condensing(ctx)
	for _, v := range d.VDevs {
		if v == nil || v.Type != vdevIndirect && !v.Removing() {
			continue
		}
		var unknown *UnsupportedError
		if errors.As(v.noMapping, &unknown) {
			continue
		}
		if v.noMapping != nil {
			d.miss("where the content of removed vdev %d went cannot be read, so that an import panics: %v", v.ID, v.noMapping)
			continue
		}
		d.births(ctx, v)
		obsolete := d.mapping(ctx, v)
		if obsolete == nil || v.Type != vdevIndirect {
			continue
		}
		if s, err := d.ObsoleteSpaceMap(ctx, v); err == nil && s != nil { // an audit tells of errors
			d.obsolete(ctx, v, s, obsolete)
		}
		if condensed == v.ID && old != nil {
			d.obsolete(ctx, v, old, obsolete)
		}
	}
}

// removing is what the pool says of removals (spa_removing_phys_t).
type removing struct{ state, vdev, last uint64 }

func (d *demands) readRemoving(ctx context.Context) (r removing, err error) {
	r = removing{0, noIndirectVDev, noIndirectVDev}
	e, err := d.Directory.Lookup(ctx, removingName)
	if isNotFound(err) {
		return r, nil
	}
	w := e.Uint64s()
	if err == nil && (e.IntSize != 8 || len(w) < 3) {
		err = corrupt("%d numbers of %d bytes", e.NumInts, e.IntSize)
	}
	if err == nil {
		r = removing{w[0], w[1], w[2]}
	}
	return r, err
}

// removalChain follows the removed vdevs from the last to the first, which is how an import finds them.
func (d *demands) removalChain(ctx context.Context) {
	now, err := d.readRemoving(ctx)
	if err != nil {
		d.miss("what the pool says of removals cannot be read: %v", err)
		return
	}
	is := func(id uint64, kind func(*VDev) bool) bool {
		return id < uint64(len(d.VDevs)) && d.VDevs[id] != nil && kind(d.VDevs[id])
	}
	met := map[uint64]bool{}
	for id := now.last; id != noIndirectVDev; id = d.VDevs[id].PrevIndirect {
		if met[id] || !is(id, func(v *VDev) bool { return v.Type == vdevIndirect }) {
			d.miss("vdev %d is said to be one that was removed, and is none, or was told of before: an import panics", id)
			return
		}
		met[id] = true
	}
	scanning := now.state == removalScanning
	for _, v := range d.VDevs {
		switch {
		case v == nil:
		case v.Type == vdevIndirect && !met[v.ID]:
			d.miss("vdev %d was removed, and no import finds where its content went: it is not among those that the pool calls removed", v.ID)
		case v.Removing() && (!scanning || now.vdev != v.ID):
			d.miss("vdev %d is being removed by its configuration, and not by what the pool says of removals", v.ID)
		}
	}
	if scanning && !is(now.vdev, (*VDev).Removing) {
		d.miss("vdev %d is being removed by what the pool says of removals, and not by its configuration: an import panics", now.vdev)
	}
}

// condensing is of which removed vdev the mapping is being made smaller, and the map of what had become obsolete of it before that
// began; nil if there is none (spa_condensing_indirect_phys_t).
func (d *demands) condensing(ctx context.Context) (vdev uint64, old *SpaceMap) {
	const id, oldMap, next, all = 0, 1, 2, 3
	e, err := d.Directory.Lookup(ctx, condensingName)
	if isNotFound(err) {
		return 0, nil
	}
	w := e.Uint64s()
	if err == nil && (e.IntSize != 8 || len(w) < all) {
		err = corrupt("%d numbers of %d bytes", e.NumInts, e.IntSize)
	}
	if err == nil && w[oldMap] != 0 {
		old, err = d.SpaceMap(ctx, w[oldMap], 0, 0)
	}
	if err == nil && w[next] != 0 {
		var o *Object
		if o, err = d.MOS.Object(ctx, w[next]); err == nil {
			_, err = readMappingHead(o)
		}
	}
	if err != nil {
		d.miss("a mapping of a removed vdev was being made smaller, and how far that was cannot be read, so that an import panics: %v", err)
		return 0, nil
	}
	return w[id], old
}

// mapping compares the header of a mapping with its entries, and gives how many bytes of each of these are obsolete by its counts
// (vdev_indirect_mapping_verify and vdev_indirect_mapping_load_obsolete_counts in module/zfs/vdev_indirect_mapping.c). It gives nil
// if that is not known.
func (d *demands) mapping(ctx context.Context, v *VDev) (obsolete []uint32) {
	o, err := d.MOS.Object(ctx, v.MappingObject)
	if err != nil {
		return nil // it was read when the pool was opened
	}
	h, err := readMappingHead(o)
	if err != nil {
		return nil
	}
	var bytes, end uint64
	for i, e := range v.mapping {
		last := e.source + e.target.ASize() - 1
		if shiftRight(e.source, v.MetaslabShift) != shiftRight(last, v.MetaslabShift) || last >= v.ASize || (e.source|e.target.ASize())&(1<<v.AShift-1) != 0 {
			d.miss("entry %d of the mapping of removed vdev %d, %#x to %#x, lies in no metaslab that it had", i, v.ID, e.source, last+1)
		}
		bytes += e.target.ASize()
		end = last + 1
	}
	if h.maxOffset != end {
		d.miss("the mapping of removed vdev %d ends at offset %#x, and its header says %#x: builds with assertions, and zdb, panic", v.ID, end, h.maxOffset)
	}
	if h.bytes != bytes {
		d.miss("the mapping of removed vdev %d has %d bytes, and its header says %d", v.ID, bytes, h.bytes)
	}
	obsolete = make([]uint32, len(v.mapping))
	if !h.counted {
		return obsolete
	}
	if err := d.counts(ctx, h, obsolete); err != nil {
		d.miss("how much of removed vdev %d is obsolete cannot be read, so that zdb panics, and a module when it makes the mapping smaller: %v", v.ID, err)
		return nil
	}
	for i, n := range obsolete {
		if size := v.mapping[i].target.ASize(); uint64(n) > size {
			d.miss("entry %d of the mapping of removed vdev %d has %d bytes, of which %d are said to be obsolete", i, v.ID, size, n)
			return nil
		}
	}
	return obsolete
}

// counts reads the counts of a mapping; what is beyond the end of their object is 0.
func (d *demands) counts(ctx context.Context, h mappingHead, all []uint32) error {
	if h.counts == 0 {
		return corrupt("there is no object for it")
	}
	o, err := d.MOS.Object(ctx, h.counts)
	if err != nil {
		return err
	}
	p, order, err := o.readAll(ctx, min(4*uint64(len(all)), o.Size()), o.Block)
	for i := range min(len(all), len(p)/4) {
		all[i] = order.Uint32(p[4*i:])
	}
	return err
}

// obsolete adds what a space map says of what nobody refers to any more (vdev_indirect_mapping_load_obsolete_spacemap).
func (d *demands) obsolete(ctx context.Context, v *VDev, s *SpaceMap, counts []uint32) {
	for e, err := range s.Entries(ctx) {
		if err != nil {
			return // an audit tells
		}
		if e.Debug {
			continue
		}
		if e.Free {
			d.miss("word %d of the obsolete space map of removed vdev %d frees what is obsolete", e.Index, v.ID)
			return
		}
		i := sort.Search(len(v.mapping), func(i int) bool { return v.mapping[i].source+v.mapping[i].target.ASize() > e.Offset })
		for at, end := e.Offset, e.Offset+e.Size; at < end; i++ {
			if i == len(v.mapping) || v.mapping[i].source > at {
				d.miss("word %d of the obsolete space map of removed vdev %d names offset %#x, which is not mapped, so that zdb panics, and a module when it "+
					"makes the mapping smaller", e.Index, v.ID, at)
				return
			}
			size := v.mapping[i].target.ASize()
			n := min(end, v.mapping[i].source+size) - at
			if uint64(counts[i])+n > size {
				d.miss("entry %d of the mapping of removed vdev %d has %d bytes, and more than those are said to be obsolete", i, v.ID, size)
				return
			}
			counts[i] += uint32(n)
			at += n
		}
		if d.Spend(1) != nil {
			return
		}
	}
}

// births looks at the list that says in which txg the content of a removed vdev was copied, which is asked for when a block
// pointer is made to name the new place (vdev_indirect_births_physbirth in module/zfs/vdev_indirect_births.c).
func (d *demands) births(ctx context.Context, v *VDev) {
	births, err := v.readBirths(ctx, d.MOS)
	if err != nil {
		d.miss("when the content of removed vdev %d was copied cannot be read, so that an import panics: %v", v.ID, err)
		return
	}
	var offsets, txgs []uint64
	for _, b := range births {
		offsets, txgs = append(offsets, b.end), append(txgs, b.txg)
	}
	if !slices.IsSorted(offsets) || !slices.IsSorted(txgs) {
		d.miss("the list of when the content of removed vdev %d was copied is not in order", v.ID)
	}
	if n := len(txgs); n > 0 && txgs[n-1] > d.Uberblock.TXG {
		d.miss("the content of removed vdev %d was copied in txg %d, to which the pool has not come", v.ID, txgs[n-1])
	}
	if n := len(v.mapping); n > 0 {
		if end := v.mapping[n-1].source + v.mapping[n-1].target.ASize(); len(offsets) == 0 || offsets[len(offsets)-1] < end {
			d.miss("the list of when the content of removed vdev %d was copied ends before offset %#x, which was copied", v.ID, end)
		}
	}
}
