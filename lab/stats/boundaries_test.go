package stats

import (
	"math"
	"slices"
	"testing"
)

func TestPosterior(t *testing.T) {
	m := NewBoundaries([]float64{1, 1, 2, 0}, &Rates{})
	m.Update(0, 4, func(int) Counts { return Counts{} })
	if want := []float64{0.25, 0.25, 0.5, 0}; !slices.Equal(m.Post, want) {
		t.Errorf("nothing was tried: %v, want the prior, %v", m.Post, want)
	}
	if got := m.Information(1, 0, 4); got != 0 {
		t.Errorf("a trial tells %g bits while nothing is known of the rates", got)
	}
	// By the sum over all boundaries of the likelihoods, one at a time.
	seen := []Counts{{1, 30}, {0, 4}, {3, 7}, {0, 0}, {9, 12}}
	m = NewBoundaries([]float64{1, 3, 1, 1}, &Rates{})
	m.Update(0, 4, func(i int) Counts { return seen[i] })
	total, each := 0.0, make([]float64, 4)
	for b := range each {
		var sides [2]Counts
		for i, c := range seen {
			side := 0
			if i > b {
				side = 1
			}
			sides[side].Hits, sides[side].Scored = sides[side].Hits+c.Hits, sides[side].Scored+c.Scored
		}
		each[b] = m.Prior[b] * math.Exp(m.Rates.Of(sides[0]).Log+m.Rates.Of(sides[1]).Log)
		total += each[b]
	}
	for b := range each {
		if got := m.Post[b]; math.Abs(got-each[b]/total) > 1e-9 {
			t.Errorf("boundary %d has %g, want %g", b, got, each[b]/total)
		}
	}
}

// TestInformation compares what a trial tells with the entropies of the posteriors after it.
func TestInformation(t *testing.T) {
	seen := []Counts{{0, 20}, {0, 0}, {1, 3}, {0, 0}, {0, 2}, {8, 20}}
	m := NewBoundaries([]float64{1, 2, 1, 1, 1}, &Rates{})
	of := func(i int) Counts { return seen[i] }
	bits := func() (h float64) {
		m.Update(0, 5, of)
		for _, p := range m.Post {
			h -= p * math.Log2(p)
		}
		return h
	}
	for c := range seen {
		before := bits()
		told := m.Information(c, 0, 5)
		chance := expected(m, c)
		was := seen[c]
		seen[c] = Counts{was.Hits + 1, was.Scored + 1}
		after := chance * bits()
		seen[c] = Counts{was.Hits, was.Scored + 1}
		after += (1 - chance) * bits()
		seen[c] = was
		if math.Abs(before-after-told) > 1e-9 {
			t.Errorf("place %d: %g bits, want %g", c, told, before-after)
		}
	}
}

// expected is the probability that the next trial at a place hits.
func expected(m *Boundaries, c int) (p float64) {
	for b, post := range m.Post {
		if b < c {
			p += post * m.upper[b].Rate
		} else {
			p += post * m.lower[b].Rate
		}
	}
	return p
}

// TestRates has the probabilities of all numbers of hits add up, and a stray hit cost little.
func TestRates(t *testing.T) {
	r, sum := &Rates{}, 0.0
	for k := range 13 {
		choose, _ := math.Lgamma(13)
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(13 - k))
		sum += math.Exp(choose - a - b + r.Of(Counts{k, 12}).Log)
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("the probabilities of 0 to 12 hits are %g together", sum)
	}
	for _, tt := range []struct {
		seen   Counts
		lo, hi float64
	}{
		{Counts{0, 0}, 0.5, 0.5},
		{Counts{0, 300}, 5e-5, 1e-3},
		{Counts{1, 300}, 2e-3, 8e-3},
		{Counts{5, 5}, 0.95, 1},
		{Counts{10, 20}, 0.45, 0.55},
	} {
		if got := r.Of(tt.seen).Next.Rate; got < tt.lo-1e-9 || got > tt.hi+1e-9 {
			t.Errorf("after %+v the rate is %g, want %g to %g", tt.seen, got, tt.lo, tt.hi)
		}
	}
}

// TestNowhere compares the posterior of no boundary, with strata and without, with the sum over all that can be, one at a time.
func TestNowhere(t *testing.T) {
	one := []Counts{{9, 10}, {5, 5}, {0, 0}, {3, 7}, {1, 4}}
	other := []Counts{{1, 2}, {0, 3}, {2, 9}, {0, 0}, {1, 8}}
	both := func(i int) Counts { return one[i].Plus(other[i]) }
	for name, strata := range map[string][]func(int) Counts{
		"together": nil,
		"strata":   {func(i int) Counts { return one[i] }, func(i int) Counts { return other[i] }},
	} {
		m := NewBoundaries([]float64{1, 2, 1, 1}, &Rates{})
		m.None, m.Strata = 3, strata
		m.Update(0, 4, both)
		likelihood := func(b int) float64 {
			side := func(of func(int) Counts, from, to int) (l float64) {
				var c Counts
				for i := from; i < to; i++ {
					c = c.Plus(of(i))
				}
				return math.Exp(m.Rates.Of(c).Log)
			}
			of := func(of func(int) Counts) float64 { return side(of, 0, b+1) * side(of, b+1, 5) }
			if strata == nil {
				return of(both)
			}
			return (of(both) + of(strata[0])*of(strata[1])) / 2
		}
		want := make([]float64, 1+len(m.Prior))
		want[0] = 3 * likelihood(4)
		total := want[0]
		for b, w := range m.Prior {
			want[b+1] = w * likelihood(b)
			total += want[b+1]
		}
		for i, got := range append([]float64{m.Nowhere}, m.Post...) {
			near(t, name, got, want[i]/total, 1e-9)
		}
		near(t, name+": all boundaries", m.Mass(0, 4), 1-m.Nowhere, 1e-12)
	}
}

// TestStrataExplain has a host with another rate come in: with strata that is no change, without them it is one. A change on a host that
// was there before is one either way.
func TestStrataExplain(t *testing.T) {
	var old, fresh [20]Counts
	for i := range 20 {
		old[i], fresh[i] = Counts{10, 10}, Counts{}
		if i >= 10 {
			old[i], fresh[i] = Counts{5, 5}, Counts{2, 5}
		}
	}
	m := NewBoundaries(slices.Repeat([]float64{0.003}, 19), &Rates{})
	m.None = 1
	both := func(i int) Counts { return old[i].Plus(fresh[i]) }
	m.Update(0, 19, both)
	if m.Nowhere > 1e-6 {
		t.Errorf("together nothing has changed with %g", m.Nowhere)
	}
	m.Strata = []func(int) Counts{func(i int) Counts { return old[i] }, func(i int) Counts { return fresh[i] }}
	m.Update(0, 19, both)
	if m.Nowhere < 0.9 {
		t.Errorf("by hosts nothing has changed with %g", m.Nowhere)
	}
	for i := 10; i < 20; i++ {
		old[i] = Counts{2, 5}
	}
	m.Update(0, 19, both)
	if m.Nowhere > 1e-3 || m.Post[9] < 0.9 {
		t.Errorf("the old host changed: nothing has with %g, boundary 9 is it with %g", m.Nowhere, m.Post[9])
	}
}
