package bisect

import (
	"math"
	"slices"
)

// shape is a beta distribution that a rate may come from, with the logarithm of its weight.
type shape struct{ a, b, weight float64 }

const (
	// spike is the weight of a rate of exactly 0, and that of exactly 1: many faults do a thing always or never. With more of it a
	// rate of a half that looks certain by chance makes the answers surer than they are: see the benchmark.
	spike = 0.1
	// decades is how many shapes the rest has on each side: the weight is about the same for each power of four down from an even
	// chance, so that a version that hits once in a thousand trials, of itself, is as likely as one that hits once in ten. With a
	// flat rest alone one stray hit among hundreds of trials would convict the version it came from.
	decades = 6
)

// shapes are what a rate may come from besides the spikes: a flat one, and those that lean to 0 or to 1.
var shapes = func() []shape {
	all := []shape{{a: 1, b: 1}}
	for i := 1; i <= decades; i++ {
		lean := math.Pow(4, float64(i))
		all = append(all, shape{a: 1, b: lean}, shape{a: lean, b: 1})
	}
	for i := range all {
		all[i].weight = math.Log((1 - 2*spike) / float64(len(all)))
	}
	return all
}()

// rates knows how likely counts are when the rate is unknown. It remembers what it has computed; the zero value is ready.
type rates struct{ known map[counts]known }

// known is the logarithm of the probability of one sequence of outcomes, and what is expected of the next trial after it.
type known struct {
	log  float64
	next belief
}

func (r *rates) of(c counts) known {
	k, ok := r.known[c]
	if ok {
		return k
	}
	if r.known == nil {
		r.known = map[counts]known{}
	}
	k.log = marginal(float64(c.hits), float64(c.scored-c.hits))
	k.next.rate = math.Exp(marginal(float64(c.hits+1), float64(c.scored-c.hits)) - k.log)
	k.next.entropy = entropy(k.next.rate)
	r.known[c] = k
	return k
}

// marginal is the beta-binomial likelihood of hits and misses, mixed over the spikes and shapes.
func marginal(hits, misses float64) float64 {
	terms := make([]float64, 0, 2*decades+3)
	if hits == 0 {
		terms = append(terms, math.Log(spike))
	}
	if misses == 0 {
		terms = append(terms, math.Log(spike))
	}
	for _, s := range shapes {
		terms = append(terms, s.weight+logBeta(s.a+hits, s.b+misses)-logBeta(s.a, s.b))
	}
	most, sum := slices.Max(terms), 0.0
	for _, t := range terms {
		sum += math.Exp(t - most)
	}
	return most + math.Log(sum)
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}
