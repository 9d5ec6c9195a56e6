package kernel

import (
	"cmp"
	"context"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
)

// Statement is an instruction at which a statement of the source begins, by the line table of the debug information.
type Statement struct {
	Offset uint64 // from the beginning of the function whose code it is in, in bytes
	// File and Line are those of the statement, which may be one of a function that was inlined.
	File string
	Line int
}

// Statements are those in the code of a function, by offset. They are read from the function's module, which takes a second.
func (t *Types) Statements(ctx context.Context, f *Func) ([]Statement, error) {
	for _, path := range t.paths {
		m, err := identifyFile(path)
		if err != nil {
			return nil, err
		}
		if m.Name != f.Module {
			continue
		}
		all, err := statements(ctx, path, f)
		if err != nil {
			return nil, fmt.Errorf("statements of %s: %w", f.Name, err)
		}
		return all, nil
	}
	return nil, fmt.Errorf("statements of %s: its module %s was not read", f.Name, f.Module)
}

func statements(ctx context.Context, path string, f *Func) ([]Statement, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	size, err := sizeOf(file, f)
	if err != nil {
		return nil, err
	}
	data, err := file.DWARF()
	if err != nil {
		return nil, err
	}
	for r := data.Reader(); ; r.SkipChildren() {
		unit, err := r.Next()
		if err != nil {
			return nil, err
		}
		if unit == nil || ctx.Err() != nil {
			return nil, cmp.Or(ctx.Err(), fmt.Errorf("there is no compilation unit %s", f.File))
		}
		if name(unit) != f.File {
			continue
		}
		return linesOf(data, unit, f.Offset, size)
	}
}

// sizeOf is how long the code of a function is, in bytes.
func sizeOf(file *elf.File, f *Func) (uint64, error) {
	symbols, err := file.Symbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == f.Name && elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value == f.Offset && int(s.Section) < len(file.Sections) && file.Sections[s.Section].Name == f.Section {
			return s.Size, nil
		}
	}
	return 0, errors.New("there is no symbol of it")
}

// linesOf are the statements of a unit within a range of code. All sections of a module begin at 0: where two sequences of the table, each
// of which is of one section, have the range, it is not known which of them is meant.
func linesOf(data *dwarf.Data, unit *dwarf.Entry, from, size uint64) ([]Statement, error) {
	lines, err := data.LineReader(unit)
	if err != nil {
		return nil, err
	}
	if lines == nil {
		return nil, errors.New("its unit has no line table")
	}
	var found []Statement
	var sequence []dwarf.LineEntry
	for {
		var e dwarf.LineEntry
		if err := lines.Next(&e); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return nil, err
		}
		sequence = append(sequence, e)
		if !e.EndSequence {
			continue
		}
		if sequence[0].Address <= from && from+size <= e.Address {
			if found != nil {
				return nil, errors.New("two sections have such a range")
			}
			found = within(sequence, from, size)
		}
		sequence = nil
	}
	if found == nil {
		return nil, errors.New("the line table does not have it")
	}
	return found, nil
}

// within are the statements of a sequence in a range. Of several at one instruction the last one is it.
func within(sequence []dwarf.LineEntry, from, size uint64) []Statement {
	all := []Statement{}
	for _, e := range sequence {
		if !e.IsStmt || e.EndSequence || e.Address < from || e.Address >= from+size {
			continue
		}
		s := Statement{Offset: e.Address - from, File: filepath.Base(e.File.Name), Line: e.Line}
		if n := len(all); n > 0 && all[n-1].Offset == s.Offset {
			all[n-1] = s
			continue
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Statement) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

// Functions are the names of all functions that Func may know, in order.
func (t *Types) Functions() []string { return slices.Sorted(maps.Keys(t.db.Functions)) }
