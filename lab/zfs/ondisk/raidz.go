package ondisk

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// column is the part of a block that lies on one member of a raidz: contiguous there and contiguous in the block.
type column struct {
	child        int
	offset, size uint64
}

// raidzColumns is the map of a block (vdev_raidz_map_alloc in module/zfs/vdev_raidz.c): first the parity columns, then
// those with data, the longer ones first. offset and size are multiples of a sector, and size is not 0.
func (v *VDev) raidzColumns(offset, size uint64) []column {
	n, parity := uint64(len(v.Children)), uint64(v.Parity)
	b, s := offset>>v.AShift, size>>v.AShift
	q := s / (n - parity)
	r := s - q*(n-parity)
	big := uint64(0)
	if r > 0 {
		big = r + parity
	}
	used := n
	if q == 0 {
		used = big
	}
	columns := make([]column, used)
	for c := range columns {
		child, row := b%n+uint64(c), b/n
		if child >= n {
			child, row = child-n, row+1
		}
		sectors := q
		if uint64(c) < big {
			sectors++
		}
		columns[c] = column{child: int(child), offset: row << v.AShift, size: sectors << v.AShift}
	}
	// With one parity column it trades places with the first data column in every other mebibyte.
	if parity == 1 && offset&(1<<20) != 0 {
		columns[0], columns[1] = columns[1], columns[0]
	}
	return columns
}

// stripe is a block of a raidz with what could be read of its columns.
type stripe struct {
	vdev    *VDev
	columns []column
	content [][]byte   // by column, nil unless read
	errs    []error    // by column, why not
	choices [][][]byte // by column, all that was read, where a member is several devices that do not agree
}

func (v *VDev) newStripe(offset, size uint64) *stripe {
	unit := uint64(1) << v.AShift
	columns := v.raidzColumns(offset, (size+unit-1)&^(unit-1))
	n := len(columns)
	return &stripe{vdev: v, columns: columns, content: make([][]byte, n), errs: make([]error, n), choices: make([][][]byte, n)}
}

// read reads some columns. A member that is being replaced, or has a spare, is two devices.
func (s *stripe) read(ctx context.Context, from, to int) {
	for i := from; i < to; i++ {
		c := s.columns[i]
		var problems []error
		var found [][]byte
		for p, err := range s.vdev.Children[c.child].attempts(ctx, c.offset, c.size, 0) {
			if err != nil {
				problems = append(problems, err)
			} else if !contains(found, p) {
				found = append(found, p)
			}
		}
		if len(found) == 0 {
			s.errs[i] = errors.Join(problems...)
			continue
		}
		s.content[i], s.choices[i] = found[0], found
	}
}

// choose takes the n-th combination of what was read, 0 being the first of each; false: there is no such.
func (s *stripe) choose(n int) bool {
	for i, c := range s.choices {
		if len(c) > 1 {
			s.content[i] = c[n%len(c)]
			n /= len(c)
		}
	}
	return n == 0
}

// assemble joins the data columns.
func (s *stripe) assemble(data [][]byte) []byte { return slices.Concat(data...) }

// maxReconstructions is how many sets of bad columns are tried for one block: all of a raidz3 of 30 members.
const maxReconstructions = 5000

// raidzAttempts reads the data columns; then it takes each set of columns to be bad that the parity can make up for,
// small sets first, as vdev_raidz_combrec does.
func (v *VDev) raidzAttempts(ctx context.Context, offset, size uint64, yield func([]byte, error) bool) {
	s := v.newStripe(offset, size)
	s.read(ctx, v.Parity, len(s.columns))
	unreadable := s.unreadable()
	for n := 0; len(unreadable) == 0 && n < maxChoices && s.choose(n); n++ {
		if !yield(s.assemble(s.content[v.Parity:])[:size], nil) {
			return
		}
	}
	s.read(ctx, 0, v.Parity)
	left := maxReconstructions
	for n := 0; n < maxChoices && s.choose(n); n++ {
		if !s.reconstructions(ctx, size, &left, yield) {
			return
		}
	}
	if unreadable = s.unreadable(); len(unreadable) > 0 {
		yield(nil, errors.Join(s.errs...))
	}
}

// maxChoices is how many combinations of disagreeing devices are tried for one block.
const maxChoices = 64

// reconstructions yields the block for every set of bad columns, until yield does not want more or none are left.
func (s *stripe) reconstructions(ctx context.Context, size uint64, left *int, yield func([]byte, error) bool) bool {
	unreadable := s.unreadable()
	for k := max(len(unreadable), 1); k <= s.vdev.Parity; k++ {
		bad := slices.Clone(unreadable)
		more := subsets(bad, 0, len(s.columns), k, func(bad []int) bool {
			if *left--; *left < 0 || ctx.Err() != nil {
				return false
			}
			p := s.reconstruct(bad)
			return p == nil || yield(p[:size], nil)
		})
		if !more {
			return false
		}
	}
	return true
}

func (s *stripe) unreadable() []int {
	var out []int
	for i := range s.columns {
		if s.errs[i] != nil {
			out = append(out, i)
		}
	}
	return out
}

// subsets calls do with every set of k numbers below n that has all of base, until do returns false.
func subsets(base []int, from, n, k int, do func([]int) bool) bool {
	if len(base) == k {
		return do(base)
	}
	for i := from; i < n; i++ {
		if slices.Contains(base, i) {
			continue
		}
		if !subsets(append(base, i), i+1, n, k, do) {
			return false
		}
	}
	return true
}

