package bitmap

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// span is a run of bits or rows, both ends included.
type span struct{ first, last int }

func (s span) String() string {
	if s.first == s.last {
		return strconv.Itoa(s.first)
	}
	return fmt.Sprintf("%d-%d", s.first, s.last)
}

// field is a member with the bits it is known to hold.
type field struct {
	name string
	span
}

// fields are the members that the bits tell of, in order. Elements of an array that are narrower than a word are one
// field, "dn_bonus[0-319]": nobody reads a line a byte.
func (m Map) fields() []field {
	bits := slices.Clone(m.Bits)
	slices.SortFunc(bits, func(a, b Bit) int { return a.Bit - b.Bit })
	var members []field
	for _, b := range bits {
		if n := len(members); n > 0 && members[n-1].name == b.Field {
			members[n-1].last = b.Bit
		} else if b.Field != "" {
			members = append(members, field{b.Field, span{b.Bit, b.Bit}})
		}
	}
	var out []field
	for i := 0; i < len(members); {
		n := elements(members[i:])
		f := members[i]
		if n > 1 {
			array, first, _ := element(f.name)
			f.name = fmt.Sprintf("%s[%d-%d]", array, first, first+n-1)
			f.last = members[i+n-1].last
		}
		out = append(out, f)
		i += n
	}
	return out
}

// elements is how many of the first fields are neighbouring elements of one array; 1 if they are as wide as a word.
func elements(fs []field) int {
	array, first, ok := element(fs[0].name)
	if !ok {
		return 1
	}
	n := 1
	for n < len(fs) {
		a, i, ok := element(fs[n].name)
		if !ok || a != array || i != first+n || n == 1 && fs[1].first/64 != fs[0].first/64 {
			break
		}
		n++
	}
	return n
}

// element takes "dn_bonus[7]" apart.
func element(name string) (array string, index int, ok bool) {
	open := strings.LastIndexByte(name, '[')
	if open < 0 || !strings.HasSuffix(name, "]") {
		return "", 0, false
	}
	index, err := strconv.Atoi(name[open+1 : len(name)-1])
	return name[:open], index, err == nil
}

// components cuts a field's name where one part of a path ends: "a.b[1] G" into "a", ".b", "[1]", " G".
func components(name string) []string {
	var out []string
	for i, start := 1, 0; i <= len(name); i++ {
		if i == len(name) || strings.IndexByte(".[ ", name[i]) >= 0 {
			out = append(out, name[start:i])
			start = i
		}
	}
	return out
}

// common is the path that all names share.
func common(names []string) string {
	shared := components(names[0])
	for _, n := range names[1:] {
		c := components(n)
		for i := range shared {
			if i == len(c) || c[i] != shared[i] {
				shared = shared[:i]
				break
			}
		}
	}
	return strings.Join(shared, "")
}

// after is what follows a shared path in a name.
func after(name, shared string) string {
	if name == shared {
		return name
	}
	return strings.TrimLeft(strings.TrimPrefix(name, shared), ". ")
}
