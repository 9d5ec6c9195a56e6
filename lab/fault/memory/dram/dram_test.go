package dram

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// modules are the three that are known.
var modules = map[string]Module{"none": Of(1<<30, 8, 0), "secded": Of(1<<30, 8, 8), "chipkill": Of(1<<30, 16, 16)}

func TestModules(t *testing.T) {
	for name, devices := range map[string]int{"none": 8, "secded": 9, "chipkill": 36} {
		if m := modules[name]; m.Devices() != devices || m.Bytes != 1<<30 || m.rows()*m.RowBytes()*banks*ranks != 1<<30 {
			t.Errorf("%s: %+v has %d devices", name, m, m.Devices())
		}
	}
	if got := modules["secded"].Gbit(); got != 9 {
		t.Errorf("1 GiB with check bits has %g Gbit", got)
	}
	if m := Of(5<<20+1, 8, 0); m.Bytes < 5<<20+1 || m.Bytes%(256<<10) != 0 {
		t.Errorf("%+v", m)
	}
}

// TestPresets holds what is drawn against the numbers that it is drawn from.
func TestPresets(t *testing.T) {
	for name, p := range Presets {
		r := rand.New(rand.NewPCG(1, 2))
		const n = 200_000
		got := map[Mode][2]int{}
		for range n {
			m, lasting := p.Draw(r)
			k := got[m]
			k[map[bool]int{true: 1}[lasting]]++
			got[m] = k
		}
		for _, m := range Modes() {
			for i, fit := range []float64{p[m].Transient, p[m].Lasting} {
				want := fit / p.Total()
				// Five standard errors.
				if share := float64(got[m][i]) / n; math.Abs(share-want) > 5*math.Sqrt(want*(1-want)/n) {
					t.Errorf("%s: %.4f are a %s, lasting %d; want %.4f", name, share, m, i, want)
				}
			}
		}
	}
	if got := Presets["jaguar-ddr2"].Total(); math.Abs(got-66.1) > 1e-9 {
		t.Errorf("jaguar-ddr2 has %g FIT, want 66.1", got)
	}
}

// TestAreas expects every mode to cover the share of a module that it is named after, inside of it, in ascending order.
func TestAreas(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, m := range modules {
		for mode, beats := range map[Mode]int{
			Bit: 1, Word: 1, Burst: 64 / m.Bus, Column: m.rows(), Row: Beats, Bank: m.rows() * Beats,
			Banks: m.rows() * Beats * banks, Ranks: m.rows() * Beats * banks * ranks,
		} {
			f := m.Draw(r, mode, true)
			n, last := 0, int64(-1)
			for a := range m.Areas(f) {
				if int64(a.Address) <= last || a.Address+uint64(a.Beats*m.Bus) > m.Bytes || a.Address%uint64(m.Bus) != 0 {
					t.Fatalf("%s, %s: %+v behind %#x", name, f, a, last)
				}
				last = int64(a.Address)
				n += a.Beats
			}
			if n != beats {
				t.Errorf("%s, %s covers %d beats, want %d", name, f, n, beats)
			}
		}
	}
	// The lowest bits of an address are the byte of a beat, then the beat, the bank, the row, the rank.
	m := modules["none"]
	for a := range m.Areas(Fault{Mode: Word, Beat: 3, Bank: 5, Row: 7, Rank: 1}) {
		if want := uint64(3*8 + 5*8<<10 + 7*8<<10*16 + 512<<20); a.Address != want {
			t.Errorf("it lies at %#x, want %#x", a.Address, want)
		}
	}
}

// TestWrong expects what is wrong to lie in the lane of the device, and lasting faults to say the same of the same place.
func TestWrong(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, m := range modules {
		for _, mode := range Modes() {
			ones, beats := 0, 0
			for range 300 {
				f := m.Draw(r, mode, r.IntN(2) == 1)
				data := make([]byte, m.Bus)
				for i := range data {
					data[i] = byte(r.Uint32())
				}
				at := uint64(r.IntN(1<<20)) * uint64(m.Bus)
				wrong, check := m.Wrong(f, at, data)
				n := bits.OnesCount16(check)
				for i, b := range wrong {
					for bit := range 8 {
						if b>>bit&1 == 1 {
							n++
							if (8*i+bit)/m.Width != f.Device || mode == Bit && (8*i+bit)%m.Width != f.Line {
								t.Fatalf("%s, %s: wrong are %x", name, f, wrong)
							}
						}
					}
				}
				if check != 0 && f.Device < 8*m.Bus/m.Width {
					t.Fatalf("%s, %s: check bits %x", name, f, check)
				}
				if mode == Bit && !f.Lasting && n != 1 {
					t.Fatalf("%s, %s: %d bits", name, f, n)
				}
				for i := range wrong { // now it is what the cells hold
					data[i] ^= wrong[i]
				}
				if again, _ := m.Wrong(f, at, data); f.Lasting && f.Device < 8*m.Bus/m.Width && !allZero(again) {
					t.Fatalf("%s, %s: it changes its mind by %x", name, f, again)
				}
				ones, beats = ones+n, beats+1
			}
			if want := float64(m.Width) / 2; mode != Bit && mode != Column && math.Abs(float64(ones)/float64(beats)/want-1) > 0.2 {
				t.Errorf("%s, %s: %d bits in %d beats", name, mode, ones, beats)
			}
		}
	}
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
