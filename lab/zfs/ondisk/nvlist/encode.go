package nvlist

import (
	"encoding/binary"
	"fmt"
)

// Encode packs a list as OpenZFS packs those of labels and of the MOS: XDR, on a little-endian host. Types that neither has are
// refused; the type of a pair and the Go type of its value may disagree, which makes a list that cannot be read.
func Encode(l *List) ([]byte, error) {
	e := &encoder{out: []byte{encodingXDR, 1, 0, 0}}
	if err := e.list(l); err != nil {
		return nil, err
	}
	return e.out, nil
}

type encoder struct{ out []byte }

func (e *encoder) u32(v uint32) { e.out = binary.BigEndian.AppendUint32(e.out, v) }
func (e *encoder) u64(v uint64) { e.out = binary.BigEndian.AppendUint64(e.out, v) }

func (e *encoder) opaque(p []byte) {
	e.out = append(e.out, p...)
	for len(e.out)%4 != 0 {
		e.out = append(e.out, 0)
	}
}

func (e *encoder) str(s string) {
	e.u32(uint32(len(s)))
	e.opaque([]byte(s))
}

// list writes the sizes of each pair before it: as it is packed, and as it would lie in memory.
func (e *encoder) list(l *List) error {
	const sizes = 8
	e.u32(0)
	e.u32(l.Flags)
	for _, p := range l.Pairs {
		in := &encoder{}
		if err := in.pair(p); err != nil {
			return fmt.Errorf("encode %q: %w", p.Name, err)
		}
		e.u32(uint32(len(in.out)) + sizes)
		e.u32(uint32(p.inMemory()))
		e.out = append(e.out, in.out...)
	}
	e.u64(0)
	return nil
}

// inMemory is the size of a pair as OpenZFS keeps it (NVP_SIZE_CALC in include/sys/nvpair.h), which is packed beside it, and must
// be right: nvpairs that do not fit exactly make the whole list unreadable (i_validate_nvpair in module/nvpair/nvpair.c).
func (p *Pair) inMemory() int {
	size := 0
	switch v := p.Value.(type) {
	case string:
		size = len(v) + 1
	case []string:
		for _, s := range v {
			size += pointerSize + len(s) + 1
		}
	case *List:
		size = nvlistSize
	case []*List:
		size = len(v) * (pointerSize + nvlistSize)
	case bool:
		if p.Type == BooleanValue {
			size = 4
		}
	default:
		size = max(binary.Size(v), 0)
	}
	if v, ok := p.Value.([]bool); ok { // boolean_t is an enumeration
		size = 4 * len(v)
	}
	return align(nvpairSize+len(p.Name)+1) + align(size)
}

func (e *encoder) pair(p Pair) error {
	e.str(p.Name)
	e.u32(uint32(p.Type))
	if p.Type == Boolean {
		e.u32(0)
		return nil
	}
	count := uint32(1)
	switch v := p.Value.(type) {
	case []*List:
		count = uint32(len(v))
	case []uint64:
		count = uint32(len(v))
	case []string:
		count = uint32(len(v))
	case []byte:
		count = uint32(len(v))
	}
	e.u32(count)
	return e.value(p.Value)
}

func (e *encoder) value(value any) error {
	switch v := value.(type) {
	case bool:
		w := uint32(0)
		if v {
			w = 1
		}
		e.u32(w)
	case uint64:
		e.u64(v)
	case int64:
		e.u64(uint64(v))
	case int32:
		e.u32(uint32(v))
	case uint32:
		e.u32(v)
	case string:
		e.str(v)
	case *List:
		return e.list(v)
	case []*List:
		for _, l := range v {
			if err := e.list(l); err != nil {
				return err
			}
		}
	case []uint64: // xdr_array repeats the count
		e.u32(uint32(len(v)))
		for _, w := range v {
			e.u64(w)
		}
	case []string:
		for _, s := range v {
			e.str(s)
		}
	case []byte:
		e.opaque(v)
	default:
		return fmt.Errorf("a value of Go type %T", value)
	}
	return nil
}
