package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// panel is what is shown besides.
type panel int

const (
	noPanel panel = iota
	helpPanel
	detailsPanel
)

// press does what a key is for, and says whether it was to quit.
func (b *board) press(key string) (quit bool) {
	switch key {
	case "q":
		return true
	case "?", "h":
		b.toggle(helpPanel)
	case "d", "enter", " ":
		b.toggle(detailsPanel)
	case "esc":
		b.panel = noPanel
	case "j", "down", "tab":
		b.choose(1)
	case "k", "up":
		b.choose(-1)
	}
	return false
}

const helpText = `  ? or h      this help, and away with it
  arrows, j k another arm
  d or enter  details of the arm
  q           end as Ctrl-C does: clean up, and tell what is known
  Ctrl-Z      leave the terminal; fg comes back
  bar: # hits, = none, - invalid; the rate is that of hits among the valid
  trials, with an interval that may be looked at any time`

func (b *board) toggle(p panel) {
	if b.panel == p {
		p = noPanel
	}
	b.panel = p
}

// rows are those in view.
func (b *board) rows() (all []*row) {
	for _, g := range b.groups {
		if g.begun {
			all = append(all, g.rows...)
		}
	}
	return all
}

// choose takes a row so many after the chosen one.
func (b *board) choose(by int) {
	all := b.rows()
	if len(all) == 0 {
		return
	}
	at := slices.Index(all, b.chosen)
	if at < 0 && by > 0 {
		at = -1
	}
	b.chosen = all[((at+by)%len(all)+len(all))%len(all)]
}

// The colours, by their numbers in SGR. None of them says what is not said without it.
const (
	plainly = ""
	bold    = "1"
	faint   = "2"
	red     = "31"
	green   = "32"
	yellow  = "33"
)

// span is a piece of a line in one colour.
type span struct{ colour, text string }

type line []span

func text(s string) line { return line{{plainly, s}} }

// render makes what others have written printable, and cuts the line.
func (l line) render(colour bool, width int) string {
	var b strings.Builder
	for _, s := range l {
		t := printable.Line(s.text)
		if colour && s.colour != plainly && t != "" {
			t = "\x1b[" + s.colour + "m" + t + "\x1b[m"
		}
		b.WriteString(t)
	}
	return ansi.Truncate(strings.TrimRight(b.String(), " "), max(0, width), "")
}

// view is what stands at the bottom of a screen: no line fills its width, and one line is left for the cursor and one for what
// scrolls away.
func (b *board) view(width, height int, now time.Time) string {
	room := max(1, height-2)
	var top, foot []line
	if b.opened != nil {
		top = b.header(width, height, now)
	}
	if b.keys && height >= 8 {
		foot = append(foot, line{{faint, "? help   arrows choose an arm   d its details   q quit"}})
	}
	top = append(top, b.shown()...)
	arms, at := b.arms(width)
	what := slices.Concat(b.long(now), b.runs(now))
	room = max(0, room-len(top)-len(foot))
	if len(arms)+len(what) > room {
		few := min(len(what), max(1, room/3), room)
		few = max(few, min(len(what), room-len(arms)))
		what, arms = fit(what, few, 0), fit(arms, room-few, at)
	}
	all := slices.Concat(top, arms, what, foot)
	all = all[:min(len(all), max(1, height-2))]
	out := make([]string, len(all))
	for i, l := range all {
		out[i] = l.render(b.colour, width-1)
	}
	return strings.Join(out, "\n")
}

// fit gives n of the lines with that of an index among them.
func fit(lines []line, n, at int) []line {
	if len(lines) <= n {
		return lines
	}
	from := max(0, min(at-n/2, len(lines)-n))
	return lines[from : from+n]
}

// header names the campaign and says how far it has come, in one line where there is room.
func (b *board) header(width, height int, now time.Time) []line {
	parts := []span{{bold, "campaign " + b.opened.Name}, {plainly, fmt.Sprintf("%d done", b.done)}}
	left, trials, known := b.left(now)
	if trials > 0 {
		parts = append(parts, span{plainly, fmt.Sprintf("at most %d more", trials)})
	}
	if known && trials > 0 {
		parts = append(parts, span{plainly, "in at most " + short(left)})
	}
	if b.ending {
		parts = append(parts, span{yellow, "ending"})
	}
	one := make(line, 0, 2*len(parts))
	for i, p := range parts {
		one = append(one, span{plainly, []string{"", ": ", ", "}[min(i, 2)]}, p)
	}
	if height < 12 || ansi.StringWidth(one.render(false, math.MaxInt)) < width {
		return []line{one}
	}
	lines := make([]line, len(parts))
	for i, p := range parts {
		lines[i] = line{{plainly, []string{"", "  "}[min(i, 1)]}, p}
	}
	return lines
}

// shown is the panel.
func (b *board) shown() (lines []line) {
	switch b.panel {
	case helpPanel:
		for t := range strings.Lines(helpText) {
			lines = append(lines, line{{faint, strings.TrimSuffix(t, "\n")}})
		}
	case detailsPanel:
		lines = b.details()
	}
	return lines
}

