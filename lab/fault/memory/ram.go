package memory

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/kernel"
)

// usableRAM asks the guest where its memory is.
func usableRAM(ctx context.Context, g *guest.Guest) ([]span, error) {
	out, err := g.Run(ctx, "grep 'System RAM' /proc/iomem")
	if err != nil {
		return nil, fmt.Errorf("where the guest has memory: %w", err)
	}
	return parseRAM(string(out.Stdout))
}

// parseRAM reads lines like "00100000-3ffdffff : System RAM".
func parseRAM(text string) (all []span, err error) {
	for line := range strings.Lines(text) {
		from, rest, _ := strings.Cut(strings.TrimSpace(line), "-")
		to, _, _ := strings.Cut(rest, " ")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("memory of the guest in %q: %w", line, err)
		}
		if end <= start {
			return nil, fmt.Errorf("memory of the guest in %q: the kernel hides addresses", line)
		}
		// Whole pages only.
		start = (start + pageSize - 1) / pageSize * pageSize
		if end = (end + 1) / pageSize * pageSize; end > start {
			all = append(all, span{start, end - start})
		}
	}
	return all, nil
}

// page draws a page of memory that the kernel has given to somebody. The allocator of free pages marks what it holds
// (PageBuddy of include/linux/page-flags.h).
func page(m *fault.Moment, ram []span) (target, uint64, error) {
	v := m.Scope.ZFS.View()
	direct, err := variable(v, "page_offset_base")
	if err != nil {
		return target{}, 0, err
	}
	pages, err := variable(v, "vmemmap_base")
	if err != nil {
		return target{}, 0, err
	}
	for range attempts * attempts {
		i, size, err := draw(m.Site.Rand, ram)
		if err != nil {
			return target{}, 0, err
		}
		phys := ram[i].start + m.Site.Rand.Uint64N(ram[i].size)/pageSize*pageSize
		free, err := isFree(v, pages, phys/pageSize)
		if err != nil {
			return target{}, 0, err
		}
		if !free {
			return target{name: fmt.Sprintf("page at physical %#x", phys), virt: direct + phys, bits: 8 * pageSize}, size, nil
		}
	}
	return target{}, 0, errors.New("nearly all memory is free")
}

// variable is a pointer-sized variable of the kernel proper.
func variable(v *kernel.View, name string) (uint64, error) {
	addr, err := v.Kernel().Addr(name)
	if err != nil {
		return 0, err
	}
	return v.Uint64(addr)
}

// isFree says whether the buddy allocator holds a page. A page that is free together with its neighbours is marked by the
// first of them alone, whose number is a multiple of how many they are, and which keeps the power of two of that.
func isFree(v *kernel.View, pages, number uint64) (bool, error) {
	t, err := v.Types().Named("struct page")
	if err != nil {
		return false, err
	}
	const orders = 11 // MAX_ORDER of include/linux/mmzone.h, counted as before 6.4
	for order := range orders {
		first := number &^ (1<<order - 1)
		page := v.At(t, pages+first*uint64(t.Size()), fmt.Sprintf("page %d", first))
		kind, err := page.Field("page_type").Uint()
		if err != nil {
			return false, err
		}
		if !isBuddy(v.Types(), kind) {
			continue
		}
		free, err := page.Field("private").Uint()
		if err != nil {
			return false, err
		}
		if number < first+1<<free {
			return true, nil
		}
	}
	return false, nil
}

// isBuddy reads page_type: since Linux 6.11 its upper byte is an enumerator, before that a mark is a bit that is not set.
func isBuddy(t *kernel.Types, kind uint64) bool {
	if buddy, ok := t.Const("PGTY_buddy"); ok {
		return kind>>24 == uint64(buddy)
	}
	const base, buddy = 0xf0000000, 0x80
	return kind&(base|buddy) == base
}
