package core

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/kernel"
)

// pseudo is a member that paths may use although C has none of the name, or one of another type. Exactly one of the
// functions is set.
type pseudo struct {
	name  string
	usage string
	doc   string
	one   func(*ZFS, place) (place, error)
	many  func(*ZFS, place) (items, error)
	call  func(*ZFS, place, []argument) (place, error)
}

// PseudoMember describes a member that paths may use beside those that C has.
type PseudoMember struct {
	Type  string `json:"type"`
	Usage string `json:"usage"`
	Doc   string `json:"doc"`
}

// PseudoMembers are all of them, by type.
func PseudoMembers() []PseudoMember {
	all := pseudoMembers()
	var out []PseudoMember
	for _, names := range typeNames() {
		for _, p := range all[names[0]] {
			out = append(out, PseudoMember{names[0], p.usage, p.doc})
		}
	}
	return out
}

// pseudoMembers are by the newest name of their type.
func pseudoMembers() map[string][]pseudo {
	entries := pseudo{name: "entry", usage: "entry[i]", doc: "space map entries or block pointers in use in a block", many: (*ZFS).entryItems}
	block := pseudo{name: "block", usage: "block[i]", doc: "level-0 buffers in memory, by block id", many: (*ZFS).blockItems}
	return map[string][]pseudo{
		"spa_t": {
			{name: "vdev", usage: "vdev[i]", doc: "top-level vdevs", many: vdevItems("spa_root_vdev")},
			{name: "objset", usage: `objset("name")`, doc: `open object sets by dataset, "mos" or number`, call: (*ZFS).objsetCall},
			{name: "dataset", usage: `dataset("name")`, doc: "datasets in memory, by name or number", call: (*ZFS).datasetCall},
			{name: "ddt", usage: "ddt[i]", doc: "deduplication tables, by checksum", many: (*ZFS).ddtItems},
			{name: "brt", usage: "brt[i]", doc: "block reference tables, by vdev", many: (*ZFS).brtItems},
		},
		"vdev_t": {
			{name: "vdev", usage: "vdev[i]", doc: "children", many: vdevItems("")},
			{name: "ms", usage: "ms[i]", doc: "metaslabs", many: pointerItems("ms", "vdev_ms", "vdev_ms_count", "ms_id")},
		},
		"metaslab_t": {
			{name: "ms_allocatable_by_size", usage: "ms_allocatable_by_size.seg[i]", doc: "the size-sorted twin of ms_allocatable", one: twinTree("ms_allocatable")},
			{name: "ms_unflushed_frees_by_size", usage: "ms_unflushed_frees_by_size.seg[i]", doc: "the size-sorted twin of ms_unflushed_frees", one: twinTree("ms_unflushed_frees")},
		},
		"zfs_range_tree_t": {
			{name: "seg", usage: "seg[i]", doc: "segments in the order of addresses", many: segItems},
			{name: "by_size", usage: "by_size.seg[i]", doc: "the size-sorted twin of the tree", one: bySizeTree},
			{name: "rt_root", usage: "rt_root.leaf[i]", doc: "the B-tree, with its nodes", one: rootTree},
		},
		"zfs_btree_t": {
			{name: "seg", usage: "seg[i]", doc: "elements in order", many: treeItems(elemsOf)},
			{name: "leaf", usage: "leaf[i]", doc: "leaves in order", many: treeItems(func(t *btree) []kernel.Value { return t.of(false) })},
			{name: "core", usage: "core[i]", doc: "core nodes, roots before branches", many: treeItems(func(t *btree) []kernel.Value { return t.of(true) })},
		},
		"zfs_range_seg32_t": {{name: "twin", usage: "twin", doc: "the copy in the size-sorted twin", one: segTwin}},
		"zfs_range_seg64_t": {{name: "twin", usage: "twin", doc: "the copy in the size-sorted twin", one: segTwin}},
		"objset_t":          {{name: "dnode", usage: "dnode[i]", doc: "dnodes in memory, by object number; 0 is the meta-dnode, -1 to -3 the accounts of users, groups and projects", many: (*ZFS).dnodeItems}},
		"dnode_t": {
			{name: "dbuf", usage: "dbuf(level, blkid)", doc: "a buffer in memory", call: (*ZFS).dbufCall},
			block,
		},
		"space_map_t": {block},
		"bpobj_t":     {block},
		"dmu_buf_impl_t": {
			{name: "data", usage: "data", doc: "the data, as an array of what the object consists of", one: (*ZFS).dbufDataPlace},
			entries,
			{name: "dirty", usage: "dirty[i]", doc: "dirty records, newest first", many: listItems("dirty", "db_dirty_records", "dbuf_dirty_record_t")},
		},
		"dmu_buf_t":           {{name: "impl", usage: "impl", doc: "the dmu_buf_impl_t around", one: bufferAround}},
		"dbuf_dirty_record_t": {{name: "data", usage: "data", doc: "the data as of that transaction group", one: (*ZFS).dirtyDataPlace}},
		"arc_buf_hdr_t":       {{name: "chunk", usage: "chunk[i]", doc: "the block as on disk, by runs of contiguous memory", many: (*ZFS).hdrChunkItems}},
		"arc_buf_t":           {{name: "data", usage: "data", doc: "the block as it is read and written", one: (*ZFS).arcBufData}},
		"abd_t":               {{name: "chunk", usage: "chunk[i]", doc: "the data, by runs of contiguous memory", many: (*ZFS).chunkItems}},
		"dsl_deadlist_t":      {{name: "entry", usage: "entry[i]", doc: "entries by birth", many: avlItems("dl_tree", "dsl_deadlist_entry_t")}},
		"bplist_t":            {{name: "entry", usage: "entry[i]", doc: "block pointers waiting", many: listItems("entry", "bpl_list", "bplist_entry_t")}},
		"ddt_t":               {{name: "entry", usage: "entry[i]", doc: "entries being changed", many: avlItems("ddt_tree", "ddt_entry_t")}},
		"ddt_log_t":           {{name: "entry", usage: "entry[i]", doc: "entries in the log", many: avlItems("ddl_tree", "ddt_log_entry_t")}},
		"brt_vdev_t": {
			{name: "entry", usage: "entry[i]", doc: "entries being synced", many: avlItems("bv_tree", "brt_entry_t")},
			{name: "pending", usage: "pending[i]", doc: "entries of open transaction groups", many: (*ZFS).pendingItems},
		},
	}
}

