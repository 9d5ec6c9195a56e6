package page

import (
	"bytes"
	_ "embed" // the pages that are kept up to date
	"fmt"
	"html/template"
	"io"

	"github.com/vdevil/vdevil/lab/printable"
)

var (
	//go:embed live.html
	liveHTML string
	//go:embed live.js
	liveJS string
)

// Live is a page that a server keeps up to date: its script, where it is shown, takes what changes from a WebSocket at events, as a JSON
// object with now, told or both. It has no trials: the whole report, at report beside it, has them.
type Live struct {
	Title string
	// Now and Told are what Now.Write, and Told or Campaigns wrote.
	Now, Told []byte
	// Up says that there is a list of all campaigns two levels up.
	Up bool
}

// Now is what labs do.
type Now struct {
	State string // in a few words
	Left  string // a sentence on what is to come, or empty
	Labs  []string
	// Running are trials that have not come to their end.
	Running []Running
}

// Running is one of them.
type Running struct {
	Title, For string
	Last       string // lines of its guest's console
}

// Campaign is a line of the list.
type Campaign struct {
	ID, Name, Kind, Begun, Took, State string
	Trials, Invalid                    int
}

// Write writes the whole page.
func (l Live) Write(w io.Writer) error {
	return fragment(w, "live", struct {
		Frame     frame
		Now, Told template.HTML
		Up        bool
	}{newFrame(l.Title, liveJS, "; connect-src 'self'"), template.HTML(l.Now), template.HTML(l.Told), l.Up}) //nolint:gosec // templates of this package wrote them
}

// Write writes the part that changes all the time.
func (n Now) Write(w io.Writer) error { return fragment(w, "now", n) }

// Told writes what a page says but for its trials.
func Told(w io.Writer, p Page) error {
	v, err := newView(p, p.Cells())
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return fragment(w, "told", v)
}

// Campaigns writes a list of them.
func Campaigns(w io.Writer, all []Campaign) error { return fragment(w, "list", all) }

// fragment writes a template whole or not at all. What a stranger wrote may hide or reorder nothing.
func fragment(w io.Writer, name string, data any) error {
	var b bytes.Buffer
	if err := templates().ExecuteTemplate(printable.NewWriter(&b), name, data); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}
