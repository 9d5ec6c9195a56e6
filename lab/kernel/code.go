package kernel

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Code is where the functions of modules are, by the modules' symbols.
type Code struct {
	functions []routineAt
	names     int
}

// routineAt is the code of a function, or of a clone that the compiler made of it.
type routineAt struct {
	name, module, section string
	offset, size          uint64 // in bytes, from the beginning of the section
}

// ReadCode reads the symbols of modules. What runs only as a module comes and goes is left out.
func ReadCode(modules ...string) (*Code, error) {
	c, names := &Code{}, map[string]bool{}
	for _, path := range modules {
		if err := c.read(path, names); err != nil {
			return nil, fmt.Errorf("read the functions of %s: %w", path, err)
		}
	}
	c.names = len(names)
	return c, nil
}

func (c *Code) read(path string, names map[string]bool) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	m, err := identify(path, f)
	if err != nil {
		return err
	}
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size == 0 || int(s.Section) >= len(f.Sections) {
			continue
		}
		section := f.Sections[s.Section].Name
		// Since Linux 6.3 the gap before each function is a symbol, too.
		if strings.HasPrefix(section, ".init") || strings.HasPrefix(section, ".exit") || strings.HasPrefix(s.Name, "__pfx_") {
			continue
		}
		// foo.cold, foo.isra.0 and the like are parts of foo, or foo with other arguments.
		name, _, _ := strings.Cut(s.Name, ".")
		names[name] = true
		c.functions = append(c.functions, routineAt{name, m.Name, section, s.Value, s.Size})
	}
	return nil
}

// Functions is how many there are, by name.
func (c *Code) Functions() int { return c.names }

// Reached are the names of functions in which some of the addresses lie, in order, for a guest that has its modules where the layout says.
func (c *Code) Reached(l Layout, addresses []uint64) ([]string, error) {
	type span struct {
		from, to uint64
		name     string
	}
	spans := make([]span, 0, len(c.functions))
	for _, f := range c.functions {
		base, ok := l.Sections[f.module][f.section]
		if !ok {
			return nil, fmt.Errorf("module %s has no section %s in memory", f.module, f.section)
		}
		spans = append(spans, span{base + f.offset, base + f.offset + f.size, f.name})
	}
	if len(spans) == 0 {
		return nil, errors.New("the modules have no symbols of functions")
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	reached := map[string]bool{}
	for _, addr := range addresses {
		after, _ := slices.BinarySearchFunc(spans, addr+1, func(s span, at uint64) int { return cmp.Compare(s.from, at) })
		if after > 0 && addr < spans[after-1].to {
			reached[spans[after-1].name] = true
		}
	}
	return slices.Sorted(maps.Keys(reached)), nil
}
