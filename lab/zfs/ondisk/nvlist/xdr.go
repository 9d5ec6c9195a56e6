package nvlist

import (
	"bytes"
	"encoding/binary"
	"math"
)

// xdr reads RFC 4506 items: big endian, in units of four bytes.
type xdr struct {
	rest  []byte
	depth int
}

func decodeXDR(p []byte) (*List, error) {
	x := &xdr{rest: p}
	return x.list()
}

func (x *xdr) take(n uint64) ([]byte, error) {
	if n > uint64(len(x.rest)) {
		return nil, corrupt("%d bytes wanted, %d left", n, len(x.rest))
	}
	p := x.rest[:n]
	x.rest = x.rest[n:]
	return p, nil
}

func (x *xdr) u32() (uint32, error) {
	p, err := x.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(p), nil
}

func (x *xdr) u64() (uint64, error) {
	p, err := x.take(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(p), nil
}

// opaque are n bytes, padded to a multiple of four.
func (x *xdr) opaque(n uint32) ([]byte, error) {
	p, err := x.take((uint64(n) + 3) &^ 3)
	if err != nil {
		return nil, err
	}
	return p[:n], nil
}

func (x *xdr) str() (string, error) {
	n, err := x.u32()
	if err != nil {
		return "", err
	}
	p, err := x.opaque(n)
	if err != nil {
		return "", err
	}
	if bytes.IndexByte(p, 0) >= 0 {
		return "", corrupt("a string with a zero byte in it")
	}
	return string(p), nil
}

func (x *xdr) list() (*List, error) {
	if x.depth++; x.depth > maxDepth {
		return nil, corrupt("nested deeper than %d", maxDepth)
	}
	defer func() { x.depth-- }()
	version, err := x.u32()
	if err != nil {
		return nil, err
	}
	if version != 0 {
		return nil, corrupt("version %d", version)
	}
	l := &List{}
	if l.Flags, err = x.u32(); err != nil {
		return nil, err
	}
	for {
		size, err := x.u32() // of the pair as encoded, this word included
		if err != nil {
			return nil, err
		}
		decoded, err := x.u32() // of the pair in memory
		if err != nil {
			return nil, err
		}
		if size == 0 && decoded == 0 {
			return l, nil
		}
		if size < 8 {
			return nil, corrupt("a pair of %d bytes", size)
		}
		body, err := x.take(uint64(size) - 8)
		if err != nil {
			return nil, err
		}
		in := &xdr{rest: body, depth: x.depth}
		p, err := in.pair()
		if err != nil {
			return nil, err
		}
		if want := p.inMemory(); uint64(decoded) != uint64(want) {
			return nil, corrupt("%q is said to take %d bytes in memory, it takes %d", p.Name, decoded, want)
		}
		l.Pairs = append(l.Pairs, p)
	}
}

func (x *xdr) pair() (Pair, error) {
	var p Pair
	var err error
	if p.Name, err = x.str(); err != nil {
		return p, err
	}
	t, err := x.u32()
	if err != nil {
		return p, err
	}
	n, err := x.u32()
	if err != nil {
		return p, err
	}
	p.Type = Type(int32(t))
	if p.Value, err = x.value(p.Type, n); err != nil {
		return p, corrupt("%q of type %d: %w", p.Name, p.Type, err)
	}
	return p, nil
}

// value reads a value of n elements. All that are not arrays have exactly one, except Boolean, which has none.
func (x *xdr) value(t Type, n uint32) (any, error) {
	if isArray(t) {
		return x.array(t, n)
	}
	if t == Boolean {
		return true, nil
	}
	if n != 1 {
		return nil, corrupt("%d elements in what is no array", n)
	}
	switch t {
	case Byte, Int8, Uint8, Int16, Uint16, Int32, Uint32, BooleanValue:
		v, err := x.u32()
		return narrow(t, v), err
	case Int64, HRTime:
		v, err := x.u64()
		return int64(v), err
	case Uint64:
		return wrap(x.u64())
	case Double:
		v, err := x.u64()
		return math.Float64frombits(v), err
	case String:
		return wrap(x.str())
	case NVList:
		return wrap(x.list())
	}
	return nil, corrupt("unknown data type")
}

// wrap makes a typed nil of a failed read an untyped one.
func wrap[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func isArray(t Type) bool {
	switch t {
	case ByteArray, Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Int64Array, Uint64Array,
		StringArray, BooleanArray, NVListArray:
		return true
	}
	return false
}

// narrow turns the word into which XDR puts a small integer into the integer.
func narrow(t Type, v uint32) any {
	switch t {
	case Byte, Uint8:
		return uint8(v)
	case Int8:
		return int8(v)
	case Int16:
		return int16(v)
	case Uint16:
		return uint16(v)
	case Int32:
		return int32(v)
	case BooleanValue:
		return v != 0
	}
	return v
}

func (x *xdr) array(t Type, n uint32) (any, error) {
	switch t {
	case ByteArray:
		p, err := x.opaque(n)
		return bytes.Clone(p), err
	case StringArray:
		return elements(x, n, 4, x.str)
	case NVListArray:
		return elements(x, n, 16, x.list)
	}
	// xdr_array repeats the count.
	if again, err := x.u32(); err != nil {
		return nil, err
	} else if again != n {
		return nil, corrupt("%d elements, then %d", n, again)
	}
	switch t {
	case Int64Array:
		return elements(x, n, 8, func() (int64, error) { v, err := x.u64(); return int64(v), err })
	case Uint64Array:
		return elements(x, n, 8, x.u64)
	case Int8Array:
		return elements(x, n, 4, func() (int8, error) { v, err := x.u32(); return int8(v), err })
	case Uint8Array:
		return elements(x, n, 4, func() (uint8, error) { v, err := x.u32(); return uint8(v), err })
	case Int16Array:
		return elements(x, n, 4, func() (int16, error) { v, err := x.u32(); return int16(v), err })
	case Uint16Array:
		return elements(x, n, 4, func() (uint16, error) { v, err := x.u32(); return uint16(v), err })
	case Int32Array:
		return elements(x, n, 4, func() (int32, error) { v, err := x.u32(); return int32(v), err })
	case BooleanArray:
		return elements(x, n, 4, func() (bool, error) { v, err := x.u32(); return v != 0, err })
	}
	return elements(x, n, 4, x.u32)
}

// elements reads n elements, each of which takes at least size bytes of input.
func elements[T any](x *xdr, n, size uint32, read func() (T, error)) (any, error) {
	if uint64(n)*uint64(size) > uint64(len(x.rest)) {
		return nil, corrupt("%d elements in %d bytes", n, len(x.rest))
	}
	all := make([]T, n)
	for i := range all {
		var err error
		if all[i], err = read(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
