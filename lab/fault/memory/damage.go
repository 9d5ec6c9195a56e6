package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/kernel"
)

// Damage is one way to change the bytes of a target: Flip, Stuck, Write, Copy or Row.
type Damage interface {
	// edits are the changes; word is the size in bytes of what an ECC protects at a time.
	edits(ctx context.Context, t target, word int, m *fault.Moment) ([]edit, error)
}

// edit is a change of bytes that lie next to each other in physical memory.
type edit struct {
	name          string
	virt, phys    uint64
	before, after []byte
	// fromBelow is damage to what lies in memory, which an ECC may notice. What software or a device writes has the
	// right check bits.
	fromBelow bool
	// stuck, if set, is what keeps this bit of the only byte at its value.
	stuck *Stuck
	bit   int
}

// pass says what an ECC does with the change, as ECC.pass does.
func (e edit) pass(ecc ECC) (read []byte, worst Result, at uint64) {
	switch {
	case !e.fromBelow:
		return e.after, Silent, e.phys
	case e.stuck != nil && e.before[0] == e.after[0]:
		// It is right now, and will be wrong when the guest changes the bit: then it matters what becomes of one bit.
		_, worst, at = ecc.pass(e.phys, e.before, []byte{e.before[0] ^ 1<<e.bit})
		return e.after, worst, at
	default:
		return ecc.pass(e.phys, e.before, e.after)
	}
}

// Flip turns Bits bits of the target over, chosen at random: next to each other, or independently of each other. With
// Only it is that bit, counted from the least significant one of the target's first byte.
type Flip struct {
	Bits     int
	Adjacent bool
	Only     *int
}

func (f Flip) edits(ctx context.Context, t target, word int, m *fault.Moment) ([]edit, error) {
	bits, err := f.choose(t, m)
	if err != nil {
		return nil, err
	}
	var all []edit
	for len(bits) > 0 {
		// All bits of one word make one change.
		first := t.byteOf(bits[0])
		size := uint64(word)
		from, to := max(first/size*size, t.byteOf(0)), min(first/size*size+size, t.byteOf(t.bits-1)+1)
		e, err := read(ctx, m, from, int(to-from))
		if err != nil {
			return nil, err
		}
		e.fromBelow = true
		n := 0
		for n < len(bits) && t.byteOf(bits[n]) < to {
			at := uint64(t.bit) + bits[n] - 8*(from-t.virt)
			e.after[at/8] ^= 1 << (at % 8)
			n++
		}
		e.name = t.nameBits(bits[:n])
		all, bits = append(all, e), bits[n:]
	}
	return all, nil
}

// choose gives the numbers of the bits in ascending order.
func (f Flip) choose(t target, m *fault.Moment) ([]uint64, error) {
	if f.Only != nil {
		bit := uint64(*f.Only)
		if bit >= t.bits {
			return nil, fmt.Errorf("no bit %d: it has %d", bit, t.bits)
		}
		return []uint64{bit}, nil
	}
	n := uint64(f.Bits)
	if n > t.bits {
		return nil, fmt.Errorf("cannot flip %d bits: it has %d", n, t.bits)
	}
	r := m.Site.Rand
	if f.Adjacent {
		first := r.Uint64N(t.bits - n + 1)
		bits := make([]uint64, n)
		for i := range bits {
			bits[i] = first + uint64(i)
		}
		return bits, nil
	}
	var bits []uint64
	for uint64(len(bits)) < n {
		if bit := r.Uint64N(t.bits); !slices.Contains(bits, bit) {
			bits = append(bits, bit)
		}
	}
	slices.Sort(bits)
	return bits, nil
}

// Stuck holds one bit of the target at Value until the workload ends: the bit is looked at after every period and set
// again if the guest has changed it. Bit nil is a random one.
type Stuck struct {
	Bit   *int
	Value int
	Every time.Duration
}

func (s Stuck) edits(ctx context.Context, t target, _ int, m *fault.Moment) ([]edit, error) {
	bits, err := Flip{Bits: 1, Only: s.Bit}.choose(t, m)
	if err != nil {
		return nil, err
	}
	e, err := read(ctx, m, t.byteOf(bits[0]), 1)
	if err != nil {
		return nil, err
	}
	e.name, e.fromBelow = fmt.Sprintf("%s stuck at %d", t.nameBits(bits), s.Value), true
	e.stuck, e.bit = &s, int((uint64(t.bit)+bits[0])%8)
	e.after[0] = s.set(e.before[0], e.bit)
	return []edit{e}, nil
}

// set gives b with the bit at its value.
func (s Stuck) set(b byte, bit int) byte {
	return b&^(1<<bit) | byte(s.Value)<<bit
}

