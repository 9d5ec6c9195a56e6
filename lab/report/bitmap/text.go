package bitmap

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vdevil/vdevil/lab/trial"
)

// columns is how wide Text may become.
const columns = 100

// Text writes a summary for a terminal of 100 columns: the map in letters, counts by outcome and by field, the distinct
// signatures, the controls. Only the command that repeats the atlas may be longer.
func Text(w io.Writer, m Map) error {
	var b bytes.Buffer
	for _, text := range []string{m.headline(), m.facts(), m.controls()} {
		wrap(&b, "", "", text)
	}
	b.WriteByte('\n')
	textMap(&b, m)
	b.WriteByte('\n')
	textOutcomes(&b, m)
	textFields(&b, m)
	textSignatures(&b, m)
	textControls(&b, m)
	if m.Repeat != "" {
		b.WriteByte('\n')
		line(&b, "again: ", m.Repeat) // in one piece, to be copied
	}
	_, err := b.WriteTo(w)
	return err
}

func textMap(b *bytes.Buffer, m Map) {
	rows := m.rows()
	above := ""
	b.WriteString("byte   63       55       47       39       31       23       15       7      0\n")
	for i := 0; i < len(rows); {
		r := rows[i]
		var cells strings.Builder
		for c, cell := range r.cells {
			if c > 0 && c%8 == 0 {
				cells.WriteByte(' ')
			}
			switch {
			case cell.Absent:
				cells.WriteByte(' ')
			case cell.Outcome == "":
				cells.WriteByte('_')
			default:
				cells.WriteString(glyph(cell.Outcome))
			}
		}
		label := ""
		if r.Label != above {
			label = fit(shorten(r.Label, above), columns-80)
		}
		if n := len(r.parts); r.Label == "" && n > 0 {
			label = r.parts[n-1].label + " … " + r.parts[0].label
			if utf8.RuneCountInString(label) > columns-80 {
				label = fit(r.parts[n-1].label, columns-82) + " …"
			}
		}
		above = r.Label
		line(b, "", fmt.Sprintf("0x%03x  %s  %s", r.Offset(), cells.String(), label))
		n := fold(rows[i:])
		if n > 1 {
			outcome, _ := r.same()
			line(b, "       ", folded(n-1, outcome))
		}
		i += n
	}
}

// folded says what rows that are not drawn would show.
func folded(rows int, o trial.Outcome) string {
	if o == "" {
		return fmt.Sprintf("... %d more rows, none of their bits run", rows)
	}
	return fmt.Sprintf("... %d more rows like it, every bit %s", rows, o)
}

func textOutcomes(b *bytes.Buffer, m Map) {
	t := m.tally()
	for _, o := range t.outcomes() {
		fmt.Fprintf(b, "%s  %-8s %5d  %s\n", looks[o].glyph, o, t[o], looks[o].means)
	}
	if left := m.bits() - len(m.run()); left > 0 {
		fmt.Fprintf(b, "_  %-8s %5d\n", notRun, left)
	}
}

// textFields is a table: the field, how many bits of it were flipped, one column an outcome.
func textFields(b *bytes.Buffer, m Map) {
	outcomes := m.tally().outcomes()
	rest := 6
	for _, o := range outcomes {
		rest += 2 + max(len(o), 4)
	}
	names := 5
	list := m.byField()
	for _, f := range list {
		names = max(names, utf8.RuneCountInString(f.name))
	}
	names = min(names, columns-rest)
	fmt.Fprintf(b, "\n%-*s  %4s", names, "field", "bits")
	for _, o := range outcomes {
		fmt.Fprintf(b, "  %*s", max(len(o), 4), o)
	}
	b.WriteByte('\n')
	for _, f := range list {
		if f.run == 0 {
			continue
		}
		fmt.Fprintf(b, "%-*s  %4d", names, fit(f.name, names), f.run)
		for _, o := range outcomes {
			n := "."
			if f.tally[o] > 0 {
				n = fmt.Sprint(f.tally[o])
			}
			fmt.Fprintf(b, "  %*s", max(len(o), 4), n)
		}
		b.WriteByte('\n')
	}
}

// fieldTally is what the bits of a field did.
type fieldTally struct {
	field
	run   int
	tally tally
}

func (m Map) byField() []fieldTally {
	bits, fields := m.run(), m.fields()
	out := make([]fieldTally, 0, len(fields))
	for _, f := range fields {
		t := fieldTally{field: f, tally: tally{}}
		for _, b := range bits {
			if b.Bit >= f.first && b.Bit <= f.last {
				t.run++
				t.tally[b.Outcome]++
			}
		}
		out = append(out, t)
	}
	return out
}

func textSignatures(b *bytes.Buffer, m Map) {
	list := m.signatures()
	if len(list) == 0 {
		return
	}
	b.WriteString("\nbits  signature\n")
	for _, s := range list {
		wrap(b, fmt.Sprintf("%4d  ", len(s.Bits)), "      ", fmt.Sprintf("%s (%s)", s.Name, s.Outcome))
		wrap(b, "      bits ", "      ", ranges(s.Bits))
		if text, _, _ := strings.Cut(strings.TrimSpace(s.Text), "\n"); text != "" {
			wrap(b, "      ", "      ", text)
		}
	}
}

// textControls lists the controls that were not masked: a finding, never noise.
func textControls(b *bytes.Buffer, m Map) {
	title := "\ncontrols that were not masked\n"
	for i, c := range m.Controls {
		if c.Outcome == trial.Masked {
			continue
		}
		b.WriteString(title)
		title = ""
		wrap(b, fmt.Sprintf("%4d  ", i+1), "      ", fmt.Sprintf("%s %s", c.Outcome, c.Signature))
		if text, _, _ := strings.Cut(strings.TrimSpace(c.Text), "\n"); text != "" {
			wrap(b, "      ", "      ", text)
		}
	}
}

// line writes text that may hold anything: what a terminal would obey is not written.
func line(b *bytes.Buffer, prefix, text string) {
	b.WriteString(strings.TrimRight(prefix+printable(text), " ") + "\n")
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// wrap breaks text at spaces, and words that are wider than a line anywhere.
func wrap(b *bytes.Buffer, first, next, text string) {
	l, empty := first, true
	for _, word := range strings.Fields(printable(text)) {
		for {
			room := columns - utf8.RuneCountInString(l)
			if !empty {
				room--
			}
			n := utf8.RuneCountInString(word)
			if n <= room {
				break
			}
			if empty {
				r := []rune(word)
				l, word = l+string(r[:room]), string(r[room:])
			}
			line(b, "", l)
			l, empty = next, true
		}
		if !empty {
			l += " "
		}
		l, empty = l+word, false
	}
	if !empty {
		line(b, "", l)
	}
}
