package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/trial"
)

// Bounds of a JUnit file, in bytes as they are written. GitLab reads 30 MB of one.
const (
	junitMost = 28_000_000
	caseMost  = 64 << 10 // of the text of a case
	nameMost  = 240
	shareMost = 2000 // of a message or a property
)

// JUnit writes a test case for each scenario on each version of OpenZFS with each driver, of a name that is the same every night: a
// verdict that changed or was not expected is a failure, trouble of the lab's own an error, and what is inconclusive is skipped. Where
// several results have one name the worst counts, and the others are in its text. The file is below 30 MB whatever the input: texts
// are cut, then left out, and in the end cases are, and the file says so.
func (r Report) JUnit(w io.Writer) error { return r.junit(w, junitMost) }

// junit keeps the cases below a size in bytes.
func (r Report) junit(w io.Writer, most int) error {
	cases := r.cases()
	body := &junitWriter{}
	written := body.cases(cases, min(caseMost, most/2/max(1, len(cases))), most)
	if written < len(cases) {
		body.Reset()
		written = body.cases(cases, 0, most)
	}
	head := &junitWriter{}
	head.begin(r, cases[:written], len(cases)-written)
	if r.Error != "" {
		body.raw("<system-err>")
		body.text(share("the campaign ended early: "+r.Error, caseMost))
		body.raw("</system-err>\n")
	}
	body.raw("</testsuite>\n</testsuites>\n")
	_, err := head.WriteTo(w)
	if err == nil {
		_, err = body.WriteTo(w)
	}
	return err
}

// begin writes all that stands before the first case.
func (w *junitWriter) begin(r Report, cases []*junitCase, left int) {
	n := map[string]int{}
	seconds := 0.0
	for _, c := range cases {
		n[c.kind]++
		seconds += c.seconds
	}
	counts := fmt.Sprintf(`tests="%d" failures="%d" errors="%d" skipped="%d" time="%.3f"`, len(cases), n["failure"], n["error"], n["skipped"], seconds)
	w.raw(xml.Header + `<testsuites name="vdevil" ` + counts + ">\n" + `<testsuite name="vdevil" ` + counts)
	if !r.Made.IsZero() {
		w.raw(` timestamp="` + r.Made.UTC().Format("2006-01-02T15:04:05") + `"`)
	}
	w.raw(">\n<properties>")
	w.property("title", r.Title)
	if r.Past != "" {
		w.property("compared with", r.Past)
	}
	if left > 0 {
		w.property("left out", fmt.Sprintf("%d cases, for which a file of this size has no room", left))
	}
	w.raw("</properties>\n")
}

// cases writes as many as there is room for, each with so much text, and says how many those are. With no text they have no properties.
func (w *junitWriter) cases(list []*junitCase, text, most int) int {
	for i, c := range list {
		before := w.Len()
		if w.testcase(c, text); w.Len() > most {
			w.Truncate(before)
			return i
		}
	}
	return len(list)
}

// junitCase is a test case.
type junitCase struct {
	class, name   string
	kind, message string // kind is failure, error, skipped or empty
	seconds       float64
	properties    [][2]string
	cells         []Cell
}

// cases are those of a report, each name once.
func (r Report) cases() []*junitCase {
	var list []*junitCase
	known := map[[2]string]*junitCase{}
	for _, cell := range r.Cells() {
		class := named("vdevil." + cell.Summary.Scenario)
		name := named(strings.TrimSpace("OpenZFS " + cell.Summary.OpenZFS + " " + cell.Environment.Driver))
		c := known[[2]string{class, name}]
		if c == nil {
			c = &junitCase{class: class, name: name}
			known[[2]string{class, name}] = c
			list = append(list, c)
		}
		c.cells = append(c.cells, cell)
		c.seconds += cell.Summary.Seconds
	}
	order := States()
	for _, c := range list {
		slices.SortStableFunc(c.cells, func(a, b Cell) int { return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)) })
		worst := c.cells[0]
		c.kind, c.message = outcome(worst)
		c.properties = properties(worst)
	}
	return list
}

// outcome is what a state is for JUnit, with a line that says why.
func outcome(c Cell) (kind, message string) {
	switch c.State {
	case Changed:
		for _, change := range c.Changes {
			if change.Verdict && !change.Over {
				return "failure", fmt.Sprintf("changed since %s: %s, before %s", change.Since, change.After, change.Before)
			}
		}
		return "failure", "changed"
	case Unexpected:
		message = Verdict(c.Summary)
		for _, against := range c.Summary.Against {
			if !strings.HasPrefix(against, "the verdict is ") {
				return "failure", message + "; " + against
			}
		}
		return "failure", message
	case Trouble:
		for _, a := range c.Summary.Arms {
			for _, t := range a.Results {
				if t.Outcome == trial.Invalid {
					return "error", fmt.Sprintf("%d of %d trials of arm %s are invalid: %s", a.Trials-a.Valid, a.Trials, a.Name, FirstLine(t.Reason))
				}
			}
		}
		if c.Error != "" {
			return "error", "ended early: " + FirstLine(c.Error)
		}
		return "error", "trials are invalid"
	case Unsure:
		return "skipped", Needed(c.Summary)
	case AsKnown, Expected:
	}
	return "", ""
}

