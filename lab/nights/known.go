package nights

import (
	"fmt"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// apply looks at what the user's list says of tonight. What is known is noted where it is.
func apply(known []scenarios.Known, r *report.Comparison) (list []report.Known) {
	if len(r.Nights) == 0 {
		return nil
	}
	tonight := r.Nights[len(r.Nights)-1].Began
	for _, k := range known {
		if k.Expired(tonight) {
			list = append(list, report.Known{Known: k, State: report.KnownExpired})
			continue
		}
		row := report.Known{Known: k}
		var matches int
		if k.Rate == nil {
			matches = knownVerdict(&row, r.Questions)
		} else {
			matches = knownRate(&row, r.Cells)
		}
		switch {
		case matches == 0:
			row.State = report.KnownUnseen
		case row.Holds > 0:
			row.State = report.KnownHolds
		case len(row.Gone) > 0:
			row.State = report.KnownGone
		default:
			row.State = report.KnownOpen
		}
		list = append(list, row)
	}
	return list
}

// knownVerdict looks for what an entry is about, and says how much there is.
func knownVerdict(k *report.Known, all []report.Question) (matches int) {
	for i := range all {
		q := &all[i]
		if !k.Matches(q.Scenario, q.OpenZFS, "") {
			continue
		}
		matches++
		switch q.Verdict {
		case k.Verdict:
			k.Holds++
			q.Known = k.Reason
		case verdict.Inconclusive:
		default:
			k.Gone = append(k.Gone, fmt.Sprintf("%s: %s", called(q.Where), q.Verdict))
		}
	}
	return matches
}

// knownRate does so for a rate. It holds as long as the interval of tonight, or that of all nights since the last change, has it:
// what people write is rounded.
func knownRate(k *report.Known, all []report.Trend) (matches int) {
	for i := range all {
		c := &all[i]
		if c.State == report.TrendAbsent || !k.Matches(c.Scenario, c.OpenZFS, c.Arm) {
			continue
		}
		matches++
		tonight := c.Points[len(c.Points)-1].Side
		switch {
		case tonight.Scored == 0:
		case covers(tonight, *k.Rate) || covers(c.Present, *k.Rate):
			k.Holds++
			if n := len(c.Changes); n > 0 && c.Changes[n-1].State == report.ChangeThere {
				c.Changes[n-1].Known = k.Reason
			}
		default:
			k.Gone = append(k.Gone, fmt.Sprintf("%s, arm %s: %s", called(c.Where), c.Arm, c.Present))
		}
	}
	return matches
}

func called(w report.Where) string {
	return fmt.Sprintf("%s on OpenZFS %s with %s/%s", w.Scenario, w.OpenZFS, w.Driver, w.Accel)
}

func covers(s report.Side, rate float64) bool { return s.CI95[0] <= rate && rate <= s.CI95[1] }
