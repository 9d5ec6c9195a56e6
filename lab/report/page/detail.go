package page

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
)

// detail is all that the page shows of one trial, ready to be read.
type detail struct {
	facts   []fact
	strikes []strike
	blocks  []block
}

type fact struct {
	name, value string
	code        bool
}

// strike is one change that a fault made.
type strike struct {
	title string
	facts []fact
}

// block is text as it was printed, of which a part is marked.
type block struct{ title, before, marked, after string }

const (
	strikesShown = 8
	bytesShown   = 64
	linesShown   = 40   // of a list of findings
	textShown    = 8000 // bytes of a message
)

// about gathers what is known of a trial.
func about(r trial.Result, e trial.Environment, console []byte) detail {
	var d detail
	add := func(name, value string) { d.facts = add(d.facts, name, value, false) }
	code := func(name, value string) { d.facts = addCode(d.facts, name, value) }
	add("outcome", fmt.Sprintf("%s: %s", r.Outcome, bitmap.LookOf(r.Outcome).Means))
	code("signature", r.Signature)
	if r.Reason != r.Text {
		add("reason", cut(r.Reason))
	}
	add("cannot be tried", cut(r.Untestable))
	role := "fault arm"
	if r.Control {
		role = "control arm"
	}
	add("arm", fmt.Sprintf("%s, %s", r.Arm, role))
	code("repeat", r.Repeat)
	for i, in := range r.Injections {
		if i == strikesShown {
			add("more strikes", fmt.Sprintf("%d more are in the bundle", len(r.Injections)-i))
			break
		}
		d.strikes = append(d.strikes, struck(in))
	}
	d.findings(r)
	if !r.Started.IsZero() {
		add("begun", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	add("took", took(r))
	add("last step", r.LastStep)
	for _, work := range r.Workload {
		add("workload", fmt.Sprintf("%s: %d writes, %d snapshots, %d destroyed, %d runs", work.Step, work.Writes, work.Snapshots, work.Destroyed, work.Runs))
	}
	add("seed", fmt.Sprint(r.Seed))
	add("environment", place(e))
	code("bundle", r.Bundle)
	if event, ok := report.Decisive(r); ok {
		d.blocks = append(d.blocks, block{title: "Stack", before: report.Stack(event)})
	}
	if len(console) > 0 {
		d.blocks = append(d.blocks, marked(console, r.Text))
	}
	return d
}

// findings are what was found wrong, beside what the console said.
func (d *detail) findings(r trial.Result) {
	if r.Text != "" {
		d.blocks = append(d.blocks, block{title: "Message", marked: cut(r.Text)})
	}
	list := func(name string, lines []string) {
		if len(lines) > linesShown {
			lines = append(lines[:linesShown:linesShown], fmt.Sprintf("and %d more", len(lines)-linesShown))
		}
		d.facts = add(d.facts, name, cut(strings.Join(lines, "\n")), false)
	}
	list("found on the disks", r.Audit)
	list("zdb says", r.ZDB)
	list("not audited", nonempty(r.NotAudited))
	list("panics that had to come", r.Survived)
	list("files", files(r.Findings))
	if r.Status != nil {
		list("pool", nonempty(strings.TrimSpace(r.Status.State+" "+r.Status.Notice)))
		list("damaged", r.Status.Damaged)
	}
	if s := r.State; s != nil {
		list("power cut", []string{report.CutSaid(s)})
		list("cannot be audited", nonempty(s.Unreadable))
		list("read-only import", nonempty(s.ReadOnly))
		list("import", nonempty(s.ReadWrite))
		list("promises", []string{fmt.Sprintf("%d files were promised, %d are not as promised", s.Promises, len(s.Broken))})
		list("found after the import", s.After)
		list("the pool names", s.Damaged)
	}
}

func nonempty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// files are those that were not read as they were written.
func files(found oracle.Findings) (list []string) {
	for _, f := range found {
		if f.Result != oracle.Intact {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s: %s %s", f.Path, f.Result, f.Detail)))
		}
	}
	return list
}

func add(facts []fact, name, value string, code bool) []fact {
	if value = strings.TrimSpace(value); value == "" {
		return facts
	}
	return append(facts, fact{name, value, code})
}

func addCode(facts []fact, name, value string) []fact { return add(facts, name, value, true) }

func struck(i trial.Injection) strike {
	s := strike{title: report.Struck(i)}
	s.facts = addCode(s.facts, "structure", i.Target)
	s.facts = add(s.facts, "when", i.Trigger, false)
	switch {
	case i.Phys != 0 || i.Virt != 0:
		s.facts = addCode(s.facts, "address", fmt.Sprintf("virtual %#x, physical %#x", i.Virt, i.Phys))
	case i.Disk != "":
		s.facts = addCode(s.facts, "place", strings.TrimSuffix(fmt.Sprintf("disk %s, offset %#x, content of %s", i.Disk, i.Offset, i.File), ", content of "))
	}
	s.facts = add(s.facts, "bits", flipped(i), false)
	s.facts = addCode(s.facts, "before", hexBytes(i.Before))
	if !i.Withheld {
		s.facts = addCode(s.facts, "after", hexBytes(i.After))
	}
	s.facts = add(s.facts, "effect", i.Effect, false)
	s.facts = add(s.facts, "ECC", i.ECC, false)
	s.facts = add(s.facts, "SECDED would have", i.SECDED, false)
	if i.Reapplied > 0 {
		s.facts = add(s.facts, "set again", fmt.Sprintf("%d times", i.Reapplied), false)
	}
	return s
}

// flipped names the bits in which the bytes differ, the first few.
func flipped(i trial.Injection) string {
	const few = 8
	var list []string
	for k := range min(len(i.Before), len(i.After)) {
		for bit, diff := 0, i.Before[k]^i.After[k]; diff != 0; bit, diff = bit+1, diff>>1 {
			if diff&1 == 0 {
				continue
			}
			if len(list) == few {
				return fmt.Sprintf("%s and %d more", strings.Join(list, ", "), i.BitsChanged()-few)
			}
			list = append(list, fmt.Sprintf("bit %d of byte %d", bit, k))
		}
	}
	return strings.Join(list, ", ")
}

// hexBytes writes bytes in groups of eight.
func hexBytes(p []byte) string {
	var list []string
	for at := 0; at < min(len(p), bytesShown); at += 8 {
		list = append(list, hex.EncodeToString(p[at:min(len(p), at+8)]))
	}
	if len(p) > bytesShown {
		list = append(list, fmt.Sprintf("... (%d bytes)", len(p)))
	}
	return strings.Join(list, " ")
}

func took(r trial.Result) string {
	spans := make([]string, len(r.Spans))
	for i, s := range r.Spans {
		spans[i] = fmt.Sprintf("%s %.1f s", s.Name, s.Seconds)
	}
	text := fmt.Sprintf("%.1f s", r.Seconds)
	if len(spans) > 0 {
		text += ": " + strings.Join(spans, ", ")
	}
	return text
}

// place is an environment in a line.
func place(e trial.Environment) string {
	var list []string
	for _, part := range []string{
		strings.TrimSpace("vdevil " + e.Version), strings.TrimSpace(e.Driver + " " + strings.ToUpper(e.Accel)), e.Host,
	} {
		if part != "" && part != "vdevil" {
			list = append(list, part)
		}
	}
	return strings.Join(list, ", ")
}

// The part of a console that is shown: so many lines before the message and after it, or at its end.
const (
	linesBefore = 8
	linesAfter  = 32
	consoleMost = 6 << 10
)

// marked is the part of a console around a message, which is marked, or its end where the message is not found.
func marked(console []byte, message string) block {
	lines := strings.Split(strings.TrimSpace(message), "\n")
	at := -1
	if first := strings.TrimSpace(lines[0]); first != "" {
		at = bytes.Index(console, []byte(first))
	}
	if at < 0 {
		from := back(console, len(console), linesAfter)
		return block{title: "Console, its end", before: clip(console[from:], true)}
	}
	start := bytes.LastIndexByte(console[:at], '\n') + 1
	end := forth(console, at, 1)
	for _, line := range lines[1:] { // as far as they follow each other
		next := forth(console, end, 1)
		if text := strings.TrimSpace(line); text == "" || !bytes.Contains(console[end:next], []byte(text)) {
			break
		}
		end = next
	}
	return block{
		title:  fmt.Sprintf("Console, line %d", bytes.Count(console[:start], []byte("\n"))+1),
		before: clip(console[back(console, start, linesBefore):start], true), marked: clip(console[start:end], false),
		after: clip(console[end:forth(console, end, linesAfter)], false),
	}
}

// back is where the last n lines before a place begin.
func back(p []byte, at, n int) int {
	for ; n > 0 && at > 0; n-- {
		at = bytes.LastIndexByte(p[:at-1], '\n') + 1
	}
	return at
}

// forth is where n lines from a place on end.
func forth(p []byte, at, n int) int {
	for ; n > 0 && at < len(p); n-- {
		next := bytes.IndexByte(p[at:], '\n')
		if next < 0 {
			return len(p)
		}
		at += next + 1
	}
	return at
}

// clip keeps the end of a text, or its beginning.
func clip(p []byte, end bool) string {
	switch {
	case len(p) <= consoleMost:
		return string(p)
	case end:
		return "...\n" + strings.ToValidUTF8(string(p[len(p)-consoleMost:]), "")
	}
	return strings.ToValidUTF8(string(p[:consoleMost]), "") + "\n..."
}

// cut bounds a text.
func cut(s string) string {
	if len(s) <= textShown {
		return s
	}
	return strings.ToValidUTF8(s[:textShown], "") + fmt.Sprintf("\n... %d bytes more", len(s)-textShown)
}

// line is one line of a stranger's text, at most so many bytes.
func line(s string, most int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " ..."
	}
	return printable.Line(s)
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}