// reconstruct computes the data as if the bad columns were not there, or nil when that is what was read before or
// cannot be done.
func (s *stripe) reconstruct(bad []int) []byte {
	parity := s.vdev.Parity
	var lost, from []int // data columns by their index among data; parity columns to compute them from
	for i := range s.columns {
		switch isBad := slices.Contains(bad, i); {
		case i >= parity && isBad:
			lost = append(lost, i-parity)
		case i < parity && !isBad && s.errs[i] == nil:
			from = append(from, i)
		}
	}
	if len(lost) == 0 || len(from) < len(lost) {
		return nil
	}
	data := slices.Clone(s.content[parity:])
	if !solve(data, lost, s.content, from[:len(lost)]) {
		return nil
	}
	for _, i := range lost {
		data[i] = data[i][:s.columns[parity+i].size]
	}
	return s.assemble(data)
}

// parityOf computes parity column j (0 is P, 1 Q, 2 R) of data columns, by Horner's rule: the first column has the
// highest power of the generator 2^j, short columns are padded with zeroes, nil ones are zero.
func parityOf(j int, data [][]byte, size int) []byte {
	out := make([]byte, size)
	var times [256]byte
	for i := range times {
		times[i] = gfMultiply(byte(i), 1<<j)
	}
	for _, d := range data {
		if j > 0 {
			for i, b := range out {
				out[i] = times[b]
			}
		}
		for i, b := range d {
			out[i] ^= b
		}
	}
	return out
}

// solve computes the lost data columns from as many parity columns.
func solve(data [][]byte, lost []int, parity [][]byte, from []int) bool {
	for _, i := range lost {
		data[i] = nil
	}
	k := len(lost)
	matrix, syndromes := make([][]byte, k), make([][]byte, k)
	for r, j := range from {
		syndromes[r] = parityOf(j, data, len(parity[j]))
		for i, b := range parity[j] {
			syndromes[r][i] ^= b
		}
		matrix[r] = make([]byte, k)
		for c, i := range lost {
			matrix[r][c] = gfPower(1<<j, len(data)-1-i)
		}
	}
	inverse := gfInvert(matrix)
	if inverse == nil {
		return false
	}
	for c, i := range lost {
		out := make([]byte, len(syndromes[0]))
		for r, s := range syndromes {
			var times [256]byte
			for b := range times {
				times[b] = gfMultiply(byte(b), inverse[c][r])
			}
			for b, x := range s {
				out[b] ^= times[x]
			}
		}
		data[i] = out
	}
	return true
}

// gfMultiply multiplies in the field of RAID-Z: GF(2^8) with the polynomial 0x11d.
func gfMultiply(a, b byte) (p byte) {
	for ; b != 0; b >>= 1 {
		if b&1 != 0 {
			p ^= a
		}
		high := a & 0x80
		a <<= 1
		if high != 0 {
			a ^= 0x1d
		}
	}
	return p
}

func gfPower(a byte, n int) byte {
	p := byte(1)
	for range n % 255 {
		p = gfMultiply(p, a)
	}
	return p
}

// gfInvert inverts a small square matrix, or gives nil if it has no inverse. The matrix is overwritten.
func gfInvert(m [][]byte) [][]byte {
	n := len(m)
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, n)
		out[i][i] = 1
	}
	for c := range n {
		pivot := c
		for pivot < n && m[pivot][c] == 0 {
			pivot++
		}
		if pivot == n {
			return nil
		}
		m[c], m[pivot] = m[pivot], m[c]
		out[c], out[pivot] = out[pivot], out[c]
		inverse := gfPower(m[c][c], 254)
		for i := range n {
			m[c][i], out[c][i] = gfMultiply(m[c][i], inverse), gfMultiply(out[c][i], inverse)
		}
		for r := range n {
			if f := m[r][c]; r != c && f != 0 {
				for i := range n {
					m[r][i] ^= gfMultiply(f, m[c][i])
					out[r][i] ^= gfMultiply(f, out[c][i])
				}
			}
		}
	}
	return out
}

// raidzContent is what the columns of a block should hold.
func (v *VDev) raidzContent(offset uint64, data []byte) (columns []column, content [][]byte) {
	columns = v.newStripe(offset, uint64(len(data))).columns
	var total uint64
	for _, c := range columns[v.Parity:] {
		total += c.size
	}
	padded := data
	if uint64(len(data)) < total {
		padded = append(bytes.Clone(data), make([]byte, total-uint64(len(data)))...)
	}
	content = make([][]byte, len(columns))
	for i, c := range columns[v.Parity:] {
		content[v.Parity+i] = padded[:c.size]
		padded = padded[c.size:]
	}
	for i, c := range columns[:v.Parity] {
		content[i] = parityOf(i, content[v.Parity:], int(c.size))
	}
	return columns, content
}

// raidzCompare computes what all columns should hold and compares.
func (v *VDev) raidzCompare(ctx context.Context, offset uint64, data []byte, depth int) []Damage {
	columns, content := v.raidzContent(offset, data)
	all := make([]Damage, 0, len(columns))
	for i, c := range columns {
		all = append(all, v.Children[c.child].compare(ctx, c.offset, content[i], depth)...)
	}
	return all
}