// Write overwrites the beginning of the target.
type Write struct {
	Bytes []byte
}

func (w Write) edits(ctx context.Context, t target, _ int, m *fault.Moment) ([]edit, error) {
	return t.overwrite(ctx, m, w.Bytes)
}

// Copy overwrites the target with another place of the same size.
type Copy struct {
	From string
}

func (c Copy) edits(ctx context.Context, t target, _ int, m *fault.Moment) ([]edit, error) {
	from, err := m.Scope.Resolve(c.From)
	if err != nil {
		return nil, err
	}
	data, err := from.Bytes()
	if err != nil {
		return nil, err
	}
	if uint64(len(data))*8 != t.bits {
		return nil, fmt.Errorf("cannot be overwritten with %s, whose size is %d bytes", from.Path(), len(data))
	}
	all, err := t.overwrite(ctx, m, data)
	for i := range all {
		all[i].name += " overwritten with " + from.Path()
	}
	return all, err
}

// rowSize is the size of a row in bytes: that of the usual DDR4 devices, 1 KiB in each of the 8 of a rank (JESD79-4, page
// size of x8 devices). Rows are taken to be aligned ranges of physical memory.
const rowSize = 8 << 10

// Row turns over a run of neighbouring bits in the row that holds the target. The run begins or ends at a random bit of
// the target; what else of the row it hits is whatever lies there.
type Row struct {
	Bits int
}

func (d Row) edits(ctx context.Context, t target, word int, m *fault.Moment) ([]edit, error) {
	chosen := m.Site.Rand.Uint64N(t.bits)
	start, err := m.Scope.ZFS.View().Phys(t.byteOf(chosen))
	if err != nil {
		return nil, err
	}
	row := start / rowSize * rowSize
	first := min(8*(start-row)+(uint64(t.bit)+chosen)%8, 8*rowSize-uint64(d.Bits))
	from := first / 8 / uint64(word) * uint64(word)
	to := ((first+uint64(d.Bits)-1)/8/uint64(word) + 1) * uint64(word)
	e := edit{
		name: fmt.Sprintf("%d bits from bit %d of the row at physical %#x, hitting %s", d.Bits, first, row, t.nameBits([]uint64{chosen})),
		phys: row + from, before: make([]byte, to-from), fromBelow: true,
	}
	if err := m.Site.Machine.ReadPhys(ctx, e.phys, e.before); err != nil {
		return nil, err
	}
	e.after = slices.Clone(e.before)
	for bit := first - 8*from; bit < first-8*from+uint64(d.Bits); bit++ {
		e.after[bit/8] ^= 1 << (bit % 8)
	}
	return []edit{e}, nil
}

// read begins a change of bytes that lie in one page.
func read(ctx context.Context, m *fault.Moment, virt uint64, n int) (edit, error) {
	phys, err := m.Scope.ZFS.View().Phys(virt)
	if err != nil {
		return edit{}, err
	}
	e := edit{virt: virt, phys: phys, before: make([]byte, n)}
	if err := m.Site.Machine.ReadPhys(ctx, phys, e.before); err != nil {
		return edit{}, err
	}
	e.after = slices.Clone(e.before)
	return e, nil
}

// overwrite changes the first bytes of a target, page by page.
func (t target) overwrite(ctx context.Context, m *fault.Moment, data []byte) (all []edit, err error) {
	if t.bit != 0 || t.bits%8 != 0 {
		return nil, fmt.Errorf("is a bit field, which has no bytes of its own")
	}
	if uint64(len(data)) > t.bits/8 {
		return nil, fmt.Errorf("%d bytes do not fit into its %d", len(data), t.bits/8)
	}
	for virt := t.virt; len(data) > 0; {
		n := min(len(data), int(pageSize-virt%pageSize))
		e, err := read(ctx, m, virt, n)
		if err != nil {
			return nil, err
		}
		e.name = t.name
		if len(all) > 0 {
			e.name = fmt.Sprintf("%s from byte %d on", t.name, virt-t.virt)
		}
		copy(e.after, data)
		all, data, virt = append(all, e), data[n:], virt+uint64(n)
	}
	return all, nil
}

// nameBits says which bits of a target are meant, and what C calls the place of the first.
func (t target) nameBits(bits []uint64) string {
	words := make([]string, len(bits))
	for i, b := range bits {
		words[i] = fmt.Sprint(b)
	}
	s := t.name + " bit " + words[0]
	if len(bits) > 1 {
		s = t.name + " bits " + strings.Join(words, ", ")
	}
	if field := kernel.FieldAt(t.typ, int(bits[0])); field != "" {
		s += " (" + field + ")"
	}
	return s
}
