// Package kernel is a guest's kernel as data: the types, functions and variables of its modules, from their debug
// information, and typed views of its memory, read from outside through the guest's own page tables. It knows C and
// nothing of ZFS; what the structures mean is the business of package zfs/core.
package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Types are the types, functions and variables of kernel modules. They are safe for concurrent use.
type Types struct {
	db    database
	made  made
	paths []string // of the modules
}

// database is what the cache keeps. Types are named by their index in Nodes; index 0 is void.
type database struct {
	Modules   []module
	Nodes     []node
	Names     map[string]int32 // "metaslab_t", "struct metaslab", "unsigned int"
	Constants map[string]int64 // enumerators that stand for one value
	Functions map[string][]function
	Inlined   []string            // functions that are in the source and nowhere in the code
	Clones    map[string][]string // what the compiler made of a function beside or instead of it
	Variables map[string][]variable
}

// module is a kernel module that types were read from. Name is as in lsmod, BuildID the note that the linker wrote, in hex.
type module struct{ Name, BuildID string }

type function struct {
	Module, Section, File string
	Offset                uint64
	Params                []member
	Result                int32
}

type variable struct {
	Module, Section, File string
	Offset                uint64
	Type                  int32
}

// ErrUnknown is wrapped by the errors about names that the modules do not have. Another version of OpenZFS may.
var ErrUnknown = errors.New("unknown to this version")

// Named is the first of several names that is known: a typedef ("metaslab_t"), "struct metaslab", "union u", "enum e" or
// a base type ("unsigned long" is "long unsigned int" to the compiler). Where compilation units disagree about a name, it
// is the type that most of them mean.
func (t *Types) Named(names ...string) (Type, error) {
	for _, name := range names {
		if id, ok := t.db.Names[name]; ok {
			return Type{t, id}, nil
		}
	}
	return Type{}, fmt.Errorf("type %s: %w", strings.Join(names, " or "), ErrUnknown)
}

// Const is the value of an enumerator like DMU_OT_SPACE_MAP. Names that stand for several values are not known; neither
// are macros.
func (t *Types) Const(name string) (int64, bool) {
	value, ok := t.db.Constants[name]
	return value, ok
}

// Func is a function of a module.
type Func struct {
	Name string
	// Module is as in lsmod; Offset is in bytes from the beginning of Section, ".text" for most.
	Module, Section string
	Offset          uint64
	// File is the source file as the compiler was given it.
	File   string
	Params []Param
	Result Type
	// Clones are symbols like "foo.constprop.0" that some callers enter instead of the function.
	Clones []string
}

// Param is a parameter of a function.
type Param struct {
	Name string
	Type Type
}

// Func is the function that a symbol of this very name stands for, so that its arguments are where the calling
// convention puts them. Calls that the compiler inlined do not pass it. A function that is inlined everywhere, or of which
// there are only clones, is an error that says so: what arguments a clone takes is known to the compiler alone.
func (t *Types) Func(name string) (*Func, error) {
	if base, _, clone := strings.Cut(name, "."); clone {
		return nil, fmt.Errorf("function %s: a clone that the compiler made of %s, its arguments may be others", name, base)
	}
	clones := t.db.Clones[name]
	switch found := t.db.Functions[name]; {
	case len(found) == 1:
		f := found[0]
		fn := &Func{
			Name: name, Module: f.Module, Section: f.Section, Offset: f.Offset, File: f.File,
			Result: Type{t, f.Result}, Clones: slices.Clone(clones),
		}
		for _, p := range f.Params {
			fn.Params = append(fn.Params, Param{p.Name, Type{t, p.Type}})
		}
		return fn, nil
	case len(found) > 1:
		var files []string
		for _, f := range found {
			files = append(files, f.File)
		}
		return nil, fmt.Errorf("function %s: several have this name, in %s", name, strings.Join(files, ", "))
	case len(clones) > 0:
		return nil, fmt.Errorf("function %s: the compiler left only %s of it, whose arguments may be others", name, strings.Join(clones, ", "))
	case slices.Contains(t.db.Inlined, name):
		return nil, fmt.Errorf("function %s: inlined wherever it is called", name)
	default:
		return nil, fmt.Errorf("function %s: %w", name, ErrUnknown)
	}
}

// variable is the only variable of a name.
func (t *Types) variable(name string) (variable, error) {
	switch found := t.db.Variables[name]; len(found) {
	case 0:
		return variable{}, fmt.Errorf("variable %s: %w", name, ErrUnknown)
	case 1:
		return found[0], nil
	default:
		var files []string
		for _, v := range found {
			files = append(files, v.File)
		}
		return variable{}, fmt.Errorf("variable %s: several have this name, in %s", name, strings.Join(files, ", "))
	}
}
