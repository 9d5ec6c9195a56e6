package kernel

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Format is the value as a C initializer: members by name, enumerators by name, characters as strings, pointers as
// addresses. Nothing is followed, so it is as long as the value is.
func (v Value) Format() (string, error) {
	p, err := v.Bytes()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	offset, size := v.Bits()
	write(&b, v.typ, p, offset, size, "\n")
	return b.String(), nil
}

// write writes a value of a type that is in the bits of p. indent is a line break and the indentation of the value.
func write(b *strings.Builder, t Type, p []byte, offset, size int, indent string) {
	base := t.Base()
	switch base.Kind() {
	case Struct, Union:
		writeStruct(b, base, p, indent)
	case Array:
		writeArray(b, base, p, indent)
	case Int, Enum, Pointer:
		n, err := number64(t, p, offset, size)
		if err != nil {
			fmt.Fprintf(b, "%#x", p)
			return
		}
		b.WriteString(scalar(t, n))
	default:
		fmt.Fprintf(b, "%#x", p)
	}
}

// scalar writes a number as its type suggests.
func scalar(t Type, n uint64) string {
	base := t.Base()
	switch {
	case base.Kind() == Pointer && n == 0:
		return "NULL"
	case base.Kind() == Pointer:
		return fmt.Sprintf("%#x", n)
	case base.Kind() == Enum:
		return enumerator(base, int64(n))
	case base.Name() == "_Bool":
		return strconv.FormatBool(n != 0)
	case base.Signed():
		return strconv.FormatInt(int64(n), 10)
	default:
		return strconv.FormatUint(n, 10)
	}
}

// enumerator is the name of a value, or names of which it is the sum, or a number.
func enumerator(t Type, n int64) string {
	var flags []string
	left := uint64(n)
	for name, value := range t.Enumerators() {
		if value == n {
			return name
		}
		if bit := uint64(value); bit != 0 && bit&(bit-1) == 0 && left&bit != 0 {
			flags, left = append(flags, name), left&^bit
		}
	}
	if left == 0 && len(flags) > 1 {
		return strings.Join(flags, " | ")
	}
	return strconv.FormatInt(n, 10)
}

func writeStruct(b *strings.Builder, t Type, p []byte, indent string) {
	b.WriteString("{")
	deeper := indent + "\t"
	for f := range t.Fields() {
		offset, size := f.bits()
		if size == 0 { // a flexible array: how long it is, only code knows
			continue
		}
		b.WriteString(deeper)
		if f.Name != "" {
			fmt.Fprintf(b, ".%s = ", f.Name)
		}
		write(b, f.Type, p[offset/8:(offset+size+7)/8], offset%8, size, deeper)
		b.WriteString(",")
	}
	b.WriteString(indent + "}")
}

// run is how many equal elements in a row are worth the range of GNU C, [3 ... 14] = 0.
const run = 4

func writeArray(b *strings.Builder, t Type, p []byte, indent string) {
	elem := t.Elem()
	if elem.Base().Name() == "char" && printable(p) {
		text, _, _ := bytes.Cut(p, []byte{0})
		fmt.Fprintf(b, "%q", text)
		return
	}
	kind := elem.Base().Kind()
	nested := kind == Struct || kind == Union || kind == Array
	before, between, after := "", ", ", ""
	if nested {
		before = indent + "\t"
		between, after = ","+before, ","+indent
	}
	b.WriteString("{" + before)
	for i := 0; i < t.Len(); {
		if i > 0 {
			b.WriteString(between)
		}
		one, n := p[i*elem.Size():(i+1)*elem.Size()], equal(p, i, elem.Size())
		switch {
		case n >= run:
			fmt.Fprintf(b, "[%d ... %d] = ", i, i+n-1)
		case nested:
			fmt.Fprintf(b, "[%d] = ", i)
			n = 1
		default:
			n = 1
		}
		write(b, elem, one, 0, 8*elem.Size(), cmp.Or(before, indent))
		i += n
	}
	b.WriteString(after + "}")
}

// equal is the number of elements of a size that are the same from number i on, itself included.
func equal(p []byte, i, size int) int {
	one, n := p[i*size:(i+1)*size], 1
	for (i+n+1)*size <= len(p) && bytes.Equal(one, p[(i+n)*size:(i+n+1)*size]) {
		n++
	}
	return n
}

// printable says whether bytes are a text and zeros behind it.
func printable(p []byte) bool {
	text, rest, _ := bytes.Cut(p, []byte{0})
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(bytes.Trim(rest, "\x00")) == 0
}