func properties(c Cell) [][2]string {
	s := c.Summary
	list := [][2]string{{"verdict", string(s.Verdict)}, {"expected", string(s.Expected)}, {"state", string(c.State)}}
	if c.Known != "" {
		list = append(list, [2]string{"known", c.Known})
	}
	if lead := c.Lead(); lead != nil {
		list = append(list, [2]string{"arm", lead.Name}, [2]string{"rate", fmt.Sprintf("%.4f", lead.Rate)},
			[2]string{"interval", fmt.Sprintf("%.4f to %.4f", lead.CI95[0], lead.CI95[1])}, [2]string{"hits", fmt.Sprintf("%d of %d", lead.Hits, lead.Valid)})
	}
	if again := c.Repeat(); again != "" {
		list = append(list, [2]string{"repeat", again})
	}
	e := c.Environment
	for _, p := range [][2]string{{"accelerator", e.Accel}, {"host", e.Host}, {"vdevil", e.Version}, {"seed", fmt.Sprint(s.Seed)}} {
		if p[1] != "" {
			list = append(list, p)
		}
	}
	return list
}

// Repeat is the command that does again the trial which shows best what a cell is about: the first one that ended as a crash or
// otherwise wrong, or the first one of all. It is empty where results came in outline.
func (c Cell) Repeat() string {
	for _, e := range examples(c.Summary) {
		if e.trial.Repeat != "" {
			return e.trial.Repeat
		}
	}
	for _, a := range c.Summary.Arms {
		for _, t := range a.Results {
			if t.Repeat != "" {
				return t.Repeat
			}
		}
	}
	return ""
}

// named is a name of a bounded length, which differs where the whole names do.
func named(s string) string {
	s = printable.Line(s)
	kept := fitting(s, nameMost)
	if kept == s {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%s...%x", kept, sum[:6])
}

// share is as much of a text as fits, and says how much does not.
func share(s string, most int) string {
	begin := printable.Text(s[:min(len(s), most)]) // which is no shorter
	kept := fitting(begin, most)
	if kept == begin && len(s) <= most {
		return kept
	}
	return fmt.Sprintf("%s\n... cut after %d of %d bytes", kept, len(kept), len(s))
}

// oneLine is a text without ends of lines, for an attribute.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// fitting is the beginning of a text that has at most so many bytes once it is escaped.
func fitting(s string, most int) string {
	n := 0
	for i, r := range s {
		if strings.ContainsRune("&<>\"'\t\n\r", r) {
			n += len("&#34;")
		} else {
			n += utf8.RuneLen(r)
		}
		if n > most {
			return s[:i]
		}
	}
	return s
}

// junitWriter writes XML. Texts are those of strangers: what XML 1.0 cannot hold was made printable before.
type junitWriter struct{ bytes.Buffer }

func (w *junitWriter) raw(s string) { w.WriteString(s) }

// lines is text with its lines as they are.
var lines = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (w *junitWriter) text(s string) { w.raw(lines.Replace(s)) }

func (w *junitWriter) attribute(name, value string) {
	w.raw(" " + name + `="`)
	_ = xml.EscapeText(w, []byte(value)) // a bytes.Buffer takes everything
	w.raw(`"`)
}

func (w *junitWriter) property(name, value string) {
	w.raw("<property")
	w.attribute("name", name)
	w.attribute("value", oneLine(share(value, shareMost)))
	w.raw("/>")
}

func (w *junitWriter) testcase(c *junitCase, most int) {
	w.raw("<testcase")
	w.attribute("classname", c.class)
	w.attribute("name", c.name)
	w.attribute("time", fmt.Sprintf("%.3f", c.seconds))
	w.raw(">\n")
	if most > 0 {
		w.raw("<properties>")
		for _, p := range c.properties {
			w.property(p[0], p[1])
		}
		w.raw("</properties>\n")
	}
	if c.kind != "" {
		message := shareMost
		if most == 0 {
			message = nameMost
		}
		w.raw("<" + c.kind)
		w.attribute("message", oneLine(share(c.message, message)))
		if c.kind != "skipped" {
			w.attribute("type", string(c.cells[0].State))
		}
		w.raw("/>\n")
	}
	w.raw("<system-out>")
	if most > 0 {
		var text bytes.Buffer
		for _, cell := range c.cells {
			section(&text, cell.Summary, cell.Scenario)
		}
		w.text(share(text.String(), most))
	} else {
		w.raw("The text is left out: a file of this size has no room for it.")
	}
	w.raw("</system-out>\n</testcase>\n")
}
