package stats

import (
	"slices"
	"testing"
)

func watched(event bool, times ...float64) []Lasted {
	all := make([]Lasted, len(times))
	for i, at := range times {
		all[i] = Lasted{at, event}
	}
	return all
}

func TestKaplanMeierPublished(t *testing.T) {
	for _, c := range []struct {
		source string
		all    []Lasted
		want   []Survival
		within float64
	}{
		{
			"Kaplan and Meier (1958), their example of eight",
			slices.Concat(watched(true, 0.8, 3.1, 5.4, 9.2), watched(false, 1.0, 2.7, 7.0, 12.1)),
			[]Survival{{0.8, 0.875, 8, 1}, {3.1, 0.7, 5, 1}, {5.4, 0.525, 4, 1}, {9.2, 0.2625, 2, 1}}, 1e-12,
		},
		{
			"Freireich and others, Blood 21 (1963), the patients with 6-MP; the curve as in Kleinbaum and Klein, Survival Analysis, ch. 2",
			slices.Concat(watched(true, 6, 6, 6, 7, 10, 13, 16, 22, 23), watched(false, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)),
			[]Survival{
				{6, 0.8571, 21, 3}, {7, 0.8067, 17, 1}, {10, 0.7529, 15, 1}, {13, 0.6902, 12, 1}, {16, 0.6275, 11, 1}, {22, 0.5378, 7, 1}, {23, 0.4482, 6, 1},
			}, 5e-5,
		},
		{
			"the patients with a placebo, none of them censored: the share that is left",
			watched(true, 23, 22, 17, 15, 12, 12, 11, 11, 8, 8, 8, 8, 5, 5, 4, 4, 3, 2, 2, 1, 1),
			[]Survival{
				{1, 19. / 21, 21, 2}, {2, 17. / 21, 19, 2}, {3, 16. / 21, 17, 1}, {4, 14. / 21, 16, 2}, {5, 12. / 21, 14, 2}, {8, 8. / 21, 12, 4},
				{11, 6. / 21, 8, 2}, {12, 4. / 21, 6, 2}, {15, 3. / 21, 4, 1}, {17, 2. / 21, 3, 1}, {22, 1. / 21, 2, 1}, {23, 0, 1, 1},
			}, 1e-12,
		},
		{"no event", watched(false, 3, 4), nil, 0},
		{"nothing", nil, nil, 0},
	} {
		got := KaplanMeier(c.all)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d steps, want %d: %v", c.source, len(got), len(c.want), got)
			continue
		}
		for i, want := range c.want {
			near(t, c.source, got[i].Survival, want.Survival, c.within)
			got[i].Survival = want.Survival
			if got[i] != want {
				t.Errorf("%s: %+v, want %+v", c.source, got[i], want)
			}
		}
	}
}

// The caller's list stays as it is.
func TestKaplanMeierKeepsOrder(t *testing.T) {
	all := watched(true, 3, 1, 2)
	KaplanMeier(all)
	if !slices.Equal(all, watched(true, 3, 1, 2)) {
		t.Errorf("the observations are %v now", all)
	}
}
