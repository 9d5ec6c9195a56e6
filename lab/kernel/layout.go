package kernel

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Layout says where a running guest has its modules and a few symbols of the kernel. It is the same for all forks of a
// checkpoint and marshals to JSON.
type Layout struct {
	// Sections are the addresses of a module's sections, by module and section.
	Sections map[string]map[string]uint64 `json:"sections"`
	// BuildIDs are those of the modules that run, in hex.
	BuildIDs map[string]string `json:"build_ids"`
	// Symbols are addresses in the kernel proper.
	Symbols map[string]uint64 `json:"symbols"`
}

// layoutModules and layoutSymbols are what a layout has: the top page table, the bounds of the kernel's code, and the
// variables that say where the direct map of memory and the array of struct page begin.
var (
	layoutModules = []string{"spl", "zfs"}
	layoutSymbols = []string{"init_top_pgt", "_stext", "_etext", "page_offset_base", "vmemmap_base"}
)

// Guest is what a layout is asked of.
type Guest interface {
	// Symbols are addresses of the kernel, by name.
	Symbols(ctx context.Context, names ...string) (map[string]uint64, error)
	// Printed is what a command prints.
	Printed(ctx context.Context, command string) ([]byte, error)
	ReadFile(ctx context.Context, path string) ([]byte, error)
}

// ReadLayout asks a guest that has its modules loaded.
func ReadLayout(ctx context.Context, g Guest) (Layout, error) {
	l := Layout{Sections: map[string]map[string]uint64{}, BuildIDs: map[string]string{}}
	var err error
	if l.Symbols, err = g.Symbols(ctx, layoutSymbols...); err != nil {
		return Layout{}, err
	}
	for _, module := range layoutModules {
		folder := path.Join("/sys/module", module)
		output, err := g.Printed(ctx, "grep -r . "+path.Join(folder, "sections"))
		if err != nil {
			return Layout{}, fmt.Errorf("read the layout of module %s: %w", module, err)
		}
		if l.Sections[module], err = parseSections(string(output)); err != nil {
			return Layout{}, fmt.Errorf("read the layout of module %s: %w", module, err)
		}
		note, err := g.ReadFile(ctx, path.Join(folder, "notes/.note.gnu.build-id"))
		if err != nil {
			return Layout{}, err
		}
		id, err := buildID(note)
		if err != nil {
			return Layout{}, fmt.Errorf("read the layout of module %s: %w", module, err)
		}
		l.BuildIDs[module] = hex.EncodeToString(id)
	}
	return l, nil
}

// parseSections reads lines like "/sys/module/zfs/sections/.text:0xffffffffc0600000".
func parseSections(text string) (map[string]uint64, error) {
	sections := map[string]uint64{}
	for line := range strings.Lines(text) {
		file, number, _ := strings.Cut(strings.TrimSpace(line), ":")
		addr, err := strconv.ParseUint(number, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("section in %q: %w", line, err)
		}
		if addr == 0 {
			return nil, fmt.Errorf("section %s: the kernel hides addresses (kptr_restrict)", path.Base(file))
		}
		sections[path.Base(file)] = addr
	}
	return sections, nil
}
