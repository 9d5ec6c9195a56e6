package kernel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
)

// thing has everything that a struct can have.
func thing(t *Types) Type {
	pair := t.StructOf("pair", 16, Field{Name: "a", Type: t.test(tU64)}, Field{Name: "b", Type: t.test(tU64), Offset: 8})
	anonymous := t.StructOf("", 8,
		Field{Name: "low", Type: t.test(tU64), BitSize: 3},
		Field{Name: "mid", Type: t.test(tInt), BitOffset: 3, BitSize: 7},
		Field{Name: "high", Type: t.test(tU64), Offset: 4, BitOffset: 1, BitSize: 31})
	return t.StructOf("thing", 96,
		Field{Name: "id", Type: t.test(tInt)},
		Field{Name: "pairs", Type: t.ArrayOf(pair, 2), Offset: 8},
		Field{Type: anonymous, Offset: 40},
		Field{Name: "name", Type: t.ArrayOf(t.test(tChar), 8), Offset: 48},
		Field{Name: "color", Type: t.test(tColor), Offset: 56},
		Field{Name: "flags", Type: t.test(tFlags), Offset: 60},
		Field{Name: "text", Type: t.test(tCharPtr), Offset: 64},
		Field{Name: "next", Type: t.test(tVoidPtr), Offset: 72},
		Field{Name: "on", Type: t.test(tBool), Offset: 80},
		Field{Name: "level", Type: t.test(tU8), Offset: 81},
		Field{Name: "next_level", Type: t.ArrayOf(t.test(tU8), 6), Offset: 82},
		Field{Name: "grid", Type: t.ArrayOf(t.ArrayOf(t.test(tU8), 2), 2), Offset: 88},
		Field{Name: "tail", Type: t.ArrayOf(t.test(tU64), Flexible), Offset: 96})
}

const (
	thingAt = 0xffffc90000000fd8 // all but 40 bytes is in the next page
	textAt  = 0xffffc90000008ffc
)

func writeThing(f *fake) {
	f.words(thingAt, 0xfffffffe, // id -2
		1, 2, 3, 4, // pairs
		6|uint64(0x7d)<<3|uint64(5)<<33, // low 6, mid -3, high 5
		0x6b6e6174,                      // "tank"
		2|11<<32,                        // BLUE, F_A | F_B | F_C
		textAt, 0,                       // text, next
		1|7<<8|1<<16|1<<24|1<<32|1<<40,     // on, level 7, next_level {1, 1, 1, 1, 0, 0}
		0x04030201, 0x1000, 0x1001, 0x1002) // grid, tail
	f.put(textAt, []byte("in two pages\x00"))
}

func TestFields(t *testing.T) {
	types := testTypes()
	f := newFake(t, 4)
	writeThing(f)
	v := f.view(types).At(thing(types), thingAt, "thing")
	for _, tt := range []struct {
		value Value
		want  int64
		path  string
	}{
		{v.Field("id"), -2, "thing.id"},
		{v.Field("pairs").Index(1).Field("a"), 3, "thing.pairs[1].a"},
		{v.Field("pairs").Index(1).Field("other", "b"), 4, "thing.pairs[1].b"},
		{v.Field("low"), 6, "thing.low"},
		{v.Field("mid"), -3, "thing.mid"},
		{v.Field("high"), 5, "thing.high"},
		{v.Field("color"), 2, "thing.color"},
		{v.Field("text").Index(1), 'n', "thing.text[1]"},
		{v.Field("next"), 0, "thing.next"},
		{v.Field("grid").Index(1).Index(0), 3, "thing.grid[1][0]"},
		{v.Field("tail").Index(2), 0x1002, "thing.tail[2]"},
		{v.Field("pairs").Index(0).Cast(types.test(tU64)).Rename("word"), 1, "word"},
	} {
		if got, err := tt.value.Int(); err != nil || got != tt.want || tt.value.Path() != tt.path {
			t.Errorf("%s is %d (%v), want %s to be %d", tt.value.Path(), got, err, tt.path, tt.want)
		}
	}
	high := v.Field("high")
	if offset, size := high.Bits(); high.Addr() != thingAt+44 || offset != 1 || size != 31 {
		t.Errorf("the bit field is %d bits at %#x bit %d", size, high.Addr(), offset)
	}
	for field, want := range map[string]string{"name": "tank", "text": "in two pages"} {
		if got, err := v.Field(field).CString(); err != nil || got != want {
			t.Errorf("%s is %q, %v", field, got, err)
		}
	}
}

