package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/zfs/audit"
)

// auditView shows how far an audit has come: on a terminal in one line that is written over, elsewhere in a line now and
// then.
type auditView struct {
	w     io.Writer
	width func() int // of the terminal, nil if it is none
	now   func() time.Time

	mu     sync.Mutex
	stage  audit.Stage
	begun  time.Time // the stage
	last   time.Time // a line was written
	opened bool      // there is a line on the terminal
	kinds  map[audit.Kind]int
}

const (
	refresh   = 200 * time.Millisecond // between two drawings of the line
	lineEvery = 10 * time.Second       // where there is no terminal
)

func (a *app) newAuditView(now func() time.Time) *auditView {
	v := &auditView{w: unguarded(a.err), now: now}
	if fd, ok := terminal(a.err); ok && os.Getenv("TERM") != "dumb" {
		v.width = func() int { w, _ := size(fd); return w }
	}
	return v
}

func (v *auditView) progress(p audit.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if p.Stage != v.stage {
		v.stage, v.begun = p.Stage, now
		if v.last.IsZero() {
			v.last = now
		}
	}
	every := lineEvery
	if v.width != nil {
		every = refresh
	}
	if now.Sub(v.last) < every {
		return
	}
	v.last = now
	v.line(auditLine(p, now.Sub(v.begun)))
}

// found says at once what was found, the first few of each kind: an audit may take hours, and its report comes last.
func (v *auditView) found(f audit.Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kinds == nil {
		v.kinds = map[audit.Kind]int{}
	}
	v.kinds[f.Kind]++
	switch n := v.kinds[f.Kind]; {
	case n <= firstFew:
		v.stay("found " + f.String())
	case n == firstFew+1:
		v.stay(fmt.Sprintf("found more of %s, see the report at the end", f.Kind))
	}
}

// stay writes a line that progress does not write over.
func (v *auditView) stay(text string) {
	if v.opened {
		v.line("")
		v.opened = false
	}
	_, _ = fmt.Fprintln(v.w, printable.Line(text))
}

// line writes; that it cannot be written is no reason to end an audit.
func (v *auditView) line(text string) {
	text = printable.Line(text)
	if v.width == nil {
		_, _ = fmt.Fprintln(v.w, text)
		return
	}
	if w := v.width(); len(text) >= w {
		text = text[:w-1]
	}
	_, _ = fmt.Fprintf(v.w, "\r\x1b[K%s", text)
	v.opened = true
}

func (v *auditView) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened {
		v.line("")
	}
}

// auditLine has no characters outside of ASCII.
func auditLine(p audit.Progress, took time.Duration) string {
	what := "block pointers"
	if p.Stage == audit.Comparing {
		what = "metaslabs"
	}
	text := fmt.Sprintf("%s: %s %s", p.Stage, humanize.Comma(int64(p.Blocks)), what)
	if p.Total == 0 || p.Done == 0 || took <= 0 {
		return text
	}
	rate := float64(p.Done) / took.Seconds()
	left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second))
	return fmt.Sprintf("%s, %d%% of %s, %s/s, %s left", text, 100*p.Done/p.Total, humanize.IBytes(p.Total),
		humanize.IBytes(uint64(rate)), report.Clock(left))
}
