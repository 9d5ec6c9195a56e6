package bisect

import "math"

// counts are the trials of a candidate that were scored, and the hits among them.
type counts struct{ hits, scored int }

// model is what is believed about where the rate changes: one boundary, and a rate on each side of it that is unknown, too.
type model struct {
	prior []float64 // of the boundary after each candidate but the last
	rates *rates

	post []float64 // the posterior, of the boundaries of the half that is searched
	// lower and upper are the expected rates before and after each boundary, given that boundary, with their entropies.
	lower, upper []belief
	sums         []sum
}

// belief is an expected rate with the entropy, in bits, of one trial.
type belief struct{ rate, entropy float64 }

// sum is what all boundaries before one have together.
type sum struct{ mass, lowRate, highRate, lowEntropy, highEntropy float64 }

func newModel(prior []float64, r *rates) *model {
	n := len(prior)
	return &model{prior: prior, rates: r, post: make([]float64, n), lower: make([]belief, n), upper: make([]belief, n), sums: make([]sum, n+1)}
}

// update takes what the candidates of a half have shown; lo and hi are its ends. The likelihood changes only at candidates with
// trials, so that the work is one pass over the boundaries.
func (m *model) update(lo, hi int, of func(i int) counts) {
	var all counts
	for i := lo; i <= hi; i++ {
		c := of(i)
		all.hits, all.scored = all.hits+c.hits, all.scored+c.scored
	}
	clear(m.post)
	var before counts
	most, likelihood := math.Inf(-1), 0.0
	for b := lo; b < hi; b++ {
		c := of(b)
		if b == lo || c.scored > 0 {
			before.hits, before.scored = before.hits+c.hits, before.scored+c.scored
			after := counts{all.hits - before.hits, all.scored - before.scored}
			lower, upper := m.rates.of(before), m.rates.of(after)
			likelihood = lower.log + upper.log
			m.lower[b], m.upper[b] = lower.next, upper.next
		} else {
			m.lower[b], m.upper[b] = m.lower[b-1], m.upper[b-1]
		}
		m.post[b] = likelihood
		if m.prior[b] > 0 {
			most = max(most, likelihood)
		}
	}
	m.normalise(lo, hi, most)
}

// normalise makes probabilities of the logarithms of likelihoods, of which the greatest is given.
func (m *model) normalise(lo, hi int, most float64) {
	total, last, factor := 0.0, math.Inf(-1), 0.0
	for b := lo; b < hi; b++ {
		if m.post[b] != last {
			last = m.post[b]
			factor = math.Exp(last - most)
		}
		m.post[b] = m.prior[b] * factor
		total += m.post[b]
	}
	m.sums[lo] = sum{}
	for b := lo; b < hi; b++ {
		m.post[b] /= total
		s, p := m.sums[b], m.post[b]
		m.sums[b+1] = sum{
			s.mass + p, s.lowRate + p*m.lower[b].rate, s.highRate + p*m.upper[b].rate,
			s.lowEntropy + p*m.lower[b].entropy, s.highEntropy + p*m.upper[b].entropy,
		}
	}
}

// mass is the probability that the boundary is one of those from one candidate to another.
func (m *model) mass(from, to int) float64 { return m.sums[to].mass - m.sums[from].mass }

// information is how many bits one trial of a candidate tells about which of the boundaries between two others it is, given that
// it is one of them.
func (m *model) information(c, from, to int) float64 {
	mass := m.mass(from, to)
	if mass <= 0 {
		return 0
	}
	first, here, last := m.sums[from], m.sums[c], m.sums[to]
	// With a boundary before it the candidate has the rate of the upper side, otherwise that of the lower one.
	rate := (here.highRate - first.highRate) + (last.lowRate - here.lowRate)
	noise := (here.highEntropy - first.highEntropy) + (last.lowEntropy - here.lowEntropy)
	return max(0, entropy(rate/mass)-noise/mass)
}

// entropy is that of one trial, in bits.
func entropy(p float64) float64 {
	if p <= 0 || p >= 1 {
		return 0
	}
	return -(p*math.Log(p) + (1-p)*math.Log1p(-p)) / math.Ln2
}