// details are all that is known of the chosen row.
func (b *board) details() (lines []line) {
	all := b.rows()
	if len(all) == 0 {
		return []line{text("  nothing has begun yet")}
	}
	if !slices.Contains(all, b.chosen) {
		b.chosen = all[0]
	}
	one := b.chosen
	kind := ""
	if one.Control {
		kind = ", control"
	}
	lines = append(lines, line{{bold, "  " + one.Name + kind}, {plainly, fmt.Sprintf(": %d of at most %d trials, %d valid", one.Trials, one.Planned, one.Valid)}})
	if one.rated {
		l := fmt.Sprintf("    hits %d", one.Hits)
		if one.Valid > 0 {
			l += ", rate " + one.rate()
		}
		if one.P != nil {
			l += fmt.Sprintf(", p %.2g against the control arms", *one.P)
		}
		lines = append(lines, text(l))
	}
	if o := report.Outcomes(one.Outcomes); o != "" {
		lines = append(lines, text("    "+o))
	}
	for _, s := range slices.Sorted(maps.Keys(one.Signatures)) {
		lines = append(lines, text(fmt.Sprintf("    %s %d", s, one.Signatures[s])))
	}
	if one.last != nil {
		lines = append(lines, text("    last: "+ended(*one.last)))
	}
	switch {
	case one.Stopped != "":
		lines = append(lines, text("    no more trials: "+one.Stopped))
	case one.Wanted > 0:
		lines = append(lines, text(fmt.Sprintf("    at most %d more trials", one.Wanted)))
	}
	return lines
}

// rate is that of hits with its interval.
func (one *row) rate() string {
	return fmt.Sprintf("%.0f %% (%.0f to %.0f %%)", 100*float64(one.Hits)/float64(one.Valid), 100*one.CI95[0], 100*one.CI95[1])
}

// arms are the groups that have begun, each with its rows; at is the line of the chosen one, or else the last that has trials to come.
func (b *board) arms(width int) (lines []line, at int) {
	for _, g := range b.groups {
		if !g.begun {
			continue
		}
		if g.planned != nil {
			g.conclude()
		}
		lines = append(lines, line{{bold, g.title}})
		name, count := 0, 0
		for _, one := range g.rows {
			name, count = max(name, ansi.StringWidth(printable.Line(one.Name))), max(count, len(one.count()))
		}
		name = min(name, max(8, width/3))
		for _, one := range g.rows {
			if one == b.chosen || b.chosen == nil && one.Trials < one.Planned && one.Stopped == "" {
				at = len(lines)
			}
			lines = append(lines, b.row(one, name, count, width))
		}
	}
	return lines, at
}

func (one *row) count() string { return fmt.Sprintf("%d/%d", one.Trials, one.Planned) }

func (b *board) row(one *row, name, count, width int) line {
	mark := "  "
	if b.keys && one == b.chosen {
		mark = "> "
	}
	called := ansi.Truncate(printable.Line(one.Name), name, "")
	l := line{{plainly, mark + called + strings.Repeat(" ", name-ansi.StringWidth(called)) + " "}}
	if w := barWidth(width); w > 0 {
		l = append(append(l, one.bar(w)...), span{plainly, " "})
	}
	l = append(l, span{plainly, fmt.Sprintf("%*s", count, one.count())})
	if one.rated && one.Valid > 0 {
		l = append(l, span{plainly, "  " + one.rate()})
	}
	return append(l, span{plainly, "  " + report.Outcomes(one.Outcomes)})
}

func barWidth(width int) int {
	switch {
	case width >= 100:
		return 24
	case width >= 60:
		return 12
	case width >= 40:
		return 6
	}
	return 0
}

// bar fills up with the trials: hits, others, and those that are invalid.
func (one *row) bar(width int) line {
	of := max(1, one.Planned, one.Trials)
	upTo := func(n int) int { return width * n / of }
	bad := one.Outcomes[trial.Invalid]
	hits := upTo(one.Hits)
	good := max(hits, upTo(one.Trials-bad))
	all := max(good, upTo(one.Trials))
	return line{
		{plainly, "["}, {red, strings.Repeat("#", hits)}, {green, strings.Repeat("=", good-hits)}, {yellow, strings.Repeat("-", all-good)},
		{plainly, strings.Repeat(" ", width-all) + "]"},
	}
}

// long says what takes long.
func (b *board) long(now time.Time) (lines []line) {
	for _, w := range b.work {
		t := fmt.Sprintf("  %s: %s", step(w.Progress), short(now.Sub(w.begun)))
		if w.Expected > 0 {
			t += " of about " + short(w.Expected)
		}
		lines = append(lines, text(t))
	}
	return lines
}

// runs says which trials run, and what their guests said last.
func (b *board) runs(now time.Time) (lines []line) {
	for _, one := range b.running {
		l := text(fmt.Sprintf("  %s %s", one.name, short(now.Sub(one.begun))))
		if one.said != "" {
			l = append(l, span{faint, "  " + one.said})
		}
		lines = append(lines, l)
	}
	return lines
}

// short is a duration in whole seconds: what it says changes once a second, or less.
func short(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return report.Clock(d)
}
