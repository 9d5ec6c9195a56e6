package kernel

import "fmt"

// Padding is what FieldAt calls bits that belong to no member.
const Padding = "(padding)"

// FieldAt is the C path of a bit inside a type, like "blk_dva[0].dva_word[1]", counted from the least significant bit of
// the first byte. It is empty for a bit of a plain type. Of a union's members it is the first that has the bit.
func FieldAt(t Type, bit int) string {
	base := t.Base()
	switch base.Kind() {
	case Array:
		size := 8 * base.Elem().Size()
		if size == 0 || base.Len() != Flexible && bit >= size*base.Len() {
			return Padding
		}
		return join(fmt.Sprintf("[%d]", bit/size), FieldAt(base.Elem(), bit%size))
	case Struct, Union:
		found := Padding
		for f := range base.Fields() {
			inner, ok := f.at(bit)
			if !ok {
				continue
			}
			if found = join(f.Name, inner); inner != Padding || base.Kind() == Struct {
				break
			}
		}
		return found
	}
	return ""
}

// at is the path inside a field of a bit of its struct.
func (f Field) at(bit int) (path string, ok bool) {
	offset, size := f.bits()
	inside := bit - offset
	if inside < 0 {
		return "", false
	}
	if t := f.Type.Base(); t.Kind() == Array && t.Len() == Flexible {
		return FieldAt(t, inside), true
	}
	if inside >= size {
		return "", false
	}
	return FieldAt(f.Type, inside), true
}

// join puts a path behind another.
func join(outer, inner string) string {
	switch {
	case outer == "" || inner == "":
		return outer + inner
	case inner[0] == '[':
		return outer + inner
	default:
		return outer + "." + inner
	}
}
