package kernel

import (
	"fmt"
	"iter"
	"strings"
)

// Kind says what a type is made of.
type Kind uint8

// The kinds of C types. Qualified is const, volatile or restrict.
const (
	Void Kind = iota
	Int       // integers, characters and bool
	Float
	Pointer
	Array
	Struct
	Union
	Enum
	Typedef
	Qualified
	Function
)

// Flexible is the length of an array whose declaration has none, or 0.
const Flexible = -1

// node is a type in the database; encoding/gob wants its fields exported.
type node struct {
	Kind   Kind
	Signed bool
	// Declared is a struct, union or enum of which the modules have no definition.
	Declared bool
	Name     string // the tag of a struct, union or enum, which may have none; the word of a qualifier
	Size     uint64
	Elem     int32 // what a pointer, array, typedef or qualifier is of; what a function returns
	Count    int64
	Members  []member
}

// member is a field, an enumerator or a parameter.
type member struct {
	Name  string
	Type  int32
	Bit   uint64 // offset of a field from the beginning of its struct, in bits
	Bits  uint32 // width of a bit field, otherwise 0
	Value int64  // of an enumerator
}

// Type is a C type. Two of the same Types are == when they are the same type. The zero Type is void.
type Type struct {
	types *Types
	id    int32
}

func (t Type) node() *node {
	if t.types == nil {
		return &node{}
	}
	if t.id < 0 {
		return t.types.made.node(t.id)
	}
	return &t.types.db.Nodes[t.id]
}

func (t Type) other(id int32) Type { return Type{t.types, id} }

// Kind says what the type is made of; a typedef is of kind Typedef.
func (t Type) Kind() Kind { return t.node().Kind }

// Name is the typedef's, base type's or tag's name, without the word struct, and empty for a type that has none.
func (t Type) Name() string { return t.node().Name }

// Signed says whether an integer or enum is.
func (t Type) Signed() bool { return t.Base().node().Signed }

// Declared says that a struct, union or enum is only declared: nothing is known of what is in it.
func (t Type) Declared() bool { return t.Base().node().Declared }

// Size is in bytes; 0 for void, functions, flexible arrays and what is only declared.
func (t Type) Size() int {
	switch n := t.node(); n.Kind {
	case Array:
		return int(max(n.Count, 0)) * t.Elem().Size()
	case Typedef, Qualified:
		return t.Elem().Size()
	default:
		return int(n.Size)
	}
}

// Elem is what a pointer points to, an array or typedef consists of, a qualifier qualifies or a function returns.
func (t Type) Elem() Type { return t.other(t.node().Elem) }

// Len is the number of elements of an array, or Flexible.
func (t Type) Len() int { return int(t.node().Count) }

// Base is the type without typedefs and qualifiers.
func (t Type) Base() Type {
	for t.Kind() == Typedef || t.Kind() == Qualified {
		t = t.Elem()
	}
	return t
}

// Field is a member of a struct or union. One without a name is a struct or union whose members count as members of
// the outer one.
type Field struct {
	Name string
	Type Type
	// Offset is in bytes from the beginning of the struct. A bit field begins BitOffset bits (0 to 7) behind it, counted
	// from the least significant bit, and is BitSize wide; BitSize is 0 for a plain field.
	Offset, BitOffset, BitSize int
}

// bits are the field's offset and width in bits.
func (f Field) bits() (offset, size int) {
	if f.BitSize > 0 {
		return 8*f.Offset + f.BitOffset, f.BitSize
	}
	return 8 * f.Offset, 8 * f.Type.Size()
}

// Fields are the members of a struct or union, typedefs of it included, in the order of declaration.
func (t Type) Fields() iter.Seq[Field] {
	base := t.Base()
	return func(yield func(Field) bool) {
		if k := base.Kind(); k != Struct && k != Union {
			return
		}
		for i := range base.node().Members {
			if !yield(base.field(i)) {
				return
			}
		}
	}
}

// field is member number i of a struct or union.
func (t Type) field(i int) Field {
	m := &t.node().Members[i]
	f := Field{Name: m.Name, Type: t.other(m.Type), Offset: int(m.Bit / 8)}
	if m.Bits > 0 {
		f.BitOffset, f.BitSize = int(m.Bit%8), int(m.Bits)
	}
	return f
}

// Field finds a member by name, also in anonymous members; its offset is from the beginning of t.
func (t Type) Field(name string) (Field, bool) {
	base := t.Base()
	if k := base.Kind(); k != Struct && k != Union || name == "" {
		return Field{}, false
	}
	for i, m := range base.node().Members {
		switch m.Name {
		case name:
			return base.field(i), true
		case "":
			outer := base.field(i)
			if inner, ok := outer.Type.Field(name); ok {
				inner.Offset += outer.Offset
				return inner, true
			}
		}
	}
	return Field{}, false
}

// Enumerators are the names and values of an enum in the order of declaration.
func (t Type) Enumerators() iter.Seq2[string, int64] {
	base := t.Base()
	return func(yield func(string, int64) bool) {
		if base.Kind() != Enum {
			return
		}
		for _, m := range base.node().Members {
			if !yield(m.Name, m.Value) {
				return
			}
		}
	}
}

// String is the type as C writes it.
func (t Type) String() string { return t.declare("") }

// declare writes a declaration of name, which may be empty.
func (t Type) declare(name string) string {
	n := t.node()
	switch n.Kind {
	case Pointer:
		if k := t.Elem().Kind(); k == Array || k == Function {
			return t.Elem().declare("(*" + name + ")")
		}
		return t.Elem().declare("*" + name)
	case Array:
		count := ""
		if n.Count != Flexible {
			count = fmt.Sprint(n.Count)
		}
		return t.Elem().declare(name + "[" + count + "]")
	case Function:
		var params []string
		for _, m := range n.Members {
			params = append(params, t.other(m.Type).String())
		}
		if params == nil {
			params = []string{"void"}
		}
		return t.Elem().declare(name + "(" + strings.Join(params, ", ") + ")")
	case Qualified:
		if t.Elem().Kind() == Pointer {
			return t.Elem().declare(strings.TrimSuffix(n.Name+" "+name, " "))
		}
		return n.Name + " " + t.Elem().declare(name)
	}
	if name == "" {
		return t.word()
	}
	return t.word() + " " + name
}

// word is the name of a type that is written before what it declares.
func (t Type) word() string {
	n := t.node()
	word, tagged := map[Kind]string{Struct: "struct", Union: "union", Enum: "enum"}[n.Kind]
	switch {
	case n.Kind == Void:
		return "void"
	case !tagged:
		return n.Name
	case n.Name == "":
		return word + " {...}"
	default:
		return word + " " + n.Name
	}
}
