package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestEvidenceIsFair expects the e-value to be 1 at most on average, whatever the common rate: what a gambler who may stop at any
// time cannot win from. The average is exact, over all that n pairs can show.
func TestEvidenceIsFair(t *testing.T) {
	for _, first := range []float64{0, 0.01, 0.3, 0.5, 0.9, 1} {
		for _, second := range []float64{0, 0.01, 0.3, 0.5, 0.9, 1} {
			if first > second {
				continue
			}
			for _, n := range []int{1, 4, 12} {
				mean := 0.0
				for both := 0; both <= n; both++ {
					for one := 0; both+one <= n; one++ {
						for two := 0; both+one+two <= n; two++ {
							p := Pairs{both, one, two, n - both - one - two}
							ways := logFactorial(n) - logFactorial(both) - logFactorial(one) - logFactorial(two) - logFactorial(p.Neither)
							ways += times(both, math.Log(first*second)) + times(one, math.Log(first*(1-second))) + times(two, math.Log((1-first)*second)) + times(p.Neither, math.Log((1-first)*(1-second)))
							mean += math.Exp(ways + Evidence(p))
						}
					}
				}
				if mean > 1+1e-9 {
					t.Errorf("rates %g and %g, %d pairs: the mean is %g", first, second, n, mean)
				}
			}
		}
	}
}

func TestEvidence(t *testing.T) {
	for _, c := range []struct {
		pairs Pairs
		above float64 // the e-value is between this and four times this
	}{
		{Pairs{First: 4}, 204.8}, {Pairs{First: 7}, 13107}, {Pairs{}, 1 - 1e-9}, {Pairs{Second: 3}, 0.01}, {Pairs{First: 14, Neither: 6}, 20000},
	} {
		if e := math.Exp(Evidence(c.pairs)); e < c.above || e > 4*c.above+1e-3 {
			t.Errorf("%+v has %g, not %g", c.pairs, e, c.above)
		}
	}
}

// TestAnytimeCovers walks many series of trials and expects the true rate to leave the interval, ever, in few of them.
func TestAnytimeCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const series, length, confidence = 2000, 200, 0.95
	var lows, highs [length + 1][length + 1]float64
	for n := range length + 1 {
		for k := range n + 1 {
			lows[n][k], highs[n][k] = Anytime(k, n, confidence)
		}
	}
	for _, rate := range []float64{0, 0.01, 0.3, 0.5, 0.95, 1} {
		missed := 0
		for range series {
			k := 0
			for n := 1; n <= length; n++ {
				if r.Float64() < rate {
					k++
				}
				if rate < lows[n][k] || rate > highs[n][k] {
					missed++
					break
				}
			}
		}
		// 5 % are allowed; 6.5 % would be three standard errors above that.
		if share := float64(missed) / series; share > 0.065 {
			t.Errorf("rate %g: %.1f %% of the series left it at some time", rate, 100*share)
		}
	}
}

func TestAnytime(t *testing.T) {
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{
		{0, 11, 0, 0.2994}, {0, 6, 0, 0.473}, {0, 3, 0, 0.718}, {10, 10, 0.676, 1}, {5, 10, 0.090, 0.910}, {0, 0, 0, 1}, {1, 1, 0.024, 1},
	} {
		lo, hi := Anytime(c.k, c.n, 0.95)
		if math.Abs(lo-c.lo) > 0.005 || math.Abs(hi-c.hi) > 0.005 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.k, c.n, lo, hi, c.lo, c.hi)
		}
	}
}
