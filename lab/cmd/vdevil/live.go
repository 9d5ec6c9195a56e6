package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

// live keeps the last lines of a terminal up to date: a bar for every arm of the scenarios at work, and a line that says
// what runs now. What is finished stays above them and scrolls away.
type live struct {
	w    io.Writer
	size func() (width, height int)
	now  func() time.Time
	stop chan struct{} // closed to end the redrawing
	done chan struct{} // closed when it has ended

	mu      sync.Mutex
	drawn   int         // lines of the view on the screen
	asked   []*question // that have no verdict yet, in order
	running []started   // trials, oldest first
	work    []work      // long work under way, oldest first
}

// question is what is shown of a scenario.
type question struct {
	title string
	arms  []*armView
	begun bool
}

// armView is what the line of an arm shows.
type armView struct {
	name     string
	trials   int
	done     int
	outcomes map[trial.Outcome]int
}

func (a *armView) count() string { return fmt.Sprintf("%d/%d", a.done, a.trials) }

type started struct {
	id    string // of the spec
	name  string
	begun time.Time
}

type work struct {
	lab.Progress
	begun time.Time
}

const (
	refresh  = 200 * time.Millisecond // between two drawings: clocks show tenths of a second
	barWidth = 24
)

// newLive draws on w, a terminal whose size may change.
func newLive(w io.Writer, size func() (width, height int), now func() time.Time) *live {
	l := &live{w: w, size: size, now: now, stop: make(chan struct{}), done: make(chan struct{})}
	go l.redraw()
	return l
}

func (l *live) redraw() {
	defer close(l.done)
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.mu.Lock()
			l.draw("")
			l.mu.Unlock()
		case <-l.stop:
			return
		}
	}
}

// draw replaces the view by text, which stays, and a new view below it. Write errors are no reason to end a run.
func (l *live) draw(text string) {
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA\x1b[J", l.drawn) // up, and erase to the end of the screen: ECMA-48 CUU, ED
	}
	b.WriteString(printable.Text(text))
	lines := l.view(l.size())
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	if b.Len() > 0 {
		_, _ = io.WriteString(l.w, b.String())
	}
	l.drawn = len(lines)
}

// view is what stands at the bottom of the screen, no line longer than width and no more lines than height allows.
func (l *live) view(width, height int) (lines []string) {
	for _, q := range l.asked {
		if q.begun {
			lines = append(lines, q.view()...)
		}
	}
	for _, line := range l.current() {
		lines = append(lines, "  "+line)
	}
	// One line is left for the cursor.
	lines = lines[max(0, len(lines)-max(1, height-1)):]
	for i, line := range lines {
		r := []rune(printable.Line(line))
		if len(r) >= width {
			r = r[:max(0, width-1)]
		}
		lines[i] = string(r)
	}
	return lines
}

// view is a line for the scenario and one for each arm.
func (q *question) view() []string {
	lines := make([]string, 0, 1+len(q.arms))
	lines = append(lines, q.title)
	longest, widest := 0, 0
	for _, a := range q.arms {
		longest, widest = max(longest, len(a.name)), max(widest, len(a.count()))
	}
	for _, a := range q.arms {
		line := fmt.Sprintf("  %-*s %s %*s  %s", longest, a.name, bar(a.done, a.trials), widest, a.count(), report.Outcomes(a.outcomes))
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

func bar(done, of int) string {
	n := barWidth * done / max(1, of)
	return "[" + strings.Repeat("=", n) + strings.Repeat(" ", barWidth-n) + "]"
}

// current says what goes on just now.
func (l *live) current() (lines []string) {
	now := l.now()
	for _, w := range l.work {
		text := fmt.Sprintf("%s: %s", step(w.Progress), clock(now.Sub(w.begun)))
		if w.Expected > 0 {
			text += " of about " + clock(w.Expected)
		}
		lines = append(lines, text)
	}
	if len(l.running) == 0 {
		return lines
	}
	list := make([]string, len(l.running))
	for i, t := range l.running {
		list[i] = fmt.Sprintf("%s %s", t.name, clock(now.Sub(t.begun)))
	}
	return append(lines, "running: "+strings.Join(list, ", "))
}

func (l *live) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(text + "\n")
}

func (l *live) progress(g lab.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work = slices.DeleteFunc(l.work, func(w work) bool { return w.What == g.What })
	if g.Done {
		l.draw(fmt.Sprintf("  %s: done in %s\n", step(g), clock(g.Took)))
		return
	}
	l.work = append(l.work, work{g, l.now().Add(-g.Took)})
	l.draw("")
}

func (l *live) event(e campaign.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := ""
	switch e := e.(type) {
	case lab.Opened:
		text = opened(e) + "\n"
	case campaign.Dropped:
		l.leave(e.Spec)
	case campaign.Paused:
		text = paused(e) + "\n"
	case campaign.Planned:
		l.plan(e)
	case campaign.Skipped:
		text = skipped(e)
	case campaign.Started:
		l.find(e.Spec).begun = true
		l.running = append(l.running, started{e.Spec.ID(), fmt.Sprintf("%s/%d", e.Spec.Arm, e.Spec.Number), l.now()})
	case campaign.Ended:
		text = l.end(e)
	case campaign.Judged:
		text = l.judge(e.Summary)
	}
	l.draw(text)
}

func (l *live) plan(e campaign.Planned) {
	l.work = nil // a wait for another's image ends without notice
	q := &question{title: title(e.Scenario, e.OpenZFS)}
	for _, a := range e.Arms {
		if a.Trials > 0 {
			q.arms = append(q.arms, &armView{name: a.Arm.Name, trials: a.Trials, outcomes: map[trial.Outcome]int{}})
		}
	}
	l.asked = append(l.asked, q)
}

// find gives the question of a trial; one that was never planned is shown nowhere.
func (l *live) find(s trial.Spec) *question {
	for _, q := range l.asked {
		if q.title == title(s.Name, s.OpenZFS) {
			return q
		}
	}
	return &question{}
}

// end counts a trial and gives the line to leave behind for one that is invalid.
func (l *live) end(e campaign.Ended) string {
	l.leave(e.Spec)
	for _, a := range l.find(e.Spec).arms {
		if a.name == e.Result.Arm {
			a.done++
			a.outcomes[e.Result.Outcome]++
		}
	}
	if e.Result.Outcome == trial.Invalid {
		return "  " + ended(e.Result) + "\n"
	}
	return ""
}

// leave takes a trial away from those that run.
func (l *live) leave(s trial.Spec) {
	id := s.ID()
	l.running = slices.DeleteFunc(l.running, func(t started) bool { return t.id == id })
}

// judge takes a scenario out of the view and gives the line to leave behind.
func (l *live) judge(s verdict.Summary) string {
	l.asked = slices.DeleteFunc(l.asked, func(q *question) bool { return q.title == title(s.Scenario, s.OpenZFS) })
	return judged(s) + "\n"
}

func (l *live) close() {
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked, l.running, l.work = nil, nil, nil
	l.draw("")
}
