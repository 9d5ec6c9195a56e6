package ondisk

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// stripe is a block of a raidz or dRAID with what could be read of its columns.
type stripe struct {
	vdev        *VDev
	size, birth uint64
	rows        [][]cell
	choices     []choice
}

// cell is a column with its content.
type cell struct {
	column
	data  []byte // nil unless read
	err   error  // why not
	tries [][]byte
}

// choice is a member that is several devices, which do not agree: one is being replaced, or has a spare.
type choice struct{ child, count int }

func (v *VDev) newStripe(offset, size, birth uint64) *stripe {
	s := &stripe{vdev: v, size: size, birth: birth}
	for _, r := range v.rows(offset, size, birth) {
		cells := make([]cell, len(r))
		for i, c := range r {
			cells[i].column = c
		}
		s.rows = append(s.rows, cells)
	}
	return s
}

// read reads the columns with data, or with parity.
func (s *stripe) read(ctx context.Context, parity bool, depth int) {
	for _, r := range s.rows {
		for i := range r {
			if c := &r[i]; c.size != 0 && (i < s.vdev.Parity) == parity {
				s.readCell(ctx, c, depth)
			}
		}
	}
}

// maxTries is how many devices are asked for one column.
const maxTries = 64

func (s *stripe) readCell(ctx context.Context, c *cell, depth int) {
	var problems []error
	alike := true
	for p, err := range s.vdev.Children[c.child].attempts(ctx, c.offset, c.size, s.birth, depth) {
		switch {
		case err != nil:
			problems = append(problems, err)
		case c.data == nil:
			c.data = p
		case bytes.Equal(p, c.data):
			p = c.data
		default:
			alike = false
		}
		if c.tries = append(c.tries, p); len(c.tries) == maxTries {
			break
		}
	}
	if c.data == nil {
		c.err = errors.Join(problems...)
	}
	if alike {
		c.tries = nil
		return
	}
	i := slices.IndexFunc(s.choices, func(x choice) bool { return x.child == c.child })
	if i < 0 {
		i = len(s.choices)
		s.choices = append(s.choices, choice{child: c.child})
	}
	s.choices[i].count = max(s.choices[i].count, len(c.tries))
}

// choose takes the n-th combination of devices for the members that are several, 0 being the first of each; false: there is no
// such.
func (s *stripe) choose(n int) bool {
	if len(s.choices) == 0 {
		return n == 0
	}
	taken := map[int]int{}
	for _, x := range s.choices {
		taken[x.child] = n % x.count
		n /= x.count
	}
	for _, r := range s.rows {
		for i := range r {
			if c := &r[i]; len(c.tries) > 0 {
				c.data = c.try(taken[c.child])
			}
		}
	}
	return n == 0
}

// try is what one of several devices has, or the first that could be read.
func (c *cell) try(n int) []byte {
	if n < len(c.tries) && c.tries[n] != nil {
		return c.tries[n]
	}
	return c.tries[slices.IndexFunc(c.tries, func(p []byte) bool { return p != nil })]
}

// maxReconstructions is how many sets of bad members are tried for one block: all of a raidz3 of 30 members.
const maxReconstructions = 5000

// maxChoices is how many combinations of disagreeing devices are tried for one block.
const maxChoices = 64

// stripeAttempts reads the columns with data; then it takes each set of members to be bad that the parity can make up for,
// small sets first, as vdev_raidz_combrec does.
func (v *VDev) stripeAttempts(ctx context.Context, offset, size, birth uint64, depth int, yield func([]byte, error) bool) {
	s := v.newStripe(offset, size, birth)
	s.read(ctx, false, depth)
	for n := 0; s.problem() == nil && n < maxChoices && s.choose(n); n++ {
		if !yield(s.assemble(), nil) {
			return
		}
	}
	s.read(ctx, true, depth)
	left := maxReconstructions
	for n := 0; n < maxChoices && s.choose(n); n++ {
		if !s.reconstructions(ctx, &left, yield) {
			return
		}
	}
	if err := s.problem(); err != nil {
		yield(nil, err)
	}
}

// problem is what kept columns from being read, nil if all were.
func (s *stripe) problem() error {
	var problems []error
	for _, r := range s.rows {
		for i := range r {
			if r[i].err != nil && len(problems) < maxProblems {
				problems = append(problems, r[i].err)
			}
		}
	}
	return errors.Join(problems...)
}

// assemble joins the columns with data.
func (s *stripe) assemble() []byte {
	end := uint64(0)
	for _, r := range s.rows {
		for _, c := range r[s.vdev.Parity:] {
			end = max(end, c.at+c.size)
		}
	}
	data := make([]byte, end)
	for _, r := range s.rows {
		for _, c := range r[s.vdev.Parity:] {
			copy(data[c.at:], c.data)
		}
	}
	return data[:s.size]
}

