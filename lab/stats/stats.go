// Package stats has the statistics that verdicts rest on: intervals for a rate and tests of two rates, exact ones for a fixed
// number of trials and such as may be looked at after every trial, what is believed about where a rate changes, and how long a thing
// takes to happen. It knows counts and times only; what a hit is, and which levels decide, is the caller's. All functions are exact for
// the small numbers of a lab: the one normal approximation is that of MannWhitney for many values.
package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// ClopperPearson is the exact interval for the rate behind k hits in n trials (Clopper and Pearson, Biometrika 26, 1934,
// p. 404). It covers the true rate with at least the given confidence, 0 < confidence < 1. With no trials, or counts that
// cannot be, nothing is known: [0, 1].
func ClopperPearson(k, n int, confidence float64) (lo, hi float64) {
	if n <= 0 || k < 0 || k > n {
		return 0, 1
	}
	tail := (1 - confidence) / 2
	hi = 1
	if k > 0 {
		lo = mathext.InvRegIncBeta(float64(k), float64(n-k+1), tail)
	}
	if k < n {
		hi = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-tail)
	}
	return lo, hi
}

// Poisson is the exact interval for the rate of events behind k that were seen in an exposure, a time or a number of things (Garwood,
// Biometrika 28, 1936, p. 437), per unit of that. It covers the true rate with at least the given confidence, 0 < confidence < 1.
// Without an exposure nothing is known: [0, +Inf].
func Poisson(k int, exposure, confidence float64) (lo, hi float64) {
	if exposure <= 0 || k < 0 {
		return 0, math.Inf(1)
	}
	tail := (1 - confidence) / 2
	if k > 0 {
		lo = mathext.GammaIncRegInv(float64(k), tail) / exposure
	}
	return lo, mathext.GammaIncRegInv(float64(k+1), 1-tail) / exposure
}

// Fisher is the two-sided p-value of Fisher's exact test for the table
//
//	         hits  others
//	one arm    a      b
//	another    c      d
//
// that is, the probability under equal rates of all tables with the same margins that are no more likely than this one,
// as fisher.test of R counts them. A negative count gives NaN.
func Fisher(a, b, c, d int) float64 {
	if min(a, b, c, d) < 0 {
		return math.NaN()
	}
	t := table{hits: a + c, one: a + b, all: a + b + c + d}
	// R compares with this relative slack, since equal probabilities may differ in the last digits.
	limit := t.logProb(a) + math.Log1p(1e-7)
	return t.sum(func(x int) bool { return t.logProb(x) <= limit })
}

// table is the margins of a two by two table: all hits, all trials of one arm, all trials.
type table struct{ hits, one, all int }

// logProb is the logarithm of the hypergeometric probability of x hits in the first arm.
func (t table) logProb(x int) float64 {
	return logChoose(t.one, x) + logChoose(t.all-t.one, t.hits-x) - logChoose(t.all, t.hits)
}

// sum adds the probabilities of the numbers of hits that count.
func (t table) sum(counts func(x int) bool) float64 {
	var p float64
	for x := max(0, t.hits-(t.all-t.one)); x <= min(t.hits, t.one); x++ {
		if counts(x) {
			p += math.Exp(t.logProb(x))
		}
	}
	return min(p, 1)
}

func logChoose(n, k int) float64 {
	return logFactorial(n) - logFactorial(k) - logFactorial(n-k)
}

func logFactorial(n int) float64 {
	l, _ := math.Lgamma(float64(n) + 1)
	return l
}
