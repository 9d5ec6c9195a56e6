package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Value is a typed place in guest memory, an argument in a register, or the error that was met on the way there.
// Selectors (Field, Index, Deref, Cast) on a bad value give it back unchanged; readers return its error. A value is a
// place and no copy: it is read when it is asked for.
type Value struct {
	view *View
	typ  Type
	addr uint64
	// bit and width make it a bit field, which begins bit bits behind addr.
	bit, width int
	// held values are in a register of a CPU and have no address.
	held     bool
	register uint64
	path     string
	err      error
}

// ErrNull is wrapped by the errors about following a null pointer.
var ErrNull = errors.New("null pointer")

// Err is the error met on the way, nil for a good value. A good value may turn out to be unmapped when it is read.
func (v Value) Err() error { return v.err }

// Type is the declared type, typedefs included.
func (v Value) Type() Type { return v.typ }

// Addr is the virtual address of the first byte; 0 for an argument in a register.
func (v Value) Addr() uint64 { return v.addr }

// Bits are where the value is behind Addr and how wide it is, in bits. The offset is 0 but for bit fields, 0 to 7 there;
// bits are counted from the least significant of the byte at Addr.
func (v Value) Bits() (offset, size int) {
	if v.width > 0 {
		return v.bit, v.width
	}
	return 0, 8 * v.typ.Size()
}

// Path names the value as C would, from where it was begun.
func (v Value) Path() string { return v.path }

// View is what the value is seen through.
func (v Value) View() *View { return v.view }

// Rename gives the value another path.
func (v Value) Rename(path string) Value {
	v.path = path
	return v
}

// fail makes a value bad.
func (v Value) fail(err error) Value {
	if v.err == nil {
		v.err = v.wrap(err)
	}
	return v
}

func (v Value) wrap(err error) error { return fmt.Errorf("%s: %w", v.path, err) }

// Field is a member of a struct or union, or of what a pointer points to. Several names are names of one thing in several
// versions: the first that exists is taken. Members of anonymous members are found.
func (v Value) Field(names ...string) Value {
	if v.err == nil && v.typ.Base().Kind() == Pointer {
		v = v.Deref()
	}
	if v.err != nil {
		return v
	}
	if v.held {
		return v.fail(errors.New("a register has no members"))
	}
	for _, name := range names {
		f, ok := v.typ.Field(name)
		if !ok {
			continue
		}
		return Value{view: v.view, typ: f.Type, addr: v.addr + uint64(f.Offset), bit: f.BitOffset, width: f.BitSize, path: v.path + "." + name}
	}
	if v.typ.Declared() {
		return v.fail(fmt.Errorf("nothing is known of what is in %s", v.typ))
	}
	return v.fail(fmt.Errorf("%s has no member %s: %w", v.typ, or(names), ErrUnknown))
}

func or(names []string) string {
	var b bytes.Buffer
	for i, name := range names {
		if i > 0 {
			b.WriteString(" or ")
		}
		b.WriteString(name)
	}
	return b.String()
}

// Index is an element of an array, or of the array whose first element a pointer points to.
func (v Value) Index(i int) Value {
	if v.err != nil {
		return v
	}
	path := fmt.Sprintf("%s[%d]", v.path, i)
	base := v.typ.Base()
	switch base.Kind() {
	case Pointer:
		v = v.Deref()
		if v.err != nil {
			return v
		}
	case Array:
		if n := base.Len(); i < 0 || n != Flexible && i >= n {
			return v.fail(fmt.Errorf("index %d is not within %s", i, v.typ))
		}
	default:
		return v.fail(fmt.Errorf("%s is not an array", v.typ))
	}
	elem := base.Elem()
	if elem.Size() == 0 {
		return v.fail(fmt.Errorf("an element of %s has no known size", base))
	}
	return Value{view: v.view, typ: elem, addr: v.addr + uint64(i*elem.Size()), path: path}
}

// Deref is what a pointer points to. The path stays, as C's -> and . are one to it.
func (v Value) Deref() Value {
	if v.err != nil {
		return v
	}
	base := v.typ.Base()
	if base.Kind() != Pointer {
		return v.fail(fmt.Errorf("%s is not a pointer", v.typ))
	}
	addr, err := v.Uint()
	if err == nil && addr == 0 {
		err = v.wrap(ErrNull)
	}
	return Value{view: v.view, typ: base.Elem(), addr: addr, path: v.path, err: err}
}

// Cast is the same place seen as another type.
func (v Value) Cast(t Type) Value {
	if v.err != nil {
		return v
	}
	if v.width > 0 || v.held && t.Size() > 8 {
		return v.fail(fmt.Errorf("a %s in a register or bit field cannot be a %s", v.typ, t))
	}
	v.typ = t
	return v
}

