package kernel

import (
	"debug/dwarf"
	"testing"
)

// testUnit is a compilation unit with these types, at the offsets 1, 2, ...
func testUnit(dies ...*die) *unit {
	u := &unit{dies: map[dwarf.Offset]*die{}}
	for i, d := range dies {
		u.put(dwarf.Offset(i+1), d)
	}
	return u
}

// foo is struct foo { struct foo *next; }; its pointer is at the offset next.
func foo(name string, next dwarf.Offset) *die {
	return &die{node: node{Kind: Struct, Name: "foo", Size: 8, Members: []member{{Name: name}}}, refs: []dwarf.Offset{next}}
}

func pointerTo(at dwarf.Offset) *die { return &die{node: node{Kind: Pointer, Size: 8}, elem: at} }

func declared() *die { return &die{node: node{Kind: Struct, Name: "foo", Declared: true}} }

func enum(name string, value int64) *die {
	return &die{node: node{Kind: Enum, Members: []member{{Name: name, Value: value}, {Name: "OTHER"}}}, refs: []dwarf.Offset{0, 0}}
}

func TestBuilder(t *testing.T) {
	for _, tt := range []struct {
		name  string
		units []*unit
		nodes int // void included
		field string
	}{
		{"one", []*unit{testUnit(foo("next", 2), pointerTo(1))}, 3, "next"},
		{"alike", []*unit{testUnit(foo("next", 2), pointerTo(1)), testUnit(pointerTo(2), foo("next", 1))}, 3, "next"},
		{"declared before", []*unit{testUnit(declared(), pointerTo(1)), testUnit(foo("next", 2), pointerTo(1))}, 4, "next"},
		{"declared afterwards", []*unit{testUnit(foo("next", 2), pointerTo(1)), testUnit(declared(), pointerTo(1))}, 4, "next"},
		{"two of three", []*unit{
			testUnit(foo("rare", 2), pointerTo(1)), testUnit(foo("next", 2), pointerTo(1)), testUnit(pointerTo(2), foo("next", 1)),
		}, 4, "next"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuilder()
			for _, u := range tt.units {
				if err := b.add(u, "a.c"); err != nil {
					t.Fatal(err)
				}
			}
			types := &Types{db: *b.finish()}
			if got := len(types.db.Nodes); got != tt.nodes {
				t.Errorf("%d types, want %d", got, tt.nodes)
			}
			found, err := types.Named("struct foo")
			if err != nil {
				t.Fatal(err)
			}
			f, ok := found.Field(tt.field)
			if !ok || f.Type.String() != "struct foo *" || f.Type.Elem().Declared() || f.Type.Elem().Size() != 8 {
				t.Errorf("struct foo is %+v, its member %s", *found.node(), f.Type)
			}
		})
	}
	if err := newBuilder().add(testUnit(pointerTo(7)), "a.c"); err == nil {
		t.Error("a reference to nothing was resolved")
	}
}

func TestEnumerators(t *testing.T) {
	b := newBuilder()
	for _, d := range []*die{enum("A", 1), enum("A", 1), enum("B", 1), enum("B", 2)} {
		if err := b.add(testUnit(d), "a.c"); err != nil {
			t.Fatal(err)
		}
	}
	types := &Types{db: *b.finish()}
	for name, want := range map[string]bool{"A": true, "OTHER": true, "B": false, "C": false} {
		if _, ok := types.Const(name); ok != want {
			t.Errorf("%s is known: %v", name, ok)
		}
	}
}
