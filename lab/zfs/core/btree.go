package core

import (
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// Limits of a B-tree that is not damaged (module/zfs/btree.c). A tree of height 5 has more elements than a guest has memory.
const (
	btreeHeight = 5
	btreeNodes  = 1 << 20
	btreeLeaf   = 1 << 17 // bytes; leaves of range trees have 4096
)

// btree is a zfs_btree_t with all its nodes.
type btree struct {
	value kernel.Value
	elem  kernel.Type
	nodes []btreeNode // leaves and cores, each kind in the order of its elements
	// elems are all elements in order.
	elems []kernel.Value
}

// btreeNode is a leaf or a core node. Its value is a struct of the header and of the elements in use, which are named
// seg as it is range trees that we look at.
type btreeNode struct {
	value kernel.Value
	core  bool
	count int
}

// btree reads a tree whose elements are of type elem. Everything is checked: sizes, counts, parents, height, that no
// node comes twice; the tree of a structure that is just being changed may fail.
func (z *ZFS) btree(v kernel.Value, elem kernel.Type) (*btree, error) {
	w := &btreeWalk{z: z, tree: &btree{value: v, elem: elem}, seen: map[uint64]bool{}}
	var n numbers
	w.elemSize, w.leafSize = n.uint(v.Field("bt_elem_size")), n.uint(v.Field("bt_leaf_size"))
	w.leafCap = n.uint(v.Field("bt_leaf_cap"))
	height, elems, nodes := n.int(v.Field("bt_height")), n.uint(v.Field("bt_num_elems")), n.uint(v.Field("bt_num_nodes"))
	root := n.uint(v.Field("bt_root"))
	if n.err != nil {
		return nil, n.err
	}
	if err := w.types(); err != nil {
		return nil, err
	}
	switch {
	case w.elemSize == 0 && w.leafSize == 0 && root == 0:
		return w.tree, nil // never created: the size-sorted trees of a metaslab that was never loaded
	case height == -1 && elems == 0 && nodes == 0:
		return w.tree, nil
	case w.elemSize != uint64(elem.Size()):
		return nil, fmt.Errorf("%s: elements of %d bytes, %s has %d", v.Path(), w.elemSize, elem, elem.Size())
	case w.leafSize > btreeLeaf || w.leafCap*w.elemSize+w.leafElems > w.leafSize:
		return nil, fmt.Errorf("%s: leaves of %d bytes with %d elements of %d bytes", v.Path(), w.leafSize, w.leafCap, w.elemSize)
	case height < 0 || height > btreeHeight || nodes > btreeNodes:
		return nil, fmt.Errorf("%s: height %d, %d nodes, %d elements", v.Path(), height, nodes, elems)
	}
	w.limit = int(nodes)
	if err := w.node(root, 0, int(height)); err != nil {
		return nil, fmt.Errorf("%s: %w", v.Path(), err)
	}
	if len(w.tree.nodes) != int(nodes) || len(w.tree.elems) != int(elems) {
		return nil, fmt.Errorf("%s: found %d nodes and %d elements, it says %d and %d", v.Path(), len(w.tree.nodes), len(w.tree.elems), nodes, elems)
	}
	return w.tree, nil
}

// btreeWalk is what is needed on the way through a tree.
type btreeWalk struct {
	z                           *ZFS
	tree                        *btree
	elemSize, leafSize, leafCap uint64

	hdr, children        kernel.Type
	childrenAt, coreCap  uint64
	coreElems, leafElems uint64 // where elements begin in a node

	limit, cores, leaves int
	seen                 map[uint64]bool
}

// types finds the layout of nodes.
func (w *btreeWalk) types() error {
	var err error
	if w.hdr, err = w.z.typed("zfs_btree_hdr_t"); err != nil {
		return err
	}
	core, err := w.z.typed("zfs_btree_core_t")
	if err != nil {
		return err
	}
	leaf, err := w.z.typed("zfs_btree_leaf_t")
	if err != nil {
		return err
	}
	children, ok1 := core.Field("btc_children")
	coreElems, ok2 := core.Field("btc_elems")
	leafElems, ok3 := leaf.Field("btl_elems")
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("nodes of a B-tree are not as expected: %w", kernel.ErrUnknown)
	}
	w.children, w.childrenAt, w.coreCap = children.Type, uint64(children.Offset), uint64(children.Type.Len()-1)
	w.coreElems, w.leafElems = uint64(coreElems.Offset), uint64(leafElems.Offset)
	return nil
}

