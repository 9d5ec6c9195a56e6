package trial

import "testing"

func TestWorst(t *testing.T) {
	order := Outcomes()
	for i, a := range order {
		for j, b := range order {
			if got, want := Worst(a, b), order[min(i, j)]; got != want {
				t.Errorf("the worst of %s and %s is %s, want %s", a, b, got, want)
			}
		}
	}
}
