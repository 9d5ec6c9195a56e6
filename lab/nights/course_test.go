package nights

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
)

func TestCourses(t *testing.T) {
	for _, tt := range []struct {
		what  string
		hits  []int
		state report.TrendState
		want  []string
	}{
		{"never", repeat(0, 30), report.TrendSteady, nil},
		{"half", []int{5, 4, 6, 5, 3, 7, 5, 6, 4, 5}, report.TrendSteady, nil},
		{"one weak night", append(repeat(10, 30), 8), report.TrendSteady, nil},
		{"all at once", append(repeat(10, 30), 0), report.TrendChanged, []string{"since 30 named 30 there"}},
		{"a drop", slices.Concat(repeat(10, 30), []int{7, 8, 7, 6}), report.TrendChanged, []string{"since 30 named 31 there"}},
		{"a drop that ended", slices.Concat(repeat(10, 30), repeat(4, 5), repeat(10, 3)), report.TrendSteady, []string{"since 30 named 30 gone 35"}},
		{"two, one after the other", slices.Concat(repeat(10, 30), repeat(5, 20), repeat(0, 5)), report.TrendChanged,
			[]string{"since 30 named 30 changed again 50", "since 50 named 51 there"}},
		{"there and back by a third rate", slices.Concat(repeat(10, 30), repeat(5, 20), repeat(0, 20), repeat(10, 9)), report.TrendSteady,
			[]string{"since 30 named 30 gone 70", "since 50 named 51 gone 70"}},
		{"it comes again", slices.Concat(repeat(0, 30), repeat(10, 3), repeat(0, 30), repeat(10, 3)), report.TrendChanged,
			[]string{"since 30 named 30 gone 33", "since 63 named 63 there"}},
		{"new", []int{5}, report.TrendNew, nil},
	} {
		r := Compare(hitsOf10(tt.hits...), nil)
		c := r.Cells[0]
		if got := changesOf(c); !slices.Equal(got, tt.want) || c.State != tt.state {
			t.Errorf("%s: %s, %q; want %s, %q (%g)", tt.what, c.State, got, tt.state, tt.want, c.Probability)
		}
		if compared := len(tt.hits) > 1; (r.Compared == 1) != compared {
			t.Errorf("%s: %d cells are compared", tt.what, r.Compared)
		}
	}
}

// TestRow looks at all that is said of a change whose night is not quite known.
func TestRow(t *testing.T) {
	c := Compare(hitsOf10(slices.Concat(repeat(10, 20), []int{9, 7, 6, 7, 8})...), nil).Cells[0]
	if len(c.Changes) != 1 {
		t.Fatalf("%+v", c.Changes)
	}
	k := c.Changes[0]
	if k.Credible[0] != k.Since || k.Since != 20 || !slices.Contains(k.Credible, 21) || slices.Contains(k.Credible, 24) {
		t.Errorf("since %d, credible %v", k.Since, k.Credible)
	}
	if k.Before.Scored != 200 || k.Before.Hits != 200 || k.After.Scored != 50 || k.After.Hits != 37 || k.After.CI95[1] > 0.95 {
		t.Errorf("%+v, then %+v", k.Before, k.After)
	}
	if k.Test != "Fisher" || k.P == nil || *k.P != stats.Fisher(200, 0, 37, 13) || k.Probability < Confidence || len(k.Confounded) > 0 {
		t.Errorf("%+v", k)
	}
}

// TestNext has a change begin on a night before the one that made it certain: what comes after is compared with all nights since it began.
func TestNext(t *testing.T) {
	c := Compare(hitsOf10(slices.Concat(repeat(10, 30), []int{8, 7, 8, 7, 8, 7, 8, 7}, repeat(0, 2))...), nil).Cells[0]
	if got := changesOf(c); !slices.Equal(got, []string{"since 30 named 31 changed again 38", "since 38 named 38 there"}) {
		t.Fatalf("%q", got)
	}
	if k := c.Changes[1]; k.Before.Scored != 80 || k.After.Scored != 20 || c.Present.Scored != 20 {
		t.Errorf("%+v, present %+v", k, c.Present)
	}
}

// TestNamedStaysNamed looks at the same nights again and again as they come: a night adds to what was named, and takes nothing away.
func TestNamedStaysNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	changes, r := 0, &stats.Rates{}
	for range 30 {
		rate := rng.Float64()
		s := &series{}
		for i := range 60 {
			if rng.IntN(20) == 0 {
				rate = rng.Float64()
			}
			s.add(i, &Cell{Tallies: []Tally{{Host: fmt.Sprint(rng.IntN(2)), Valid: 10, Hits: drawn(rng, 10, rate)}}})
		}
		s.sort()
		whole, _ := s.follow(s.boundaries(r, true))
		changes += len(whole)
		for n := 2; n < 60; n += 7 {
			part := &series{}
			for i := range n {
				part.add(i, &Cell{Tallies: s.tallies[i]})
			}
			part.sort()
			so, _ := part.follow(part.boundaries(r, true))
			if want := slices.DeleteFunc(slices.Clone(whole), func(c change) bool { return c.named >= n }); !slices.Equal(so, want) {
				t.Errorf("after %d nights %v are named, after all of them %v", n, so, whole)
			}
		}
	}
	if changes < 30 {
		t.Errorf("%d changes are named", changes)
	}
}

// drawn is how many of n trials hit.
func drawn(rng *rand.Rand, n int, rate float64) (hits int) {
	for range n {
		if rng.Float64() < rate {
			hits++
		}
	}
	return hits
}

