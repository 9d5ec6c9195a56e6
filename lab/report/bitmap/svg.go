package bitmap

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vdevil/vdevil/lab/trial"
)

// Lengths of the SVG in its own units. The font has a fixed width of 0.6 of its size, as monospaced fonts have to within
// a few percent, and so the place of a text can be computed.
const (
	cellWidth, cellHeight = 11, 13
	byteGap               = 2
	rowGap                = 1
	margin                = 20
	mapLeft               = margin + 78
	mapRight              = mapLeft + wordBits*cellWidth + 7*byteGap
	labelLeft             = mapRight + 44
	fontSize              = 10
	charWidth             = 6.02
)

const svgStyle = `text{font:10px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#24292f}` +
	`.h{font-size:15px;font-weight:bold}.m{text-anchor:middle}.e{text-anchor:end}.q{fill:#59636e}.s{font-size:9px}` +
	`.a{fill:#b3261e;font-weight:bold}.l{fill:` + lightInk + `;font-weight:bold}.d{fill:` + darkInk + `}.b{fill:none;stroke:#818b98}`

// svg is a drawing under way; y is where the next thing goes.
type svg struct {
	bytes.Buffer
	y     int
	width int
}

// SVG draws the map for a document: static, on a background of its own, with text as text. The same map gives the same
// bytes. Long runs of rows of one field that did the same are drawn as one row and a line that says how many more there are.
func SVG(w io.Writer, m Map) error {
	d := &svg{y: margin + 12}
	rows := m.rows()
	d.width = labelLeft + margin + 60
	for _, r := range rows {
		d.width = max(d.width, labelLeft+textWidth(r.Label)+margin)
	}
	d.width = max(d.width, margin*2+int(1.5*float64(textWidth(m.headline()))))
	d.text(margin, "h", m.headline())
	for _, l := range d.lines(m.facts()) {
		d.y += 16
		d.text(margin, "q", l)
	}
	d.controls(m)
	d.y += 12
	d.legend(m)
	d.y += 22
	d.columns()
	d.rows(rows)
	d.y += margin

	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">`,
		d.width, d.y, d.width, d.y)
	fmt.Fprintf(&out, "\n<title id=\"t\">%s</title>\n<desc id=\"d\">%s</desc>\n", escape(m.headline()), escape(m.description()))
	fmt.Fprintf(&out, "<style>%s</style>\n", svgStyle)
	fmt.Fprintf(&out, `<rect x=".5" y=".5" width="%d" height="%d" rx="6" fill="#fff" stroke="#d1d9e0"/>`+"\n", d.width-1, d.y-1)
	_, _ = d.WriteTo(&out) // a bytes.Buffer takes everything
	out.WriteString("</svg>\n")
	_, err := out.WriteTo(w)
	return err
}

// description says for those who do not see the drawing what is in it.
func (m Map) description() string {
	text := fmt.Sprintf("One cell a bit, one row a 64-bit word, the most significant bit on the left. %s. Outcomes: %s. %s.",
		m.facts(), m.tally(), m.controls())
	for _, f := range m.byField() {
		if f.tally[trial.Masked] < f.run && len(text) < 4000 {
			text += fmt.Sprintf(" %s: %s.", f.name, f.tally)
		}
	}
	return text
}

func textWidth(s string) int { return int(charWidth*float64(utf8.RuneCountInString(s))) + 1 }

// escape makes XML of any text; what XML cannot hold becomes U+FFFD.
func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes everything
	return b.String()
}

// add writes more of the drawing.
func (d *svg) add(format string, args ...any) { fmt.Fprintf(&d.Buffer, format, args...) }

func (d *svg) text(x int, class, s string) {
	d.add(`<text x="%d" y="%d" class="%s">%s</text>`+"\n", x, d.y, class, escape(s))
}

// lines breaks text at commas so that it fits the drawing.
func (d *svg) lines(text string) []string {
	var out []string
	for _, part := range strings.SplitAfter(text, ", ") {
		n := len(out) - 1
		if n >= 0 && margin*2+textWidth(out[n]+part) <= d.width {
			out[n] += part
		} else {
			out = append(out, part)
		}
	}
	return out
}

// controls draws what the forks without a flip did, a cell each.
func (d *svg) controls(m Map) {
	d.y += 17
	class := "q"
	if m.alarm() {
		class = "a"
	}
	d.text(margin, class, m.controls())
	x := margin + textWidth(m.controls()) + 8
	for _, c := range m.Controls {
		if x+cellWidth > d.width-margin {
			x = margin
			d.y += 17
		}
		d.add(`<rect x="%d" y="%d" width="%d" height="%d" %s/>`, x, d.y-10, cellWidth-1, cellHeight, fill(c.Outcome))
		d.add(`<text x="%d" y="%d" class="m %s">%s</text>`+"\n", x+5, d.y, ink(c.Outcome), glyph(c.Outcome))
		x += cellWidth
	}
}

// legend draws one entry for each outcome that occurred, with its count.
func (d *svg) legend(m Map) {
	t := m.tally()
	x := margin
	entry := func(o trial.Outcome, text string) {
		if x+18+textWidth(text) > d.width-margin {
			x = margin
			d.y += 18
		}
		d.add(`<rect x="%d" y="%d" width="12" height="12" %s/>`, x, d.y, fill(o))
		d.add(`<text x="%d" y="%d" class="%s">%s</text>`, x+6, d.y+10, "m "+ink(o), glyph(o))
		d.add(`<text x="%d" y="%d">%s</text>`+"\n", x+17, d.y+10, text)
		x += 17 + textWidth(text) + 16
	}
	for _, o := range t.outcomes() {
		entry(o, fmt.Sprintf("%s %d", o, t[o]))
	}
	if left := m.bits() - len(m.run()); left > 0 {
		entry("", fmt.Sprintf("%s %d", notRun, left))
	}
	d.y += 12
}

