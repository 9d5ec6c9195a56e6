package core

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/vdevil/vdevil/lab/kernel"
)

// Scope is where a target path is resolved.
type Scope struct {
	ZFS *ZFS
	// Frame is of a CPU that stands at the entry of a function; without one, paths cannot begin at arguments.
	Frame *kernel.Frame
	// Rand chooses for [*]; without one, [*] is an error.
	Rand *rand.Rand
}

// Resolve finds the place in memory that a path names:
//
//	spa("tank").vdev[0].ms[12].ms_allocatable.seg[3].rs_end
//	spa.objset("tank/fs").dnode[7].dbuf(0, 2).data[*]
//	blkptr.blk_dva[0].dva_word[1]
//
// It begins at an argument of the function at the trigger, by its name or by the struct that exactly one of them points
// to; at spa("name") or spa, the only pool; at a global variable of the modules; or at TYPE@ADDRESS. From there on it
// goes by members as in C, where "." and "->" are the same and pointers are followed, by array elements, and by the
// members that this package adds to types of ZFS, which PseudoMembers lists. [*] is one at random of those from which
// the rest of the path exists, [last] the last one.
//
// A pointer to a struct at the end stands for the struct; with "&" before the path it is the pointer itself. Errors about
// the path are *PathError.
func (s Scope) Resolve(text string) (kernel.Value, error) {
	p, err := parsePath(text)
	if err != nil {
		return kernel.Value{}, err
	}
	r := resolver{Scope: s, text: text}
	from, err := r.root(p)
	if err == nil {
		from, err = r.follow(from, p.rest, p.place)
	}
	if err != nil {
		var at *PathError
		if !errors.As(err, &at) {
			err = &PathError{text, p.root.pos, err}
		}
		return kernel.Value{}, err
	}
	return from.Value, nil
}

// resolver follows one path.
type resolver struct {
	Scope
	text string
}

// place is a value and what its type does not tell.
type place struct {
	kernel.Value
	// elem is the type of the elements of the B-tree around, tree its range tree.
	elem kernel.Type
	tree kernel.Value
}

// at adds the position to an error.
func (r resolver) at(s selector, err error) error {
	var at *PathError
	if err == nil || errors.As(err, &at) {
		return err
	}
	return &PathError{r.text, s.pos, err}
}

func (r resolver) root(p path) (place, error) {
	v, err := r.rootValue(p)
	return place{Value: v}, err
}

func (r resolver) rootValue(p path) (kernel.Value, error) {
	name := p.root.name
	switch {
	case p.typed:
		t, err := r.ZFS.types.Named(name, "struct "+name)
		if named, ok := r.ZFS.named[name]; ok {
			t, err = named, nil
		}
		if err != nil {
			return kernel.Value{}, err
		}
		return r.ZFS.view.At(t, p.addr, fmt.Sprintf("%s@%#x", name, p.addr)), nil
	case p.root.kind == call:
		if name != "spa" || len(p.root.args) != 1 || !p.root.args[0].isText {
			return kernel.Value{}, fmt.Errorf(`%s is no root; one with parentheses is spa("name")`, p.root)
		}
		return r.ZFS.Spa(p.root.args[0].text)
	}
	if v, ok, err := r.argument(name); ok || err != nil {
		return v, err
	}
	if name == "spa" {
		return r.ZFS.onlySpa()
	}
	if v := r.ZFS.view.Var(name); v.Err() == nil || !errors.Is(v.Err(), kernel.ErrUnknown) {
		return v, v.Err()
	}
	return kernel.Value{}, fmt.Errorf("%s is neither spa nor a global variable of the modules%s", name, r.arguments())
}

// argument finds a root among the arguments of the function at the trigger.
func (r resolver) argument(name string) (v kernel.Value, ok bool, err error) {
	if r.Frame == nil {
		return v, false, nil
	}
	var pointing []string
	for _, p := range r.Frame.Func.Params {
		if p.Name == name {
			v := r.ZFS.view.Arg(*r.Frame, name)
			return v, true, v.Err()
		}
		if b := p.Type.Base(); b.Kind() == kernel.Pointer && r.ZFS.sameType(name, b.Elem()) {
			pointing = append(pointing, p.Name)
		}
	}
	switch len(pointing) {
	case 0:
		return v, false, nil
	case 1:
		v := r.ZFS.view.Arg(*r.Frame, pointing[0]).Deref()
		return v.Rename(name), true, v.Err()
	}
	return v, false, fmt.Errorf("%s is ambiguous: %s point to one", name, are(pointing)[len("are "):])
}

