package serve

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/verdict"
)

// list draws all campaigns.
type list struct {
	*Server

	working int // labs, as told last
}

func (l *list) told(ctx context.Context) (string, []byte, error) {
	all, err := l.Store.List(ctx)
	if err != nil {
		return "", nil, err
	}
	labs, err := l.Store.Labs(ctx, "")
	if err != nil {
		return "", nil, err
	}
	l.working = working(labs)
	of := map[string][]store.Lab{}
	for _, one := range labs {
		of[one.Campaign] = append(of[one.Campaign], one)
	}
	lines := make([]page.Campaign, len(all))
	for i, c := range all {
		lines[i] = page.Campaign{
			ID: c.ID, Name: c.Name, Kind: c.Kind, Begun: c.Created.Local().Format("2006-01-02 15:04"), Took: report.Clock(report.Seconds(c.Seconds)),
			State: standing(c, of[c.ID]), Trials: c.Trials, Invalid: c.Invalid,
		}
	}
	html, err := drawn(func(w io.Writer) error { return page.Campaigns(w, lines) })
	return "vdevil", html, err
}

func (l *list) now(ctx context.Context) ([]byte, bool, error) {
	labs, err := l.Store.Labs(ctx, "")
	if err != nil {
		return nil, false, err
	}
	n, at := page.Now{State: "No lab of this computer is at work."}, working(labs)
	if at > 0 {
		n.State = fmt.Sprintf("Labs at work on this computer: %d.", at)
	}
	html, err := drawn(n.Write)
	return html, at != l.working, err
}

func working(labs []store.Lab) (n int) {
	for _, one := range labs {
		if one.AtWork() {
			n++
		}
	}
	return n
}

// standing is where a campaign is, in a few words.
func standing(c store.Campaign, labs []store.Lab) string {
	switch {
	case slices.ContainsFunc(labs, store.Lab.AtWork):
		return "at work"
	case c.Over:
		return "done"
	case len(labs) > 0 && labs[0].Ended.IsZero():
		return "its lab was killed, or is another computer's"
	case len(labs) > 0 && labs[0].Error != "":
		return "ended early: " + report.FirstLine(labs[0].Error)
	}
	return "to be resumed"
}

// run draws one campaign.
type run struct {
	server *Server
	id     string
	// As told last.
	campaign store.Campaign
	results  []report.Run
}

func (r *run) told(ctx context.Context) (string, []byte, error) {
	c, err := r.server.Store.Find(ctx, r.id)
	if err != nil {
		return "", nil, err
	}
	p, err := r.server.Page(ctx, c, false)
	if err != nil {
		return "", nil, err
	}
	r.campaign, r.results = c, p.Runs
	p.Made = time.Time{} // it is never older than a moment
	html, err := drawn(func(w io.Writer) error { return page.Told(w, p) })
	return c.Name, html, err
}

func (r *run) now(ctx context.Context) ([]byte, bool, error) {
	c := r.campaign
	labs, err := r.server.Store.Labs(ctx, c.ID)
	if err != nil {
		return nil, false, err
	}
	n := page.Now{State: standing(c, labs)}
	for _, l := range labs {
		if !l.AtWork() {
			continue
		}
		n.Labs = append(n.Labs, fmt.Sprintf("Since %s: %s with %s, on %s", l.Started.Local().Format("2006-01-02 15:04:05"), l.Environment.Driver,
			l.Environment.Accel, l.Environment.Host))
		for _, t := range l.Running {
			n.Running = append(n.Running, page.Running{Title: t.Title, For: report.Clock(time.Since(t.Started)), Last: last(t.Console, t.From)})
		}
	}
	switch {
	case len(n.Labs) == 0:
		if !c.Over {
			n.Left = fmt.Sprintf("vdevil resume %s goes on.", c.Name)
		}
	case len(n.Running) == 0:
		n.Left = "No trial runs at this moment: what they start from is prepared."
	default:
		n.Left = left(c, r.results, len(n.Running))
	}
	html, err := drawn(n.Write)
	return html, false, err
}

// left says how many trials may be needed yet, and how long they take when so many run side by side and each takes what those took that
// are done. Of a bisection nobody knows how many.
func left(c store.Campaign, runs []report.Run, wide int) string {
	var wanted, done int
	var took float64 // seconds
	for _, r := range runs {
		wanted += r.Wanted
		for _, s := range r.Results {
			n, t := spent(s)
			done, took = done+n, took+t
		}
	}
	if wanted == 0 {
		return ""
	}
	if done == 0 { // an atlas or a study of power cuts
		done, took = c.Trials, c.Seconds
	}
	text := fmt.Sprintf("At most %d more trials", wanted)
	if done == 0 {
		return text + "."
	}
	mean := took / float64(done)
	work := mean * float64(wanted)
	for _, r := range runs {
		for _, s := range r.Results { // one that has trials tells better how long they take
			n, t := spent(s)
			work += float64(s.Missing) * (t/float64(max(1, n)) - mean)
		}
	}
	return fmt.Sprintf("%s, about %s.", text, report.Clock(report.Seconds(work/float64(wide))))
}

// spent is how many trials there are, and how many seconds they took.
func spent(s verdict.Summary) (n int, took float64) {
	for _, a := range s.Arms {
		for _, t := range a.Results {
			n++
			took += t.Seconds
		}
	}
	return n, took
}

// What is shown of a console: so many lines, found in so many bytes at its end.
const (
	lines    = 4
	tailSize = 4096
)

// last are the last lines that a guest printed, empty where they cannot be read.
func last(console string, from int64) string {
	f, err := os.Open(cmp.Or(console, os.DevNull))
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() <= from {
		return ""
	}
	at := max(from, st.Size()-tailSize)
	text := make([]byte, st.Size()-at)
	n, err := f.ReadAt(text, at)
	if err != nil && err != io.EOF { //nolint:errorlint // of a file as it is
		return ""
	}
	all := strings.FieldsFunc(string(bytes.ToValidUTF8(text[:n], []byte("\uFFFD"))), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// trouble is drawn when the store cannot be read.
func trouble(err error) []byte {
	html, err := drawn(page.Now{State: err.Error()}.Write)
	if err != nil { // to memory
		panic(err)
	}
	return html
}

func drawn(write func(io.Writer) error) ([]byte, error) {
	var b bytes.Buffer
	err := write(&b)
	return b.Bytes(), err
}
