package bitmap

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab/trial"
)

var samples = []struct {
	name string
	make func() Map
}{{"dva", dva}, {"dnode", dnode}, {"partial", partial}}

func TestDrawings(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			var svg, text bytes.Buffer
			if err := SVG(&svg, s.make()); err != nil {
				t.Fatal(err)
			}
			golden.Assert(t, svg.String(), s.name+".svg")
			if err := Text(&text, s.make()); err != nil {
				t.Fatal(err)
			}
			golden.Assert(t, text.String(), s.name+".txt")
		})
	}
}

func TestSVG(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			m := s.make()
			m.Trigger = `a<b>&"` + "\x1b\xff"
			var b bytes.Buffer
			if err := SVG(&b, m); err != nil {
				t.Fatal(err)
			}
			if b.Len() > 150_000 {
				t.Errorf("%d bytes are too many for a document", b.Len())
			}
			cells := drawn(t, b.Bytes())
			want := m.bits()
			for _, hidden := range regexp.MustCompile(`(\d+) more rows`).FindAllStringSubmatch(b.String(), -1) {
				n, err := strconv.Atoi(hidden[1])
				if err != nil {
					t.Fatal(err)
				}
				want -= n * wordBits
			}
			if cells != want {
				t.Errorf("%d cells are drawn, want %d", cells, want)
			}
		})
	}
}

// drawn counts the cells of a drawing, which must be XML. A cell is one closed subpath.
func drawn(t *testing.T, svg []byte) int {
	t.Helper()
	cells := 0
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return cells
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" {
			for _, a := range e.Attr {
				if a.Name.Local == "d" {
					cells += strings.Count(a.Value, "z")
				}
			}
		}
	}
}

// A fold hides only rows that are like the one it follows.
func TestFold(t *testing.T) {
	rows := dnode().rows()
	for i := 0; i < len(rows); {
		n := fold(rows[i:])
		for _, r := range rows[i : i+n] {
			for _, c := range r.cells {
				if n > 1 && (c.Outcome != rows[i].cells[0].Outcome || r.Label != rows[i].Label) {
					t.Errorf("bit %d is hidden in the fold of row %d", c.Bit, i)
				}
			}
		}
		i += n
	}
	m := dnode()
	m.Bits[4000].Outcome = trial.Invalid
	rows = m.rows()
	if n := fold(rows[4000/wordBits-4:]); n != 4 {
		t.Errorf("a fold of %d rows, the fifth is different", n)
	}
}

func TestTextFits(t *testing.T) {
	for _, s := range samples {
		m := s.make()
		m.Target = "spa.objset(\"tank/" + strings.Repeat("x", 200) + "\")"
		m.Controls[1].Outcome, m.Controls[1].Signature, m.Controls[1].Text = trial.Oops, strings.Repeat("y", 150), hostile
		m.Repeat = "vdevil \x1b[2J"
		var b bytes.Buffer
		if err := Text(&b, m); err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(b.String()) {
			l = strings.TrimSuffix(l, "\n")
			if n := utf8.RuneCountInString(l); n > columns && !strings.HasPrefix(l, "again: ") {
				t.Errorf("%s: %d columns: %s", s.name, n, l)
			}
			if printable(l) != l {
				t.Errorf("%s: a terminal would obey %q", s.name, l)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	m := Map{Target: "bp", Trigger: "zio_free_sync", OpenZFS: "2.3.2", Bits: []Bit{{Bit: 9, Field: "a->b", Outcome: trial.Masked, Seconds: 1}}}
	if err := m.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	want := `{"target":"bp","trigger":"zio_free_sync","openzfs":"2.3.2",` +
		`"bits":[{"bit":9,"field":"a->b","outcome":"masked","signature":"","text":"","seconds":1}],"controls":[]}`
	var got bytes.Buffer
	if err := json.Compact(&got, b.Bytes()); err != nil || got.String() != want {
		t.Errorf("%s (%v), want %s", got.String(), err, want)
	}
}

// Readers who lack one kind of cone must tell the fills apart: after the simulation of Machado, Oliveira and Fernandes
// (2009) of each, any two are at least 15 apart in CIELAB, where 2.3 is just noticeable.
func TestPalette(t *testing.T) {
	eyes := map[string][3][3]float64{
		"normal": {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protan": {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"deutan": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"tritan": {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
	}
	glyphs := map[string]trial.Outcome{}
	for i, o := range trial.Outcomes() {
		if other, ok := glyphs[looks[o].glyph]; ok || looks[o].glyph == "" {
			t.Errorf("%s has the glyph %q of %q", o, looks[o].glyph, other)
		}
		glyphs[looks[o].glyph] = o
		for _, p := range trial.Outcomes()[:i] {
			for eye, matrix := range eyes {
				if d := apart(lab(t, looks[o].fill, matrix), lab(t, looks[p].fill, matrix)); d < 15 {
					t.Errorf("%s and %s are %.0f apart for %s eyes", o, p, d, eye)
				}
			}
		}
	}
}

func apart(a, b [3]float64) float64 { return math.Hypot(math.Hypot(a[0]-b[0], a[1]-b[1]), a[2]-b[2]) }

// lab is the CIELAB value of an sRGB colour as seen through a matrix over linear RGB.
func lab(t *testing.T, colour string, m [3][3]float64) [3]float64 {
	t.Helper()
	var rgb [3]uint8
	if _, err := fmt.Sscanf(colour, "#%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2]); err != nil {
		t.Fatal(err)
	}
	var in, seen [3]float64
	for i, v := range rgb {
		in[i] = float64(v) / 255
		if in[i] <= 0.04045 {
			in[i] /= 12.92
		} else {
			in[i] = math.Pow((in[i]+0.055)/1.055, 2.4)
		}
	}
	for i := range seen {
		seen[i] = min(1, max(0, m[i][0]*in[0]+m[i][1]*in[1]+m[i][2]*in[2]))
	}
	f := func(r, g, b, white float64) float64 {
		v := (r*seen[0] + g*seen[1] + b*seen[2]) / white
		if v > 0.008856 {
			return math.Cbrt(v)
		}
		return 7.787*v + 16.0/116
	}
	x, y, z := f(0.4124, 0.3576, 0.1805, 0.9505), f(0.2126, 0.7152, 0.0722, 1), f(0.0193, 0.1192, 0.9505, 1.089)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}
