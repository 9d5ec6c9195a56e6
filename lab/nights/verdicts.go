package nights

import (
	"slices"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/verdict"
)

// answered is an answer in a night, by the night's index.
type answered struct {
	night int
	Answer
}

// questions are those of tonight, the last night, with what became of their verdicts.
func questions(all []Night) (list []report.Question) {
	before := map[report.Where][]answered{}
	for i, n := range all {
		for _, a := range n.Answers {
			if i == len(all)-1 {
				list = append(list, question(before[a.Where], answered{i, a}))
			} else {
				before[a.Where] = append(before[a.Where], answered{i, a})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b report.Question) int { return compareWhere(a.Where, b.Where) })
	return list
}

// question compares tonight's verdict with the first one of the nights that asked and expected the same. Who has changed an expectation
// has taken note of what there is: the verdicts are counted anew then, the rates are not. Inconclusive is no verdict, only too few
// trials for one.
func question(before []answered, now answered) report.Question {
	q := report.Question{Where: now.Where, Verdict: now.Verdict, Expected: now.Expected}
	if n := len(before); n > 0 {
		last := before[n-1]
		q.Edited = now.Key.edits(last.Key)
		if now.Expected != last.Expected || now.Rate != last.Rate {
			q.Edited = append(q.Edited, "the expectation")
		}
		if now.Key.Trial != last.Key.Trial {
			q.Lines = differing(last.Text, now.Text)
		}
		if len(q.Edited) > 0 {
			q.Last, q.Before = &last.night, last.Verdict
		}
	}
	since, same := now.night, true
	for _, a := range slices.Backward(before) {
		if a.Key != now.Key || a.Expected != now.Expected || a.Rate != now.Rate || a.Verdict == verdict.Inconclusive {
			continue
		}
		q.Was = a.Verdict
		if same && a.Verdict != now.Verdict {
			q.Meanwhile = a.Verdict
		}
		if same = same && a.Verdict == now.Verdict; same {
			since = a.night
		}
	}
	q.Changed = q.Was != "" && now.Verdict != verdict.Inconclusive && q.Was != now.Verdict
	switch {
	case q.Changed:
		q.Since, q.Meanwhile = &since, ""
	case now.Verdict == verdict.Inconclusive:
		q.Meanwhile = ""
	case !same:
		q.Back = &since
	}
	return q
}
