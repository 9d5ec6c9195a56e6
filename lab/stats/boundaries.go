package stats

import "math"

// Boundaries is what is believed about where a rate changes along a row of places, candidates of a bisection or nights: at one boundary
// between two neighbours, or nowhere. The rates on either side of it are unknown, too.
type Boundaries struct {
	// Prior has the weight of the boundary after each place but the last, None that of no boundary at all; 0 when there must be one.
	// Weights need no sum of 1.
	Prior []float64
	None  float64
	Rates *Rates
	// Strata are the same trials by where they were done, each giving the counts of a place. With more than one of them it is as likely
	// as not that each has rates of its own: what differs between two of them is then no change.
	Strata []func(i int) Counts

	// Post is the posterior probability of each boundary, 0 outside of what the last Update looked at. Nowhere is that of none.
	Post    []float64
	Nowhere float64

	// lower and upper are the expected rates before and after each boundary, given that boundary, with their entropies.
	lower, upper []Belief
	sums         []sum
}

// sum is what all boundaries before one have together.
type sum struct{ mass, lowRate, highRate, lowEntropy, highEntropy float64 }

// NewBoundaries is for one place more than there are weights. Before the first Update nothing is known.
func NewBoundaries(prior []float64, r *Rates) *Boundaries {
	n := len(prior)
	return &Boundaries{
		Prior: prior, Rates: r, Post: make([]float64, n), lower: make([]Belief, n), upper: make([]Belief, n), sums: make([]sum, n+1),
	}
}

// Update takes what the places from lo to hi, both included, have shown: the boundary is one between them. The likelihood changes only
// at places with trials, so that the work is one pass over the boundaries.
func (m *Boundaries) Update(lo, hi int, of func(i int) Counts) {
	var all, before Counts
	for i := lo; i <= hi; i++ {
		all = all.Plus(of(i))
	}
	clear(m.Post)
	m.Nowhere = 0
	apart := m.apart(lo, hi)
	most, likelihood := math.Inf(-1), 0.0
	if m.None > 0 {
		most = apart.mixed(m.Rates.Of(all).Log)
		m.Nowhere = most
	}
	for b := lo; b < hi; b++ {
		c := of(b)
		apart.pass(b)
		if b == lo || c.Scored > 0 {
			before = before.Plus(c)
			lower, upper := m.Rates.Of(before), m.Rates.Of(all.Minus(before))
			likelihood = apart.mixed(lower.Log + upper.Log)
			m.lower[b], m.upper[b] = lower.Next, upper.Next
		} else {
			m.lower[b], m.upper[b] = m.lower[b-1], m.upper[b-1]
		}
		m.Post[b] = likelihood
		if m.Prior[b] > 0 {
			most = max(most, likelihood)
		}
	}
	m.normalise(lo, hi, most)
}

// normalise makes probabilities of the logarithms of likelihoods, of which the greatest is given.
func (m *Boundaries) normalise(lo, hi int, most float64) {
	total, last, factor := 0.0, math.Inf(-1), 0.0
	for b := lo; b < hi; b++ {
		if m.Post[b] != last {
			last = m.Post[b]
			factor = math.Exp(last - most)
		}
		m.Post[b] = m.Prior[b] * factor
		total += m.Post[b]
	}
	if m.None > 0 {
		m.Nowhere = m.None * math.Exp(m.Nowhere-most)
		total += m.Nowhere
		m.Nowhere /= total
	}
	m.sums[lo] = sum{}
	for b := lo; b < hi; b++ {
		m.Post[b] /= total
		s, p := m.sums[b], m.Post[b]
		m.sums[b+1] = sum{
			s.mass + p, s.lowRate + p*m.lower[b].Rate, s.highRate + p*m.upper[b].Rate,
			s.lowEntropy + p*m.lower[b].Entropy, s.highEntropy + p*m.upper[b].Entropy,
		}
	}
}

// apart are the strata, each with rates of its own, as far as a pass over the boundaries has come.
type apart struct {
	m           *Boundaries
	all, before []Counts
}

func (m *Boundaries) apart(lo, hi int) *apart {
	a := &apart{m: m}
	if len(m.Strata) < 2 {
		return a
	}
	a.all, a.before = make([]Counts, len(m.Strata)), make([]Counts, len(m.Strata))
	for k, of := range m.Strata {
		for i := lo; i <= hi; i++ {
			a.all[k] = a.all[k].Plus(of(i))
		}
	}
	return a
}

// pass moves a place from after the boundary to before it.
func (a *apart) pass(i int) {
	for k := range a.all {
		a.before[k] = a.before[k].Plus(a.m.Strata[k](i))
	}
}

// mixed is the logarithm of the likelihood when both are as likely: that the strata have the same rates, which is given, and that each
// has its own.
func (a *apart) mixed(together float64) float64 {
	if a.all == nil {
		return together
	}
	own := 0.0
	for k, all := range a.all {
		own += a.m.Rates.Of(a.before[k]).Log + a.m.Rates.Of(all.Minus(a.before[k])).Log
	}
	return logAdd(together, own) - math.Ln2
}

// Mass is the probability that the boundary is one of those from one place to another.
func (m *Boundaries) Mass(from, to int) float64 { return m.sums[to].mass - m.sums[from].mass }

// Information is how many bits one trial at a place tells about which of the boundaries between two others it is, given that
// it is one of them. Strata are left out.
func (m *Boundaries) Information(c, from, to int) float64 {
	mass := m.Mass(from, to)
	if mass <= 0 {
		return 0
	}
	first, here, last := m.sums[from], m.sums[c], m.sums[to]
	// With a boundary before it the place has the rate of the upper side, otherwise that of the lower one.
	rate := (here.highRate - first.highRate) + (last.lowRate - here.lowRate)
	noise := (here.highEntropy - first.highEntropy) + (last.lowEntropy - here.lowEntropy)
	return max(0, entropy(rate/mass)-noise/mass)
}
