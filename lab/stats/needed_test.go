package stats

import "testing"

func TestTrialsForUpperBelow(t *testing.T) {
	for _, c := range []struct {
		k, n       int
		conf, rate float64
		more       int
		ok         bool
	}{
		{0, 0, .95, .05, 72, true},   // 1-.025^(1/72) = .04995, 1-.025^(1/71) = .0506
		{0, 0, .90, .05, 59, true},   // the 59 of one-sided 95 % for 5 % (AICPA and others)
		{0, 72, .95, .05, 0, true},   // enough already
		{0, 50, .95, .05, 22, true},  // 72 in all
		{0, 10, .95, 0, 0, false},    // never
		{3, 2, .95, .5, 0, false},    // cannot be
		{0, 0, .95, 1e-9, 0, false},  // too many
		{0, 0, .95, 1.5, 0, true},    // any rate is below
		{1, 20, .95, .05, 90, true},  // see below
		{20, 20, .95, .5, 36, true},  // see below
		{5, 1000, .95, .02, 0, true}, // .0116
	} {
		more, ok := TrialsForUpperBelow(c.k, c.n, c.conf, c.rate)
		if ok != c.ok || ok && more != c.more {
			t.Errorf("%+v: got %d, %t", c, more, ok)
			continue
		}
		if !ok {
			continue
		}
		if _, hi := ClopperPearson(c.k, c.n+more, c.conf); hi >= c.rate {
			t.Errorf("%+v: %d more leave the bound at %g", c, more, hi)
		}
		if _, hi := ClopperPearson(c.k, c.n+more-1, c.conf); more > 0 && hi < c.rate {
			t.Errorf("%+v: %d more were enough", c, more-1)
		}
	}
}

func TestTrialsForSeparation(t *testing.T) {
	for _, c := range []struct {
		a, b, c, d int
		ok         bool
	}{
		{5, 0, 0, 5, true},    // p = 2/252 = .0079: separated
		{4, 0, 0, 4, true},    // p = 2/70 = .029: one more trial
		{3, 7, 1, 9, true},    // 30 % against 10 %
		{20, 0, 19, 1, true},  // 100 % against 95 %
		{5, 5, 10, 10, false}, // equal
		{0, 10, 0, 3, false},  // equal
		{1, 0, 0, 0, false},   // no trials in one arm
		{-1, 5, 1, 5, false},
	} {
		more, ok := TrialsForSeparation(c.a, c.b, c.c, c.d, .01)
		if ok != c.ok {
			t.Errorf("%+v: got %d, %t", c, more, ok)
			continue
		}
		if !ok {
			continue
		}
		p := func(more int) float64 {
			n, m := c.a+c.b, c.c+c.d
			x, y := project(c.a, n, more), project(c.c, m, more)
			return Fisher(x, n+more-x, y, m+more-y)
		}
		if p(more) >= .01 || more > 0 && p(more-1) < .01 {
			t.Errorf("%+v: %d more give p = %g, one fewer %g", c, more, p(more), p(more-1))
		}
	}
	if more, _ := TrialsForSeparation(4, 0, 0, 4, .01); more != 1 {
		t.Errorf("4 of 4 against 0 of 4: %d more trials, want 1", more)
	}
	if more, _ := TrialsForSeparation(5, 0, 0, 5, .01); more != 0 {
		t.Errorf("5 of 5 against 0 of 5: %d more trials, want 0", more)
	}
}

func TestProject(t *testing.T) {
	for _, c := range [][4]int{{1, 3, 0, 1}, {1, 3, 3, 2}, {1, 2, 1, 2}, {0, 4, 9, 0}, {4, 4, 9, 13}} {
		if got := project(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%d of %d after %d more: %d, want %d", c[0], c[1], c[2], got, c[3])
		}
	}
}
