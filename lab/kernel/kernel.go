package kernel

import (
	"context"
	"fmt"
	"sync"

	"github.com/vdevil/vdevil/lab/machine"
)

// Kernel is the kernel of one machine. It is safe for concurrent use; its views are not.
type Kernel struct {
	memory machine.Memory
	types  *Types
	layout Layout

	mu     sync.Mutex
	tables tables // of the kernel's own address space, once they were looked for
}

// New is the kernel in a machine's memory. The types must be of the modules that the guest runs.
func New(m machine.Memory, t *Types, l Layout) *Kernel {
	return &Kernel{memory: m, types: t, layout: l}
}

// Types are those of the modules.
func (k *Kernel) Types() *Types { return k.types }

// Addr is the virtual address of a function or variable of the modules, or of a symbol of the layout.
func (k *Kernel) Addr(symbol string) (uint64, error) {
	if addr, ok := k.layout.Symbols[symbol]; ok {
		return addr, nil
	}
	if len(k.types.db.Variables[symbol]) > 0 {
		v, err := k.types.variable(symbol)
		if err != nil {
			return 0, err
		}
		return k.addr(symbol, v.Module, v.Section, v.Offset)
	}
	f, err := k.types.Func(symbol)
	if err != nil {
		return 0, err
	}
	return k.addr(symbol, f.Module, f.Section, f.Offset)
}

func (k *Kernel) addr(symbol, module, section string, offset uint64) (uint64, error) {
	for _, m := range k.types.db.Modules {
		if runs := k.layout.BuildIDs[module]; m.Name == module && m.BuildID != runs {
			return 0, fmt.Errorf("address of %s: the types are of %s %s, the guest runs %s", symbol, module, m.BuildID, runs)
		}
	}
	base, ok := k.layout.Sections[module][section]
	if !ok {
		return 0, fmt.Errorf("address of %s: module %s has no section %s in memory", symbol, module, section)
	}
	return base + offset, nil
}

// View is the guest's memory at one instant: what was read once is not read again. The machine must stand still while a
// view is used, paused or at a trigger; after it ran or its memory was written, make a new one.
func (k *Kernel) View(ctx context.Context) *View {
	return &View{kernel: k, ctx: ctx, pages: map[uint64]*page{}, mapped: map[uint64]uint64{}}
}
