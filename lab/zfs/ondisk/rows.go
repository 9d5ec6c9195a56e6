package ondisk

// column is the part of a row that lies on one member of a raidz or dRAID, contiguous there.
type column struct {
	child  int
	offset uint64 // on the member; in a scratch area it is negative
	// size is how many bytes of the block, or of parity, lie there, and at where in the block they begin. A column without any
	// is one of zeroes, which count in the parity.
	size, at uint64
	// full is how much was written there: size, and the zeroes behind it that fill a row of a dRAID.
	full uint64
	// sector is that of the vdev which is the column's first one, whatever the width that the vdev has or had.
	sector uint64
}

// row is a part of a block with the parity of it: first the columns with parity, then those with data.
type row []column

// rows is the map of a block on a raidz or dRAID. birth is when the block was written.
func (v *VDev) rows(offset, size, birth uint64) []row {
	unit := uint64(1) << v.AShift
	size = (size + unit - 1) &^ (unit - 1)
	if v.draid != nil {
		return v.draidRows(offset, size)
	}
	if width := v.width(birth); width != len(v.Children) {
		return v.reflowedRows(offset, size, uint64(width))
	}
	return []row{v.plainRow(offset, size)}
}

// shares says how the sectors of data are spread over columns of data and parity, n together: each column has q, and the
// first big ones, parity included, have one more.
func shares(sectors, n, parity uint64) (q, big uint64) {
	q = sectors / (n - parity)
	if r := sectors % (n - parity); r > 0 {
		big = r + parity
	}
	return q, big
}

// plainRow is the one of a block on a raidz that has the width that it had when the block was written (vdev_raidz_map_alloc
// in module/zfs/vdev_raidz.c).
func (v *VDev) plainRow(offset, size uint64) row {
	n, parity := uint64(len(v.Children)), uint64(v.Parity)
	b := offset >> v.AShift
	q, big := shares(size>>v.AShift, n, parity)
	used := n
	if q == 0 {
		used = big
	}
	columns := make(row, used)
	at := uint64(0)
	for i := range columns {
		c := uint64(i)
		child, line := b%n+c, b/n
		if child >= n {
			child, line = child-n, line+1
		}
		sectors := q
		if c < big {
			sectors++
		}
		columns[i] = column{
			child: int(child), offset: line << v.AShift, size: sectors << v.AShift, full: sectors << v.AShift, at: at, sector: b + c,
		}
		if c >= parity {
			at += sectors << v.AShift
		}
	}
	if parity == 1 && offset&parityTurn != 0 {
		columns.turn()
	}
	return columns
}

// parityTurn is a bit of the offset of a block: where it is set, the first column of data of a raidz1 has the place of the parity.
const parityTurn = 1 << 20

// turn lets parity and the first column of data trade places.
func (r row) turn() {
	p, d := &r[0], &r[1]
	p.child, d.child = d.child, p.child
	p.offset, d.offset = d.offset, p.offset
	p.sector, d.sector = d.sector, p.sector
}
