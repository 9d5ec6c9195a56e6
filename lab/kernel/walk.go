package kernel

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
)

// walkLimit bounds walks of lists, which do not know their length: more elements than a guest of some GiB can hold.
const walkLimit = 1 << 22

// List walks a list_t (include/os/linux/spl/sys/list.h) whose elements are of type elem; they are named by their index.
// An element that does not point back to the one before ends the walk with an error, and so does a list of elements of
// another size. What was yielded before was linked well.
func (v Value) List(elem Type) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		if err := v.list(elem, yield); err != nil {
			yield(v.view.Bad(v.path, err), err)
		}
	}
}

func (v Value) list(elem Type, yield func(Value, error) bool) error {
	offset, err := v.container(elem, "list_size", "list_offset")
	if err != nil {
		return err
	}
	head := v.Field("list_head")
	prev, node := head.addr, head.Field("next")
	for i := range walkLimit {
		at, err := node.Uint()
		if err != nil {
			return err
		}
		link := v.view.At(head.typ, at, fmt.Sprintf("%s[%d]", v.path, i))
		back, err := link.Field("prev").Uint()
		if err != nil {
			return err
		}
		if back != prev {
			return link.wrap(fmt.Errorf("the node at %#x points back to %#x instead of %#x", at, back, prev))
		}
		if at == head.addr {
			return nil
		}
		if !yield(v.view.At(elem, at-offset, link.path), nil) {
			return nil
		}
		prev, node = at, link.Field("next")
	}
	return v.wrap(fmt.Errorf("more than %d elements", walkLimit))
}

// container checks what a list or tree says about its elements and returns where in them its node is.
func (v Value) container(elem Type, sizeField, offsetField string) (offset uint64, err error) {
	if v.err == nil && v.typ.Base().Kind() == Pointer {
		v = v.Deref()
	}
	if offset, err = v.Field(offsetField).Uint(); err != nil {
		return 0, err
	}
	if _, ok := v.typ.Field(sizeField); ok {
		size, err := v.Field(sizeField).Uint()
		if err != nil {
			return 0, err
		}
		if size != uint64(elem.Size()) {
			return 0, v.wrap(fmt.Errorf("its elements have %d bytes, %s has %d", size, elem, elem.Size()))
		}
	}
	if offset >= uint64(elem.Size()) {
		return 0, v.wrap(fmt.Errorf("its nodes are at offset %d of elements, %s has %d bytes", offset, elem, elem.Size()))
	}
	return offset, nil
}

// AVL walks an avl_tree_t (include/sys/avl.h, avl_impl.h) in order; elements of type elem are named by their index. A node
// that does not point back to its parent, a tree that is too deep to be balanced, and one with more or fewer nodes than it
// says end the walk with an error.
func (v Value) AVL(elem Type) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		if err := v.avl(elem, yield); err != nil {
			yield(v.view.Bad(v.path, err), err)
		}
	}
}

func (v Value) avl(elem Type, yield func(Value, error) bool) error {
	offset, err := v.container(elem, "avl_size", "avl_offset")
	if err != nil {
		return err
	}
	compare, err := v.Field("avl_compar").Uint()
	if err == nil && compare == 0 {
		err = v.wrap(errors.New("no such tree was created"))
	}
	if err != nil {
		return err
	}
	total, err := v.Field("avl_numnodes").Uint()
	if err != nil {
		return err
	}
	root := v.Field("avl_root")
	at, err := root.Uint()
	if err != nil {
		return err
	}
	w := &avlWalk{tree: v, node: root.typ.Base().Elem(), elem: elem, offset: offset, total: total, yield: yield}
	if err := w.walk(at, 0, 0, 0); err != nil || w.stopped {
		return err
	}
	if w.seen != total {
		return v.wrap(fmt.Errorf("%d nodes were found, the tree says %d", w.seen, total))
	}
	return nil
}

// avlWalk is one walk of a tree.
type avlWalk struct {
	tree        Value
	node, elem  Type
	offset      uint64
	total, seen uint64 // what the tree says, and what was yielded
	stopped     bool
	yield       func(Value, error) bool
}

// walk does the subtree at a node whose parent has it as child number side, 0 or 1.
func (w *avlWalk) walk(at, parent, side uint64, depth int) error {
	if at == 0 || w.stopped {
		return nil
	}
	// The depth of an AVL tree is below 1.45 times the binary logarithm of the number of nodes.
	if depth > 2*bits.Len64(w.total) {
		return w.tree.wrap(fmt.Errorf("%d levels are too many for %d nodes", depth, w.total))
	}
	node := w.tree.view.At(w.node, at, fmt.Sprintf("%s: node at %#x", w.tree.path, at))
	// The parent's address, bit 2 the side, bits 0 and 1 the balance.
	pcb, err := node.Field("avl_pcb").Uint()
	if err != nil {
		return err
	}
	if pcb&^7 != parent || parent != 0 && pcb>>2&1 != side {
		return node.wrap(fmt.Errorf("avl_pcb is %#x, but this is child %d of %#x", pcb, side, parent))
	}
	var child [2]uint64
	for i := range child {
		if child[i], err = node.Field("avl_child").Index(i).Uint(); err != nil {
			return err
		}
	}
	if err := w.walk(child[0], at, 0, depth+1); err != nil || w.stopped {
		return err
	}
	if w.seen == w.total {
		return w.tree.wrap(fmt.Errorf("there are more nodes than the %d that the tree says", w.total))
	}
	elem := w.tree.view.At(w.elem, at-w.offset, fmt.Sprintf("%s[%d]", w.tree.path, w.seen))
	w.seen++
	if !w.yield(elem, nil) {
		w.stopped = true
		return nil
	}
	return w.walk(child[1], at, 1, depth+1)
}