// node takes in the node at addr, at a height above the leaves, and what is below it.
func (w *btreeWalk) node(addr, parent uint64, height int) error {
	if w.seen[addr] || len(w.seen) >= w.limit {
		return fmt.Errorf("node %#x comes twice, or there are more than %d nodes", addr, w.limit)
	}
	w.seen[addr] = true
	h := w.z.view.At(w.hdr, addr, fmt.Sprintf("node %#x", addr))
	var n numbers
	up, first, count := n.uint(h.Field("bth_parent")), n.uint(h.Field("bth_first")), n.uint(h.Field("bth_count"))
	if n.err != nil {
		return n.err
	}
	const noLeaf = 1<<32 - 1 // bth_first of a core node
	core := first == noLeaf
	switch {
	case up != parent:
		return fmt.Errorf("node %#x has parent %#x instead of %#x", addr, up, parent)
	case core != (height > 0):
		return fmt.Errorf("node %#x at height %d has bth_first %#x", addr, height, first)
	case core && (count > w.coreCap || count == 0), !core && first+count > w.leafCap:
		return fmt.Errorf("node %#x has %d elements from %d on", addr, count, first)
	}
	if !core {
		at := w.leafElems + first*w.elemSize
		v := w.add(addr, false, int(count), at, w.leafSize)
		for k := range int(count) {
			w.tree.elems = append(w.tree.elems, w.elem(v, addr+at, k))
		}
		return nil
	}
	v := w.add(addr, true, int(count), w.coreElems, w.coreElems+w.coreCap*w.elemSize)
	for k := range int(count) + 1 {
		child, err := v.Field("btc_children").Index(k).Uint()
		if err != nil {
			return err
		}
		if err := w.node(child, addr, height-1); err != nil {
			return err
		}
		if k < int(count) {
			w.tree.elems = append(w.tree.elems, w.elem(v, addr+w.coreElems, k))
		}
	}
	return nil
}

// add notes a node of size bytes whose elements in use begin at an offset.
func (w *btreeWalk) add(addr uint64, core bool, count int, at, size uint64) kernel.Value {
	tag, name, number := "zfs_btree_leaf", "leaf", &w.leaves
	elems := kernel.Field{Name: "seg", Type: w.z.types.ArrayOf(w.tree.elem, count), Offset: int(at)}
	fields := []kernel.Field{{Name: "btl_hdr", Type: w.hdr}, elems}
	if core {
		tag, name, number = "zfs_btree_core", "core", &w.cores
		fields = []kernel.Field{{Name: "btc_hdr", Type: w.hdr}, {Name: "btc_children", Type: w.children, Offset: int(w.childrenAt)}, elems}
	}
	v := w.z.view.At(w.z.types.StructOf(tag, int(size), fields...), addr, fmt.Sprintf("%s.%s[%d]", w.tree.value.Path(), name, *number))
	*number++
	w.tree.nodes = append(w.tree.nodes, btreeNode{v, core, count})
	return v
}

func (w *btreeWalk) elem(node kernel.Value, elems uint64, k int) kernel.Value {
	return w.z.view.At(w.tree.elem, elems+uint64(k)*w.elemSize, fmt.Sprintf("%s.seg[%d]", node.Path(), k))
}

// of are the nodes of a kind.
func (t *btree) of(core bool) []kernel.Value {
	var out []kernel.Value
	for _, n := range t.nodes {
		if n.core == core {
			out = append(out, n.value)
		}
	}
	return out
}