func TestBadValues(t *testing.T) {
	types := testTypes()
	f := newFake(t, 4)
	writeThing(f)
	v := f.view(types).At(thing(types), thingAt, "thing")
	for _, tt := range []struct {
		value Value
		want  string
	}{
		{v.Field("size", "length"), "thing: struct thing has no member size or length: unknown"},
		{v.Field("size").Index(3).Deref().Field("x"), "thing: struct thing has no member size"},
		{v.Field("next").Deref(), "thing.next: null pointer"},
		{v.Field("next").Field("id"), "thing.next: null pointer"},
		{v.Field("pairs").Index(2), "thing.pairs: index 2 is not within struct pair [2]"},
		{v.Field("pairs").Index(-1), "thing.pairs: index -1"},
		{v.Field("id").Index(0), "thing.id: int is not an array"},
		{v.Field("id").Deref(), "thing.id: int is not a pointer"},
		{v.Field("id").Field("x"), "thing.id: int has no member x"},
		{v.Field("mid").Cast(types.test(tU64)), "thing.mid: a int in a register or bit field cannot be a uint64_t"},
	} {
		if _, err := tt.value.Uint(); !said(err, tt.want) || !errors.Is(tt.value.Err(), err) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	if _, err := v.Uint(); !said(err, "thing: struct thing is not a number") {
		t.Error(err)
	}
	if _, err := v.Field("id").CString(); !said(err, "thing.id: int is not a string") {
		t.Error(err)
	}
	if _, err := f.view(types).At(thing(types), 0x1000, "nowhere").Field("id").Format(); !errors.Is(err, ErrUnmapped) {
		t.Error(err)
	}
	f.put(textAt, []byte(strings.Repeat("x", 3*pageSize)))
	if _, err := v.View().Kernel().View(t.Context()).At(types.test(tCharPtr), thingAt+64, "text").CString(); !said(err, "text: the string does not end") {
		t.Error(err)
	}
}

func TestPieces(t *testing.T) {
	types := testTypes()
	f := newFake(t, 4)
	writeThing(f)
	v := f.view(types).At(thing(types), thingAt, "thing")
	for _, tt := range []struct {
		value Value
		want  string
	}{
		{v.Field("pairs").Index(0), "[{0xffffc90000000fe0 0x3003fe0 16}]"},
		{v, "[{0xffffc90000000fd8 0x3003fd8 40} {0xffffc90000001000 0x3007000 56}]"},
		{v.Field("mid"), "[{0xffffc90000001000 0x3007000 2}]"}, // bits 3 to 9
		{v.Field("high"), "[{0xffffc90000001004 0x3007004 4}]"},
	} {
		pieces, err := tt.value.Pieces()
		if err != nil {
			t.Fatal(err)
		}
		text := []string{}
		for _, p := range pieces {
			text = append(text, fmt.Sprintf("{%#x %#x %d}", p.Virt, p.Phys, p.Len))
		}
		if got := fmt.Sprint(text); got != tt.want {
			t.Errorf("%s is in %s, want %s", tt.value.Path(), got, tt.want)
		}
	}
}

func TestFormat(t *testing.T) {
	types := testTypes()
	f := newFake(t, 4)
	writeThing(f)
	v := f.view(types).At(thing(types), thingAt, "thing")
	const whole = `{
	.id = -2,
	.pairs = {
		[0] = {
			.a = 1,
			.b = 2,
		},
		[1] = {
			.a = 3,
			.b = 4,
		},
	},
	{
		.low = 6,
		.mid = -3,
		.high = 5,
	},
	.name = "tank",
	.color = BLUE,
	.flags = F_A | F_B | F_C,
	.text = 0xffffc90000008ffc,
	.next = NULL,
	.on = true,
	.level = 7,
	.next_level = {[0 ... 3] = 1, 0, 0},
	.grid = {
		[0] = {1, 2},
		[1] = {3, 4},
	},
}`
	for _, tt := range []struct {
		value Value
		want  string
	}{
		{v, whole},
		{v.Field("mid"), "-3"},
		{v.Field("name"), `"tank"`},
		{v.Field("name").Index(0), "116"},
		{v.Field("id").Cast(types.test(tColor)), "4294967294"},
		{v.Field("pairs").Index(0).Field("a").Cast(types.ArrayOf(types.test(tChar), 8)), "{1, [1 ... 7] = 0}"},
	} {
		if got, err := tt.value.Format(); err != nil || got != tt.want {
			t.Errorf("%s is printed as %s (%v), want %s", tt.value.Path(), got, err, tt.want)
		}
	}
}

func TestFieldAt(t *testing.T) {
	types := testTypes()
	half := types.StructOf("half", 24, Field{Name: "word", Type: types.test(tU64)})
	union := Type{types, types.made.intern(&node{Kind: Union, Name: "either", Size: 24, Members: []member{
		{Name: "small", Type: tInt}, {Name: "half", Type: half.id}, {Name: "words", Type: types.ArrayOf(types.test(tU64), 2).id},
	}})}
	for _, tt := range []struct {
		in   Type
		bit  int
		want string
	}{
		{thing(types), 0, "id"},
		{thing(types), 31, "id"},
		{thing(types), 32, Padding},
		{thing(types), 64, "pairs[0].a"},
		{thing(types), 64 + 3*64 + 63, "pairs[1].b"},
		{thing(types), 320, "low"},
		{thing(types), 322, "low"},
		{thing(types), 323, "mid"},
		{thing(types), 330, Padding},
		{thing(types), 353, "high"},
		{thing(types), 384 + 8, "name[1]"},
		{thing(types), 704 + 8, "grid[0][1]"},
		{thing(types), 704 + 32, Padding},
		{thing(types), 768 + 64, "tail[1]"},
		{types.ArrayOf(thing(types), 2), 768, "[1].id"},
		{types.ArrayOf(thing(types), 2), 2 * 768, Padding},
		{types.test(tU64), 5, ""},
		{union, 5, "small"},
		{union, 40, "half.word"},
		{union, 64, "words[1]"},
		{union, 128, "half." + Padding},
	} {
		if got := FieldAt(tt.in, tt.bit); got != tt.want {
			t.Errorf("bit %d of %s is %q, want %q", tt.bit, tt.in, got, tt.want)
		}
	}
}

func TestArg(t *testing.T) {
	types := testTypes()
	f := newFake(t, 4)
	writeThing(f)
	f.words(0xffffc90000010000, 0xffffffffc0001234, 77, 88) // a stack: return address, two arguments
	v := f.view(types)
	fn := &Func{Name: "f"}
	for i, name := range []string{"color", "p", "n", "c", "d", "e", "g", "h"} {
		fn.Params = append(fn.Params, Param{name, types.test([]int32{tColor, tCharPtr, tInt, tU8}[min(i, 3)])})
	}
	frame := Frame{fn, machine.Registers{
		RDI: 0xffffffff00000001, RSI: textAt, RDX: 0xffffffff, RCX: 0x1ff, R8: 5, R9: 6, RSP: 0xffffc90000010000,
	}}
	for name, want := range map[string]int64{"color": 1, "n": -1, "c": 255, "e": 6, "g": 77, "h": 88} {
		if got, err := v.Arg(frame, name).Int(); err != nil || got != want {
			t.Errorf("argument %s is %d, %v; want %d", name, got, err, want)
		}
	}
	if got, err := v.Arg(frame, "p").CString(); err != nil || got != "in two pages" {
		t.Errorf("argument p points to %q, %v", got, err)
	}
	if got, err := v.Arg(frame, "color").Format(); err != nil || got != "GREEN" {
		t.Errorf("argument color prints as %s, %v", got, err)
	}
	if _, err := v.Arg(frame, "p").Pieces(); !said(err, "p: in a register") {
		t.Error(err)
	}
	if err := v.Arg(frame, "bp").Err(); !said(err, "f has none of this name") {
		t.Error(err)
	}
	fn.Params[1].Type = thing(types)
	if err := v.Arg(frame, "h").Err(); !said(err, "p is a struct thing by value") {
		t.Error(err)
	}
}
