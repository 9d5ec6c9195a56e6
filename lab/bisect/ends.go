package bisect

import (
	"fmt"
	"math"
	"sort"

	"github.com/vdevil/vdevil/lab/stats"
)

// alpha is the chance that two ends that do not differ are said to. It is shared by the two directions, and by two ways of looking:
// at any time, by evidence from pairs of trials, and once when all trials are used up, by Fisher's test.
const alpha = 0.01

// comparison is that of two candidates' scored trials, in pairs. It goes on where it was as trials come.
type comparison struct {
	alpha float64
	pairs stats.Pairs
	seen  int
	// sign says how the rate changes from the first to the second, 0 while that is not known; at is after how many pairs it was.
	sign, at int
}

// look takes the trials that came since. used says that both have had all trials that they may have.
func (c *comparison) look(a, b *tally, used bool) {
	for ; c.sign == 0 && c.seen < min(len(a.hits), len(b.hits)); c.seen++ {
		c.add(a.hits[c.seen], b.hits[c.seen])
	}
	if c.sign != 0 || !used {
		return
	}
	x, y := a.counts(), b.counts()
	if p := fisher(x, y); p < c.alpha/2 {
		c.at, c.sign = max(x.Scored, y.Scored), 1
		if x.Hits*y.Scored > y.Hits*x.Scored {
			c.sign = -1
		}
	}
}

func (c *comparison) add(a, b bool) {
	switch {
	case a && b:
		c.pairs.Both++
	case a:
		c.pairs.First++
	case b:
		c.pairs.Second++
	default:
		c.pairs.Neither++
	}
	p := c.pairs
	limit := math.Log(4 / c.alpha)
	switch {
	case stats.Evidence(p) > limit:
		c.sign = -1
	case stats.Evidence(stats.Pairs{Both: p.Both, First: p.Second, Second: p.First, Neither: p.Neither}) > limit:
		c.sign = 1
	}
	c.at = c.seen + 1
}

func fisher(a, b stats.Counts) float64 {
	return stats.Fisher(a.Hits, a.Scored-a.Hits, b.Hits, b.Scored-b.Hits)
}

// maxNeeded bounds the search for the number of trials that would do.
const maxNeeded = 1 << 14

// needed is how many more trials of each would separate two candidates, should their rates stay as they are; 0 when no number would.
func needed(a, b stats.Counts) int {
	if a.Scored == 0 || b.Scored == 0 {
		return 0
	}
	longer := func(c stats.Counts, more int) stats.Counts {
		n := c.Scored + more
		return stats.Counts{Hits: (2*c.Hits*n + c.Scored) / (2 * c.Scored), Scored: n} // rounded to the nearest
	}
	shown := func(more int) bool { return fisher(longer(a, more), longer(b, more)) < alpha/2 }
	for more := 1; more <= maxNeeded; more *= 2 {
		if shown(more) {
			less := more / 2
			return less + 1 + sort.Search(more-less-1, func(i int) bool { return shown(less + 1 + i) })
		}
	}
	return 0
}

// invisible says that two candidates are not separated, and what would separate them.
func invisible(a, b stats.Counts) string {
	text := fmt.Sprintf("the difference is not visible: %d/%d against %d/%d, p = %s", a.Hits, a.Scored, b.Hits, b.Scored, pValue(fisher(a, b)))
	if n := needed(a, b); n > 0 {
		return text + fmt.Sprintf("; %d more trials of each would show it", n)
	}
	return text + "; at such rates no number of trials would show one"
}

func pValue(p float64) string {
	if p >= 0.1 {
		return fmt.Sprintf("%.1f", p)
	}
	return fmt.Sprintf("%.2g", p)
}
