package report

import (
	"fmt"
	"strings"
)

// Past says what was compared, for people.
func (c Comparison) Past() string {
	runs := "runs"
	if len(c.Nights) == 2 {
		runs = "run"
	}
	return fmt.Sprintf("%d %s since %s", len(c.Nights)-1, runs, c.Nights[0].Began.Format("2006-01-02"))
}

// Reasons are those of the user's list why verdicts of tonight may be others than expected.
func (c Comparison) Reasons() map[Where]string {
	list := map[Where]string{}
	for _, q := range c.Questions {
		if q.Known != "" {
			list[q.Where] = q.Known
		}
	}
	return list
}

// Of an edit so many lines are told, with so many bytes of each.
const (
	editShown = 6
	editWide  = 160
)

// lines are those of the scenario's text that are others than on the night before.
func (q Question) lines() string {
	var list []string
	for _, line := range q.Lines[:min(editShown, len(q.Lines))] {
		if len(line) > editWide {
			line = strings.ToValidUTF8(line[:editWide], "") + "..."
		}
		list = append(list, line)
	}
	if more := len(q.Lines) - editShown; more > 0 {
		list = append(list, fmt.Sprintf("and %d more lines", more))
	}
	return strings.Join(list, "; ")
}

// moved is the corrected p-value below which an edit is said to have moved an arm's rate.
const moved = 0.05

// Changes are those of the comparison as a report shows them: verdicts, then rates, then what is done in another way. An edit is told
// once for its scenario, and of each arm whose rate it moved.
func (c Comparison) Changes() (list []Change) {
	edited := map[Where]bool{} // told already
	for _, q := range c.Questions {
		one := Change{Scenario: q.Scenario, OpenZFS: q.OpenZFS, Driver: q.Driver, Accel: q.Accel, After: string(q.Verdict)}
		switch {
		case q.Back != nil && *q.Back == len(c.Nights)-1:
			one.Before, one.Verdict, one.Over, one.Since = string(q.Meanwhile), true, true, c.night(*q.Back)
		case q.Changed:
			one.Before, one.Verdict = string(q.Was), q.Known == ""
			if q.Since != nil {
				one.Since = c.night(*q.Since)
			}
			if q.Known != "" {
				one.Text = "known: " + q.Known
			}
		case len(q.Edited) > 0 && q.Last != nil:
			one.Before, one.Since = string(q.Before), c.night(len(c.Nights)-1)
			one.Text = "asked in another way: " + strings.Join(q.Edited, ", ")
			if lines := q.lines(); lines != "" {
				one.Text += ": " + lines
			}
			edited[q.Where] = true
		default:
			continue
		}
		list = append(list, one)
	}
	for _, t := range c.Cells {
		for _, k := range t.Changes {
			if c.past(k) {
				continue
			}
			one := Change{
				Scenario: t.Scenario, OpenZFS: t.OpenZFS, Arm: t.Arm, Driver: t.Driver, Accel: t.Accel, Since: c.night(k.Since),
				Before: k.Before.String(), After: k.After.String(), Over: k.State == ChangeGone || k.State == ChangeAgain,
				Text: fmt.Sprintf("%s, with probability %.4f", k.State, k.Probability),
			}
			if k.Until != nil {
				one.Text += ", until " + c.night(*k.Until)
			}
			if k.Known != "" {
				one.Text += "; known: " + k.Known
			}
			if len(k.Confounded) > 0 {
				one.Text += "; at the same time: " + strings.Join(k.Confounded, ", ")
			}
			list = append(list, one)
		}
		if e := t.Edited; c.editedTonight(t) {
			if edited[t.Where] && e.Q >= moved {
				continue
			}
			list = append(list, Change{
				Scenario: t.Scenario, OpenZFS: t.OpenZFS, Arm: t.Arm, Driver: t.Driver, Accel: t.Accel, Since: c.night(e.Night),
				Before: e.Before.String(), After: e.After.String(),
				Text: fmt.Sprintf("done in another way: %s; q = %s", strings.Join(e.What, ", "), probability(e.Q)),
			})
		}
	}
	return list
}
