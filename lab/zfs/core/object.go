package core

import (
	"context"
	"fmt"
	"iter"

	"github.com/vdevil/vdevil/lab/kernel"
)

// Object is a structure or buffer of ZFS in memory.
type Object struct {
	// Kind is a word of this package, one of those that Kind... names; Type is the C type.
	Kind string `json:"kind"`
	Type string `json:"type"`
	// Path names the object for Scope.Resolve, as long as it exists.
	Path string `json:"path"`
	// Within is the path of the object that this one is a part of; its bytes are counted there.
	Within string `json:"within,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Dataset, "mos" for the object set of the pool itself, Object, Level and Blkid say what a dnode or buffer is of.
	Dataset string `json:"dataset,omitempty"`
	Object  uint64 `json:"object,omitempty"`
	Level   uint64 `json:"level,omitempty"`
	Blkid   int64  `json:"blkid,omitempty"` // -1 for the bonus buffer, -2 for the spill block
	DMUType string `json:"dmu_type,omitempty"`
	// Metadata says whether the DMU or the ARC counts a buffer as metadata.
	Metadata bool `json:"metadata,omitempty"`
	// Dirty objects are to be written; what is done to them reaches the disk with a valid checksum.
	Dirty bool   `json:"dirty,omitempty"`
	Addr  uint64 `json:"addr"`
	Size  uint64 `json:"size"` // bytes

	value kernel.Value
}

// The kinds of objects.
const (
	KindSpa           = "spa"
	KindUberblock     = "uberblock"
	KindVdev          = "vdev"
	KindMetaslab      = "metaslab"
	KindRangeTree     = "range-tree"
	KindBtreeLeaf     = "btree-leaf" // of a range tree or its twin
	KindBtreeCore     = "btree-core"
	KindSpaceMap      = "space-map" // the struct; its blocks are KindData
	KindPool          = "dsl-pool"
	KindDataset       = "dataset"
	KindDeadlist      = "deadlist"
	KindDeadlistEntry = "deadlist-entry"
	KindBpobj         = "bpobj" // the struct; its blocks are KindData
	KindBplistEntry   = "bplist-entry"
	KindObjset        = "objset"
	KindDnode         = "dnode"
	KindDbuf          = "dbuf"
	KindData          = "data"  // what a dbuf points to
	KindDirty         = "dirty" // a dirty record
	KindArcHeader     = "arc-header"
	KindArcData       = "arc-data" // of a header, no dbuf points to it
	KindDDT           = "ddt"
	KindDDTEntry      = "ddt-entry"
	KindBRT           = "brt"
	KindBRTEntry      = "brt-entry"
	KindZio           = "zio"
	KindPart          = "part" // of a buffer: an array element with a type of its own; only in classes
)

// lister yields objects.
type lister struct {
	z       *ZFS
	ended   func() error // says why the caller wants no more
	yield   func(Object, error) bool
	stopped bool
	// data are the addresses of buffers that were listed, bufs the arc_buf_t of dbufs and dirty records.
	data map[uint64]bool
	bufs []uint64
}

// Objects lists what of ZFS is in memory. An error ends the section that it was met in, such as one pool's metaslabs or
// the ARC, not the listing; a machine that was stopped anywhere may have been about to change a list. Not listed are I/O
// that neither a pool nor a device queue leads to, range trees outside of metaslabs, structures of the ZIL, and what of
// the ARC is encrypted.
func (z *ZFS) Objects(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		l := &lister{z: z, ended: ctx.Err, yield: yield, data: map[uint64]bool{}}
		spas, err := z.Spas()
		l.section(func() error { return err })
		for _, spa := range spas {
			l.section(func() error { return l.pool(spa) })
			l.section(func() error { return l.vdevs(spa) })
			l.section(func() error { return l.datasets(spa) })
			l.section(func() error { return l.dedup(spa) })
			l.section(func() error { return l.cloned(spa) })
			l.section(func() error { return l.zios(spa) })
		}
		l.section(l.objsets)
		l.section(l.dbufs)
		l.section(l.arc)
	}
}

// section lists one kind of things and reports its error.
func (l *lister) section(list func() error) {
	if l.stopped {
		return
	}
	err := l.ended()
	if err == nil {
		err = list()
	}
	if err != nil && !l.stopped {
		l.stopped = !l.yield(Object{}, err) || l.ended() != nil
	}
}

// add yields an object of the value's type; with is what else is to be said of it.
func (l *lister) add(kind string, v kernel.Value, with Object) error {
	if err := v.Err(); err != nil {
		return err
	}
	if l.stopped || l.ended() != nil {
		return l.ended()
	}
	with.Kind, with.Path, with.Addr, with.value = kind, v.Path(), v.Addr(), v
	with.Type = l.z.word(v.Type())
	if with.Size == 0 {
		with.Size = uint64(v.Type().Size())
	}
	l.stopped = !l.yield(with, nil)
	return nil
}

func (l *lister) pool(spa kernel.Value) error {
	t, err := l.z.TXG(spa)
	if err != nil {
		return err
	}
	if err := l.add(KindSpa, spa, Object{Detail: fmt.Sprintf("txg %d synced, %d open", t.Synced, t.Open)}); err != nil {
		return err
	}
	for _, name := range []string{"spa_uberblock", "spa_ubsync"} {
		ub := spa.Field(name)
		txg, err := ub.Field("ub_txg").Uint()
		if err != nil {
			return err
		}
		if err := l.add(KindUberblock, ub, Object{Within: spa.Path(), Detail: fmt.Sprintf("txg %d", txg)}); err != nil {
			return err
		}
	}
	if err := l.bpobj(spa.Field("spa_deferred_bpobj"), spa.Path()); err != nil {
		return err
	}
	free := spa.Field("spa_free_bplist")
	if err := free.Err(); err != nil {
		return err
	}
	for i := range free.Type().Base().Len() {
		if err := l.bplist(free.Index(i)); err != nil {
			return err
		}
	}
	dp, err := pointedTo("spa_dsl_pool")(l.z, place{Value: spa})
	if err != nil {
		return err
	}
	if err := l.add(KindPool, dp.Value, Object{}); err != nil {
		return err
	}
	if err := l.bpobj(dp.Field("dp_free_bpobj"), dp.Path()); err != nil {
		return err
	}
	return l.bpobj(dp.Field("dp_obsolete_bpobj"), dp.Path())
}

// bpobj lists an embedded bpobj_t that is open.
func (l *lister) bpobj(v kernel.Value, within string) error {
	var n numbers
	os, object := n.uint(v.Field("bpo_os")), n.uint(v.Field("bpo_object"))
	if n.err != nil || os == 0 {
		return n.err
	}
	blocks := n.uint(v.Field("bpo_phys").Field("bpo_num_blkptrs"))
	return l.add(KindBpobj, v, Object{Within: within, Object: object, Dataset: "mos", Detail: fmt.Sprintf("%d block pointers", blocks)})
}

func (l *lister) bplist(v kernel.Value) error {
	t, err := l.z.typed("bplist_entry_t")
	if err != nil {
		return err
	}
	i := 0
	for e, err := range v.Field("bpl_list").List(t) {
		if err != nil {
			return err
		}
		if err := l.add(KindBplistEntry, e.Rename(fmt.Sprintf("%s.entry[%d]", v.Path(), i)), Object{}); err != nil || l.stopped {
			return err
		}
		i++
	}
	return nil
}

// vdevs lists the tree of devices and the metaslabs.
func (l *lister) vdevs(spa kernel.Value) error {
	root, err := pointedTo("spa_root_vdev")(l.z, place{Value: spa})
	if err != nil {
		return err
	}
	if err := l.add(KindVdev, root.Value, Object{Detail: "root"}); err != nil {
		return err
	}
	const deepest = 8
	return l.children(place{Value: root.Rename(spa.Path())}, deepest)
}

func (l *lister) children(vd place, deepest int) error {
	if deepest == 0 {
		return fmt.Errorf("%s: vdevs within vdevs", vd.Path())
	}
	all, err := vdevItems("")(l.z, vd)
	if err != nil {
		return err
	}
	for i := range all.len() {
		child, err := all.at(i)
		if err != nil {
			return err
		}
		ops, err := child.Field("vdev_ops").Field("vdev_op_type").CString()
		if err != nil {
			return err
		}
		if err := l.add(KindVdev, child.Value, Object{Detail: ops}); err != nil || l.stopped {
			return err
		}
		if err := l.children(child, deepest-1); err != nil {
			return err
		}
		if err := l.metaslabs(child); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) metaslabs(vd place) error {
	all, err := pointerItems("ms", "vdev_ms", "vdev_ms_count", "ms_id")(l.z, vd)
	if err != nil {
		return err
	}
	for i := range all.len() {
		ms, err := all.at(i)
		if err != nil {
			return err
		}
		var n numbers
		detail := "not loaded"
		if n.uint(ms.Field("ms_loaded")) != 0 {
			detail = "loaded"
		}
		sm := n.uint(ms.Field("ms_sm"))
		if n.err != nil {
			return n.err
		}
		if err := l.add(KindMetaslab, ms.Value, Object{Detail: detail}); err != nil || l.stopped {
			return err
		}
		if sm != 0 {
			sm := ms.Field("ms_sm").Deref()
			object := n.uint(sm.Field("sm_object"))
			detail := fmt.Sprintf("%d bytes of entries", n.uint(sm.Field("sm_phys").Field("smp_length")))
			if err := l.add(KindSpaceMap, sm, Object{Dataset: "mos", Object: object, Detail: detail}); err != nil || n.err != nil {
				return n.err
			}
		}
		trees, err := l.z.RangeTrees(ms.Value)
		if err != nil {
			return err
		}
		for _, rt := range trees {
			if err := l.rangeTree(rt); err != nil || l.stopped {
				return err
			}
		}
	}
	return nil
}

// rangeTree lists a tree, its nodes and those of its twin.
func (l *lister) rangeTree(rt kernel.Value) error {
	tree, err := l.z.rangeTree(rt)
	if err != nil {
		return err
	}
	space, err := rt.Field("rt_space").Uint()
	if err != nil {
		return err
	}
	if err := l.add(KindRangeTree, rt, Object{Detail: fmt.Sprintf("%d segments, %d bytes", len(tree.elems), space)}); err != nil {
		return err
	}
	if err := l.nodes(tree); err != nil {
		return err
	}
	twin, err := l.z.bySize(rt)
	if err != nil {
		return ignoreAbsent(err)
	}
	return l.nodes(twin)
}

func (l *lister) nodes(tree *btree) error {
	for _, n := range tree.nodes {
		kind := KindBtreeLeaf
		if n.core {
			kind = KindBtreeCore
		}
		if err := l.add(kind, n.value, Object{Detail: fmt.Sprintf("%d segments", n.count)}); err != nil || l.stopped {
			return err
		}
	}
	return nil
}

// Value is the object as a typed place in the view that it was listed from.
func (o Object) Value() kernel.Value { return o.value }
