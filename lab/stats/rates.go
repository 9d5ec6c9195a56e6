package stats

import (
	"math"
	"slices"
)

// Counts are trials that were scored, and the hits among them.
type Counts struct{ Hits, Scored int }

// Plus is both together.
func (c Counts) Plus(d Counts) Counts { return Counts{c.Hits + d.Hits, c.Scored + d.Scored} }

// Minus is what is left without a part.
func (c Counts) Minus(d Counts) Counts { return Counts{c.Hits - d.Hits, c.Scored - d.Scored} }

// shape is a beta distribution that a rate may come from, with the logarithm of its weight and that of the beta function.
type shape struct{ a, b, weight, norm float64 }

const (
	// spike is the weight of a rate of exactly 0, and that of exactly 1: many faults do a thing always or never. With more of it a
	// rate of a half that looks certain by chance makes the answers surer than they are: see the benchmark of package bisect.
	spike = 0.1
	// decades is how many shapes the rest has on each side: the weight is about the same for each power of four down from an even
	// chance, so that a version that hits once in a thousand trials, of itself, is as likely as one that hits once in ten. With a
	// flat rest alone one stray hit among hundreds of trials would convict the version it came from.
	decades = 6
)

// shapes are what a rate may come from besides the spikes: a flat one, and those that lean to 0 or to 1. One of their parameters is 1.
var shapes = func() []shape {
	all := []shape{{a: 1, b: 1}}
	for i := 1; i <= decades; i++ {
		lean := math.Pow(4, float64(i))
		all = append(all, shape{a: 1, b: lean}, shape{a: lean, b: 1})
	}
	for i := range all {
		s := &all[i]
		s.weight = math.Log((1 - 2*spike) / float64(len(all)))
		s.norm = logGamma(s.a) + logGamma(s.b) - logGamma(s.a+s.b)
	}
	return all
}()

// Rates knows how likely counts are when the rate behind them is unknown: it comes from a mixture of beta distributions with spikes at
// 0 and 1 and a rest that is about log-uniform. It remembers what it has computed, some 100 bytes for each pair of counts; the zero
// value is ready. It is for one goroutine.
type Rates struct{ known map[Counts]Marginal }

// Marginal is what counts say while the rate is unknown.
type Marginal struct {
	// Log is the natural logarithm of the probability of one sequence of outcomes with these counts. How the number of trials was
	// chosen is not in it, so that they may have stopped because of what they showed.
	Log float64
	// Next is what is expected of the next trial after them.
	Next Belief
}

// Belief is an expected rate with the entropy, in bits, of one trial.
type Belief struct{ Rate, Entropy float64 }

// Of gives the marginal of counts, 0 <= Hits <= Scored.
func (r *Rates) Of(c Counts) Marginal {
	k, ok := r.known[c]
	if ok {
		return k
	}
	if r.known == nil {
		r.known = map[Counts]Marginal{}
	}
	k.Log = marginal(float64(c.Hits), float64(c.Scored-c.Hits))
	k.Next.Rate = math.Exp(marginal(float64(c.Hits+1), float64(c.Scored-c.Hits)) - k.Log)
	k.Next.Entropy = entropy(k.Next.Rate)
	r.known[c] = k
	return k
}

// marginal is the beta-binomial likelihood of hits and misses, mixed over the spikes and shapes.
func marginal(hits, misses float64) float64 {
	var room [2*decades + 3]float64
	terms := room[:0]
	if hits == 0 {
		terms = append(terms, math.Log(spike))
	}
	if misses == 0 {
		terms = append(terms, math.Log(spike))
	}
	flatHits, flatMisses := logGamma(1+hits), logGamma(1+misses)
	for _, s := range shapes {
		x, y := flatHits, flatMisses
		if s.a != 1 {
			x = logGamma(s.a + hits)
		}
		if s.b != 1 {
			y = logGamma(s.b + misses)
		}
		terms = append(terms, s.weight+(x+y-logGamma(s.a+hits+(s.b+misses)))-s.norm)
	}
	most, sum := slices.Max(terms), 0.0
	for _, t := range terms {
		sum += math.Exp(t - most)
	}
	return most + math.Log(sum)
}

func logGamma(x float64) float64 {
	l, _ := math.Lgamma(x)
	return l
}

// entropy is that of one trial, in bits.
func entropy(p float64) float64 {
	if p <= 0 || p >= 1 {
		return 0
	}
	return -(p*math.Log(p) + (1-p)*math.Log1p(-p)) / math.Ln2
}