func (r resolver) arguments() string {
	if r.Frame == nil {
		return "; there are no arguments, as no function is being entered"
	}
	var names []string
	for _, p := range r.Frame.Func.Params {
		names = append(names, p.Name)
	}
	return fmt.Sprintf(" nor an argument of %s; there %s", r.Frame.Func.Name, are(names))
}

// follow goes on from a place by selectors. A pointer at the end is followed unless it is wanted itself.
func (r resolver) follow(from place, rest []selector, pointer bool) (place, error) {
	for len(rest) > 0 {
		s := rest[0]
		next, all, err := r.step(from, s)
		if err != nil {
			return from, r.at(s, err)
		}
		if all == nil {
			from, rest = next, rest[1:]
			continue
		}
		if !s.brackets() {
			if rest = rest[1:]; len(rest) == 0 || !rest[0].brackets() {
				return from, r.at(s, fmt.Errorf("%s wants a number in brackets; there %s", s.name, all.exist()))
			}
			s = rest[0]
		}
		rest = rest[1:]
		if s.kind == random {
			return r.choose(*all, s, rest, pointer)
		}
		if from, err = all.pick(s); err != nil {
			return from, r.at(s, err)
		}
	}
	if !pointer {
		return r.structure(from)
	}
	return from, from.Err()
}

// step finds the place that a selector leads to, or the items that it, or the brackets behind it, choose from.
func (r resolver) step(from place, s selector) (next place, all *items, err error) {
	if err := from.Err(); err != nil {
		return from, nil, err
	}
	if s.brackets() {
		a, err := elements(from)
		return from, &a, err
	}
	added, holder := r.ZFS.added(from, s.name)
	switch {
	case s.kind == call && (added == nil || added.call == nil):
		return from, nil, r.ZFS.noMember(from.Type(), s.String())
	case s.kind == call:
		next, err = added.call(r.ZFS, holder, s.args)
	case added != nil && added.one != nil:
		next, err = added.one(r.ZFS, holder)
	case added != nil && added.many != nil:
		a, err := added.many(r.ZFS, holder)
		return from, &a, err
	default:
		next = from
		if next.Value = from.Field(s.name); next.Err() != nil {
			err = r.noField(from, s, next.Err())
		}
	}
	return next, nil, err
}

// structure follows a pointer to a struct that is known.
func (r resolver) structure(from place) (place, error) {
	if from.Err() != nil || from.Type().Base().Kind() != kernel.Pointer {
		return from, from.Err()
	}
	if t := from.Type().Base().Elem(); t.Base().Kind() != kernel.Struct && t.Base().Kind() != kernel.Union || t.Declared() {
		return from, nil
	}
	null, err := from.IsNull()
	if err == nil && null {
		err = absent("%s is NULL", from.Path())
	}
	if err != nil {
		return from, &PathError{r.text, len(r.text), err}
	}
	from.Value = from.Deref()
	return from, from.Err()
}

// choose takes one at random of those from which the rest exists.
func (r resolver) choose(all items, s selector, rest []selector, pointer bool) (place, error) {
	if r.Rand == nil {
		return place{}, r.at(s, errors.New("nothing to choose with"))
	}
	if all.len() == 0 {
		return place{}, r.at(s, absent("there is no %s", all.name))
	}
	if all.open {
		return place{}, r.at(s, errOpen)
	}
	var first error
	for _, i := range r.Rand.Perm(all.len()) {
		next, err := all.at(i)
		if err == nil {
			next, err = r.follow(next, rest, pointer)
		}
		if err == nil || !errors.Is(err, errAbsent) && !errors.Is(err, kernel.ErrNull) {
			return next, r.at(s, err)
		}
		if first == nil {
			first = err
		}
	}
	return place{}, first
}

