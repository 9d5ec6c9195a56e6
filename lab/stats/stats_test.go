package stats

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > within {
		t.Errorf("%s: got %.9g, want %.9g within %g", what, got, want, within)
	}
}

func TestClopperPearsonPublished(t *testing.T) {
	for _, c := range []struct {
		source string
		k, n   int
		conf   float64
		lo, hi float64
		within float64
	}{
		{"R, help(binom.test), Conover's example: 682 of 925", 682, 925, .95, .7076683, .7654066, 5e-8},
		{"closed form for no hit: 1-(a/2)^(1/n)", 0, 10, .95, 0, 1 - math.Pow(.025, .1), 1e-12},
		{"the same, as printed in tables: 0.3085", 0, 10, .95, 0, .3085, 5e-5},
		{"closed form for hits only: (a/2)^(1/n)", 10, 10, .95, math.Pow(.025, .1), 1, 1e-12},
		{"table of 95 % limits for proportions, 10 of 20", 10, 20, .95, .2720, .7280, 5e-5},
		{"the same, 1 of 10", 1, 10, .95, .0025, .4450, 5e-5},
		{"the same, 19 of 20", 19, 20, .95, .7513, .9987, 5e-5},
		{"0 of 100, which Hanley and Lippman-Hand, JAMA 249 (1983), call 3.6 % instead of 3/n for 97.5 %", 0, 100, .95, 0, .0362, 5e-5},
		{"one-sided 95 % of the same: the rule of three", 0, 100, .90, 0, .0295, 5e-5},
	} {
		lo, hi := ClopperPearson(c.k, c.n, c.conf)
		near(t, c.source+": lower", lo, c.lo, c.within)
		near(t, c.source+": upper", hi, c.hi, c.within)
	}
}

func TestClopperPearsonKnowsNothing(t *testing.T) {
	for _, c := range [][2]int{{0, 0}, {3, 0}, {-1, 5}, {6, 5}} {
		if lo, hi := ClopperPearson(c[0], c[1], .95); lo != 0 || hi != 1 {
			t.Errorf("%d of %d: [%g, %g], want [0, 1]", c[0], c[1], lo, hi)
		}
	}
}

// atMost is the probability of k hits or fewer in n trials, by plain summation.
func atMost(k, n int, p float64) float64 {
	var sum float64
	for i := 0; i <= k; i++ {
		sum += math.Exp(logChoose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

// The definition: at the lower bound k hits or more are as rare as half of what the confidence leaves, at the upper
// bound k hits or fewer.
func TestClopperPearsonDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		n := 1 + r.IntN(2000)
		k := r.IntN(n + 1)
		conf := []float64{.8, .9, .95, .99, .999}[r.IntN(5)]
		lo, hi := ClopperPearson(k, n, conf)
		if lo > float64(k)/float64(n) || hi < float64(k)/float64(n) {
			t.Fatalf("%d of %d: [%g, %g] leaves out the rate seen", k, n, lo, hi)
		}
		if k > 0 {
			near(t, "lower tail", 1-atMost(k-1, n, lo), (1-conf)/2, 1e-8)
		}
		if k < n {
			near(t, "upper tail", atMost(k, n, hi), (1-conf)/2, 1e-8)
		}
	}
}

func TestFisherPublished(t *testing.T) {
	for _, c := range []struct {
		source     string
		a, b, c, d int
		twoSided   float64
	}{
		{"Agresti, Categorical Data Analysis, the lady tasting tea; R, help(fisher.test)", 3, 1, 1, 3, .4857},
		{"R, help(fisher.test), Fisher's criminal twins: two-sided 0.0005367, less 0.0004652", 10, 3, 2, 15, .0005367},
		{"1/C(20,10), by counting: 10 of 10 against 0 of 10", 10, 0, 0, 10, 2 / 184756.},
		{"equal rates", 5, 5, 5, 5, 1},
	} {
		near(t, c.source, Fisher(c.a, c.b, c.c, c.d), c.twoSided, 5e-5*c.twoSided+5e-8*1e3*c.twoSided)
	}
}

func TestFisherEdges(t *testing.T) {
	for _, c := range [][4]int{{0, 0, 0, 0}, {0, 5, 0, 7}, {5, 0, 7, 0}, {0, 0, 3, 4}} {
		near(t, "a table that can be in one way only", Fisher(c[0], c[1], c[2], c[3]), 1, 1e-12)
	}
	if !math.IsNaN(Fisher(-1, 1, 1, 1)) {
		t.Error("a negative count has a p-value")
	}
}

// exactFisher counts tables in whole numbers: no rounding, hence no slack.
func exactFisher(a, b, c, d int) float64 {
	ways := func(x int) *big.Int {
		l := new(big.Int).Binomial(int64(a+b), int64(x))
		return l.Mul(l, new(big.Int).Binomial(int64(c+d), int64(a+c-x)))
	}
	seen, sum := ways(a), new(big.Int)
	for x := max(0, a-d); x <= min(a+b, a+c); x++ {
		if w := ways(x); w.Cmp(seen) <= 0 {
			sum.Add(sum, w)
		}
	}
	p, _ := new(big.Rat).SetFrac(sum, new(big.Int).Binomial(int64(a+b+c+d), int64(a+c))).Float64()
	return p
}

func TestFisherAgainstWholeNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		a, b, c, d := r.IntN(60), r.IntN(60), r.IntN(60), r.IntN(60)
		want := exactFisher(a, b, c, d)
		near(t, "two-sided", Fisher(a, b, c, d), want, 1e-9*want)
		near(t, "arms exchanged", Fisher(c, d, a, b), want, 1e-9*want)
	}
}

func TestPoisson(t *testing.T) {
	for _, c := range []struct {
		source   string
		k        int
		exposure float64
		lo, hi   float64
		within   float64
	}{
		{"R, help(poisson.test), 137 of 24.19893", 137, 24.19893, 4.753125, 6.692709, 5e-7},
		{"closed form for none: -ln(a/2)/T", 0, 2, 0, -math.Log(.025) / 2, 1e-9},
		{"Garwood's table, 1", 1, 1, .0253, 5.5716, 5e-5},
		{"the same, 10", 10, 1, 4.7954, 18.3904, 5e-5},
	} {
		lo, hi := Poisson(c.k, c.exposure, .95)
		near(t, c.source+": lower", lo, c.lo, c.within)
		near(t, c.source+": upper", hi, c.hi, c.within)
	}
	for _, c := range []struct {
		k        int
		exposure float64
	}{{0, 0}, {1, -1}, {-1, 1}} {
		if lo, hi := Poisson(c.k, c.exposure, .95); lo != 0 || !math.IsInf(hi, 1) {
			t.Errorf("%d in %g: [%g, %g], want [0, +Inf]", c.k, c.exposure, lo, hi)
		}
	}
}
