package kernel

import (
	"debug/dwarf"
	"slices"
	"testing"
)

// TestWithin expects the statements of a range by offset, and of several at one instruction the last.
func TestWithin(t *testing.T) {
	file := &dwarf.LineFile{Name: "module/zfs/zio.c"}
	row := func(addr uint64, line int, statement bool) dwarf.LineEntry {
		return dwarf.LineEntry{Address: addr, File: file, Line: line, IsStmt: statement}
	}
	end := row(0x140, 9, true)
	end.EndSequence = true
	got := within([]dwarf.LineEntry{
		row(0xff, 1, true), row(0x100, 2, true), row(0x100, 3, true), row(0x104, 4, false), row(0x108, 5, true), row(0x11f, 6, true), row(0x120, 7, true), end,
	}, 0x100, 0x20)
	want := []Statement{{0, "zio.c", 3}, {8, "zio.c", 5}, {0x1f, "zio.c", 6}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
