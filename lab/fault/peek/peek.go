// Package peek shows what of ZFS is in a guest's memory at a moment.
package peek

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// Seen is what of ZFS was in a guest's memory at a moment. One of Summary, Objects and Value is set.
type Seen struct {
	Summary []core.Summary `json:"summary,omitempty"`
	Objects []core.Object  `json:"objects,omitempty"`
	Value   *Value         `json:"value,omitempty"`
	// Missed says which parts of the memory could not be listed, and why.
	Missed []string `json:"missed,omitempty"`
}

// Value is one place in memory.
type Value struct {
	Path string `json:"path"`
	Type string `json:"type"`
	// Addr is the virtual address; Size is in bits.
	Addr   uint64         `json:"addr"`
	Size   int            `json:"size"`
	Pieces []kernel.Piece `json:"pieces"`
	// Text is the value as C would print it.
	Text string `json:"text"`
}

// At looks at a moment: at a path, at the objects of a class, or, where what is empty, at everything by kind.
func At(ctx context.Context, m *fault.Moment, what string) (p Seen, err error) {
	switch {
	case what == "":
		objects := p.list(m.Scope.ZFS.Objects(ctx))
		p.Summary = core.Summarize(objects)
	case isClass(what):
		p.Objects, err = m.Scope.ZFS.Class(what)
	default:
		p.Value, err = value(m, what)
	}
	return p, err
}

// isClass tells a class from a path.
func isClass(what string) bool {
	return strings.HasPrefix(what, "struct:") ||
		slices.ContainsFunc(core.Classes(), func(c core.ClassInfo) bool { return c.Name == what })
}

// list collects what can be listed.
func (p *Seen) list(all func(func(core.Object, error) bool)) (objects []core.Object) {
	for o, err := range all {
		if err != nil {
			p.Missed = append(p.Missed, err.Error())
			continue
		}
		objects = append(objects, o)
	}
	return objects
}

func value(m *fault.Moment, path string) (*Value, error) {
	v, err := m.Scope.Resolve(path)
	if err != nil {
		return nil, err
	}
	_, size := v.Bits()
	out := &Value{Path: v.Path(), Type: v.Type().String(), Addr: v.Addr(), Size: size}
	if out.Text, err = v.Format(); err != nil {
		return nil, err
	}
	if out.Pieces, err = v.Pieces(); err != nil {
		return nil, fmt.Errorf("where it is: %w", err)
	}
	return out, nil
}
