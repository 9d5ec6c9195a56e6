// Package dram says which bits of memory fail together when a part of a module fails, and how often which part does. It
// counts faults, of which each may show for years, and not the errors that a host logs: a single cell that is stuck can be logged a
// million times. Errors are some 10^5 to 10^6 times as many (Sridharan et al., "Memory Errors in Modern Systems", ASPLOS 2015).
package dram

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Mode is the part of a device that fails.
type Mode string

// The modes. Of what a fault covers every bit is taken to be wrong, that is random: the worst of its kind. A column is a bit line,
// which is one bit of the words of a device.
const (
	Bit    Mode = "bit"    // a cell
	Word   Mode = "word"   // all bits of a device in one beat
	Column Mode = "column" // a bit line: one bit in every row of a bank
	Row    Mode = "row"    // a word line: a whole row of a bank of a device
	Bank   Mode = "bank"
	Banks  Mode = "banks" // all banks of a device
	Ranks  Mode = "ranks" // the same device of all ranks, such as by a fault of what they share
	// Burst is no fault of a device but of the channel: what a device sends or gets in one transfer of 64 bytes is wrong, one lane in all
	// beats. openzfs/zfs#12634 shows one.
	Burst Mode = "burst"
)

// Modes are all of them.
func Modes() []Mode { return []Mode{Bit, Word, Column, Row, Bank, Banks, Ranks, Burst} }

// FIT are faults in 10^9 hours of a device of 1 Gbit.
type FIT struct{ Transient, Lasting float64 }

// Preset is how often the parts of a device fail, by what was measured somewhere.
type Preset map[Mode]FIT

// Presets are known by these names.
//
// jaguar-ddr2 are the DDR2 devices of a supercomputer (Sridharan and Liberty, "A Study of DRAM Failures in the Field", SC 2012, as
// AMD's FaultSim encodes it in src/main.cpp): 66.1 FIT, of which 71 % are lasting and 50 % a single bit.
var Presets = map[string]Preset{
	"jaguar-ddr2": {
		Bit: {14.2, 18.6}, Word: {1.4, 0.3}, Column: {1.4, 5.6}, Row: {0.2, 8.2}, Bank: {0.8, 10.0}, Banks: {0.3, 1.4}, Ranks: {0.9, 2.8},
	},
}

// Total is the rate of all modes.
func (p Preset) Total() (sum float64) {
	for _, m := range Modes() { // a map has no order, and a sum of floats has one
		sum += p[m].Transient + p[m].Lasting
	}
	return sum
}

// Draw draws a mode, and whether it lasts.
func (p Preset) Draw(r *rand.Rand) (m Mode, lasting bool) {
	at := r.Float64() * p.Total()
	for _, m := range Modes() {
		if at < p[m].Transient {
			return m, false
		}
		if at -= p[m].Transient; at < p[m].Lasting {
			return m, true
		}
		at -= p[m].Lasting
	}
	return Bit, true // at was the sum, by rounding
}

// Module is memory as it is built, and the map from an address to where it lies: from the lowest bits on, the byte of a beat, the beat in
// a row, the bank, the row, the rank. Real controllers permute banks and interleave channels, which spreads a fault over other
// addresses and changes none of its counts.
type Module struct {
	// Bytes is its size, a multiple of Stripe.
	Bytes uint64
	// Bus is the bytes of a beat, Width the bits of a device, of which Bus*8/Width have data, and CheckBits are beside.
	Bus, Width, CheckBits int
}

// What modules have: of DDR4, JESD79-4, ranks aside.
const (
	Beats = 1024 // in a row
	banks = 16
	ranks = 2
)

// Of returns a module of at least so many bytes, with the check bits of an ECC: none, those of 8-bit-wide devices for 64 bits, or those
// of 4-bit-wide devices for 128.
func Of(bytes uint64, word, checkBits int) Module {
	m := Module{Bus: word, Width: 8, CheckBits: checkBits}
	if word == 16 {
		m.Width = 4
	}
	stripe := uint64(m.RowBytes() * banks * ranks)
	m.Bytes = (bytes + stripe - 1) / stripe * stripe
	return m
}

// RowBytes is a row of all devices.
func (m Module) RowBytes() int { return m.Bus * Beats }

// Devices are those of a rank, check bits included.
func (m Module) Devices() int { return (m.Bus*8 + m.CheckBits) / m.Width }

// Gbit is the size of all devices, check bits included.
func (m Module) Gbit() float64 {
	return float64(m.Bytes) * 8 / (1 << 30) * float64(m.Bus*8+m.CheckBits) / float64(m.Bus*8)
}