// suspect is what may have failed: a member, or one that was a member when the vdev was narrower, whose wrong content was
// spread over all members since (raidz_simulate_failure).
type suspect struct {
	width uint64 // 0: a member as it is
	child int
}

func (x suspect) has(c *column) bool {
	if x.width == 0 {
		return c.child == x.child
	}
	return c.sector%x.width == uint64(x.child)
}

// suspects are those that would explain that something is wrong with the block.
func (s *stripe) suspects() []suspect {
	var all []suspect
	add := func(width uint64, n int) {
		for i := range n {
			x := suspect{width, i}
			if slices.ContainsFunc(s.rows, func(r []cell) bool {
				return slices.ContainsFunc(r, func(c cell) bool { return c.data != nil && x.has(&c.column) })
			}) {
				all = append(all, x)
			}
		}
	}
	members := len(s.vdev.Children)
	add(0, members)
	if len(s.rows) > 0 && s.vdev.width(s.birth) < members {
		for w := members - 1; w >= s.vdev.width(0); w-- {
			add(uint64(w), w)
		}
	}
	return all
}

// reconstructions yields the block for every set of suspects, until yield does not want more or none are left.
func (s *stripe) reconstructions(ctx context.Context, left *int, yield func([]byte, error) bool) bool {
	suspects := s.suspects()
	for k := 0; k <= s.vdev.Parity; k++ {
		more := subsets(nil, 0, len(suspects), k, func(set []int) bool {
			if *left--; *left < 0 || ctx.Err() != nil {
				return false
			}
			p := s.reconstruct(func(c *column) bool {
				return slices.ContainsFunc(set, func(i int) bool { return suspects[i].has(c) })
			})
			return p == nil || yield(p, nil)
		})
		if !more {
			return false
		}
	}
	return true
}

// subsets calls do with every set of k numbers below n that has all of base, until do returns false.
func subsets(base []int, from, n, k int, do func([]int) bool) bool {
	if len(base) == k {
		return do(base)
	}
	for i := from; i < n; i++ {
		if !subsets(append(base, i), i+1, n, k, do) {
			return false
		}
	}
	return true
}

// reconstruct computes the block as if the columns that are bad, and those that could not be read, were not there, or nil when
// that is what was read before or cannot be done.
func (s *stripe) reconstruct(bad func(*column) bool) []byte {
	kept := make(map[*cell][]byte)
	defer func() {
		for c, data := range kept {
			c.data = data
		}
	}()
	for _, r := range s.rows {
		if !s.reconstructRow(r, bad, kept) {
			return nil
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return s.assemble()
}

// reconstructRow computes the lost columns of a row, and keeps what was read of them.
func (s *stripe) reconstructRow(r []cell, bad func(*column) bool, kept map[*cell][]byte) bool {
	parity := s.vdev.Parity
	var lost, from []int // columns with data by their index among these; columns with parity to compute them from
	data := make([][]byte, len(r)-parity)
	sums := make([][]byte, parity)
	for i := range r {
		c := &r[i]
		isBad := c.size != 0 && (c.data == nil || bad(&c.column))
		switch {
		case i < parity:
			if sums[i] = c.data; !isBad {
				from = append(from, i)
			}
		case isBad:
			lost = append(lost, i-parity)
		default:
			data[i-parity] = c.data
		}
	}
	if len(lost) == 0 {
		return true
	}
	if len(from) < len(lost) || !solve(data, lost, sums, from[:len(lost)]) {
		return false
	}
	for _, i := range lost {
		c := &r[parity+i]
		kept[c] = c.data
		c.data = data[i][:c.size]
	}
	return true
}

// contentOf is what the columns of a block should hold, to the end of what is written there.
func (s *stripe) contentOf(data []byte) []*cell {
	var all []*cell
	parity := s.vdev.Parity
	for _, r := range s.rows {
		columns := make([][]byte, 0, len(r))
		for i := range r {
			c := &r[i]
			if c.full != 0 {
				all = append(all, c)
			}
			if i < parity {
				continue
			}
			c.data = make([]byte, c.full)
			if c.size > 0 && c.at < uint64(len(data)) {
				copy(c.data[:c.size], data[c.at:])
			}
			columns = append(columns, c.data)
		}
		for i := range r[:parity] {
			r[i].data = parityOf(i, columns, int(r[i].full))
		}
	}
	return all
}

// stripeCompare computes what all columns should hold and compares.
func (v *VDev) stripeCompare(ctx context.Context, offset uint64, data []byte, birth uint64, depth int) []Damage {
	columns := v.newStripe(offset, uint64(len(data)), birth).contentOf(data)
	all := make([]Damage, 0, len(columns))
	for _, c := range columns {
		all = append(all, v.Children[c.child].compare(ctx, c.offset, c.data, birth, depth)...)
	}
	return all
}
