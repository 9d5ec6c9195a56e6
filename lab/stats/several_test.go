package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestMantelHaenszelPublished(t *testing.T) {
	// R, help(mantelhaen.test): "Penicillin and rabbits", Agresti, Categorical Data Analysis, 1990, p. 234: exact p-value 0.03994.
	// By level of penicillin: cured of those treated at once, cured of those treated later.
	rabbits := [][2]Counts{
		{{0, 6}, {0, 5}}, {{3, 6}, {0, 6}}, {{6, 6}, {2, 6}}, {{5, 6}, {6, 6}}, {{2, 2}, {5, 5}},
	}
	near(t, "rabbits", MantelHaenszel(rabbits), 0.03994, 5e-6)
	near(t, "one stratum is Fisher's", MantelHaenszel([][2]Counts{{{3, 4}, {1, 4}}}), Fisher(3, 1, 1, 3), 1e-12)
	near(t, "an empty stratum, and one that is on one side only", MantelHaenszel([][2]Counts{{{3, 4}, {1, 4}}, {}, {{5, 9}, {}}}), Fisher(3, 1, 1, 3), 1e-12)
	if p := MantelHaenszel([][2]Counts{{{3, 4}, {}}, {{}, {1, 4}}}); !math.IsNaN(p) {
		t.Errorf("what was never tried side by side has the p-value %g", p)
	}
}

// TestMantelHaenszelSimpson has two hosts with rates of their own, whose shares change: pooled that looks like a change.
func TestMantelHaenszelSimpson(t *testing.T) {
	before, after := [2]Counts{{90, 100}, {2, 10}}, [2]Counts{{9, 10}, {20, 100}}
	if p := Fisher(92, 18, 29, 81); p > 1e-9 {
		t.Fatalf("pooled they do not differ: p = %g", p)
	}
	if p := MantelHaenszel([][2]Counts{{before[0], after[0]}, {before[1], after[1]}}); p < 0.9 {
		t.Errorf("on neither host anything changed: p = %g", p)
	}
}

func TestMannWhitneyPublished(t *testing.T) {
	for _, c := range []struct {
		source string
		a, b   []float64
		p      float64
		within float64
	}{
		{
			"R, help(wilcox.test), Hollander and Wolfe, 1973, p. 69, permeability: one-sided 0.1272",
			[]float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}, []float64{1.15, 0.88, 0.90, 0.74, 1.21}, 2 * 0.1272, 1e-4,
		},
		{"1 of C(10,5) ways on each side, by counting", []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, 2.0 / 252, 1e-12},
		{"ranks 1, 2.5, 2.5 and 4, of which two with the sum 3.5, or 6.5, can be taken in 4 of 6 ways, by counting", []float64{1, 2}, []float64{2, 3}, 4.0 / 6, 1e-12},
		{"all equal", []float64{7, 7, 7}, []float64{7, 7}, 1, 1e-12},
		{"nothing on one side", nil, []float64{7, 7}, 1, 0},
	} {
		near(t, c.source, MannWhitney(c.a, c.b), c.p, c.within)
		near(t, c.source+": the sides exchanged", MannWhitney(c.b, c.a), c.p, c.within)
	}
}

// TestMannWhitneyMany compares the approximation with the exact count where both can be had, and looks at how often equal
// distributions are said to differ.
func TestMannWhitneyMany(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	draw := func(n int) (list []float64) {
		for range n {
			list = append(list, math.Floor(r.Float64()*40)) // some are equal
		}
		return list
	}
	below, runs := 0, 2000
	for range runs {
		if MannWhitney(draw(10), draw(150)) < 0.05 {
			below++
		}
	}
	if share := float64(below) / float64(runs); share < 0.035 || share > 0.065 {
		t.Errorf("equal distributions differ at p < 0.05 in %g of all cases", share)
	}
	a, b := draw(20), draw(40)
	exact := MannWhitney(a, b)
	near(t, "61 values against 60", MannWhitney(a, append(b, 20)), exact, 0.05)
	for i := range a {
		a[i] += 60
	}
	if p := MannWhitney(a, append(b, 20)); p > 1e-9 {
		t.Errorf("all of one are above all of the other: p = %g", p)
	}
	if p := MannWhitney(make([]float64, 40), make([]float64, 40)); p != 1 {
		t.Errorf("80 equal values: p = %g", p)
	}
}

func TestBenjaminiHochbergPublished(t *testing.T) {
	// Benjamini and Hochberg, 1995, section 3.1: 15 tests, of which 4 are called at q = 0.05.
	p := []float64{.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1}
	called := 0
	for _, q := range BenjaminiHochberg(p) {
		if q <= 0.05 {
			called++
		}
	}
	if called != 4 {
		t.Errorf("%d are called, the paper calls 4", called)
	}
	for i, want := range []float64{0.04, 0.05, 0.04, 0.05} {
		near(t, "by hand", BenjaminiHochberg([]float64{0.01, 0.05, 0.02, 0.04})[i], want, 1e-12)
	}
	if got := BenjaminiHochberg(nil); len(got) != 0 {
		t.Errorf("no tests: %v", got)
	}
}
