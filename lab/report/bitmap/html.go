package bitmap

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its parts
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/vdevil/vdevil/lab/trial"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// page is what the template draws.
type page struct {
	Map                       Map
	Headline, Facts, Controls string
	Alarm                     bool // a control was not masked
	Outcomes                  []pageOutcome
	Left                      int // bits that were not flipped
	Rows                      []pageRow
	Short                     bool // so few rows that the details stand better below than beside them
	Signatures                []pageSignature
	Fields                    []pageField
	ControlRows               []pageControl
	Data                      pageData
	Style                     template.CSS
	Script                    template.JS
	StyleHash, ScriptHash     string
}

type pageOutcome struct {
	Name         trial.Outcome
	Glyph, Means string
	Count        int
}

type pageRow struct {
	row
	Short  string // Label without what it shares with the row above
	Same   bool   // Label is that of the row above
	Halves [2]pageHalf
}

// pageHalf is half a word: a narrow window shows a word in two lines.
type pageHalf struct {
	Parts []pagePart
	Cells []pageCell
}

type pagePart struct {
	Label    string
	Width    int  // in columns
	From, To bool // goes on to the left, to the right
	Blank    bool // columns of unknown fields
}

type pageCell struct {
	cell
	Class, Glyph string
}

type pageSignature struct {
	Name, Glyph, Text, Bits string
	Outcome                 trial.Outcome
	Count                   int
}

type pageField struct {
	Name     string
	Run      int
	Outcomes []pageOutcome
}

type pageControl struct {
	Control
	Number int
	Glyph  string
}

// pageData is what the script knows.
type pageData struct {
	Size   int             `json:"size"`
	Bits   []Bit           `json:"bits"`
	Fields []pageDataField `json:"fields"`
	Repeat string          `json:"repeat"`
}

type pageDataField struct {
	Name  string `json:"name"`
	First int    `json:"first"`
	Last  int    `json:"last"`
}

// HTML writes the map as one page that needs nothing else: no network, which its content security policy forbids, and for
// looking at it no script.
func HTML(w io.Writer, m Map) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("drawing the atlas: %w", err)
	}
	css := classes() + pageCSS
	p := page{
		Map: m, Headline: m.headline(), Facts: m.facts(), Controls: m.controls(),
		Alarm:    m.alarm(),
		Outcomes: m.tally().page(), Left: m.bits() - len(m.run()),
		Data:  pageData{Size: m.bits(), Bits: m.run(), Fields: []pageDataField{}, Repeat: m.Repeat},
		Style: template.CSS(css), StyleHash: hash(css),
		Script: template.JS(pageJS), ScriptHash: hash(pageJS),
	}
	above := ""
	for _, r := range m.rows() {
		p.Rows = append(p.Rows, r.page(above))
		above = r.Label
	}
	p.Short = len(p.Rows) <= 12
	for _, s := range m.signatures() {
		p.Signatures = append(p.Signatures, pageSignature{
			Name: s.Name, Outcome: s.Outcome, Glyph: glyph(s.Outcome), Count: len(s.Bits), Bits: ranges(s.Bits),
			Text: strings.TrimSpace(s.Text),
		})
	}
	for _, f := range m.byField() {
		if f.run > 0 {
			p.Fields = append(p.Fields, pageField{Name: f.name, Run: f.run, Outcomes: f.tally.page()})
		}
		p.Data.Fields = append(p.Data.Fields, pageDataField{f.name, f.first, f.last})
	}
	for i, c := range m.Controls {
		c.Text = strings.TrimSpace(c.Text)
		p.ControlRows = append(p.ControlRows, pageControl{Control: c, Number: i + 1, Glyph: glyph(c.Outcome)})
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return fmt.Errorf("drawing the atlas: %w", err)
	}
	_, err = out.WriteTo(w)
	return err
}

// classes are those of the outcomes, and w1 to w32 for what is as wide as so many columns: the policy allows no style
// attributes.
func classes() string {
	var b strings.Builder
	for _, o := range trial.Outcomes() {
		fmt.Fprintf(&b, ".%s{background:%s;color:%s}", o, looks[o].fill, looks[o].ink)
	}
	for n := 1; n <= wordBits/2; n++ {
		fmt.Fprintf(&b, ".w%d{grid-column-end:span %d}", n, n)
	}
	return b.String()
}

// hash names a script or style in a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (t tally) page() []pageOutcome {
	list := t.outcomes()
	out := make([]pageOutcome, len(list))
	for i, o := range list {
		out[i] = pageOutcome{Name: o, Glyph: glyph(o), Means: looks[o].means, Count: t[o]}
	}
	return out
}

func (r row) page(above string) pageRow {
	p := pageRow{row: r, Short: r.Label, Same: r.Label == above}
	if !p.Same {
		p.Short = shorten(r.Label, above)
	}
	for c, cell := range r.cells {
		class := string(cell.Outcome)
		if class == "" {
			class = "notrun"
		}
		h := &p.Halves[c/(wordBits/2)]
		h.Cells = append(h.Cells, pageCell{cell, class, strings.TrimSpace(glyph(cell.Outcome))})
	}
	for i := range p.Halves {
		p.Halves[i].Parts = r.half(i * wordBits / 2)
	}
	return p
}

// half are the parts of the row in the 32 columns from first on, from left to right.
func (r row) half(first int) []pagePart {
	if r.parts == nil {
		return nil
	}
	var out []pagePart
	last := first + wordBits/2 - 1
	next := first
	// From the left: fields are in order of their bits, columns count the other way.
	for i := len(r.parts) - 1; i >= 0; i-- {
		p := r.parts[i]
		if p.last < first || p.first > last {
			continue
		}
		part := pagePart{Label: p.label, From: p.first < first, To: p.last > last}
		left, right := max(p.first, first), min(p.last, last)
		if left > next {
			out = append(out, pagePart{Blank: true, Width: left - next})
		}
		next = right + 1
		part.Width = right - left + 1
		if part.From {
			part.Label = "" // it is in the other half
		}
		part.Label = fit(part.Label, max(part.Width*7/4, 1)) // 1.75 characters to a column
		out = append(out, part)
	}
	if next <= last {
		out = append(out, pagePart{Blank: true, Width: last + 1 - next})
	}
	return out
}
