package memory

import (
	"bytes"
	"math/bits"
	"slices"
	"testing"
)

// changed are the bits that edits change, counted from the beginning of physical memory.
func changed(t *testing.T, f *fake, edits []edit) (all []uint64) {
	t.Helper()
	for _, e := range edits {
		is := make([]byte, len(e.before))
		if err := f.ReadPhys(t.Context(), e.phys, is); err != nil || !bytes.Equal(is, e.before) {
			t.Fatalf("%s: at %#x is %x (%v), not %x", e.name, e.phys, is, err, e.before)
		}
		for i := range e.before {
			for diff := e.before[i] ^ e.after[i]; diff != 0; diff &= diff - 1 {
				all = append(all, 8*(e.phys+uint64(i))+uint64(bits.TrailingZeros8(diff)))
			}
		}
	}
	return all
}

func TestFlip(t *testing.T) {
	only := 12
	wide := target{name: "wide", virt: direct + 0x6100, bits: 8 * 256}
	for _, c := range []struct {
		name   string
		flip   Flip
		target target
		within [2]uint64 // physical bytes
		want   []uint64  // physical bits, if they are certain
		edits  int       // 0 for any number
	}{
		{"one bit", Flip{Bits: 1}, wide, [2]uint64{0x6100, 0x6200}, nil, 1},
		{"a given bit", Flip{Bits: 1, Only: &only}, wide, [2]uint64{0x6100, 0x6200}, []uint64{8*0x6101 + 4}, 1},
		{"independent bits", Flip{Bits: 16}, wide, [2]uint64{0x6100, 0x6200}, nil, 0},
		{"all bits", Flip{Bits: 64}, target{virt: direct + 0x6108, bits: 64}, [2]uint64{0x6108, 0x6110}, nil, 1},
		{"one of a bit field", Flip{Bits: 5}, target{virt: direct + 0x6104, bit: 3, bits: 5}, [2]uint64{0x6104, 0x6105}, []uint64{
			8*0x6104 + 3, 8*0x6104 + 4, 8*0x6104 + 5, 8*0x6104 + 6, 8*0x6104 + 7,
		}, 1},
		{"a bit field of two bytes", Flip{Bits: 1, Only: &only}, target{virt: direct + 0x6104, bit: 6, bits: 16}, [2]uint64{0x6104, 0x6107}, []uint64{8*0x6106 + 2}, 1},
		{"the second page", Flip{Bits: 8}, target{virt: apart + 0x1000, bits: 8}, [2]uint64{0x8000, 0x8001}, nil, 1},
		{"two pages", Flip{Bits: 16}, target{virt: apart + 0xfff, bits: 16}, [2]uint64{}, []uint64{
			8*0x9fff + 0, 8*0x9fff + 1, 8*0x9fff + 2, 8*0x9fff + 3, 8*0x9fff + 4, 8*0x9fff + 5, 8*0x9fff + 6, 8*0x9fff + 7,
			8*0x8000 + 0, 8*0x8000 + 1, 8*0x8000 + 2, 8*0x8000 + 3, 8*0x8000 + 4, 8*0x8000 + 5, 8*0x8000 + 6, 8*0x8000 + 7,
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			edits, err := c.flip.edits(t.Context(), c.target, 8, f.moment(t))
			if err != nil {
				t.Fatal(err)
			}
			got := changed(t, f, edits)
			if len(got) != c.flip.Bits || c.edits > 0 && len(edits) != c.edits {
				t.Errorf("%d bits in %d changes", len(got), len(edits))
			}
			if c.want != nil && !slices.Equal(got, c.want) {
				t.Errorf("bits %d, want %d", got, c.want)
			}
			for _, bit := range got {
				if c.within[1] > 0 && (bit/8 < c.within[0] || bit/8 >= c.within[1]) {
					t.Errorf("bit %d is not within %#x", bit, c.within)
				}
			}
			for _, e := range edits {
				if len(e.before) > 8 || e.phys/8 != (e.phys+uint64(len(e.before))-1)/8 || !e.fromBelow {
					t.Errorf("%+v is not of one word", e)
				}
			}
		})
	}
	f := newFake()
	for _, flip := range []Flip{{Bits: 9}, {Bits: 1, Only: &only}} {
		if _, err := flip.edits(t.Context(), target{virt: direct, bits: 8}, 8, f.moment(t)); err == nil {
			t.Errorf("%+v fits into 8 bits", flip)
		}
	}
}

func TestFlipAdjacent(t *testing.T) {
	f := newFake()
	m := f.moment(t)
	first := map[uint64]bool{}
	for range 50 {
		edits, err := Flip{Bits: 3, Adjacent: true}.edits(t.Context(), target{virt: direct + 0x6100, bits: 16}, 8, m)
		if err != nil {
			t.Fatal(err)
		}
		got := changed(t, f, edits)
		if len(got) != 3 || got[2]-got[0] != 2 || got[0] < 8*0x6100 || got[2] >= 8*0x6102 {
			t.Fatalf("bits %d", got)
		}
		first[got[0]] = true
	}
	if len(first) < 10 {
		t.Errorf("50 flips began at %d places only", len(first))
	}
}

func TestWrite(t *testing.T) {
	f := newFake()
	m := f.moment(t)
	data := []byte{1, 2, 3, 4}
	edits, err := Write{data}.edits(t.Context(), target{name: "t", virt: apart + 0xffd, bits: 64}, 8, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(edits) != 2 || edits[0].phys != 0x9ffd || edits[1].phys != 0x8000 || edits[0].fromBelow ||
		!bytes.Equal(append(slices.Clone(edits[0].after), edits[1].after...), data) {
		t.Errorf("%+v", edits)
	}
	for name, bad := range map[string]target{
		"too small":   {virt: direct, bits: 24},
		"a bit field": {virt: direct, bit: 1, bits: 64},
	} {
		if _, err := (Write{data}).edits(t.Context(), bad, 8, m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRow(t *testing.T) {
	f := newFake()
	m := f.moment(t)
	for _, virt := range []uint64{direct + 0x6000, direct + 0x7ffc} { // begin and end of a row
		for range 20 {
			edits, err := Row{40}.edits(t.Context(), target{virt: virt, bits: 32}, 16, m)
			if err != nil {
				t.Fatal(err)
			}
			got := changed(t, f, edits)
			if len(edits) != 1 || len(got) != 40 || got[39]-got[0] != 39 || got[0] < 8*0x6000 || got[39] >= 8*0x8000 {
				t.Fatalf("%d changes, bits %d", len(edits), got)
			}
			if start := 8 * (virt - direct); got[39] < start || got[0] >= start+32 {
				t.Errorf("bits %d to %d miss the target", got[0], got[39])
			}
		}
	}
}

func TestParseRAM(t *testing.T) {
	all, err := parseRAM("00001000-0009fbff : System RAM\n00100000-3ffdffff : System RAM\n3ffff800-3ffffbff : System RAM\n")
	if want := []span{{0x1000, 0x9e000}, {0x100000, 0x3fee0000}}; err != nil || !slices.Equal(all, want) {
		t.Errorf("%x, %v; want %x", all, err, want)
	}
	for _, bad := range []string{"00000000-00000000 : System RAM\n", "what : System RAM\n"} {
		if _, err := parseRAM(bad); err == nil {
			t.Errorf("%q is taken for memory", bad)
		}
	}
}
