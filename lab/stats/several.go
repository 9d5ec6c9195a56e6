package stats

import (
	"cmp"
	"math"
	"slices"
)

// MantelHaenszel is the two-sided p-value of the exact conditional test that two rates are equal in every stratum, say on every host:
// the one of Cochran, Mantel and Haenszel without its approximation (Birch, JRSS B 27, 1965, p. 111), as mantelhaen.test(exact = TRUE) of R
// counts it. A stratum has the counts of one side and those of the other. With one stratum it is Fisher's test. It is NaN when no
// stratum has trials on both sides: then nothing can be said.
func MantelHaenszel(strata [][2]Counts) float64 {
	dist, seen, told := []float64{1}, 0, false // of the hits on the first side, above the least there can be
	for _, s := range strata {
		t := table{hits: s[0].Hits + s[1].Hits, one: s[0].Scored, all: s[0].Scored + s[1].Scored}
		least, most := max(0, t.hits-(t.all-t.one)), min(t.hits, t.one)
		told = told || s[0].Scored > 0 && s[1].Scored > 0
		seen += s[0].Hits - least
		next := make([]float64, len(dist)+most-least)
		for x := least; x <= most; x++ {
			p := math.Exp(t.logProb(x))
			for i, q := range dist {
				next[i+x-least] += p * q
			}
		}
		dist = next
	}
	if !told {
		return math.NaN()
	}
	p, limit := 0.0, dist[seen]*(1+1e-7)
	for _, q := range dist {
		if q <= limit {
			p += q
		}
	}
	return min(p, 1)
}

// exactRanks is up to how many values together MannWhitney counts all ways to deal them.
const exactRanks = 60

// MannWhitney is the two-sided p-value of the test of Wilcoxon, Mann and Whitney that the values of a and b are alike: how many of all
// ways to deal the ranks, equal values sharing theirs, are as far from the middle as this one. With more than 60 values it is the
// normal approximation, corrected for equal values and for continuity, as wilcox.test of R has it. Without values on either side it
// is 1.
func MannWhitney(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	ranks, ties := doubled(a, b)
	n, all := len(a), len(a)+len(b)
	sum := 0
	for _, r := range ranks[:n] {
		sum += r
	}
	off := math.Abs(float64(sum - n*(all+1)))
	if all > exactRanks {
		variance := float64(n) * float64(len(b)) / 3 * (float64(all+1) - ties/(float64(all)*float64(all-1))) // of doubled ranks
		if variance <= 0 {
			return 1
		}
		return math.Erfc(max(0, off-1) / math.Sqrt(2*variance))
	}
	// ways has, by how many were dealt and their sum, the number of ways.
	ways := make([][]float64, n+1)
	for i := range ways {
		ways[i] = make([]float64, all*(all+1)+1)
	}
	ways[0][0] = 1
	for _, r := range ranks {
		for i := n; i > 0; i-- {
			for s := len(ways[i]) - 1; s >= r; s-- {
				ways[i][s] += ways[i-1][s-r]
			}
		}
	}
	far, total := 0.0, 0.0
	for s, w := range ways[n] {
		total += w
		if math.Abs(float64(s-n*(all+1))) >= off {
			far += w
		}
	}
	return far / total
}

// doubled are twice the ranks of the values of a and then of b, so that those that are shared are whole, with the sum of n^3-n over all
// groups of n equal values.
func doubled(a, b []float64) (ranks []int, ties float64) {
	values := slices.Concat(a, b)
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(values[i], values[j]) })
	ranks = make([]int, len(values))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = from + to + 1 // twice the mean of from+1 to to
		}
		n := float64(to - from)
		ties += n*n*n - n
		from = to
	}
	return ranks, ties
}

// BenjaminiHochberg adjusts the p-values of several tests: to call all those real whose adjusted value is below q makes the
// share of false ones among them at most q, on average (Benjamini and Hochberg, JRSS B 57, 1995, p. 289; p.adjust of R). They
// are in the order of the p-values.
func BenjaminiHochberg(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[j], p[i]) })
	adjusted, least := make([]float64, len(p)), 1.0
	for k, i := range order { // the greatest first
		least = min(least, p[i]*float64(len(p))/float64(len(p)-k))
		adjusted[i] = least
	}
	return adjusted
}
