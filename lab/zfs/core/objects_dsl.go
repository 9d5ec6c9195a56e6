package core

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/kernel"
)

// ignoreAbsent is nil for an error that only says that there is nothing.
func ignoreAbsent(err error) error {
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

// datasets lists a pool's datasets, their deadlists and what waits to be put on them.
func (l *lister) datasets(spa kernel.Value) error {
	all, err := l.z.datasets(spa)
	if err != nil {
		return err
	}
	for _, ds := range all {
		about := Object{Dataset: ds.name, Object: ds.number}
		if err := l.add(KindDataset, ds.value, about); err != nil || l.stopped {
			return err
		}
		if err := l.bplist(ds.value.Field("ds_pending_deadlist")); err != nil {
			return err
		}
		for _, name := range []string{"ds_deadlist", "ds_remap_deadlist"} {
			if err := l.deadlist(ds.value.Field(name), ds); err != nil || l.stopped {
				return err
			}
		}
	}
	return nil
}

// deadlist lists one that is open, with its entries if they were read.
func (l *lister) deadlist(dl kernel.Value, ds dataset) error {
	var n numbers
	object := n.uint(dl.Field("dl_object"))
	open := n.uint(dl.Field("dl_os")) != 0
	old, tree := n.uint(dl.Field("dl_oldfmt")) != 0, n.uint(dl.Field("dl_havetree")) != 0
	if n.err != nil || !open {
		return n.err
	}
	if err := l.add(KindDeadlist, dl, Object{Within: ds.value.Path(), Dataset: ds.name, Object: object}); err != nil {
		return err
	}
	if old {
		return l.bpobj(dl.Field("dl_bpobj"), ds.value.Path())
	}
	if !tree {
		return nil
	}
	all, err := avlItems("dl_tree", "dsl_deadlist_entry_t")(l.z, place{Value: dl})
	if err != nil {
		return err
	}
	for i := range all.len() {
		e, err := all.at(i)
		if err != nil {
			return err
		}
		mintxg, err := e.Field("dle_mintxg").Uint()
		if err != nil {
			return err
		}
		if err := l.add(KindDeadlistEntry, e.Value, Object{Dataset: ds.name, Detail: fmt.Sprintf("born from txg %d on", mintxg)}); err != nil || l.stopped {
			return err
		}
		if err := l.bpobj(e.Field("dle_bpobj"), e.Path()); err != nil {
			return err
		}
	}
	return nil
}

// each lists items as objects of a kind; extra bytes lie behind each struct.
func (l *lister) each(kind string, all items, err error, extra int) error {
	if err != nil {
		return ignoreAbsent(err)
	}
	for i := range all.len() {
		v, err := all.at(i)
		if err != nil {
			return err
		}
		if err := l.add(kind, v.Value, Object{Size: uint64(v.Type().Size() + extra)}); err != nil || l.stopped {
			return err
		}
	}
	return nil
}

// dedup lists the deduplication tables and the entries that are in memory beside the blocks of their ZAPs.
func (l *lister) dedup(spa kernel.Value) error {
	tables, err := l.z.ddtItems(place{Value: spa})
	if err != nil {
		return err
	}
	for i := range tables.len() {
		ddt, err := tables.at(i)
		if err != nil {
			return err
		}
		extra, err := l.z.ddtPhysSize(ddt.Value)
		if err != nil {
			return err
		}
		if err := l.add(KindDDT, ddt.Value, Object{}); err != nil || l.stopped {
			return err
		}
		entries, err := avlItems("ddt_tree", "ddt_entry_t")(l.z, ddt)
		if err := l.each(KindDDTEntry, entries, err, extra); err != nil {
			return err
		}
		if !l.z.has("ddt_log_t") {
			continue
		}
		logs := ddt.Field("ddt_log")
		if err := logs.Err(); err != nil {
			return err
		}
		for j := range logs.Type().Base().Len() {
			entries, err := avlItems("ddl_tree", "ddt_log_entry_t")(l.z, place{Value: logs.Index(j)})
			if err := l.each(KindDDTEntry, entries, err, extra); err != nil {
				return err
			}
		}
	}
	return nil
}

// cloned lists the block reference tables.
func (l *lister) cloned(spa kernel.Value) error {
	tables, err := l.z.brtItems(place{Value: spa})
	if err != nil {
		return ignoreAbsent(err)
	}
	for i := range tables.len() {
		brt, err := tables.at(i)
		if err != nil {
			return err
		}
		if err := l.add(KindBRT, brt.Value, Object{}); err != nil || l.stopped {
			return err
		}
		entries, err := avlItems("bv_tree", "brt_entry_t")(l.z, brt)
		if err := l.each(KindBRTEntry, entries, err, 0); err != nil {
			return err
		}
		entries, err = l.z.pendingItems(brt)
		if err := l.each(KindBRTEntry, entries, err, 0); err != nil {
			return err
		}
	}
	return nil
}

// objsets lists open object sets, their dnodes and bonus buffers.
func (l *lister) objsets() error {
	b, err := l.z.allBuffers()
	if err != nil {
		return err
	}
	dmu, err := l.z.dmuTypes()
	if err != nil {
		return err
	}
	for _, os := range b.sets {
		if err := l.add(KindObjset, os.value, Object{Dataset: os.name, Object: os.number}); err != nil || l.stopped {
			return err
		}
		if buf, err := os.value.Field("os_phys_buf").Uint(); err == nil && buf != 0 {
			l.bufs = append(l.bufs, buf)
		}
		nodes, err := l.z.dnodes(os)
		if err != nil {
			return err
		}
		for _, dn := range nodes {
			dirty, err := l.z.dirty(dn)
			if err != nil {
				return err
			}
			about := Object{Dataset: os.name, Object: uint64(dn.object), DMUType: dmu.name(dn.dmuType), Dirty: dirty}
			if err := l.add(KindDnode, dn.value, about); err != nil || l.stopped {
				return err
			}
			bonus, err := l.z.bonus(dn)
			if err != nil {
				return err
			}
			if bonus != nil {
				if err := l.dbuf(bonus, dn, dmu); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// dbufs lists the buffers of the hash table.
func (l *lister) dbufs() error {
	b, err := l.z.allBuffers()
	if err != nil {
		return err
	}
	dmu, err := l.z.dmuTypes()
	if err != nil {
		return err
	}
	for _, d := range b.list {
		if _, err := l.z.dnodes(d.set); err != nil {
			return err
		}
		if err := l.dbuf(d, d.set.byID[d.object], dmu); err != nil || l.stopped {
			return err
		}
	}
	return nil
}

// dbuf lists a buffer, its data, and the data of earlier transaction groups that is still to be written.
func (l *lister) dbuf(d *dbuf, dn *dnode, dmu *dmuTypes) error {
	about := Object{Dataset: d.set.name, Object: uint64(d.object), Level: d.level, Blkid: d.blkid, Dirty: d.dirty, Metadata: d.level > 0 || d.blkid < 0}
	if dn != nil {
		about.DMUType = dmu.name(dn.dmuType)
		if d.blkid == bonusBlkid {
			about.DMUType = dmu.name(dn.bonusType)
		}
		about.Metadata = about.Metadata || dmu.isMetadata(dn.dmuType)
	}
	if err := l.add(KindDbuf, d.value, about); err != nil || l.stopped {
		return err
	}
	if d.buf != 0 {
		l.bufs = append(l.bufs, d.buf)
	}
	if d.data != 0 {
		v, err := l.z.dbufData(d, dn)
		if err != nil {
			return err
		}
		l.data[v.Addr()] = true
		if err := l.add(KindData, v, about); err != nil || l.stopped {
			return err
		}
	}
	if !d.dirty {
		return nil
	}
	return l.dirtyRecords(d, dn, about)
}

func (l *lister) dirtyRecords(d *dbuf, dn *dnode, about Object) error {
	records, err := listItems("dirty", "db_dirty_records", "dbuf_dirty_record_t")(l.z, place{Value: d.value})
	if err != nil {
		return err
	}
	for i := range records.len() {
		dr, err := records.at(i)
		if err != nil {
			return err
		}
		txg, err := dr.Field("dr_txg").Uint()
		if err != nil {
			return err
		}
		about.Detail = fmt.Sprintf("txg %d", txg)
		if err := l.add(KindDirty, dr.Value, about); err != nil || l.stopped {
			return err
		}
		if d.level == 0 && d.blkid != bonusBlkid {
			if buf, err := dr.Field("dt").Field("dl").Field("dr_data").Uint(); err == nil && buf != 0 {
				l.bufs = append(l.bufs, buf)
			}
		}
		v, err := l.z.dirtyData(dr.Value, d, dn)
		if err != nil {
			if err = ignoreAbsent(err); err != nil {
				return err
			}
			continue
		}
		if l.data[v.Addr()] {
			continue
		}
		l.data[v.Addr()] = true
		if err := l.add(KindData, v, about); err != nil || l.stopped {
			return err
		}
	}
	return nil
}

// arc lists headers and the data that no dbuf points to. It comes after the dbufs, which tell whose buffers are known.
func (l *lister) arc() error {
	slices.Sort(l.bufs)
	headers, err := l.z.headers(slices.Compact(l.bufs))
	if err != nil {
		return err
	}
	for _, h := range headers {
		about := Object{Detail: h.state, Metadata: h.metadata, Dirty: h.state == "anon"}
		if err := l.add(KindArcHeader, h.value, about); err != nil || l.stopped {
			return err
		}
		if !h.l1 {
			continue
		}
		bufs, err := l.z.bufData(h)
		if err != nil {
			return err
		}
		chunks, err := l.z.hdrChunks(h.value)
		if err != nil {
			return err
		}
		for _, v := range append(bufs, chunks...) {
			if l.data[v.Addr()] {
				continue
			}
			l.data[v.Addr()] = true
			if err := l.add(KindArcData, v, about); err != nil || l.stopped {
				return err
			}
		}
	}
	return nil
}
