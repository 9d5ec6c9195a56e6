package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// tables are the page tables of an address space: the guest-physical address of the top table and the number of levels,
// 4 or 5.
type tables struct {
	top    uint64
	levels int
}

// Bits of a page table entry (Intel SDM vol. 3A, 4.5).
const (
	present  = 1 << 0
	large    = 1 << 7                     // in levels 2 and 3: a page of 2 MiB or 1 GiB
	physMask = (1<<52 - 1) &^ (1<<12 - 1) // the address in an entry
)

// walk translates an address like the CPU does.
func (v *View) walk(t tables, addr uint64) (uint64, error) {
	bits := 12 + 9*t.levels
	if int64(addr)<<(64-bits)>>(64-bits) != int64(addr) {
		return 0, fmt.Errorf("address %#x: %w: not canonical", addr, ErrUnmapped)
	}
	table := t.top
	for level := t.levels; ; level-- {
		shift := 12 + 9*(level-1)
		at := table + addr>>shift%512*8
		data, err := v.page(at &^ (pageSize - 1))
		if err != nil {
			return 0, fmt.Errorf("address %#x: page table of level %d: %w", addr, level, err)
		}
		entry := binary.LittleEndian.Uint64(data[at%pageSize:])
		if entry&present == 0 {
			return 0, fmt.Errorf("address %#x: %w", addr, ErrUnmapped)
		}
		if level == 1 || level <= 3 && entry&large != 0 {
			inside := uint64(1)<<shift - 1
			return entry&physMask&^inside | addr&inside, nil
		}
		table = entry & physMask
	}
}

// find finds the kernel's own page tables: not those of the process that a CPU happens to run, which may lack parts of
// the kernel. With the right number of levels they map themselves.
func (k *Kernel) find(v *View) (tables, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tables.levels > 0 {
		return k.tables, nil
	}
	const symbol = "init_top_pgt"
	virt, ok := k.layout.Symbols[symbol]
	if !ok {
		return tables{}, fmt.Errorf("the layout lacks %s", symbol)
	}
	phys, err := k.memory.Translate(v.ctx, 0, virt)
	if err != nil {
		return tables{}, fmt.Errorf("find %s: %w", symbol, err)
	}
	for _, levels := range []int{4, 5} {
		t := tables{phys, levels}
		if found, err := v.walk(t, virt); err == nil && found == phys {
			k.tables = t
			return t, nil
		}
	}
	return tables{}, errors.New("what is at " + symbol + " are no page tables")
}
