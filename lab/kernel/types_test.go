package kernel

import (
	"errors"
	"testing"
)

func TestFunc(t *testing.T) {
	at := func(file string) function { return function{Module: "zfs", Section: ".text", File: file} }
	types := testTypes()
	types.db.Functions = map[string][]function{"plain": {at("a.c")}, "split": {at("a.c")}, "twice": {at("a.c"), at("b.c")}}
	types.db.Clones = map[string][]string{"split": {"split.part.0"}, "gone": {"gone.constprop.0", "gone.isra.0"}}
	types.db.Inlined = []string{"gone", "tiny"}
	for name, want := range map[string]string{
		"plain":       "",
		"split":       "",
		"twice":       "function twice: several have this name, in a.c, b.c",
		"gone":        "function gone: the compiler left only gone.constprop.0, gone.isra.0 of it, whose arguments may be others",
		"gone.isra.0": "function gone.isra.0: a clone that the compiler made of gone",
		"tiny":        "function tiny: inlined wherever it is called",
		"typo":        "function typo: unknown",
	} {
		f, err := types.Func(name)
		if !said(err, want) {
			t.Errorf("%v, want %q", err, want)
		}
		if want == "" && (f.Name != name || f.Module != "zfs" || len(f.Clones) != len(types.db.Clones[name])) {
			t.Errorf("%s is %+v", name, f)
		}
	}
}

func TestNamed(t *testing.T) {
	types := testTypes()
	if got, err := types.Named("zfs_range_tree_t", "struct list_head", "uint64_t"); err != nil || got.String() != "struct list_head" {
		t.Errorf("the first known name is %s, %v", got, err)
	}
	if _, err := types.Named("range_tree_t", "zfs_range_tree_t"); !errors.Is(err, ErrUnknown) || !said(err, "type range_tree_t or zfs_range_tree_t:") {
		t.Error(err)
	}
}

func TestAddr(t *testing.T) {
	types := testTypes()
	types.db.Modules = []module{{"zfs", "aa"}, {"spl", "bb"}}
	types.db.Functions = map[string][]function{"f": {{Module: "zfs", Section: ".text", Offset: 0x10}}, "init": {{Module: "zfs", Section: ".init.text"}}}
	types.db.Variables = map[string][]variable{"v": {{Module: "spl", Section: ".bss", Offset: 8}}, "w": {{File: "a.c"}, {File: "b.c"}}}
	k := New(nil, types, Layout{
		Sections: map[string]map[string]uint64{"zfs": {".text": 0x1000}, "spl": {".bss": 0x2000}},
		BuildIDs: map[string]string{"zfs": "aa", "spl": "other"},
		Symbols:  map[string]uint64{"_stext": 0x100},
	})
	for _, tt := range []struct {
		symbol string
		want   uint64
		err    string
	}{
		{"f", 0x1010, ""},
		{"_stext", 0x100, ""},
		{"v", 0, "address of v: the types are of spl bb, the guest runs other"},
		{"w", 0, "variable w: several have this name, in a.c, b.c"},
		{"init", 0, "address of init: module zfs has no section .init.text in memory"},
		{"x", 0, "unknown"},
	} {
		if got, err := k.Addr(tt.symbol); got != tt.want || !said(err, tt.err) {
			t.Errorf("%s is at %#x, %v; want %#x, %q", tt.symbol, got, err, tt.want, tt.err)
		}
	}
	if err := k.View(t.Context()).Var("v").Err(); !said(err, "the guest runs other") {
		t.Errorf("a variable of another build: %v", err)
	}
}

// TestDeclare builds the types of C declarations.
func TestDeclare(t *testing.T) {
	types := testTypes()
	add := func(n node) int32 { return types.made.intern(&n) }
	pointer := func(id int32) int32 { return add(node{Kind: Pointer, Size: 8, Elem: id}) }
	compare := add(node{Kind: Function, Elem: tInt, Members: []member{{Type: pointer(add(node{Kind: Qualified, Name: "const"}))}, {Type: tU64}}})
	for _, tt := range []struct {
		id   int32
		want string
	}{
		{0, "void x"},
		{tU64, "uint64_t x"},
		{tNode, "struct list_head x"},
		{tColor, "enum color x"},
		{add(node{Kind: Union, Size: 3}), "union {...} x"},
		{tVoid2, "struct avl_node *x[2]"},
		{pointer(tVoid2), "struct avl_node *(*x)[2]"},
		{add(node{Kind: Array, Elem: add(node{Kind: Array, Elem: tU8, Count: Flexible}), Count: 3}), "uint8_t x[3][]"},
		{pointer(compare), "int (*x)(const void *, uint64_t)"},
		{add(node{Kind: Function}), "void x(void)"},
		{add(node{Kind: Qualified, Name: "const", Elem: tCharPtr}), "char *const x"},
		{pointer(add(node{Kind: Qualified, Name: "const", Elem: tChar})), "const char *x"},
		{add(node{Kind: Typedef, Name: "color_t", Elem: tColor}), "color_t x"},
	} {
		if got := types.test(tt.id).declare("x"); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	if got := types.test(pointer(tU64)).String(); got != "uint64_t *" {
		t.Errorf("the type alone is %q", got)
	}
}