// added is the pseudo-member of a name that a place has, and the place without pointers to it.
func (z *ZFS) added(from place, name string) (*pseudo, place) {
	t := from.Type()
	for t.Base().Kind() == kernel.Pointer {
		t = t.Base().Elem()
	}
	for _, p := range z.extra[z.kind(t)] {
		if p.name == name {
			if from.Type().Base().Kind() == kernel.Pointer {
				from.Value = z.deref(from.Value)
			}
			return &p, from
		}
	}
	return nil, from
}

// valueItems makes items of values.
func valueItems(name string, from place, values []kernel.Value) items {
	return items{name: name, n: len(values), get: func(i int) (place, error) {
		next := from
		next.Value = values[i]
		return next, values[i].Err()
	}}
}

// keyed makes items of values by number.
func keyed(name string, values map[int64]kernel.Value) items {
	keys := make([]int64, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return items{name: name, keys: keys, get: func(i int) (place, error) {
		v := values[keys[i]]
		return place{Value: v}, v.Err()
	}}
}

// pointerItems are what the pointers of an array point to whose length is in another member. NULL ones are left out; the
// others know their index, in the member id.
func pointerItems(name, array, count, id string) func(*ZFS, place) (items, error) {
	return func(_ *ZFS, from place) (items, error) {
		const most = 1 << 20
		n, err := from.Field(count).Uint()
		if err != nil {
			return items{}, err
		}
		if n > most {
			return items{}, fmt.Errorf("%s.%s is %d", from.Path(), count, n)
		}
		values := map[int64]kernel.Value{}
		for i := range int(n) {
			p := from.Field(array).Index(i)
			null, err := p.IsNull()
			if err != nil {
				return items{}, err
			}
			if null {
				continue
			}
			v := p.Deref().Rename(fmt.Sprintf("%s.%s[%d]", from.Path(), name, i))
			if own, err := v.Field(id).Uint(); err != nil || own != uint64(i) {
				return items{}, errors.Join(err, fmt.Errorf("%s is none, its number is %d", v.Path(), own))
			}
			values[int64(i)] = v
		}
		return keyed(name, values), nil
	}
}

// vdevItems are the children of a vdev that a member points to, or of the vdev itself.
func vdevItems(root string) func(*ZFS, place) (items, error) {
	children := pointerItems("vdev", "vdev_child", "vdev_children", "vdev_id")
	return func(z *ZFS, from place) (items, error) {
		if root != "" {
			from.Value = from.Field(root).Deref().Rename(from.Path())
			if err := from.Err(); err != nil {
				return items{}, err
			}
		}
		return children(z, from)
	}
}

// pointedTo is what a member points to.
func pointedTo(name string) func(*ZFS, place) (place, error) {
	return func(_ *ZFS, from place) (place, error) {
		p := from.Field(name)
		if null, err := p.IsNull(); err != nil || null {
			if err == nil {
				err = absent("%s is NULL", p.Path())
			}
			return from, err
		}
		from.Value = p.Deref().Rename(p.Path())
		return from, from.Err()
	}
}

// listItems are those of a list_t.
func listItems(name, list, elem string) func(*ZFS, place) (items, error) {
	return func(z *ZFS, from place) (items, error) {
		t, err := z.typed(elem)
		if err != nil {
			return items{}, err
		}
		var values []kernel.Value
		for v, err := range from.Field(list).List(t) {
			if err != nil {
				return items{}, err
			}
			values = append(values, v.Rename(fmt.Sprintf("%s.%s[%d]", from.Path(), name, len(values))))
		}
		return valueItems(name, from, values), nil
	}
}

// avlItems are the entries of an avl_tree_t, none of one that was never created.
func avlItems(tree, elem string) func(*ZFS, place) (items, error) {
	return func(z *ZFS, from place) (items, error) {
		values, err := z.avl(from.Field(tree), elem)
		for i, v := range values {
			values[i] = v.Rename(fmt.Sprintf("%s.entry[%d]", from.Path(), i))
		}
		return valueItems("entry", from, values), err
	}
}

// avl collects a tree.
func (z *ZFS) avl(tree kernel.Value, elem string) ([]kernel.Value, error) {
	t, err := z.typed(elem)
	if err != nil {
		return nil, err
	}
	if n, err := tree.Field("avl_numnodes").Uint(); err != nil || n == 0 {
		return nil, err
	}
	var values []kernel.Value
	for v, err := range tree.AVL(t) {
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

func segItems(z *ZFS, from place) (items, error) {
	tree, err := z.rangeTree(from.Value)
	if err != nil {
		return items{}, err
	}
	from.elem, from.tree = tree.elem, from.Value
	return valueItems("seg", from, tree.elems), nil
}

func bySizeTree(z *ZFS, from place) (place, error) {
	tree, err := z.bySize(from.Value)
	if err != nil {
		return from, err
	}
	return place{Value: tree.value, elem: tree.elem, tree: from.Value}, nil
}

// twinTree is the size-sorted tree of a metaslab that belongs to one of its range trees.
func twinTree(name string) func(*ZFS, place) (place, error) {
	return func(z *ZFS, from place) (place, error) {
		rt, err := pointedTo(name)(z, from)
		if err != nil {
			return from, err
		}
		elem, err := z.segType(rt.Value)
		v := from.Field(name + "_by_size")
		return place{Value: v, elem: elem, tree: rt.Value}, err
	}
}

func rootTree(z *ZFS, from place) (place, error) {
	elem, err := z.segType(from.Value)
	return place{Value: from.Field("rt_root"), elem: elem, tree: from.Value}, err
}

func elemsOf(t *btree) []kernel.Value { return t.elems }

// treeItems are parts of a B-tree of which the path has told what its elements are.
func treeItems(part func(*btree) []kernel.Value) func(*ZFS, place) (items, error) {
	return func(z *ZFS, from place) (items, error) {
		if from.elem == (kernel.Type{}) {
			return items{}, fmt.Errorf("%s does not tell what its elements are; come from a range tree or a metaslab", from.Path())
		}
		tree, err := z.btree(from.Value, from.elem)
		if err != nil {
			return items{}, err
		}
		return valueItems("element", from, part(tree)), nil
	}
}

func segTwin(z *ZFS, from place) (place, error) {
	if from.tree.Err() != nil || from.tree.Type() == (kernel.Type{}) {
		return from, fmt.Errorf("%s does not tell which tree it is in", from.Path())
	}
	v, err := z.twin(from.tree, from.Value)
	from.Value = v
	return from, err
}

// bufferAround is the dmu_buf_impl_t that a dmu_buf_t is the first member of.
func bufferAround(z *ZFS, from place) (place, error) {
	t, err := z.typed("dmu_buf_impl_t")
	from.Value = from.Cast(t)
	return from, err
}
