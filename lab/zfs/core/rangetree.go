package core

import (
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// Segment is one range of a range tree, with its place in memory.
type Segment struct {
	kernel.Value
	// Start and End, the first byte behind, are in bytes from the beginning of what the tree describes: of the vdev for
	// the trees of a metaslab.
	Start, End uint64
	// Fill is End-Start except in trees with gaps.
	Fill uint64
}

// segType is the type of a range tree's segments (rt_type).
func (z *ZFS) segType(rt kernel.Value) (kernel.Type, error) {
	kind, err := rt.Field("rt_type").Uint()
	if err != nil {
		return kernel.Type{}, err
	}
	for _, t := range []struct{ name, enumerator, older string }{
		{"zfs_range_seg32_t", "ZFS_RANGE_SEG32", "RANGE_SEG32"},
		{"zfs_range_seg64_t", "ZFS_RANGE_SEG64", "RANGE_SEG64"},
		{"zfs_range_seg_gap_t", "ZFS_RANGE_SEG_GAP", "RANGE_SEG_GAP"},
	} {
		value, ok := z.types.Const(t.enumerator)
		if !ok {
			value, ok = z.types.Const(t.older)
		}
		if ok && uint64(value) == kind {
			return z.typed(t.name)
		}
	}
	return kernel.Type{}, fmt.Errorf("%s: rt_type is %d", rt.Path(), kind)
}

// rangeTree reads the B-tree of a range tree.
func (z *ZFS) rangeTree(rt kernel.Value) (*btree, error) {
	elem, err := z.segType(rt)
	if err != nil {
		return nil, err
	}
	return z.btree(rt.Field("rt_root"), elem)
}

// bySize reads the size-sorted twin of a range tree, which those have that blocks are allocated from while their
// metaslab is loaded (metaslab_rt_ops in module/zfs/metaslab.c). It holds copies of the segments that are not short.
func (z *ZFS) bySize(rt kernel.Value) (*btree, error) {
	var n numbers
	ops, arg := n.uint(rt.Field("rt_ops")), n.uint(rt.Field("rt_arg"))
	if n.err != nil {
		return nil, n.err
	}
	twinned := z.view.Var("metaslab_rt_ops")
	if err := twinned.Err(); err != nil {
		return nil, err
	}
	if ops != twinned.Addr() || arg == 0 {
		return nil, absent("%s has no twin sorted by size", rt.Path())
	}
	t, err := z.typed("metaslab_rt_arg_t")
	if err != nil {
		return nil, err
	}
	elem, err := z.segType(rt)
	if err != nil {
		return nil, err
	}
	return z.btree(z.view.At(t, arg, "").Field("mra_bt").Deref().Rename(rt.Path()+".by_size"), elem)
}

// Segments are those of a range tree in the order of addresses; a pointer to a tree will do. Their paths name the place
// in the tree's B-tree.
func (z *ZFS) Segments(rt kernel.Value) ([]Segment, error) {
	tree, err := z.rangeTree(rt)
	if err != nil {
		return nil, err
	}
	return z.segments(rt, tree.elems)
}

// SegmentsBySize are those of the size-sorted twin, shortest first, equal ones in the order of addresses.
func (z *ZFS) SegmentsBySize(rt kernel.Value) ([]Segment, error) {
	tree, err := z.bySize(rt)
	if err != nil {
		return nil, err
	}
	return z.segments(rt, tree.elems)
}

// segments decodes (rs_get_start, rs_get_end, rs_get_fill in include/sys/range_tree.h).
func (z *ZFS) segments(rt kernel.Value, values []kernel.Value) ([]Segment, error) {
	var n numbers
	shift, start := n.uint(rt.Field("rt_shift")), n.uint(rt.Field("rt_start"))
	out := make([]Segment, len(values))
	for i, v := range values {
		s := Segment{Value: v, Start: n.uint(v.Field("rs_start"))<<shift + start, End: n.uint(v.Field("rs_end"))<<shift + start}
		s.Fill = s.End - s.Start
		if _, gaps := v.Type().Field("rs_fill"); gaps {
			s.Fill = n.uint(v.Field("rs_fill")) << shift
		}
		out[i] = s
	}
	return out, n.err
}

// twin is the copy of a segment in the size-sorted tree: the one with the same start.
func (z *ZFS) twin(rt, seg kernel.Value) (kernel.Value, error) {
	tree, err := z.bySize(rt)
	if err != nil {
		return kernel.Value{}, err
	}
	start, err := seg.Field("rs_start").Uint()
	if err != nil {
		return kernel.Value{}, err
	}
	for _, e := range tree.elems {
		switch s, err := e.Field("rs_start").Uint(); {
		case err != nil:
			return kernel.Value{}, err
		case s == start && e.Addr() != seg.Addr():
			return e, nil
		}
	}
	return kernel.Value{}, absent("%s has no copy in %s.by_size, where the short ones are not", seg.Path(), rt.Path())
}

// treeNames are the range trees of a metaslab; those that are arrays have several.
func treeNames() []string {
	return []string{
		"ms_allocating", "ms_allocatable", "ms_freeing", "ms_freed", "ms_defer", "ms_checkpointing", "ms_trim",
		"ms_unflushed_allocs", "ms_unflushed_frees",
	}
}

// RangeTrees are those of a metaslab that exist.
func (z *ZFS) RangeTrees(ms kernel.Value) ([]kernel.Value, error) {
	var out []kernel.Value
	for _, name := range treeNames() {
		f := ms.Field(name)
		pointers := []kernel.Value{f}
		if f.Err() == nil && f.Type().Base().Kind() == kernel.Array {
			pointers = pointers[:0]
			for i := range f.Type().Base().Len() {
				pointers = append(pointers, f.Index(i))
			}
		}
		for _, p := range pointers {
			switch addr, err := p.Uint(); {
			case err != nil:
				return nil, err
			case addr != 0:
				out = append(out, p.Deref().Rename(p.Path()))
			}
		}
	}
	return out, nil
}
