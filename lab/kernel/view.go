package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/machine"
)

// View is the guest's memory at one instant, by virtual address. It is not safe for concurrent use.
type View struct {
	kernel *Kernel
	ctx    context.Context   //nolint:containedctx // a view is for one moment, and all that is read through it
	pages  map[uint64]*page  // by guest-physical address
	mapped map[uint64]uint64 // physical by virtual address of pages
}

const pageSize = 4096

type page [pageSize]byte

// ErrUnmapped is wrapped by the errors about addresses that the page tables lead nowhere from.
var ErrUnmapped = errors.New("not mapped")

// Types are those of the kernel's modules.
func (v *View) Types() *Types { return v.kernel.types }

// Kernel is what is viewed.
func (v *View) Kernel() *Kernel { return v.kernel }

// Read fills p from a virtual address.
func (v *View) Read(addr uint64, p []byte) error {
	for len(p) > 0 {
		phys, err := v.Phys(addr)
		if err != nil {
			return err
		}
		data, err := v.page(phys &^ (pageSize - 1))
		if err != nil {
			return err
		}
		n := copy(p, data[phys%pageSize:])
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

// Uint64 reads a word.
func (v *View) Uint64(addr uint64) (uint64, error) {
	var word [8]byte
	err := v.Read(addr, word[:])
	return binary.LittleEndian.Uint64(word[:]), err
}

// Phys is the guest-physical address of a virtual one.
func (v *View) Phys(addr uint64) (uint64, error) {
	base := addr &^ (pageSize - 1)
	phys, ok := v.mapped[base]
	if !ok {
		t, err := v.kernel.find(v)
		if err != nil {
			return 0, err
		}
		if phys, err = v.walk(t, base); err != nil {
			return 0, err
		}
		v.mapped[base] = phys
	}
	return phys + addr%pageSize, nil
}

func (v *View) page(phys uint64) (*page, error) {
	if p, ok := v.pages[phys]; ok {
		return p, nil
	}
	p := new(page)
	if err := v.kernel.memory.ReadPhys(v.ctx, phys, p[:]); err != nil {
		return nil, fmt.Errorf("read physical page %#x: %w", phys, err)
	}
	v.pages[phys] = p
	return p, nil
}

// PageAddr is where the direct map of memory has the page that a struct page, at this address, stands for.
func (v *View) PageAddr(structPage uint64) (uint64, error) {
	var base [2]uint64
	for i, name := range []string{"vmemmap_base", "page_offset_base"} {
		addr, err := v.kernel.Addr(name)
		if err != nil {
			return 0, err
		}
		if base[i], err = v.Uint64(addr); err != nil {
			return 0, err
		}
	}
	t, err := v.Types().Named("struct page")
	if err != nil {
		return 0, err
	}
	size := uint64(t.Size())
	if structPage < base[0] || size == 0 || (structPage-base[0])%size != 0 {
		return 0, fmt.Errorf("%#x is not the address of a struct page", structPage)
	}
	return base[1] + (structPage-base[0])/size*pageSize, nil
}

// Var is a global variable of the modules.
func (v *View) Var(name string) Value {
	found, err := v.Types().variable(name)
	if err != nil {
		return Value{view: v, path: name, err: err}
	}
	addr, err := v.kernel.addr(name, found.Module, found.Section, found.Offset)
	return Value{view: v, typ: Type{v.Types(), found.Type}, addr: addr, path: name, err: err}
}

// At is the place of a type at an address. Nothing is read yet.
func (v *View) At(t Type, addr uint64, path string) Value {
	return Value{view: v, typ: t, addr: addr, path: path}
}

// Bad is a value that only carries an error.
func (v *View) Bad(path string, err error) Value { return Value{view: v, path: path, err: err} }

// Frame is a CPU that stands at the entry of a function, before its first instruction.
type Frame struct {
	Func      *Func
	Registers machine.Registers
}

// Arg is an argument of the function at whose entry a CPU stands, by the calling convention of x86-64: the first six
// integers and pointers are in registers, the others above the return address. Structs by value are refused.
func (v *View) Arg(f Frame, name string) Value {
	r := f.Registers
	registers := []uint64{r.RDI, r.RSI, r.RDX, r.RCX, r.R8, r.R9}
	i := slices.IndexFunc(f.Func.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		return v.Bad(name, fmt.Errorf("argument %s: %s has none of this name", name, f.Func.Name))
	}
	for _, p := range f.Func.Params[:i+1] {
		switch p.Type.Base().Kind() {
		case Int, Pointer, Enum:
		default:
			return v.Bad(name, fmt.Errorf("argument %s of %s: parameter %s is a %s by value, which may be anywhere", name, f.Func.Name, p.Name, p.Type))
		}
	}
	t := f.Func.Params[i].Type
	if i >= len(registers) {
		return v.At(t, r.RSP+8*uint64(1+i-len(registers)), name)
	}
	return Value{view: v, typ: t, held: true, register: registers[i], path: name}
}
