package kernel

import (
	"fmt"
	"iter"
	"strings"
	"testing"
)

// collect gives the first words of the elements that a walk yields, and its error.
func collect(t *testing.T, walk iter.Seq2[Value, error]) (words []uint64, paths []string, err error) {
	t.Helper()
	for v, err := range walk {
		if err != nil {
			if v.Err() == nil {
				t.Error("a walk ended in an error with a good value")
			}
			return words, paths, err
		}
		n, err := v.Field("id").Uint()
		if err != nil {
			return words, paths, err
		}
		words, paths = append(words, n), append(paths, v.Path())
	}
	return words, paths, nil
}

func said(err error, want string) bool {
	if err == nil || want == "" {
		return err == nil && want == ""
	}
	return strings.Contains(err.Error(), want)
}

const container = 0xffffc90000000000

// element is where element i is: each in a page of its own.
func element(i int) uint64 { return 0xffff888000000100 + uint64(i)*pageSize }

func TestList(t *testing.T) {
	types := testTypes()
	elem := types.StructOf("thing", 32, Field{Name: "id", Type: types.test(tU64)}, Field{Name: "link", Type: types.test(tNode), Offset: 8})
	list := types.StructOf("list", 32,
		Field{Name: "list_size", Type: types.test(tU64)},
		Field{Name: "list_offset", Type: types.test(tU64), Offset: 8},
		Field{Name: "list_head", Type: types.test(tNode), Offset: 16})
	const head, link = container + 16, 8
	// build makes a list of elements 0 to n-1 with their numbers as ids.
	build := func(f *fake, n int) {
		ring := append(make([]uint64, 0, n+1), head)
		for i := range n {
			f.words(element(i), uint64(i))
			ring = append(ring, element(i)+link)
		}
		f.words(container, 32, link)
		for i, at := range ring {
			f.words(at, ring[(i+1)%len(ring)], ring[(i+n)%len(ring)])
		}
	}
	for _, tt := range []struct {
		name   string
		n      int
		damage func(f *fake)
		want   int // elements before the error
		err    string
	}{
		{"empty", 0, nil, 0, ""},
		{"one", 1, nil, 1, ""},
		{"many", 100, nil, 100, ""},
		{"cycle", 4, func(f *fake) { f.words(element(2)+link, element(1)+link) }, 3, "things[3]: the node at 0xffff888000001108 points back to"},
		{"cycle to itself", 4, func(f *fake) { f.words(element(1)+link, element(1)+link) }, 2, "points back"},
		{"a bit of prev", 4, func(f *fake) { f.words(element(2)+link+8, element(1)+link^1<<20) }, 2, "points back"},
		{"a bit of next", 4, func(f *fake) { f.words(element(2)+link, element(3)+link^1<<40) }, 3, "not mapped"},
		{"removed element", 4, func(f *fake) { f.words(element(1)+link, 0xdead000000000100, 0xdead000000000122) }, 1, "points back"},
		{"never created", 4, func(f *fake) { f.words(container, 0, 0, 0, 0) }, 0, "its elements have 0 bytes"},
		{"freed and reused", 4, func(f *fake) { f.words(container, 32, 0xffff888000000000) }, 0, "offset"},
		{"of something else", 4, func(f *fake) { f.words(container, 40) }, 0, "its elements have 40 bytes, struct thing has 32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 4)
			build(f, tt.n)
			if tt.damage != nil {
				tt.damage(f)
			}
			words, paths, err := collect(t, f.view(types).At(list, container, "things").List(elem))
			if !said(err, tt.err) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			checkOrder(t, words, paths, tt.want)
		})
	}
}

func checkOrder(t *testing.T, words []uint64, paths []string, want int) {
	t.Helper()
	if len(words) != want {
		t.Fatalf("%d elements, want %d", len(words), want)
	}
	for i := range words {
		if path := fmt.Sprintf("things[%d]", i); words[i] != uint64(i) || paths[i] != path {
			t.Errorf("element %d is %d and called %s", i, words[i], paths[i])
		}
	}
}

