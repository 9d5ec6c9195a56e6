package kernel

import (
	"cmp"
	"debug/dwarf"
	"fmt"
	"slices"
	"strconv"
)

// builder merges the compilation units of modules into a database. Two types are one when their keys are equal: the key
// of a named type has its name, size and members, and names what the members refer to without looking into it. That can
// only merge structs that agree in all names and offsets and differ inside of equally named types of other files.
type builder struct {
	db   database
	ids  map[string]int32
	uses []int // in how many units a node occurs
	key  []byte

	moduleName string
	sections   map[place]string // of the module that is being read
}

func newBuilder() *builder {
	return &builder{
		ids: map[string]int32{}, uses: []int{0},
		db: database{
			Nodes: []node{{}}, Names: map[string]int32{}, Constants: map[string]int64{}, Functions: map[string][]function{},
			Clones: map[string][]string{}, Variables: map[string][]variable{},
		},
	}
}

// add merges a unit.
func (b *builder) add(u *unit, file string) error {
	var fresh []*die
	for _, d := range u.order {
		b.key = b.appendKey(b.key[:0], u, d, true)
		id, known := b.ids[string(b.key)]
		if !known {
			id = int32(len(b.db.Nodes))
			b.ids[string(b.key)] = id
			b.db.Nodes, b.uses = append(b.db.Nodes, d.node), append(b.uses, 0)
			fresh = append(fresh, d)
		}
		d.id = id
		b.uses[id]++
	}
	for _, d := range fresh {
		n := &b.db.Nodes[d.id]
		if err := u.resolve(&n.Elem, d.elem); err != nil {
			return err
		}
		for i := range n.Members {
			if err := u.resolve(&n.Members[i].Type, d.refs[i]); err != nil {
				return err
			}
		}
	}
	return b.addSymbols(u, file)
}

// resolve turns a reference within the unit into an index of the database.
func (u *unit) resolve(id *int32, at dwarf.Offset) error {
	if at == 0 {
		*id = 0
		return nil
	}
	d, ok := u.dies[at]
	if !ok {
		return fmt.Errorf("reference to %#x, which is no known type", at)
	}
	*id = d.id
	return nil
}

// appendKey writes what a type is known by. Below the top, a type with a name is known by that alone.
func (b *builder) appendKey(key []byte, u *unit, d *die, top bool) []byte {
	if d == nil {
		return append(key, 'v')
	}
	key = append(key, 'a'+byte(d.Kind))
	key = append(key, d.Name...)
	if !top && d.Name != "" && d.Kind != Qualified {
		return append(key, ';')
	}
	key = strconv.AppendUint(append(key, ':'), d.Size, 36)
	key = strconv.AppendInt(append(key, ':'), d.Count, 36)
	if d.Declared {
		key = append(key, '?')
	}
	if d.Signed {
		key = append(key, '-')
	}
	if d.elem != 0 {
		key = b.appendKey(key, u, u.dies[d.elem], false)
	}
	for i, m := range d.Members {
		key = append(append(key, ','), m.Name...)
		key = strconv.AppendUint(append(key, '@'), m.Bit, 36)
		key = strconv.AppendUint(append(key, '.'), uint64(m.Bits), 36)
		key = strconv.AppendInt(append(key, '='), m.Value, 36)
		if d.refs[i] != 0 {
			key = b.appendKey(key, u, u.dies[d.refs[i]], false)
		}
	}
	return append(key, ';')
}

// addSymbols adds the functions and variables that a unit defines.
func (b *builder) addSymbols(u *unit, file string) error {
	for _, f := range u.routines {
		if err := b.addFunction(u, f, file); err != nil {
			return fmt.Errorf("function %s: %w", f.name, err)
		}
	}
	for _, g := range u.globals {
		if err := b.addVariable(u, g, file); err != nil {
			return fmt.Errorf("variable %s: %w", g.name, err)
		}
	}
	return nil
}