func TestHosts(t *testing.T) {
	a, b := Key{Trial: "t"}, "b"
	nights := func(n int, of func(i int) map[string][2]int) (all []Night) {
		for i := range n {
			all = append(all, cellNight(i, a, of(i)))
		}
		return all
	}
	t.Run("another host takes over", func(t *testing.T) {
		c := Compare(nights(24, func(i int) map[string][2]int {
			if i < 20 {
				return map[string][2]int{"a": {10, 10}}
			}
			return map[string][2]int{b: {5, 10}}
		}), nil).Cells[0]
		k := c.Changes[0]
		if len(c.Changes) != 1 || k.State != report.ChangeHosts || k.Since != 20 || k.P != nil || len(k.Confounded) != 1 ||
			!strings.Contains(k.Confounded[0], `host "b" did no trial before`) || c.State != report.TrendSteady {
			t.Errorf("%s: %+v", c.State, c.Changes)
		}
	})
	t.Run("hosts take turns", func(t *testing.T) {
		c := Compare(nights(40, func(i int) map[string][2]int {
			if i%2 == 0 {
				return map[string][2]int{"a": {10, 10}}
			}
			return map[string][2]int{b: {5, 10}}
		}), nil).Cells[0]
		if len(c.Changes) != 0 {
			t.Errorf("%+v", c.Changes)
		}
	})
	t.Run("shares shift", func(t *testing.T) {
		c := Compare(nights(40, func(i int) map[string][2]int {
			if i < 20 {
				return map[string][2]int{"a": {9, 9}, b: {0, 1}}
			}
			return map[string][2]int{"a": {1, 1}, b: {0, 9}}
		}), nil).Cells[0]
		if len(c.Changes) != 1 || c.Changes[0].State != report.ChangeHosts || c.Changes[0].Test != "Mantel-Haenszel" || *c.Changes[0].P < 0.9 {
			t.Errorf("%+v", c.Changes)
		}
	})
	t.Run("both drop", func(t *testing.T) {
		c := Compare(nights(30, func(i int) map[string][2]int {
			if i < 20 {
				return map[string][2]int{"a": {5, 5}, b: {4, 5}}
			}
			return map[string][2]int{"a": {3, 6}, b: {1, 4}}
		}), nil).Cells[0]
		if len(c.Changes) != 1 || c.Changes[0].State != report.ChangeThere || c.Changes[0].Since != 20 || c.Changes[0].Test != "Mantel-Haenszel" ||
			*c.Changes[0].P > 1e-3 {
			t.Errorf("%+v", c.Changes)
		}
	})
	t.Run("a new lab", func(t *testing.T) {
		all := hitsOf10(append(repeat(10, 20), 0, 0)...)
		for _, n := range all[20:] {
			n.Cells[0].Tallies[0].Lab = "2"
		}
		k := Compare(all, nil).Cells[0].Changes[0]
		if k.State != report.ChangeThere || !slices.Equal(k.Confounded, []string{`lab "2" did no trial before`}) {
			t.Errorf("%+v", k)
		}
	})
}

func TestDurations(t *testing.T) {
	all := make([]Night, 0, 12)
	for i := range 12 {
		n := asks(t, i, text, "i", 10)
		for _, c := range n.Cells {
			for k, tally := range c.Tallies {
				for j := range tally.HitSeconds {
					if i == 11 {
						tally.HitSeconds[j] *= 3
					}
					tally.HitSeconds[j] += float64(i) / 100
				}
				c.Tallies[k] = tally
			}
		}
		all = append(all, n)
	}
	r := Compare(all, nil)
	d := r.Cells[0].Durations
	if d == nil || d.Of != "hits" || d.Host != "h" || d.Since != 11 || d.Before.Trials != 110 || d.After.Trials != 10 || d.P > 1e-5 ||
		d.Q != 2*d.P ||
		d.After.Seconds < 2.5*d.Before.Seconds {
		t.Errorf("%+v", d)
	}
	if d := r.Cells[1].Durations; d == nil || d.Of != "others" || d.P < 0.5 {
		t.Errorf("%+v", d)
	}
	// The rate drops, and what still hits takes longer: the sides are those of the rate.
	for i := range all {
		all[i] = hitsOf10(10)[0]
		all[i].Began = first.AddDate(0, 0, i)
		if t := &all[i].Cells[0].Tallies[0]; i < 8 {
			t.HitSeconds = slices.Repeat([]float64{5}, 10)
		} else {
			t.Hits, t.HitSeconds = 3, slices.Repeat([]float64{9}, 3)
		}
	}
	if d := Compare(all, nil).Cells[0].Durations; d == nil || d.Since != 8 ||
		d.Before != (report.Median{Trials: 80, Seconds: 5}) || d.After.Trials != 12 || d.P > 1e-6 {
		t.Errorf("%+v", d)
	}
	// A slow host comes in: on the one that was there before nothing took longer.
	for i := range all {
		all[i] = cellNight(i, Key{}, nil)
		for _, h := range []string{"a", "b"} {
			tally := Tally{Host: h, Lab: "1", Valid: 4, OtherSeconds: []float64{10, 11, 12, 13}}
			if h == "b" {
				tally = Tally{Host: h, Lab: "1", Valid: 9, OtherSeconds: []float64{50, 51, 52, 53, 54, 55, 56, 57, 58}}
			}
			if h == "a" || i > 10 {
				all[i].Cells[0].Tallies = append(all[i].Cells[0].Tallies, tally)
			}
		}
	}
	if d := Compare(all, nil).Cells[0].Durations; d == nil || d.Host != "a" || d.Of != "others" ||
		d.Before.Trials != 44 || d.After.Trials != 4 || d.P < 0.5 {
		t.Errorf("%+v", d)
	}
	if c := Compare(hitsOf10(5, 5), nil).Cells[0]; c.Durations != nil {
		t.Errorf("nothing was timed: %+v", c.Durations)
	}
}
