package ondisk

import (
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// expansion says how wide a raidz was in the past. Blocks keep the width, that is the share of parity, that they were written
// with, while their sectors are spread over all members there are.
type expansion struct {
	// running: the last member is being filled; the uberblock says how far that is.
	running bool
	// txgs are those from which on blocks have one column more, ascending.
	txgs []uint64
}

// newExpansion reads it from the configuration of a raidz (vdev_raidz_init in module/zfs/vdev_raidz.c).
func newExpansion(c *nvlist.List, members, parity int) (expansion, error) {
	x := expansion{running: c.Has("raidz_expanding")}
	x.txgs, _ = nvlist.Get[[]uint64](c, "raidz_expand_txgs")
	if !slices.IsSorted(x.txgs) {
		return x, corrupt("a raidz was expanded in txgs %v", x.txgs)
	}
	expansions := len(x.txgs)
	if x.running {
		expansions++
	}
	if members-expansions <= parity {
		return x, corrupt("a raidz%d of %d members was expanded %d times", parity, members, expansions)
	}
	return x, nil
}

// width is how many columns, with those of parity, blocks have that were written in a txg (vdev_raidz_get_logical_width).
func (v *VDev) width(birth uint64) int {
	n := len(v.Children)
	if v.expansion.running {
		n--
	}
	for _, txg := range v.expansion.txgs {
		if txg > birth {
			n--
		}
	}
	return n
}

// Expanded says that a raidz has more members than it was made with, or is getting one.
func (v *VDev) Expanded() bool { return v.expansion.running || len(v.expansion.txgs) > 0 }

const (
	// bootSize is the room behind the first labels (VDEV_BOOT_SIZE), the scratch area of an expansion.
	bootSize = 7 << 19
	// scratchValid: what was reflowed is to be read from the scratch area (RRSS_SCRATCH_VALID).
	scratchValid = 1
)

// reflowedRows is the map of a block that is less wide than the raidz is now: rows of single sectors, with those of the block
// in the same columns as ever, and its columns one after the other on all members (vdev_raidz_map_alloc_expanded). While an
// expansion runs, a row that was not moved yet, or only in part, is where it was.
func (v *VDev) reflowedRows(offset, size, width uint64) []row {
	parity, unit := uint64(v.Parity), uint64(1)<<v.AShift
	sectors := size >> v.AShift
	q, big := shares(sectors, width, parity)
	count := q
	if big > 0 {
		count++
	}
	total := sectors + parity*count
	moved, scratch := ^uint64(0), false
	if v.expansion.running {
		end, state := v.pool.Uberblock.Reflow()
		moved, scratch = end>>v.AShift, state == scratchValid
	}
	used := min(total, width)
	all := make([]row, count)
	for i := range all {
		first := offset>>v.AShift + uint64(i)*width
		members, shift := uint64(len(v.Children)), uint64(0)
		if first+used > moved {
			members--
		} else if scratch {
			shift = bootSize
		}
		columns := make(row, used)
		for k := range columns {
			c, sector := uint64(k), first+uint64(k)
			columns[k] = column{
				child: int(sector % members), offset: sector/members<<v.AShift - shift, size: unit, full: unit, sector: sector,
			}
			if c >= parity {
				columns[k].at = inColumn(c-parity, uint64(i), count, big-min(big, parity)) << v.AShift
			}
			if uint64(i) == count-1 && big != 0 && c >= big {
				columns[k].size, columns[k].full = 0, 0
			}
		}
		if parity == 1 && used > 1 && offset&parityTurn != 0 {
			columns.turn()
		}
		all[i] = columns
	}
	return all
}

// inColumn is which sector of a block lies in a row of a column of data, when the first long ones have as many sectors as there
// are rows, and the others one less; none is long when all have as many.
func inColumn(column, row, rows, long uint64) uint64 {
	if long == 0 || column < long {
		return column*rows + row
	}
	return long*rows + (column-long)*(rows-1) + row
}