func (b *builder) addFunction(u *unit, f *routine, file string) error {
	source := f
	if o, ok := u.routines[f.origin]; ok {
		source = o
	}
	if !f.code {
		if !f.foreign && f.origin == 0 {
			b.db.Inlined = append(b.db.Inlined, f.name)
		}
		return nil
	}
	section, ok := b.sections[place{source.name, f.entry}]
	if !ok {
		return nil // a clone, whose symbol has another name
	}
	described := source
	if len(f.params) > 0 && f.params[0].Name != "" {
		described = f
	}
	fn := function{Module: b.moduleName, Section: section, File: file, Offset: f.entry, Params: slices.Clone(described.params)}
	if err := u.resolve(&fn.Result, cmp.Or(f.result, source.result)); err != nil {
		return err
	}
	for i := range fn.Params {
		if err := u.resolve(&fn.Params[i].Type, described.refs[i]); err != nil {
			return err
		}
	}
	b.db.Functions[source.name] = append(b.db.Functions[source.name], fn)
	return nil
}

func (b *builder) addVariable(u *unit, g *global, file string) error {
	source := g
	if o, ok := u.globals[g.origin]; ok {
		source = o
	}
	section, ok := b.sections[place{source.name, g.addr}]
	if !g.placed || !ok {
		return nil
	}
	// Where both have a type, the definition's knows how long an array is.
	v := variable{Module: b.moduleName, Section: section, File: file, Offset: g.addr}
	if err := u.resolve(&v.Type, cmp.Or(g.ref, source.ref)); err != nil {
		return err
	}
	b.db.Variables[source.name] = append(b.db.Variables[source.name], v)
	return nil
}

// finish names the types, puts definitions in the place of declarations and sorts what came in no order.
func (b *builder) finish() *database {
	b.name()
	b.complete()
	b.enumerators()
	b.db.Inlined = slices.DeleteFunc(b.db.Inlined, func(name string) bool { return len(b.db.Functions[name]) > 0 })
	slices.Sort(b.db.Inlined)
	b.db.Inlined = slices.Compact(b.db.Inlined)
	for name, list := range b.db.Clones {
		slices.Sort(list)
		b.db.Clones[name] = slices.Compact(list)
	}
	for _, list := range b.db.Functions {
		slices.SortFunc(list, func(x, y function) int {
			return cmp.Or(cmp.Compare(x.Module, y.Module), cmp.Compare(x.Offset, y.Offset))
		})
	}
	for _, list := range b.db.Variables {
		slices.SortFunc(list, func(x, y variable) int {
			return cmp.Or(cmp.Compare(x.Module, y.Module), cmp.Compare(x.Offset, y.Offset))
		})
	}
	return &b.db
}

// enumerators collects those that stand for one value wherever they are defined.
func (b *builder) enumerators() {
	var disputed []string
	for _, n := range b.db.Nodes {
		if n.Kind != Enum {
			continue
		}
		for _, m := range n.Members {
			if other, twice := b.db.Constants[m.Name]; twice && other != m.Value {
				disputed = append(disputed, m.Name)
			}
			b.db.Constants[m.Name] = m.Value
		}
	}
	for _, name := range disputed {
		delete(b.db.Constants, name)
	}
}

// name gives every name to the definition that most units mean, or to a declaration if there is none.
func (b *builder) name() {
	better := func(x, y int32) bool {
		if dx, dy := b.db.Nodes[x].Declared, b.db.Nodes[y].Declared; dx != dy {
			return dy
		}
		return b.uses[x] > b.uses[y]
	}
	types := &Types{db: b.db}
	for id := range b.db.Nodes {
		n := &b.db.Nodes[id]
		switch n.Kind {
		case Int, Float, Typedef, Struct, Union, Enum:
		default:
			continue
		}
		if n.Name == "" {
			continue
		}
		name := Type{types, int32(id)}.word()
		if old, taken := b.db.Names[name]; !taken || better(int32(id), old) {
			b.db.Names[name] = int32(id)
		}
	}
}

// complete lets what refers to a declaration refer to the definition.
func (b *builder) complete() {
	types := &Types{db: b.db}
	instead := make([]int32, len(b.db.Nodes))
	for id := range b.db.Nodes {
		instead[id] = int32(id)
		if b.db.Nodes[id].Declared {
			instead[id] = b.db.Names[Type{types, int32(id)}.word()]
		}
	}
	for id := range b.db.Nodes {
		n := &b.db.Nodes[id]
		n.Elem = instead[n.Elem]
		for i := range n.Members {
			n.Members[i].Type = instead[n.Members[i].Type]
		}
	}
}
