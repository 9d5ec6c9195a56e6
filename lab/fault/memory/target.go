package memory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/kernel"
)

const pageSize = 4 << 10

// The classes that are not of ZFS.
const (
	classRAM  = "ram"
	classText = "kernel-text"
)

// target is what one strike hits: bits of guest memory.
type target struct {
	name string
	typ  kernel.Type // void where it is not known
	virt uint64
	// bit is where it begins in the byte at virt, 0 unless it is a bit field.
	bit  int
	bits uint64
}

// byteOf is the virtual address of the byte that holds a bit.
func (t target) byteOf(bit uint64) uint64 { return t.virt + (uint64(t.bit)+bit)/8 }

// aim finds the targets at a moment, and measures what they were drawn from.
func (h *hand) aim(m *fault.Moment) (all []target, err error) {
	if h.Class != "" {
		t, size, err := h.draw(m)
		h.size = size
		return []target{t}, err
	}
	h.size = 0
	for _, path := range h.Targets {
		t, err := typed(m, path)
		if err != nil {
			return nil, err
		}
		h.size += t.bits / 8
		all = append(all, t)
	}
	return all, nil
}

// draw draws a target of the class and gives the size of all of it.
func (h *hand) draw(m *fault.Moment) (target, uint64, error) {
	switch h.Class {
	case classRAM:
		return page(m, h.ram)
	case classText:
		return text(m)
	default:
		return ofClass(m, h.Class)
	}
}

// typed is the place that a path leads to.
func typed(m *fault.Moment, path string) (target, error) {
	v, err := m.Scope.Resolve(path)
	if err != nil {
		return target{}, err
	}
	if v.Addr() == 0 {
		return target{}, fmt.Errorf("%s is in a register and not in memory; write the fault register, or a member of what it points to", path)
	}
	offset, size := v.Bits()
	t := target{name: v.Path(), typ: v.Type(), virt: v.Addr() + uint64(offset/8), bit: offset % 8, bits: uint64(size)}
	if size == 0 {
		t.bits = 8 * uint64(v.Type().Size())
	}
	if t.bits == 0 {
		return target{}, fmt.Errorf("%s, a %s, has no size", path, v.Type())
	}
	return t, nil
}

// ofClass draws one object of a class of ZFS's memory, each byte of the class with the same chance.
func ofClass(m *fault.Moment, class string) (target, uint64, error) {
	all, err := m.Scope.ZFS.Class(class)
	if err != nil {
		return target{}, 0, err
	}
	spans := make([]span, len(all))
	for i, o := range all {
		spans[i] = span{o.Addr, o.Size}
	}
	i, size, err := draw(m.Site.Rand, spans)
	if err != nil {
		return target{}, 0, fmt.Errorf("class %s: %w", class, err)
	}
	o := all[i]
	t := target{name: o.Path, virt: o.Addr, bits: 8 * o.Size}
	if t.name == "" {
		t.name = strings.TrimSpace(o.Kind + " " + o.Detail)
	}
	if v, err := m.Scope.Resolve(o.Path); err == nil && v.Addr() == o.Addr {
		t.typ = v.Type()
	}
	return t, size, nil
}

// span is a range of addresses.
type span struct{ start, size uint64 }

// draw chooses a span with a chance in proportion to its size, and gives the size of all.
func draw(r *rand.Rand, all []span) (chosen int, size uint64, err error) {
	for _, s := range all {
		size += s.size
	}
	if size == 0 {
		return 0, 0, errors.New("there is nothing of it in memory")
	}
	at := r.Uint64N(size)
	for i, s := range all {
		if at < s.size {
			return i, size, nil
		}
		at -= s.size
	}
	panic("unreachable: at is below the sum")
}

// text draws a byte of the kernel's code.
func text(m *fault.Moment) (target, uint64, error) {
	k := m.Scope.ZFS.View().Kernel()
	start, err := k.Addr("_stext")
	if err != nil {
		return target{}, 0, err
	}
	end, err := k.Addr("_etext")
	if err != nil {
		return target{}, 0, err
	}
	at := m.Site.Rand.Uint64N(end - start)
	return target{name: fmt.Sprintf("_stext+%#x", at), virt: start + at, bits: 8}, end - start, nil
}
