package page

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/url"
	"strings"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
)

// perChunk is how many trials share a script element with their details: it is parsed when one of them is opened.
const perChunk = 200

// trials are those that the page has, as data for the script: a line for each in one element, their details in others.
type trials struct {
	page   *Page
	groups []group
	shown  shown
	index  index
}

// table is a table of strings, which numbers stand for.
type table struct {
	list []string
	at   map[string]int
}

// ref is the number of a text. What a stranger wrote is made printable here, before JSON escapes it: a browser would undo that.
func (t *table) ref(s string) int {
	if i, ok := t.at[s]; ok {
		return i
	}
	if t.at == nil {
		t.at = map[string]int{}
	}
	t.at[s] = len(t.list)
	t.list = append(t.list, printable.Text(s))
	return len(t.list) - 1
}

// index is what is searched and listed.
type index struct {
	Cells    []indexCell    `json:"cells"`
	Outcomes []indexOutcome `json:"outcomes"`
	Strings  []string       `json:"strings"`
	// Trials are [cell, arm, number, outcome, signature, text, tenths of seconds].
	Trials [][7]int `json:"trials"`
	Chunk  int      `json:"chunk"` // trials in each element of details
	All    int      `json:"all"`
}

type indexCell struct {
	Scenario string     `json:"scenario"`
	Column   string     `json:"column"`
	Run      string     `json:"run"`
	Href     string     `json:"href"`
	Arms     []indexArm `json:"arms"`
}

type indexArm struct {
	Name    string `json:"name"`
	Control bool   `json:"control"`
	Href    string `json:"href"`
}

type indexOutcome struct {
	Name  trial.Outcome `json:"name"`
	Glyph string        `json:"glyph"`
}

// id is the place of something in the page: names, so that it is the same in every report of a campaign.
func id(names ...string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = url.PathEscape(printable.Line(name))
	}
	return strings.Join(list, "/")
}

func newTrials(p *Page, cells []report.Cell) *trials {
	list := groups(cells, p.Studies)
	return &trials{page: p, groups: list, shown: thin(list, p.Most)}
}

// write writes the elements, one chunk of details after the other: they are never all in memory.
func (t *trials) write(w io.Writer) error {
	var strings table
	t.index = index{Cells: []indexCell{}, Trials: make([][7]int, 0, t.shown.number), Chunk: perChunk, All: t.shown.all}
	kinds := map[trial.Outcome]int{}
	for i, o := range trial.Outcomes() {
		kinds[o] = i
		t.index.Outcomes = append(t.index.Outcomes, indexOutcome{o, bitmap.LookOf(o).Glyph})
	}
	var c chunk
	for g, group := range t.groups {
		cell := indexCell{
			Scenario: line(group.scenario, signatureMost), Column: line(group.column, signatureMost), Run: printable.Line(group.place.Run),
			Href: "#" + id(group.scenario, group.column), Arms: []indexArm{},
		}
		for a, arm := range group.arms {
			cell.Arms = append(cell.Arms, indexArm{line(arm.name, signatureMost), arm.control, "#" + id(group.scenario, group.column, arm.name)})
			for i, r := range arm.results {
				if !t.shown.keep[g][a][i] {
					continue
				}
				whole, env, err := t.whole(group, r)
				if err != nil {
					return err
				}
				text := whole.Text
				if text == "" {
					text = whole.Reason
				}
				t.index.Trials = append(t.index.Trials, [7]int{
					g, a, r.Number, kinds[r.Outcome], strings.ref(line(r.Signature, signatureMost)), strings.ref(summary(whole, text)), tenths(r.Seconds),
				})
				var console []byte
				if t.page.Console != nil && t.shown.early[g][a][i] {
					console = t.page.Console(whole)
				}
				c.add(about(whole, env, console))
				if len(c.trials) == perChunk {
					if err := c.write(w); err != nil {
						return err
					}
				}
			}
		}
		t.index.Cells = append(t.index.Cells, cell)
	}
	if err := c.write(w); err != nil {
		return err
	}
	t.index.Strings = append([]string{}, strings.list...)
	return element(w, "data", t.index)
}

// whole is all that is known of a trial, and where it was done.
func (t *trials) whole(g group, r trial.Result) (trial.Result, trial.Environment, error) {
	if t.page.Whole == nil {
		return r, g.env, nil
	}
	whole, env, err := t.page.Whole(g.place, r)
	if err != nil {
		return r, env, fmt.Errorf("trial %s/%s/%d: %w", g.scenario, r.Arm, r.Number, err)
	}
	return whole, env, nil
}

// summary is a trial in a line: its message, and where it was struck.
func summary(r trial.Result, text string) string {
	s := line(text, 200)
	if len(r.Injections) > 0 {
		if s != "" {
			s += " · "
		}
		s += line(r.Injections[0].Target, 200)
	}
	return s
}

func tenths(seconds float64) int { return int(math.Round(10 * seconds)) }

// chunk is the details of some trials.
type chunk struct {
	table
	number int // from 0
	trials []chunkTrial
}

// chunkTrial is a detail whose texts are numbers.
type chunkTrial struct {
	Facts   [][3]int      `json:"f"` // name, value, whether it is code
	Strikes []chunkStrike `json:"i,omitempty"`
	Blocks  [][4]int      `json:"b,omitempty"` // title, before, marked, after
}

type chunkStrike struct {
	Title int      `json:"t"`
	Facts [][3]int `json:"f"`
}

func (c *chunk) add(d detail) {
	t := chunkTrial{Facts: c.facts(d.facts)}
	for _, s := range d.strikes {
		t.Strikes = append(t.Strikes, chunkStrike{c.ref(s.title), c.facts(s.facts)})
	}
	for _, b := range d.blocks {
		t.Blocks = append(t.Blocks, [4]int{c.ref(b.title), c.ref(b.before), c.ref(b.marked), c.ref(b.after)})
	}
	c.trials = append(c.trials, t)
}

func (c *chunk) facts(list []fact) [][3]int {
	out := make([][3]int, len(list))
	for i, f := range list {
		code := 0
		if f.code {
			code = 1
		}
		out[i] = [3]int{c.ref(f.name), c.ref(f.value), code}
	}
	return out
}

// write writes what is there, and begins the next chunk.
func (c *chunk) write(w io.Writer) error {
	if len(c.trials) == 0 {
		return nil
	}
	err := element(w, fmt.Sprintf("d%d", c.number), map[string]any{"strings": c.list, "trials": c.trials})
	*c = chunk{number: c.number + 1}
	return err
}

// element writes data for the script. JSON with <, > and & escaped, as the encoder does, ends no element and begins no comment.
func element(w io.Writer, name string, v any) error {
	if _, err := fmt.Fprintf(w, `<script type="application/json" id="%s">`, name); err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, "</script>\n")
	return err
}
