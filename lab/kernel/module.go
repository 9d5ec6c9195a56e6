package kernel

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
)

// parse reads all modules. Types that several compilation units define alike become one.
func parse(ctx context.Context, modules []string) (*database, error) {
	b := newBuilder()
	for _, path := range modules {
		if err := b.module(ctx, path); err != nil {
			return nil, fmt.Errorf("read the types of %s: %w", path, err)
		}
	}
	return b.finish(), nil
}

// identify reads the name and the build-id of a module.
func identify(path string, f *elf.File) (module, error) {
	name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
	section := f.Section(".note.gnu.build-id")
	if section == nil {
		return module{}, fmt.Errorf("%s has no build-id", path)
	}
	note, err := section.Data()
	if err != nil {
		return module{}, fmt.Errorf("build-id of %s: %w", path, err)
	}
	id, err := buildID(note)
	if err != nil {
		return module{}, fmt.Errorf("%s: %w", path, err)
	}
	return module{name, hex.EncodeToString(id)}, nil
}

// buildID takes the id out of a note: the sizes of owner and description, a type, the owner "GNU\0", the description.
func buildID(note []byte) ([]byte, error) {
	const header = 16
	if len(note) < header || uint64(len(note)) < header+uint64(binary.LittleEndian.Uint32(note[4:])) {
		return nil, fmt.Errorf("build-id: a note of %d bytes is cut short", len(note))
	}
	return note[header : header+binary.LittleEndian.Uint32(note[4:])], nil
}

// place is where a symbol is in its module. Sections of a module all begin at 0, so debug information, which has
// addresses without sections, is matched by name and value.
type place struct {
	name  string
	value uint64
}

func (b *builder) module(ctx context.Context, path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	m, err := identify(path, f)
	if err != nil {
		return err
	}
	b.db.Modules = append(b.db.Modules, m)
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	b.moduleName, b.sections = m.Name, map[place]string{}
	for _, s := range symbols {
		kind := elf.ST_TYPE(s.Info)
		if kind != elf.STT_FUNC && kind != elf.STT_OBJECT || int(s.Section) >= len(f.Sections) {
			continue
		}
		b.sections[place{s.Name, s.Value}] = f.Sections[s.Section].Name
		if base, _, clone := strings.Cut(s.Name, "."); clone && kind == elf.STT_FUNC && !strings.Contains(s.Name, ".cold") {
			b.db.Clones[base] = append(b.db.Clones[base], s.Name)
		}
	}
	data, err := f.DWARF()
	if err != nil {
		return err
	}
	return b.units(ctx, data)
}
