package memory

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	for _, c := range []struct {
		rate  Rate
		bytes uint64
		want  float64
	}{
		{Rate{1e9, 3600}, 1 << 17, 1}, // one Mbit that fails once an hour
		{Rate{50_000, 1}, 1 << 30, 0.4096 / 3600},
		{Rate{50_000, 3600}, 1 << 30, 0.4096},
	} {
		if got := c.rate.perSecond(c.bytes); math.Abs(got/c.want-1) > 1e-9 {
			t.Errorf("%s: %g a second, want %g", c.rate, got, c.want)
		}
	}
}

func TestGap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rate := Rate{1e9, 36_000} // ten a second for one Mbit
	const n = 10_000
	var sum time.Duration
	long := 0
	for range n {
		gap := rate.gap(r, 1<<17)
		sum += gap
		if gap > 200*time.Millisecond {
			long++
		}
	}
	if mean := sum / n; mean < 97*time.Millisecond || mean > 103*time.Millisecond {
		t.Errorf("the mean gap is %s, want 100ms", mean)
	}
	// Exponential: a gap of twice the mean or more has the probability exp(-2) = 0.135.
	if share := float64(long) / n; share < 0.125 || share > 0.145 {
		t.Errorf("%g of the gaps are longer than twice the mean, want 0.135", share)
	}
	if gap := rate.gap(r, 0); gap < time.Hour {
		t.Errorf("no memory fails after %s", gap)
	}
}
