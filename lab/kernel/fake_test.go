package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// fake is a machine's physical memory with page tables in it.
type fake struct {
	t      *testing.T
	levels int
	pages  map[uint64]*page
	free   uint64 // the next physical page to give out
	reads  int
}

// The fake kernel's top page table, and where a guest has it mapped.
const (
	topPhys = 0x2a10000
	topVirt = 0xffffffff82a10000
)

func newFake(t *testing.T, levels int) *fake {
	f := &fake{t: t, levels: levels, pages: map[uint64]*page{topPhys: {}}, free: 0x3000000}
	f.mapPage(topVirt, topPhys, 1, 0)
	return f
}

func (f *fake) ReadPhys(_ context.Context, addr uint64, p []byte) error {
	f.reads++
	data, ok := f.pages[addr&^(pageSize-1)]
	if !ok || int(addr%pageSize)+len(p) > pageSize {
		return fmt.Errorf("no memory at %#x", addr)
	}
	copy(p, data[addr%pageSize:])
	return nil
}

func (f *fake) WritePhys(context.Context, uint64, []byte) error { return errors.New("not used") }

func (f *fake) Translate(_ context.Context, cpu int, virt uint64) (uint64, error) {
	if cpu != 0 || virt != topVirt {
		return 0, fmt.Errorf("CPU %d does not map %#x", cpu, virt)
	}
	return topPhys, nil
}

// take makes a page of memory.
func (f *fake) take() uint64 {
	phys := f.free
	f.free += pageSize
	f.pages[phys] = &page{}
	return phys
}

// mapPage maps virt to phys with an entry at the given level: 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB.
func (f *fake) mapPage(virt, phys uint64, level int, flags uint64) {
	table := uint64(topPhys)
	for l := f.levels; ; l-- {
		at := virt >> (12 + 9*(l-1)) % 512 * 8
		entry := f.pages[table][at : at+8]
		if l == level {
			binary.LittleEndian.PutUint64(entry, phys|present|flags)
			return
		}
		if binary.LittleEndian.Uint64(entry) == 0 {
			binary.LittleEndian.PutUint64(entry, f.take()|present|1<<63) // not executable, which is no part of the address
		}
		table = binary.LittleEndian.Uint64(entry) & physMask
	}
}

// put writes bytes at a virtual address in a page, which it maps.
func (f *fake) put(virt uint64, p []byte) {
	f.t.Helper()
	v := f.view(nil)
	base := virt &^ (pageSize - 1)
	phys, err := v.Phys(base)
	if err != nil {
		phys = f.take()
		f.mapPage(base, phys, 1, 0)
	}
	if n := copy(f.pages[phys][virt%pageSize:], p); n < len(p) {
		f.put(virt+uint64(n), p[n:])
	}
}

func (f *fake) words(virt uint64, words ...uint64) {
	f.t.Helper()
	var p []byte
	for _, w := range words {
		p = binary.LittleEndian.AppendUint64(p, w)
	}
	f.put(virt, p)
}

func (f *fake) view(types *Types) *View {
	return New(f, types, Layout{Symbols: map[string]uint64{"init_top_pgt": topVirt}}).View(f.t.Context())
}

// Types of the tests, by their index in testTypes.
const (
	tU64 = iota + 1
	tInt
	tChar
	tU8
	tBool
	tVoidPtr
	tCharPtr
	tColor
	tFlags
	tNodePtr
	tNode // struct node { struct node *next, *prev; }, for lists
	tAVLPtr
	tAVL // struct avl_node
	tVoid2
)

// testTypes is a small database with the types of lists and trees as OpenZFS has them.
func testTypes() *Types {
	word := func(name string, id int32, at int) member { return member{Name: name, Type: id, Bit: uint64(64 * at)} }
	t := &Types{db: database{Names: map[string]int32{}, Nodes: []node{
		{},
		tU64:     {Kind: Int, Name: "uint64_t", Size: 8},
		tInt:     {Kind: Int, Name: "int", Size: 4, Signed: true},
		tChar:    {Kind: Int, Name: "char", Size: 1, Signed: true},
		tU8:      {Kind: Int, Name: "uint8_t", Size: 1},
		tBool:    {Kind: Int, Name: "_Bool", Size: 1},
		tVoidPtr: {Kind: Pointer, Size: 8},
		tCharPtr: {Kind: Pointer, Size: 8, Elem: tChar},
		tColor:   {Kind: Enum, Name: "color", Size: 4, Members: []member{{Name: "RED"}, {Name: "GREEN", Value: 1}, {Name: "BLUE", Value: 2}}},
		tFlags:   {Kind: Enum, Name: "flag", Size: 4, Members: []member{{Name: "F_A", Value: 1}, {Name: "F_B", Value: 2}, {Name: "F_C", Value: 8}}},
		tNodePtr: {Kind: Pointer, Size: 8, Elem: tNode},
		tNode:    {Kind: Struct, Name: "list_head", Size: 16, Members: []member{word("next", tNodePtr, 0), word("prev", tNodePtr, 1)}},
		tAVLPtr:  {Kind: Pointer, Size: 8, Elem: tAVL},
		tAVL:     {Kind: Struct, Name: "avl_node", Size: 24, Members: []member{word("avl_child", tVoid2, 0), word("avl_pcb", tU64, 2)}},
		tVoid2:   {Kind: Array, Elem: tAVLPtr, Count: 2},
	}}}
	for id, n := range t.db.Nodes {
		if n.Name != "" {
			t.db.Names[Type{t, int32(id)}.word()] = int32(id)
		}
	}
	return t
}

func (t *Types) test(id int32) Type { return Type{t, id} }
