package nvlist

import (
	"bytes"
	"encoding/binary"
	"math"
)

// native reads the encoding that is a copy of what lies in memory: pairs (nvpair_t) behind one another, a zero word at
// the end, the lists inside a pair behind it.
type native struct {
	rest  []byte
	order binary.ByteOrder
	depth int
}

func decodeNative(p []byte, little bool) (*List, error) {
	n := &native{rest: p, order: binary.BigEndian}
	if little {
		n.order = binary.LittleEndian
	}
	if len(p) < 8 {
		return nil, corrupt("%d bytes are no list", len(p))
	}
	if version := n.order.Uint32(p); version != 0 {
		return nil, corrupt("version %d", version)
	}
	flags := n.order.Uint32(p[4:])
	n.rest = p[8:]
	return n.list(flags)
}

// Sizes of structures of include/sys/nvpair.h on 64-bit hosts.
const (
	nvpairSize   = 16
	nvlistSize   = 24
	nvlistFlags  = 4 // offset of nvl_nvflag
	pointerSize  = 8
	valueAligned = 8
)

func align(n int) int { return (n + valueAligned - 1) &^ (valueAligned - 1) }

func (n *native) list(flags uint32) (*List, error) {
	if n.depth++; n.depth > maxDepth {
		return nil, corrupt("nested deeper than %d", maxDepth)
	}
	defer func() { n.depth-- }()
	l := &List{Flags: flags}
	for {
		if len(n.rest) < 4 {
			return nil, corrupt("the list does not end")
		}
		size := n.order.Uint32(n.rest)
		if size == 0 {
			n.rest = n.rest[4:]
			return l, nil
		}
		if size < nvpairSize || uint64(size) > uint64(len(n.rest)) {
			return nil, corrupt("a pair of %d bytes, %d left", size, len(n.rest))
		}
		body := n.rest[:size]
		n.rest = n.rest[size:]
		p, err := n.pair(body)
		if err != nil {
			return nil, err
		}
		l.Pairs = append(l.Pairs, p)
	}
}

func (n *native) pair(p []byte) (Pair, error) {
	name := int(int16(n.order.Uint16(p[4:])))
	count := n.order.Uint32(p[8:])
	t := Type(int32(n.order.Uint32(p[12:])))
	if name < 1 || nvpairSize+name > len(p) || p[nvpairSize+name-1] != 0 {
		return Pair{}, corrupt("a name of %d bytes in a pair of %d", name, len(p))
	}
	out := Pair{Name: string(p[nvpairSize : nvpairSize+name-1]), Type: t}
	value := p[min(align(nvpairSize+name), len(p)):]
	var err error
	if out.Value, err = n.value(t, count, value); err != nil {
		return out, corrupt("%q of type %d: %w", out.Name, t, err)
	}
	return out, nil
}

func (n *native) value(t Type, count uint32, p []byte) (any, error) {
	if t == Boolean {
		return true, nil
	}
	if !isArray(t) && count != 1 {
		return nil, corrupt("%d elements in what is no array", count)
	}
	switch t {
	case String:
		end := bytes.IndexByte(p, 0)
		if end < 0 {
			return nil, corrupt("a string without end")
		}
		return string(p[:end]), nil
	case StringArray:
		return n.strings(count, p)
	case NVList:
		if len(p) < nvlistSize {
			return nil, corrupt("%d bytes are no list", len(p))
		}
		return wrap(n.list(n.order.Uint32(p[nvlistFlags:])))
	case NVListArray:
		return n.lists(count, p)
	}
	width, ok := map[Type]int{
		Byte: 1, Int8: 1, Uint8: 1, ByteArray: 1, Int8Array: 1, Uint8Array: 1, Int16: 2, Uint16: 2, Int16Array: 2,
		Uint16Array: 2, Int32: 4, Uint32: 4, BooleanValue: 4, Int32Array: 4, Uint32Array: 4, BooleanArray: 4,
		Int64: 8, Uint64: 8, HRTime: 8, Double: 8, Int64Array: 8, Uint64Array: 8,
	}[t]
	if !ok {
		return nil, corrupt("unknown data type")
	}
	if uint64(count)*uint64(width) > uint64(len(p)) {
		return nil, corrupt("%d elements in %d bytes", count, len(p))
	}
	return n.numbers(t, p[:int(count)*width])
}

func (n *native) numbers(t Type, p []byte) (any, error) {
	switch t {
	case Byte, Uint8:
		return p[0], nil
	case Int8:
		return int8(p[0]), nil
	case Int16:
		return int16(n.order.Uint16(p)), nil
	case Uint16:
		return n.order.Uint16(p), nil
	case Int32:
		return int32(n.order.Uint32(p)), nil
	case Uint32:
		return n.order.Uint32(p), nil
	case BooleanValue:
		return n.order.Uint32(p) != 0, nil
	case Int64, HRTime:
		return int64(n.order.Uint64(p)), nil
	case Uint64:
		return n.order.Uint64(p), nil
	case Double:
		return math.Float64frombits(n.order.Uint64(p)), nil
	case ByteArray, Uint8Array:
		return bytes.Clone(p), nil
	case Int8Array:
		return each(p, 1, func(p []byte) int8 { return int8(p[0]) }), nil
	case Int16Array:
		return each(p, 2, func(p []byte) int16 { return int16(n.order.Uint16(p)) }), nil
	case Uint16Array:
		return each(p, 2, n.order.Uint16), nil
	case Int32Array:
		return each(p, 4, func(p []byte) int32 { return int32(n.order.Uint32(p)) }), nil
	case Uint32Array:
		return each(p, 4, n.order.Uint32), nil
	case BooleanArray:
		return each(p, 4, func(p []byte) bool { return n.order.Uint32(p) != 0 }), nil
	case Int64Array:
		return each(p, 8, func(p []byte) int64 { return int64(n.order.Uint64(p)) }), nil
	}
	return each(p, 8, n.order.Uint64), nil
}

func each[T any](p []byte, width int, read func([]byte) T) []T {
	all := make([]T, len(p)/width)
	for i := range all {
		all[i] = read(p[i*width:])
	}
	return all
}

// strings reads an array of pointers, which mean nothing, and the strings behind it.
func (n *native) strings(count uint32, p []byte) (any, error) {
	if uint64(count)*pointerSize > uint64(len(p)) {
		return nil, corrupt("%d strings in %d bytes", count, len(p))
	}
	p = p[int(count)*pointerSize:]
	all := make([]string, count)
	for i := range all {
		end := bytes.IndexByte(p, 0)
		if end < 0 {
			return nil, corrupt("a string without end")
		}
		all[i], p = string(p[:end]), p[end+1:]
	}
	return all, nil
}

// lists reads an array of pointers and of nvlist_t; the contents of the lists follow the pair.
func (n *native) lists(count uint32, p []byte) (any, error) {
	if uint64(count)*(pointerSize+nvlistSize) > uint64(len(p)) {
		return nil, corrupt("%d lists in %d bytes", count, len(p))
	}
	heads := p[int(count)*pointerSize:]
	all := make([]*List, count)
	for i := range all {
		var err error
		if all[i], err = n.list(n.order.Uint32(heads[i*nvlistSize+nvlistFlags:])); err != nil {
			return nil, err
		}
	}
	return all, nil
}
