package stats

import (
	"math"
	"sort"
)

// What follows may be looked at after every trial, and trials be stopped because of what was seen: by Ville's inequality the
// chance that an e-value ever reaches 1/alpha where there is nothing to find is at most alpha (Ramdas and others, "Game-theoretic
// statistics and safe anytime-valid inference", Statistical Science 38, 2023).

// certain is the weight of the guess that a thing always happens, or never: most faults do one or the other.
const certain = 0.8

// Pairs counts pairs of trials, one of each of two arms, by which of the two hit.
type Pairs struct{ Both, First, Second, Neither int }

// guess is a pair of rates that the evidence is weighed for, the first one above the second, with the logarithms of its weight and
// of what each kind of pair speaks for it.
type guess struct {
	first, second, weight                float64
	both, onlyFirst, onlySecond, neither float64
}

// guesses mix certainty with a grid of what else may be.
var guesses = func() []guess {
	all := []guess{{first: 1, weight: certain}}
	for _, second := range []float64{0, 0.05, 0.2, 0.5} {
		for _, first := range []float64{0.1, 0.3, 0.5, 0.7, 0.9, 1} {
			if first > second && (first < 1 || second > 0) {
				all = append(all, guess{first: first, second: second})
			}
		}
	}
	for i := range all {
		g := &all[i]
		if i > 0 {
			g.weight = (1 - certain) / float64(len(all)-1)
		}
		mean := (g.first + g.second) / 2
		g.weight = math.Log(g.weight)
		g.both = math.Log(g.first * g.second / (mean * mean))
		g.onlyFirst = math.Log(g.first * (1 - g.second) / (mean * (1 - mean)))
		g.onlySecond = math.Log((1 - g.first) * g.second / (mean * (1 - mean)))
		g.neither = math.Log((1 - g.first) * (1 - g.second) / ((1 - mean) * (1 - mean)))
	}
	return all
}()

// Evidence is the logarithm of the e-value against the first arm's rate being no higher than the second's: the likelihood ratio
// for two proportions of Turner, Ly and Grünwald ("Generic E-variables for exact sequential k-sample tests", Journal of
// Statistical Planning and Inference 230, 2024), for blocks of one trial an arm, mixed over guesses.
func Evidence(p Pairs) float64 {
	sum := math.Inf(-1)
	for _, g := range guesses {
		sum = logAdd(sum, g.weight+times(p.Both, g.both)+times(p.First, g.onlyFirst)+times(p.Second, g.onlySecond)+times(p.Neither, g.neither))
	}
	return sum
}

// times is n log x by the logarithm of x, where what never came does not count, be it impossible.
func times(n int, logX float64) float64 {
	if n == 0 {
		return 0
	}
	return float64(n) * logX
}

func logAdd(a, b float64) float64 {
	if math.IsInf(a, -1) {
		return b
	}
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// Anytime is an interval for the rate behind k hits in n trials that covers the true rate with at least the given confidence
// however often it is looked at: all rates against which the mixture of a certain thing, an impossible one, and any rate at all
// has an e-value below 1/(1-confidence). With no trials, or counts that cannot be, nothing is known: [0, 1].
func Anytime(k, n int, confidence float64) (lo, hi float64) {
	if n <= 0 || k < 0 || k > n {
		return 0, 1
	}
	mixture := math.Log(1-certain) - math.Log(float64(n+1)) - logChoose(n, k) // the integral of all rates' likelihoods
	if k == 0 || k == n {
		mixture = logAdd(mixture, math.Log(certain/2))
	}
	limit := mixture + math.Log(1-confidence)
	covered := func(rate float64) bool { return times(k, math.Log(rate))+times(n-k, math.Log1p(-rate)) > limit }
	const steps = 1 << 20 // of the search: a millionth
	best := float64(k) / float64(n)
	if k > 0 {
		lo = best * float64(sort.Search(steps, func(i int) bool { return covered(best * float64(i) / steps) })) / steps
	}
	hi = 1
	if k < n {
		hi = 1 - (1-best)*float64(sort.Search(steps, func(i int) bool { return covered(1 - (1-best)*float64(i)/steps) }))/steps
	}
	return lo, hi
}
