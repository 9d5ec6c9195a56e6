package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/printable"
)

// Table prints it for people: what changed and what became of it, since when; then what was done in another way, took another time, or is
// known; and how sure all of it is. Names of scenarios and hosts are strangers': nothing of them reaches the terminal that it would act
// upon.
func (c Comparison) Table(w io.Writer) error {
	var b bytes.Buffer
	c.head(&b)
	for _, why := range c.Unread {
		fmt.Fprintf(&b, "Not compared: %s.\n", printable.Line(why))
	}
	said := b.Len()
	c.verdicts(&b)
	c.changes(&b)
	c.edits(&b)
	c.durations(&b)
	if b.Len() == said && c.Compared > 0 {
		b.WriteString("\nNothing changed.\n")
	}
	c.known(&b)
	c.rest(&b)
	_, err := b.WriteTo(w)
	return err
}

func (c Comparison) head(b *bytes.Buffer) {
	switch n := len(c.Nights); n {
	case 0:
		b.WriteString("There is no night to compare.\n")
	case 1:
		fmt.Fprintf(b, "Tonight is %s: the first night, with nothing before it to compare with.\n", c.night(0))
	default:
		fmt.Fprintf(b, "Tonight is %s; before it %s, the first %s.\nCells with a past to compare with: %d of %d.\n",
			c.night(n-1), number(n-1, "night"), c.night(0), c.Compared, len(c.Cells))
	}
}

// night is the name of one, with its day where that is not in the name.
func (c Comparison) night(i int) string {
	n := c.Nights[i]
	name := printable.Line(n.Name)
	if strings.Contains(name, n.Began.UTC().Format("20060102")) || strings.Contains(name, n.Began.UTC().Format("2006-01-02")) {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, n.Began.UTC().Format("2006-01-02"))
}

func number(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}

// cells are those of a row that name what is asked.
func (w Where) cells() []string {
	return []string{"  " + printable.Line(w.Scenario), printable.Line(w.OpenZFS), printable.Line(w.Driver + "/" + w.Accel)}
}

// rowsUnder writes rows under a title, or nothing when there are no rows.
func rowsUnder(b *bytes.Buffer, title string, head []string, rows [][]string, notes []string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	head[0] = "  " + head[0]
	align(b, slices.Concat([][]string{head}, rows))
	for _, note := range notes {
		fmt.Fprintf(b, "  - %s\n", note)
	}
}

func (c Comparison) verdicts(b *bytes.Buffer) {
	var changed, back, edited [][]string
	for _, q := range c.Questions {
		if q.Changed {
			changed = append(changed, append(q.cells(), string(q.Was), string(q.Verdict), string(q.Expected), c.night(*q.Since),
				known(q.Known)))
		}
		if q.Back != nil && *q.Back == len(c.Nights)-1 {
			back = append(back, append(q.cells(), string(q.Meanwhile), string(q.Verdict), string(q.Expected)))
		}
		if len(q.Edited) > 0 {
			edited = append(edited, append(q.cells(), strings.Join(q.Edited, ", "), string(q.Before), string(q.Verdict), string(q.Expected),
				c.night(*q.Last)))
		}
	}
	rowsUnder(b, "Verdicts that changed:", []string{"SCENARIO", "OPENZFS", "ON", "WAS", "TONIGHT", "EXPECTED", "SINCE", ""}, changed, nil)
	rowsUnder(b, "Verdicts that are again what they were:", []string{"SCENARIO", "OPENZFS", "ON", "NIGHT BEFORE", "TONIGHT", "EXPECTED"}, back, nil)
	rowsUnder(b, "Asked, or expected, in another way than the night before, so that the verdicts do not compare:",
		[]string{"SCENARIO", "OPENZFS", "ON", "CHANGED", "WAS", "TONIGHT", "EXPECTED", "NIGHT BEFORE"}, edited, c.edited())
}