// noField explains a member that is not there.
func (r resolver) noField(from place, s selector, err error) error {
	t := from.Type()
	for t.Base().Kind() == kernel.Pointer {
		t = t.Base().Elem()
	}
	if _, ok := t.Field(s.name); ok {
		if null, e := from.IsNull(); e == nil && null && from.Type().Base().Kind() == kernel.Pointer {
			return absent("%s is NULL", from.Path())
		}
		return err
	}
	return r.ZFS.noMember(t, s.String())
}

// noMember says what a type has instead.
func (z *ZFS) noMember(t kernel.Type, name string) error {
	for t.Base().Kind() == kernel.Pointer {
		t = t.Base().Elem()
	}
	names := slices.Sorted(maps.Keys(z.fieldNames(t)))
	text := fmt.Sprintf("%s has no member %s", z.word(t), name)
	if len(names) > 0 {
		text += fmt.Sprintf("; %d members, most like it %s", len(names), are(nearest(name, names))[len("are "):])
	}
	if extra := z.extra[z.kind(t)]; len(extra) > 0 {
		text += "; beside them"
		for i, p := range extra {
			if i > 0 {
				text += ","
			}
			text += " " + p.usage
		}
	}
	return errors.New(text)
}

// fieldNames are the members of a struct, those of anonymous members included.
func (z *ZFS) fieldNames(t kernel.Type) map[string]bool {
	names := map[string]bool{}
	for f := range t.Fields() {
		if f.Name != "" {
			names[f.Name] = true
			continue
		}
		for inner := range z.fieldNames(f.Type) {
			names[inner] = true
		}
	}
	return names
}

// deref follows pointers.
func (z *ZFS) deref(v kernel.Value) kernel.Value {
	for v.Err() == nil && v.Type().Base().Kind() == kernel.Pointer {
		v = v.Deref().Rename(v.Path())
	}
	return v
}

// errOpen is the answer to [last] and [*] of a flexible array.
var errOpen = errors.New("the array has no end that is known")

// items are what can stand in brackets.
type items struct {
	name string
	keys []int64 // ascending; nil for 0 to count-1
	n    int
	get  func(i int) (place, error)
	// open says that nobody knows how many there are; n is more than that.
	open bool
}

func (a items) len() int {
	if a.keys != nil {
		return len(a.keys)
	}
	return a.n
}

func (a items) at(i int) (place, error) { return a.get(i) }

// exist says which ones there are.
func (a items) exist() string {
	keys := a.keys
	if keys == nil && a.n > 0 {
		if a.n == 1 {
			return "is 0"
		}
		return "are 0-" + strconv.Itoa(a.n-1)
	}
	return are(ranges(keys))
}

// pick takes the one that a selector asks for.
func (a items) pick(s selector) (place, error) {
	if a.len() == 0 {
		return place{}, absent("there is no %s", a.name)
	}
	if a.open && s.kind == last {
		return place{}, errOpen
	}
	if s.kind == last {
		return a.at(a.len() - 1)
	}
	i, ok := int(s.key), s.key >= 0 && s.key < int64(a.n)
	if a.keys != nil {
		i, ok = slices.BinarySearch(a.keys, s.key)
	}
	if !ok {
		return place{}, absent("no %s %d; there %s", a.name, s.key, a.exist())
	}
	return a.at(i)
}

// elements are those of a C array, or what a pointer points to, which counts as an array of one.
func elements(from place) (items, error) {
	n, open := 1, false
	switch b := from.Type().Base(); b.Kind() {
	case kernel.Array:
		const most = 1 << 20
		if n = b.Len(); n == kernel.Flexible {
			n, open = most, true
		}
	case kernel.Pointer:
		if null, err := from.IsNull(); err != nil || null {
			if err == nil {
				err = absent("%s is NULL", from.Path())
			}
			return items{}, err
		}
	default:
		return items{}, fmt.Errorf("%s is a %s, not an array", from.Path(), from.Type())
	}
	return items{name: "element", n: n, open: open, get: func(i int) (place, error) {
		next := from
		next.Value = from.Index(i)
		return next, next.Err()
	}}, nil
}