func fill(o trial.Outcome) string {
	if o == "" {
		return `fill="none" stroke="#c4ccd4"`
	}
	return fmt.Sprintf("fill=%q", looks[o].fill)
}

// ink is the class of a glyph.
func ink(o trial.Outcome) string {
	if looks[o].ink == lightInk {
		return "l"
	}
	return "d"
}

// columnX is where a column begins.
func columnX(column int) int { return mapLeft + column*cellWidth + column/8*byteGap }

// columns numbers the bits of a word above the map.
func (d *svg) columns() {
	d.add(`<text x="%d" y="%d" class="q s">byte</text>`, margin, d.y)
	for c := 0; c < wordBits; c += 8 {
		d.add(`<text x="%d" y="%d" class="q s m">%d</text>`, columnX(c)+5, d.y, wordBits-1-c)
	}
	d.add(`<text x="%d" y="%d" class="q s m">0</text>`+"\n", columnX(wordBits-1)+5, d.y)
	d.y += 5
}

func (d *svg) rows(rows []row) {
	for i := 0; i < len(rows); {
		// One label and one bracket for neighbouring rows of one field.
		n := 1
		for i+n < len(rows) && rows[i+n].Label == rows[i].Label && rows[i].Label != "" {
			n++
		}
		top := -1
		for j := i; j < i+n; {
			r := rows[j]
			d.parts(r)
			if top < 0 {
				top = d.y
			}
			d.row(r)
			k := fold(rows[j : i+n])
			if k > 1 {
				o, _ := r.same()
				d.y += 10
				d.text(mapLeft, "q", fmt.Sprintf("%s: bits %d-%d", folded(k-1, o), (r.Word+1)*wordBits, (r.Word+k)*wordBits-1))
				d.y += 5
			}
			j += k
		}
		if rows[i].Label != "" {
			d.label(top, rows[i].Label)
		}
		i += n
	}
}

// parts draws a bracket and a name above each field of a row that has several.
func (d *svg) parts(r row) {
	if r.parts == nil {
		return
	}
	d.y += 17
	for _, p := range r.parts {
		left, right := columnX(p.first), columnX(p.last)+cellWidth-1
		d.add(`<path class="b" d="M%d.5 %dv-3.5h%dv3.5"/>`, left, d.y, right-left-1)
		if name := fit(p.label, int(float64(right-left)/charWidth)); name != "" {
			d.add(`<text x="%d" y="%d" class="m">%s</text>`, (left+right)/2, d.y-5, escape(name))
		}
	}
	d.WriteByte('\n')
	d.y++
}

// row draws 64 cells: one path an outcome, one text an ink, and the numbers at the edges.
func (d *svg) row(r row) {
	d.add(`<text x="%d" y="%d" class="q">0x%03x</text>`, margin, d.y+10, r.Offset())
	first := 0
	for r.cells[first].Absent {
		first++
	}
	d.add(`<text x="%d" y="%d" class="q s e">%d</text>`, columnX(first)-5, d.y+10, r.cells[first].Bit)
	d.add(`<text x="%d" y="%d" class="q s">%d</text>`+"\n", mapRight+3, d.y+10, r.cells[wordBits-1].Bit)
	for _, o := range append(trial.Outcomes(), "") {
		d.cells(r, o)
	}
	for _, class := range []string{"l", "d"} {
		var x []string
		var letters strings.Builder
		for c, cell := range r.cells {
			if !cell.Absent && cell.Outcome != "" && ink(cell.Outcome) == class {
				x = append(x, strconv.Itoa(columnX(c)+5))
				letters.WriteString(glyph(cell.Outcome))
			}
		}
		if x != nil {
			d.add(`<text y="%d" class="m %s" x="%s">%s</text>`+"\n", d.y+10, class, strings.Join(x, " "), letters.String())
		}
	}
	d.y += cellHeight + rowGap
}

func (d *svg) cells(r row, o trial.Outcome) {
	var path strings.Builder
	for c, cell := range r.cells {
		if cell.Absent || cell.Outcome != o {
			continue
		}
		if o == "" { // an outline lies half outside of its path
			fmt.Fprintf(&path, "M%d.5 %d.5h%dv%dh-%dz", columnX(c), d.y, cellWidth-2, cellHeight-1, cellWidth-2)
		} else {
			fmt.Fprintf(&path, "M%d %dh%dv%dh-%dz", columnX(c), d.y, cellWidth-1, cellHeight, cellWidth-1)
		}
	}
	if path.Len() > 0 {
		d.add(`<path %s d="%s"/>`+"\n", fill(o), path.String())
	}
}

// label names the field of the rows from top to here, with a bracket.
func (d *svg) label(top int, label string) {
	bottom := d.y - rowGap - 1
	d.add(`<path class="b" d="M%d %d.5h4v%dh-4"/>`, labelLeft-10, top, bottom-top)
	d.add(`<text x="%d" y="%d">%s</text>`+"\n", labelLeft, (top+bottom)/2+4, escape(label))
}
