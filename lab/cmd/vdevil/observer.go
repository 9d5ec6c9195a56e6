package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

// observer shows a person what goes on. Its methods may be called from several goroutines.
type observer interface {
	// progress is news of long work, event news of trials.
	progress(lab.Progress)
	event(campaign.Event)
	// note is anything else that should be said while the run goes on.
	note(text string)
	// close takes away what is not meant to stay. Nothing is called after it.
	close()
}

// observer shows a live view on a terminal and plain lines elsewhere.
func (a *app) observer() observer {
	if fd, ok := terminal(a.err); ok && os.Getenv("TERM") != "dumb" {
		return newLive(unguarded(a.err), func() (int, int) { return size(fd) }, time.Now)
	}
	return newPlain(a.err, time.Now)
}

// plain writes one line an event, with the time since the beginning.
type plain struct {
	mu    sync.Mutex
	w     io.Writer
	now   func() time.Time
	start time.Time
}

func newPlain(w io.Writer, now func() time.Time) *plain { return &plain{w: w, now: now, start: now()} }

func (p *plain) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp := fmt.Sprintf("[%7s] ", clock(p.now().Sub(p.start)))
	text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len(stamp)))
	_, _ = fmt.Fprintln(p.w, stamp+text) // a reader that is gone is no reason to end a run
}

func (p *plain) close() {}

func (p *plain) progress(g lab.Progress) {
	switch {
	case g.Done:
		p.note(fmt.Sprintf("%s: done in %s", step(g), clock(g.Took)))
	case g.Took == 0:
		p.note(step(g) + expected(g))
	}
}

func (p *plain) event(e campaign.Event) {
	switch e := e.(type) {
	case lab.Opened:
		p.note(opened(e))
	case campaign.Dropped:
		p.note(dropped(e))
	case campaign.Paused:
		p.note(paused(e))
	case campaign.Planned:
		p.note(fmt.Sprintf("%s: %s", title(e.Scenario, e.OpenZFS), arms(e)))
	case campaign.Skipped:
		p.note(skipped(e))
	case campaign.Started:
		p.note(fmt.Sprintf("%s/%d: started", e.Spec.Arm, e.Spec.Number))
	case campaign.Ended:
		p.note(ended(e.Result))
	case campaign.Judged:
		p.note(judged(e.Summary))
	}
}

// The sentences that both views are made of.

func title(scenario, version string) string {
	return fmt.Sprintf("%s on OpenZFS %s", scenario, version)
}

func opened(e lab.Opened) string {
	text := fmt.Sprintf("campaign %s (%s)", e.Name, e.ID)
	if e.Done > 0 {
		text += fmt.Sprintf(", %d trials done before", e.Done)
	}
	return text
}

func paused(e campaign.Paused) string {
	if e.Lacking == "" {
		return "going on"
	}
	return "waiting with more trials: " + e.Lacking
}

func dropped(e campaign.Dropped) string {
	return fmt.Sprintf("%s/%d: broken off", e.Spec.Arm, e.Spec.Number)
}

func skipped(e campaign.Skipped) string {
	return title(e.Scenario, e.OpenZFS) + ": cannot be asked of this version, its file says"
}

func arms(e campaign.Planned) string {
	var list []string
	for _, a := range e.Arms {
		if a.Trials > 0 {
			list = append(list, fmt.Sprintf("%s %d", a.Arm.Name, a.Trials))
		}
	}
	return "trials: at most " + strings.Join(list, ", ")
}

func ended(r trial.Result) string {
	text := fmt.Sprintf("%s/%d: %s", r.Arm, r.Number, r.Outcome)
	switch {
	case r.Signature != "":
		text += " " + r.Signature
	case r.Outcome == trial.Invalid:
		why, _, _ := strings.Cut(r.Reason, "\n") // the console's tail is in the bundle and in the report
		text += ": " + why
	}
	return fmt.Sprintf("%s, %s", text, clock(seconds(r.Seconds)))
}

func judged(r verdict.Summary) string {
	return fmt.Sprintf("%s: %s, %s", title(r.Scenario, r.OpenZFS), report.Verdict(r), clock(seconds(r.Seconds)))
}

func step(g lab.Progress) string {
	if g.Of > 0 {
		return fmt.Sprintf("step %d of %d: %s", g.Index, g.Of, g.What)
	}
	return g.What
}

func expected(g lab.Progress) string {
	if g.Expected == 0 {
		return ""
	}
	return fmt.Sprintf(", takes about %s", clock(g.Expected))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// clock is a duration as a person says it: 0.4s, 12.0s, 3m05s, 1h02m.
func clock(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}
