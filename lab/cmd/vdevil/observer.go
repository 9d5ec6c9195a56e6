package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
)

// observer shows a person what goes on. Its methods may be called from several goroutines, and wait for no terminal but close
// and aside.
type observer interface {
	// progress is news of long work, event news of trials.
	progress(lab.Progress)
	event(campaign.Event)
	// note is anything else that should be said while the run goes on.
	note(text string)
	// aside leaves the terminal to somebody else until there is news.
	aside()
	// close takes away what is not meant to stay.
	close()
}

// observer shows a live view on a terminal, and plain lines elsewhere, where the user wants them, or in the background. When the
// context ends it says so.
func (a *app) observer(ctx context.Context, lines bool) observer {
	now := a.now
	if now == nil {
		now = time.Now
	}
	var o observer = newPlain(a.err, now)
	if fd, ok := terminal(a.err); ok && !lines && os.Getenv("TERM") != "dumb" && foreground(fd) {
		o = newScreen(ctx, unguarded(a.err).(*os.File), a.in, os.Getenv("NO_COLOR") == "", now)
	}
	return &ending{o, context.AfterFunc(ctx, func() { o.note("ending: once more to end at once") })}
}

// ending is an observer that has said that the context ended, or will.
type ending struct {
	observer
	stop func() bool
}

func (e *ending) close() {
	e.stop()
	e.observer.close()
}

// plain writes one line an event, with the time since the beginning.
type plain struct {
	mu     sync.Mutex
	w      io.Writer
	now    func() time.Time
	start  time.Time
	teller teller
}

func newPlain(w io.Writer, now func() time.Time) *plain {
	return &plain{w: w, now: now, start: now(), teller: teller{now: now}}
}

func (p *plain) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(text)
}

func (p *plain) say(text string) {
	stamp := fmt.Sprintf("[%7s] ", report.Clock(p.now().Sub(p.start)))
	text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len(stamp)))
	_, _ = fmt.Fprintln(p.w, stamp+text) // a reader that is gone is no reason to end a run
}

func (p *plain) aside() {}

func (p *plain) close() {}

func (p *plain) progress(g lab.Progress) {
	switch {
	case g.Done:
		p.note(fmt.Sprintf("%s: done in %s", step(g), report.Clock(g.Took)))
	case g.Took == 0:
		p.note(step(g) + expected(g))
	}
}

func (p *plain) event(e campaign.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text, _ := p.teller.tell(e); text != "" {
		p.say(text)
	}
}
