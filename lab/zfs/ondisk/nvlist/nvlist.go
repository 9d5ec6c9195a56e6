// Package nvlist decodes packed name-value lists, the form in which OpenZFS keeps its configuration in labels and in the
// MOS (module/nvpair/nvpair.c). It reads the XDR encoding, which is what pools hold, and the native one of both byte
// orders. Input is never trusted: what a decoded list takes in memory is bounded by a multiple of the input's length.
package nvlist

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/printable"
)

// Type is the data type of a value (data_type_t in include/sys/nvpair.h).
type Type int32

// The data types. Boolean has no value: that the name is there is what it says.
const (
	Boolean Type = iota + 1
	Byte
	Int16
	Uint16
	Int32
	Uint32
	Int64
	Uint64
	String
	ByteArray
	Int16Array
	Uint16Array
	Int32Array
	Uint32Array
	Int64Array
	Uint64Array
	StringArray
	HRTime
	NVList
	NVListArray
	BooleanValue
	Int8
	Uint8
	BooleanArray
	Int8Array
	Uint8Array
	Double
)

// Pair is a name and its value. The Go type of Value follows from Type: bool, byte, intN, uintN, float64, string, *List
// or a slice of one of these; HRTime is an int64 of nanoseconds, ByteArray a []byte.
type Pair struct {
	Name  string
	Type  Type
	Value any
}

// List is a name-value list in the order in which it was packed. Names may occur twice unless the flags forbid it.
type List struct {
	// Flags are NV_UNIQUE_NAME (1) and NV_UNIQUE_NAME_TYPE (2).
	Flags uint32
	Pairs []Pair
}

// Get is the value of the pair with a name and a value of type T. Of several it is the last, as each takes the place of the one
// before it when OpenZFS unpacks the list (nvt_add_nvpair).
func Get[T any](l *List, name string) (T, bool) {
	var none T
	if l == nil {
		return none, false
	}
	for _, p := range slices.Backward(l.Pairs) {
		if p.Name == name {
			if v, ok := p.Value.(T); ok {
				return v, true
			}
		}
	}
	return none, false
}

// Uint64 is a value of that type, or 0 and false.
func (l *List) Uint64(name string) (uint64, bool) { return Get[uint64](l, name) }

// Uint64s is an array of numbers, or nil and false.
func (l *List) Uint64s(name string) ([]uint64, bool) { return Get[[]uint64](l, name) }

// String is a value of that type, or "" and false. It is made printable, since it enters messages: Get has the bytes.
func (l *List) String(name string) (string, bool) {
	s, ok := Get[string](l, name)
	return printable.Line(s), ok
}

// List is a list inside the list, or nil and false.
func (l *List) List(name string) (*List, bool) { return Get[*List](l, name) }

// Lists is an array of lists, or nil and false.
func (l *List) Lists(name string) ([]*List, bool) { return Get[[]*List](l, name) }

// Has says whether there is a pair of that name, of whatever type.
func (l *List) Has(name string) bool {
	for _, p := range l.Pairs {
		if p.Name == name {
			return true
		}
	}
	return false
}

// ErrCorrupt is wrapped by every error of Decode.
var ErrCorrupt = errors.New("corrupt nvlist")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// maxDepth is how deep lists may be nested: nvpair_max_recursion of the kernel is 20 there, and more in user space.
const maxDepth = 64

// The header of a packed list (nvs_header_t).
const (
	headerSize     = 4
	encodingNative = 0
	encodingXDR    = 1
)

// Decode reads a packed list from the start of p. What follows the list is ignored, as OpenZFS does: labels and objects
// are padded.
func Decode(p []byte) (*List, error) {
	if len(p) < headerSize {
		return nil, corrupt("%d bytes are no header", len(p))
	}
	encoding, little := p[0], p[1]
	if little > 1 {
		return nil, corrupt("byte order %d", little)
	}
	switch encoding {
	case encodingXDR:
		return decodeXDR(p[headerSize:])
	case encodingNative:
		return decodeNative(p[headerSize:], little == 1)
	}
	return nil, corrupt("encoding %d", encoding)
}