// Bytes are the value's bytes as they are in memory; of a bit field those that it is in.
func (v Value) Bytes() ([]byte, error) {
	if v.err != nil {
		return nil, v.err
	}
	size := v.span()
	if size == 0 {
		return nil, v.wrap(fmt.Errorf("%s has no known size", v.typ))
	}
	if v.held {
		return binary.LittleEndian.AppendUint64(nil, v.register)[:min(size, 8)], nil
	}
	p := make([]byte, size)
	if err := v.view.Read(v.addr, p); err != nil {
		return nil, v.wrap(err)
	}
	return p, nil
}

// span is the number of bytes that the value is in.
func (v Value) span() int {
	offset, size := v.Bits()
	return (offset + size + 7) / 8
}

// Uint is an integer, enumerator or pointer. A negative number comes as its two's complement in 64 bits.
func (v Value) Uint() (uint64, error) {
	if v.err != nil {
		return 0, v.err
	}
	switch v.typ.Base().Kind() {
	case Int, Enum, Pointer:
	default:
		return 0, v.wrap(fmt.Errorf("%s is not a number", v.typ))
	}
	p, err := v.Bytes()
	if err != nil {
		return 0, err
	}
	offset, size := v.Bits()
	n, err := number64(v.typ, p, offset, size)
	if err != nil {
		return 0, v.wrap(err)
	}
	return n, nil
}

// number64 takes an integer of a type out of bytes.
func number64(t Type, p []byte, offset, size int) (uint64, error) {
	if len(p) > 8 || size == 0 {
		return 0, fmt.Errorf("%s has %d bits", t, size)
	}
	var word [8]byte
	copy(word[:], p)
	n := binary.LittleEndian.Uint64(word[:]) >> offset << (64 - size)
	if t.Signed() {
		return uint64(int64(n) >> (64 - size)), nil
	}
	return n >> (64 - size), nil
}

// Int is Uint for numbers that may be negative.
func (v Value) Int() (int64, error) {
	n, err := v.Uint()
	return int64(n), err
}

// IsNull says whether a pointer is null.
func (v Value) IsNull() (bool, error) {
	n, err := v.Uint()
	return n == 0, err
}

// stringLimit is what a string behind a pointer may have, in bytes; names in ZFS are far below it.
const stringLimit = pageSize

// CString is the text in an array of char, up to its end or the first 0, or the text that a pointer to char points to,
// which must end.
func (v Value) CString() (string, error) {
	if v.err != nil {
		return "", v.err
	}
	base := v.typ.Base()
	if k := base.Kind(); k != Pointer && k != Array || base.Elem().Size() != 1 {
		return "", v.wrap(fmt.Errorf("%s is not a string", v.typ))
	}
	if base.Kind() == Array && base.Len() != Flexible {
		p, err := v.Bytes()
		text, _, _ := bytes.Cut(p, []byte{0})
		return string(text), err
	}
	addr := v.addr
	if base.Kind() == Pointer {
		target := v.Deref()
		if target.err != nil {
			return "", target.err
		}
		addr = target.addr
	}
	return v.text(addr)
}

// text reads up to a 0, page by page: what comes behind it may not be mapped.
func (v Value) text(addr uint64) (string, error) {
	var text []byte
	for len(text) < stringLimit {
		p := make([]byte, pageSize-addr%pageSize)
		if err := v.view.Read(addr, p); err != nil {
			return "", v.wrap(err)
		}
		part, _, ended := bytes.Cut(p, []byte{0})
		text, addr = append(text, part...), addr+uint64(len(p))
		if ended {
			return string(text), nil
		}
	}
	return "", v.wrap(errors.New("the string does not end"))
}

// Piece is a run of bytes that is contiguous in physical memory.
type Piece struct {
	Virt, Phys uint64
	Len        int
}

// Pieces are where the value's bytes are in physical memory, a piece a page. A value in a register has none.
func (v Value) Pieces() ([]Piece, error) {
	if v.err != nil {
		return nil, v.err
	}
	if v.held {
		return nil, v.wrap(errors.New("in a register, not in memory"))
	}
	var pieces []Piece
	for addr, left := v.addr, v.span(); left > 0; {
		phys, err := v.view.Phys(addr)
		if err != nil {
			return nil, v.wrap(err)
		}
		n := min(left, pageSize-int(addr%pageSize))
		pieces = append(pieces, Piece{addr, phys, n})
		addr, left = addr+uint64(n), left-n
	}
	return pieces, nil
}