func (m Module) rows() int { return int(m.Bytes / uint64(m.RowBytes()*banks*ranks)) }

// Fault is a part that has failed.
type Fault struct {
	Mode    Mode
	Lasting bool
	// Where it lies; what a mode has all of says nothing.
	Rank, Bank, Row, Beat, Device, Line int
	// Seed gives the values of wrong bits.
	Seed uint64
}

// Draw puts a fault somewhere.
func (m Module) Draw(r *rand.Rand, mode Mode, lasting bool) Fault {
	return Fault{
		Mode: mode, Lasting: lasting && mode != Burst, Seed: r.Uint64(),
		Rank: r.IntN(ranks), Bank: r.IntN(banks), Row: r.IntN(m.rows()), Beat: r.IntN(Beats), Device: r.IntN(m.Devices()), Line: r.IntN(m.Width),
	}
}

// String says where it lies.
func (f Fault) String() string {
	device := fmt.Sprintf("device %d", f.Device)
	at := []string{fmt.Sprintf("rank %d", f.Rank), fmt.Sprintf("bank %d", f.Bank), fmt.Sprintf("row %d", f.Row), fmt.Sprintf("beat %d", f.Beat), device}
	switch f.Mode {
	case Bit:
		at = append(at, fmt.Sprintf("line %d", f.Line))
	case Word:
	case Burst:
		at[3] = fmt.Sprintf("transfer of beat %d", f.Beat)
	case Column:
		at = slices.Delete(append(at, fmt.Sprintf("line %d", f.Line)), 2, 3)
	case Row:
		at = slices.Delete(at, 3, 4)
	case Bank:
		at = slices.Delete(at, 2, 4)
	case Banks:
		at = slices.Delete(at, 1, 4)
	case Ranks:
		at = at[4:]
	}
	kind := "transient"
	if f.Lasting {
		kind = "lasting"
	}
	return fmt.Sprintf("%s fault of a %s: %s", kind, f.Mode, strings.Join(at, ", "))
}

// Area is a part of a row that a fault covers: beats from First on, at an address.
type Area struct {
	Address      uint64
	First, Beats int
}

// Areas are what a fault covers, by address.
func (m Module) Areas(f Fault) func(yield func(Area) bool) {
	pick := func(all bool, one, n int) (from, to int) {
		if all {
			return 0, n
		}
		return one, one + 1
	}
	first, last := pick(f.Mode != Bit && f.Mode != Word && f.Mode != Column, f.Beat, Beats)
	if f.Mode == Burst {
		transfer := 64 / m.Bus
		first = f.Beat / transfer * transfer
		last = first + transfer
	}
	fromRank, toRank := pick(f.Mode == Ranks, f.Rank, ranks)
	fromBank, toBank := pick(f.Mode == Ranks || f.Mode == Banks, f.Bank, banks)
	fromRow, toRow := pick(f.Mode == Ranks || f.Mode == Banks || f.Mode == Bank || f.Mode == Column, f.Row, m.rows())
	return func(yield func(Area) bool) {
		for rank := fromRank; rank < toRank; rank++ {
			for row := fromRow; row < toRow; row++ {
				for bank := fromBank; bank < toBank; bank++ {
					begin := uint64((rank*m.rows()+row)*banks+bank) * uint64(m.RowBytes())
					if !yield(Area{begin + uint64(first*m.Bus), first, last - first}) {
						return
					}
				}
			}
		}
	}
}

// Wrong gives the bits of a beat that are wrong, of the data and of the check bits, where the beat at this address holds data. What check
// bits hold is not known: half of those that are covered are taken to be wrong.
func (m Module) Wrong(f Fault, address uint64, data []byte) (wrong []byte, check uint16) {
	value := mix(f.Seed ^ mix(address))
	covered := uint64(1)<<m.Width - 1
	if f.Mode == Bit || f.Mode == Column {
		covered = 1 << f.Line
	}
	wrong = make([]byte, m.Bus)
	at := f.Device * m.Width // in bits of the beat
	if at >= 8*m.Bus {
		if f.Mode == Bit && !f.Lasting {
			value = covered
		}
		return wrong, uint16(value&covered) << (at - 8*m.Bus)
	}
	lane := uint64(data[at/8]) >> (at % 8)
	bits := (lane ^ value) & covered
	if f.Mode == Bit && !f.Lasting { // a cell that has turned over
		bits = covered
	}
	wrong[at/8] = byte(bits << (at % 8))
	return wrong, 0
}

// mix is the finalizer of SplitMix64: a number that has nothing to do with the next one's.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
