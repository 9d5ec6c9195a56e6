package stats

import "sort"

// maxTrials bounds the search: nobody runs more trials than this to settle one question.
const maxTrials = 1 << 20

// TrialsForUpperBelow is how many more trials without a hit it takes until the upper bound of ClopperPearson falls below
// rate, after k hits in n trials. It returns false when more than a million trials would not do, as for a rate of 0.
func TrialsForUpperBelow(k, n int, confidence, rate float64) (more int, ok bool) {
	if k < 0 || n < k || rate <= 0 {
		return 0, false
	}
	below := func(more int) bool {
		_, hi := ClopperPearson(k, n+more, confidence)
		return hi < rate
	}
	return firstTrue(below, maxTrials)
}

// TrialsForSeparation is how many more trials per arm it takes until Fisher gives p < alpha, if both arms go on hitting
// at the rates seen so far: a in a+b trials and c in c+d. It is an estimate, since rates do not stay as they are. It
// returns false when the rates are equal, when an arm has no trials, and when a thousand times the trials would not do.
func TrialsForSeparation(a, b, c, d int, alpha float64) (more int, ok bool) {
	n, m := a+b, c+d
	if min(a, b, c, d) < 0 || n == 0 || m == 0 || a*m == c*n {
		return 0, false
	}
	separated := func(more int) bool {
		x, y := project(a, n, more), project(c, m, more)
		return Fisher(x, n+more-x, y, m+more-y) < alpha
	}
	return firstTrue(separated, 1000*max(n, m))
}

// project is the number of hits after more trials at the rate of k in n, rounded to the nearest.
func project(k, n, more int) int { return (2*k*(n+more) + n) / (2 * n) }

// firstTrue finds a number up to limit for which f holds while it does not for the one before. It doubles its steps
// first, so that f is asked about large numbers only when it must be.
func firstTrue(f func(int) bool, limit int) (int, bool) {
	from, to := 0, 0
	for !f(to) {
		if to == limit {
			return 0, false
		}
		from, to = to+1, min(2*to+1, limit)
	}
	return from + sort.Search(to-from, func(i int) bool { return f(from + i) }), true
}
