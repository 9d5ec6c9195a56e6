package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/printable"
)

// Bounds of a summary in Markdown, in bytes. GitHub shows 1 MiB of one.
const (
	markdownMost = 1_000_000
	wordMost     = 300 // of a text in it
)

// Markdown writes what is shown beside a job in CI: the matrix of verdicts, and what changed. It is below 1 MiB whatever the input.
func (r Report) Markdown(w io.Writer) error {
	cells := r.Cells()
	b := &markdown{}
	b.line("## " + plainText(r.Title))
	b.line("")
	b.line(Count(cells))
	if r.Error != "" {
		b.line("")
		b.line("**Ended early**: " + plainText(r.Error))
	}
	for _, text := range r.Alarms() {
		b.line("")
		b.line("**Memory**: " + plainText(text))
	}
	b.changes(r)
	b.matrix(cells)
	b.against(cells)
	if b.left > 0 {
		b.WriteString("\n" + strconv.Itoa(b.left) + " more lines have no room here.\n")
	}
	_, err := b.WriteTo(w)
	return err
}

// markdown is a text that does not become too long: lines for which there is no room are counted.
type markdown struct {
	bytes.Buffer
	left int
}

func (b *markdown) line(s string) {
	if b.left > 0 || b.Len()+len(s) > markdownMost {
		b.left++
		return
	}
	b.WriteString(s + "\n")
}

func (b *markdown) changes(r Report) {
	if r.Past != "" {
		b.line("")
		b.line("Compared with " + plainText(r.Past) + ".")
	}
	switch {
	case len(r.Changes) > 0:
		b.line("")
		b.line("### Changes")
		b.line("")
		b.row("what", "since", "before", "after", "more")
		b.row("---", "---", "---", "---", "---")
	case r.Past != "":
		b.line("Nothing changed.")
	}
	for _, c := range r.Changes {
		what := plainText(c.Scenario + " on " + c.OpenZFS)
		if c.Arm != "" {
			what += ", arm " + plainText(c.Arm)
		}
		if c.Driver != "" {
			what += ", " + plainText(strings.TrimSpace(c.Driver+" "+c.Accel))
		}
		more := plainText(c.Text)
		switch {
		case c.Verdict && c.Over:
			more = "the verdict is as it was again. " + more
		case c.Verdict:
			more = "**the verdict changed.** " + more
		case c.Over:
			more = "over. " + more
		}
		b.row(what, plainText(c.Since), plainText(c.Before), plainText(c.After), strings.TrimSpace(more))
	}
}

// marks are the glyphs of the states, which also say what they mean.
var marks = map[State]string{Changed: "🔺", Unexpected: "❌", Trouble: "🔧", Unsure: "❔", AsKnown: "📌", Expected: "✅"}

func (b *markdown) matrix(cells []Cell) {
	if len(cells) == 0 {
		return
	}
	b.line("")
	b.line("### Verdicts")
	b.line("")
	columns := Columns(cells)
	head, rule := []string{"scenario"}, []string{"---"}
	at := map[string]int{}
	for i, c := range columns {
		at[c] = i + 1
		head, rule = append(head, plainText(c)), append(rule, "---")
	}
	b.row(head...)
	b.row(rule...)
	row := make([]string, len(head))
	for i, c := range cells {
		row[0] = plainText(c.Summary.Scenario)
		text := fmt.Sprintf("%s %s, %s", marks[c.State], c.Summary.Verdict, c.State)
		if lead := c.Lead(); lead != nil {
			text += "<br>" + Rate(*lead)
		}
		if c.State == AsKnown {
			text += "<br>" + plainText(c.Known)
		}
		row[at[c.Column]] = text
		if i+1 == len(cells) || cells[i+1].Summary.Scenario != c.Summary.Scenario {
			b.row(row...)
			clear(row)
		}
	}
}

// against lists what went against the expectation, cell by cell.
func (b *markdown) against(cells []Cell) {
	const most = 5 // of a cell
	titled := false
	for _, c := range cells {
		if c.State == Expected || c.State == Unsure || c.State == AsKnown {
			continue
		}
		if !titled {
			titled = true
			b.line("")
			b.line("### To look at")
			b.line("")
		}
		_, why := outcome(c)
		b.line(fmt.Sprintf("- %s %s on %s: %s", marks[c.State], plainText(c.Summary.Scenario), plainText(c.Column), plainText(FirstLine(why))))
		for i, text := range c.Summary.Against {
			if i == most {
				b.line(fmt.Sprintf("  - and %d more", len(c.Summary.Against)-most))
				break
			}
			b.line("  - " + plainText(FirstLine(text)))
		}
		if again := c.Repeat(); again != "" {
			b.line("  - again: <code>" + plainText(again) + "</code>")
		}
	}
}

func (b *markdown) row(cells ...string) { b.line("| " + strings.Join(cells, " | ") + " |") }

// plainText is a stranger's text that no reader of Markdown takes for anything else: every sign that may mean something is written as
// a reference to a character, and names that a site would tell somebody about, or links that it would make, are broken up.
func plainText(s string) string {
	s = printable.Line(s[:min(len(s), wordMost+1)]) // which is no shorter
	if len(s) > wordMost {
		s = strings.ToValidUTF8(s[:wordMost], "") + " ..."
	}
	var b strings.Builder
	before := ' '
	for _, r := range s {
		switch {
		case r == '@' && !word(before), r == '#' && !word(before), r == '/' && before == '/', r == '.' && (before == 'w' || before == 'W'):
			fmt.Fprintf(&b, "&#%d;&#8203;", r) // of no width
		case strings.ContainsRune("\\`*_{}[]()<>#+!|~&\"'@:$=^", r):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
		before = r
	}
	return b.String()
}

func word(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