func TestAVL(t *testing.T) {
	types := testTypes()
	elem := types.StructOf("thing", 48, Field{Name: "id", Type: types.test(tU64)}, Field{Name: "node", Type: types.test(tAVL), Offset: 16})
	tree := types.StructOf("avl_tree", 32,
		Field{Name: "avl_root", Type: types.test(tAVLPtr)},
		Field{Name: "avl_compar", Type: types.test(tVoidPtr), Offset: 8},
		Field{Name: "avl_offset", Type: types.test(tU64), Offset: 16},
		Field{Name: "avl_numnodes", Type: types.test(tU64), Offset: 24})
	const node, compare = 16, 0xffffffffc0000000
	// build makes the subtree of elements from to to-1 and returns its root.
	var build func(f *fake, from, to int, parent, side uint64) uint64
	build = func(f *fake, from, to int, parent, side uint64) uint64 {
		if from == to {
			return 0
		}
		i := (from + to) / 2
		at := element(i) + node
		f.words(element(i), uint64(i))
		f.words(at, build(f, from, i, at, 0), build(f, i+1, to, at, 1), parent|side<<2|1)
		return at
	}
	// chain makes a tree of 7 that says it has 2, each the child of the one before, on the same side.
	chain := func(f *fake, side uint64) {
		parent := uint64(0)
		for i := range 7 {
			at, child := element(i)+node, [2]uint64{}
			if i < 6 {
				child[side] = element(i+1) + node
			}
			f.words(at, child[0], child[1], parent|side<<2|1)
			parent = at
		}
		f.words(container, element(0)+node, compare, node, 2)
	}
	for _, tt := range []struct {
		name   string
		n      int
		damage func(f *fake)
		want   int
		err    string
	}{
		{"empty", 0, nil, 0, ""},
		{"one", 1, nil, 1, ""},
		{"many", 100, nil, 100, ""},
		// Of elements 0 to 6, 3 is the root with the children 1 and 5.
		{"more than it says", 7, func(f *fake) { f.words(container+24, 6) }, 6, "more nodes than the 6"},
		{"fewer than it says", 7, func(f *fake) { f.words(container+24, 8) }, 7, "7 nodes were found, the tree says 8"},
		{"lost child", 7, func(f *fake) { f.words(element(5)+node+8, 0) }, 6, "6 nodes were found"},
		{"cycle", 7, func(f *fake) { f.words(element(4)+node, element(3)+node) }, 4, "avl_pcb"},
		{"wrong side", 7, func(f *fake) { f.words(element(5)+node+16, element(3)+node|1) }, 4, "avl_pcb"},
		{"a bit of a child", 7, func(f *fake) { f.words(element(1)+node, element(0)+node^1<<39) }, 0, "not mapped"},
		{"chain to the right", 7, func(f *fake) { chain(f, 1) }, 2, "more nodes than the 2"},
		{"chain to the left", 7, func(f *fake) { chain(f, 0) }, 0, "5 levels are too many for 2 nodes"},
		{"never created", 0, func(f *fake) { f.words(container, 0, 0, 0, 0) }, 0, "no such tree was created"},
		{"unmapped", 0, func(f *fake) { f.words(container, 0xffffdead00000000, compare, node, 1) }, 0, "not mapped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 4)
			f.words(container, build(f, 0, tt.n, 0, 0), compare, node, uint64(tt.n))
			if tt.damage != nil {
				tt.damage(f)
			}
			words, paths, err := collect(t, f.view(types).At(tree, container, "things").AVL(elem))
			if !said(err, tt.err) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			checkOrder(t, words, paths, tt.want)
		})
	}
}

func TestWalksCanBeLeft(t *testing.T) {
	types := testTypes()
	f := newFake(t, 4)
	bad := f.view(types).At(types.test(tU64), container, "n")
	for _, walk := range []iter.Seq2[Value, error]{bad.List(types.test(tU64)), bad.AVL(types.test(tU64))} {
		n := 0
		for _, err := range walk {
			if n++; err == nil || n > 1 {
				t.Errorf("a walk of what is no list: %v", err)
			}
		}
		if n == 0 {
			t.Error("a walk of what is no list is an empty one")
		}
	}
}