// edited are the lines of scenarios' texts that are others than the night before, a text in a line.
func (c Comparison) edited() (notes []string) {
	for _, q := range c.Questions {
		if text := q.lines(); text != "" {
			if note := printable.Line(q.Scenario + ": " + text); !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

func known(reason string) string {
	if reason == "" {
		return ""
	}
	return "known: " + printable.Line(reason)
}

// title names a cell in a note.
func (c Trend) title() string { return printable.Line(c.Scenario + ", " + c.Arm) }

func (c Comparison) changes(b *bytes.Buffer) {
	var rows [][]string
	var notes []string
	gone := 0
	for _, cell := range c.Cells {
		for _, k := range cell.Changes {
			if c.past(k) {
				gone++
				continue
			}
			state := string(k.State)
			if k.Until != nil {
				state += " since " + c.night(*k.Until)
			}
			p := "-"
			if k.P != nil {
				p = probability(*k.P)
			}
			rows = append(rows, append(cell.cells(), printable.Line(cell.Arm), k.Before.String(), k.After.String(), c.night(k.Since), state,
				fmt.Sprintf("%.4f", k.Probability), p))
			notes = append(notes, c.notes(cell, k)...)
		}
	}
	rowsUnder(b, "Rates that changed:",
		[]string{"SCENARIO", "OPENZFS", "ON", "ARM", "BEFORE", "AFTER", "SINCE", "STATE", "PROBABILITY", "P"}, rows, notes)
	if gone > 0 {
		fmt.Fprintf(b, "\nChanges that came and went before tonight: %d.\n", gone)
	}
	if list := c.suspects(); len(list) > 0 {
		fmt.Fprintf(b, "\nRates that may have changed, too unsure to be named: %s.\n", strings.Join(list, "; "))
	}
}

// past says that a change had gone before tonight.
func (c Comparison) past(k RateChange) bool {
	return k.State == ChangeGone && *k.Until < len(c.Nights)-1
}

// suspects are cells whose rate has changed rather than not.
func (c Comparison) suspects() (list []string) {
	for _, cell := range c.Cells {
		if cell.Probability >= 0.5 && cell.Probability < c.Confidence && cell.State != TrendAbsent {
			list = append(list, fmt.Sprintf("%s on OpenZFS %s, with %.2f", cell.title(), printable.Line(cell.OpenZFS), cell.Probability))
		}
	}
	return list
}

// notes are what is to be said of a change besides its row.
func (c Comparison) notes(cell Trend, k RateChange) (notes []string) {
	note := func(format string, args ...any) {
		notes = append(notes, cell.title()+": "+fmt.Sprintf(format, args...))
	}
	if len(k.Credible) > 1 {
		names := make([]string, len(k.Credible))
		for i, n := range k.Credible {
			names[i] = c.night(n)
		}
		note("the first night with the new rate is one of %s", some(names))
	}
	for _, also := range k.Confounded {
		note("at the same time, %s: it may be that", printable.Line(also))
	}
	switch {
	case k.P == nil:
		note("no host did trials before and after, so that nothing tells the hosts from the change")
	case k.Test != "Fisher":
		note("hosts did other shares of the trials than before: p is that of Mantel and Haenszel, within hosts")
	}
	if k.Known != "" {
		note("%s", known(k.Known))
	}
	return notes
}

func (c Comparison) edits(b *bytes.Buffer) {
	var rows [][]string
	for _, cell := range c.Cells {
		if !c.editedTonight(cell) {
			continue
		}
		e := cell.Edited
		rows = append(rows, append(cell.cells(), printable.Line(cell.Arm), strings.Join(e.What, ", "), c.night(e.Last), e.Before.String(),
			e.After.String(), probability(e.P), probability(e.Q)))
	}
	rowsUnder(b, "Done in another way since tonight, so that nights before are not compared; what that did:",
		[]string{"SCENARIO", "OPENZFS", "ON", "ARM", "CHANGED", "NIGHT BEFORE", "THEN", "TONIGHT", "P", "Q"}, rows, nil)
}

// editedTonight says that tonight is the first night of a cell's key, and that it had another one before.
func (c Comparison) editedTonight(t Trend) bool {
	return t.Edited != nil && t.Edited.Night == len(c.Nights)-1 && t.State != TrendAbsent
}

// slow is the corrected p-value below which durations are told.
const slow = 0.01

func (c Comparison) durations(b *bytes.Buffer) {
	var rows [][]string
	for _, cell := range c.Cells {
		d := cell.Durations
		if d == nil || d.Q >= slow {
			continue
		}
		rows = append(rows, append(cell.cells(), printable.Line(cell.Arm), d.Of, d.Before.String(), d.After.String(), c.night(d.Since),
			printable.Line(d.Host), probability(d.Q)))
	}
	rowsUnder(b, "Trials that take another time until their outcome (medians):",
		[]string{"SCENARIO", "OPENZFS", "ON", "ARM", "OF", "BEFORE", "AFTER", "SINCE", "HOST", "Q"}, rows, nil)
}

// String is the median, and of how many.
func (m Median) String() string { return fmt.Sprintf("%.3g s of %d", m.Seconds, m.Trials) }

func (c Comparison) known(b *bytes.Buffer) {
	rows := make([][]string, 0, len(c.Known))
	for _, k := range c.Known {
		says, arm := string(k.Verdict), ""
		if k.Rate != nil {
			says, arm = fmt.Sprintf("rate %g", *k.Rate), k.Arm
		}
		said := string(k.State)
		switch k.State {
		case KnownExpired:
			said = fmt.Sprintf("expired on %s: it counts no more", k.Until.Format("2006-01-02"))
		case KnownGone:
			said = "does not hold any more: take it out"
		case KnownUnseen:
			said = "nothing of tonight is called so"
		case KnownOpen:
			said = "tonight decides nothing about it"
		}
		if len(k.Gone) > 0 {
			said += "; not of " + some(k.Gone)
		}
		rows = append(rows, []string{
			printable.Line(fmt.Sprintf("  %s:%d", k.File, k.Line)), printable.Line(k.Scenario), printable.Line(k.OpenZFS), printable.Line(arm),
			says, printable.Line(said), printable.Line(k.Reason),
		})
	}
	rowsUnder(b, "Known to deviate:", []string{"ENTRY", "SCENARIO", "OPENZFS", "ARM", "SAYS", "TONIGHT", "REASON"}, rows, nil)
}

// rest is what there is to say of cells that were not compared, and of how sure all of it is.
func (c Comparison) rest(b *bytes.Buffer) {
	of := map[TrendState][]string{}
	for _, cell := range c.Cells {
		of[cell.State] = append(of[cell.State], cell.title())
	}
	for _, s := range []struct {
		state TrendState
		said  string
	}{{TrendNew, "new tonight"}, {TrendLost, "without a valid trial tonight"}, {TrendAbsent, "not done tonight"}} {
		if list := of[s.state]; len(list) > 0 && len(c.Nights) > 1 {
			fmt.Fprintf(b, "\nCells that are %s: %d (%s).\n", s.said, len(list), some(list))
		}
	}
	if len(c.Nights) > 1 {
		fmt.Fprintf(b, "\n%s Where nothing changes, at most %.3g changes are named in a year of nights of so many cells, on average.\n",
			c.Corrected, c.FalseAlarms)
	}
}
