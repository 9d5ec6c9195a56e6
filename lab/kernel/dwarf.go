package kernel

import (
	"context"
	"debug/dwarf"
	"encoding/binary"
	"fmt"
)

// units reads and merges all compilation units of a module.
func (b *builder) units(ctx context.Context, data *dwarf.Data) error {
	r := data.Reader()
	for {
		e, err := r.Next()
		if err != nil || e == nil {
			return err
		}
		if e.Tag != dwarf.TagCompileUnit {
			return fmt.Errorf("unit of kind %s at %#x", e.Tag, e.Offset)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		file := name(e)
		u := &unit{data: data, r: r, dies: map[dwarf.Offset]*die{}, routines: map[dwarf.Offset]*routine{}, globals: map[dwarf.Offset]*global{}}
		if err := u.children(e, nil); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := b.add(u, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
}

// unit is a compilation unit as it is written down, with references not resolved yet.
type unit struct {
	data     *dwarf.Data
	r        *dwarf.Reader
	dies     map[dwarf.Offset]*die
	order    []*die
	routines map[dwarf.Offset]*routine
	globals  map[dwarf.Offset]*global
}

// die is a type. Elem and the members' Type are in elem and refs until it is interned as id; 0 is void.
type die struct {
	node
	elem dwarf.Offset
	refs []dwarf.Offset
	id   int32
	// innermost is the last dimension of an array so far.
	innermost *die
}

// routine is a function: declared, described as it is in the source, or with its code.
type routine struct {
	name    string
	origin  dwarf.Offset // the routine that says what this one does not
	entry   uint64
	code    bool // there is code, beginning at entry
	foreign bool // declared, defined elsewhere
	result  dwarf.Offset
	params  []member
	refs    []dwarf.Offset // the types of params
}

// global is a variable: declared, or with its place.
type global struct {
	name   string
	origin dwarf.Offset // the global that says what this one does not
	addr   uint64
	placed bool
	ref    dwarf.Offset // its type
}

// children reads what is below e; what belongs to its type is added to d.
func (u *unit) children(e *dwarf.Entry, d *die) error {
	if !e.Children {
		return nil
	}
	for {
		c, err := u.r.Next()
		if err != nil {
			return err
		}
		if c == nil || c.Tag == 0 {
			return nil
		}
		if err := u.read(c, d); err != nil {
			return fmt.Errorf("%s at %#x: %w", c.Tag, c.Offset, err)
		}
	}
}

var kinds = map[dwarf.Tag]Kind{
	dwarf.TagBaseType: Int, dwarf.TagPointerType: Pointer, dwarf.TagStructType: Struct, dwarf.TagUnionType: Union,
	dwarf.TagEnumerationType: Enum, dwarf.TagTypedef: Typedef, dwarf.TagConstType: Qualified, dwarf.TagVolatileType: Qualified,
	dwarf.TagRestrictType: Qualified, dwarf.TagSubroutineType: Function, dwarf.TagArrayType: Array,
	dwarf.TagUnspecifiedType: Void, // what assembler returns
}

var qualifiers = map[dwarf.Tag]string{
	dwarf.TagConstType: "const", dwarf.TagVolatileType: "volatile", dwarf.TagRestrictType: "restrict",
}

func (u *unit) read(e *dwarf.Entry, parent *die) error {
	switch e.Tag {
	case dwarf.TagMember, dwarf.TagEnumerator, dwarf.TagFormalParameter:
		return u.member(e, parent)
	case dwarf.TagSubrangeType:
		return u.dimension(e, parent)
	case dwarf.TagSubprogram:
		return u.routine(e)
	case dwarf.TagVariable:
		return u.global(e)
	}
	kind, ok := kinds[e.Tag]
	if !ok { // nothing that a type in memory depends on
		u.r.SkipChildren()
		return nil
	}
	d := &die{node: node{Kind: kind, Name: name(e), Size: uint64(number(e, dwarf.AttrByteSize))}, elem: ref(e, dwarf.AttrType)}
	d.Declared, _ = e.Val(dwarf.AttrDeclaration).(bool)
	switch e.Tag {
	case dwarf.TagBaseType:
		const float, signed, signedChar = 4, 5, 6 // DW_ATE_*
		encoding := number(e, dwarf.AttrEncoding)
		d.Signed = encoding == signed || encoding == signedChar
		if encoding == float {
			d.Kind = Float
		}
	case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType:
		d.Name = qualifiers[e.Tag]
	case dwarf.TagArrayType:
		d.Count = Flexible
	}
	u.put(e.Offset, d)
	return u.children(e, d)
}

func (u *unit) put(at dwarf.Offset, d *die) {
	u.dies[at] = d
	u.order = append(u.order, d)
}

func (u *unit) member(e *dwarf.Entry, d *die) error {
	if d == nil {
		return fmt.Errorf("outside of a type")
	}
	m := member{Name: name(e)}
	switch e.Tag {
	case dwarf.TagEnumerator:
		m.Value = number(e, dwarf.AttrConstValue)
		d.Signed = d.Signed || m.Value < 0
	case dwarf.TagMember:
		if e.Val(dwarf.AttrBitOffset) != nil {
			return fmt.Errorf("a bit field in the manner of DWARF 3")
		}
		m.Bit = uint64(8*number(e, dwarf.AttrDataMemberLoc) + number(e, dwarf.AttrDataBitOffset))
		m.Bits = uint32(number(e, dwarf.AttrBitSize))
	}
	d.Members, d.refs = append(d.Members, m), append(d.refs, ref(e, dwarf.AttrType))
	return u.children(e, nil)
}

// dimension gives an array its length. A further dimension becomes the element of the one before.
func (u *unit) dimension(e *dwarf.Entry, d *die) error {
	if d == nil || d.Kind != Array {
		return fmt.Errorf("outside of an array")
	}
	count := int64(Flexible)
	if n, ok := e.Val(dwarf.AttrCount).(int64); ok && n > 0 {
		count = n
	} else if last, ok := e.Val(dwarf.AttrUpperBound).(int64); ok && last >= 0 {
		count = last + 1
	}
	if d.innermost == nil {
		d.Count, d.innermost = count, d
		return nil
	}
	inner := &die{node: node{Kind: Array, Count: count}, elem: d.innermost.elem}
	d.innermost.elem = e.Offset
	d.innermost = inner
	u.put(e.Offset, inner)
	return nil
}

func (u *unit) routine(e *dwarf.Entry) error {
	f := &routine{name: name(e), origin: origin(e), result: ref(e, dwarf.AttrType)}
	f.foreign, _ = e.Val(dwarf.AttrDeclaration).(bool)
	ranges, err := u.data.Ranges(e)
	if err != nil {
		return err
	}
	if len(ranges) > 0 { // a function in two parts begins in the first
		f.entry, f.code = ranges[0][0], true
	}
	u.routines[e.Offset] = f
	if !e.Children {
		return nil
	}
	for {
		c, err := u.r.Next()
		if err != nil {
			return err
		}
		if c == nil || c.Tag == 0 {
			return nil
		}
		if c.Tag != dwarf.TagFormalParameter {
			break
		}
		f.params, f.refs = append(f.params, member{Name: name(c)}), append(f.refs, ref(c, dwarf.AttrType))
		u.r.SkipChildren()
	}
	// Parameters come first. The rest is the body, which is most of the debug information.
	u.r.Seek(e.Offset)
	if _, err := u.r.Next(); err != nil {
		return err
	}
	u.r.SkipChildren()
	return nil
}

func (u *unit) global(e *dwarf.Entry) error {
	g := &global{name: name(e), origin: origin(e), ref: ref(e, dwarf.AttrType)}
	const opAddr = 3 // DW_OP_addr
	if loc, ok := e.Val(dwarf.AttrLocation).([]byte); ok && len(loc) == 9 && loc[0] == opAddr {
		g.addr, g.placed = binary.LittleEndian.Uint64(loc[1:]), true
	}
	u.globals[e.Offset] = g
	return u.children(e, nil)
}

// origin is the entry that this one completes.
func origin(e *dwarf.Entry) dwarf.Offset {
	if at := ref(e, dwarf.AttrAbstractOrigin); at != 0 {
		return at
	}
	return ref(e, dwarf.AttrSpecification)
}

func name(e *dwarf.Entry) string {
	s, _ := e.Val(dwarf.AttrName).(string)
	return s
}

func number(e *dwarf.Entry, a dwarf.Attr) int64 {
	n, _ := e.Val(a).(int64)
	return n
}

func ref(e *dwarf.Entry, a dwarf.Attr) dwarf.Offset {
	at, _ := e.Val(a).(dwarf.Offset)
	return at
}
