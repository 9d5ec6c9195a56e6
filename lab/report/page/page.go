// Package page writes what campaigns say together as one HTML file that needs nothing else: no server, no network, which its content
// security policy forbids, and for the verdicts no script. The trials are in it as data, of which the script draws those that are asked
// for. The package reads no files: what it needs of them the caller gives.
package page

import (
	"bufio"
	"crypto/sha256"
	_ "embed" // the page and its parts
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// templates are read when a page is written, which few commands do.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.Must(template.New("page").Parse(pageHTML)).Parse(liveHTML))
})

// Page is what is shown. All of it but the report may be empty.
type Page struct {
	report.Report
	Atlases    []bitmap.Map
	Bisections []report.Bisection
	Studies    []report.Study
	// Whole gives all that is known of a trial that is shown, and where it was done, for results that were read in outline. Nil when the
	// results are whole, and their environment is that of their run.
	Whole func(Place, trial.Result) (trial.Result, trial.Environment, error)
	// Console gives what a guest printed in a trial, nil where that is gone. It is asked for trials as Whole gives them. It may be nil.
	Console func(trial.Result) []byte
	// Most is how many trials the page may have, 0 for 20,000. Where there are more, some are left out, and the page says which.
	Most int
}

// Place is where a trial belongs; its arm and number are its own.
type Place struct{ Run, Scenario, OpenZFS string }

// most is how many trials a page has when nobody says.
const most = 20_000

// Write writes the page. After an error a part of it may be written.
func Write(w io.Writer, p Page) error {
	if p.Most <= 0 {
		p.Most = most
	}
	cells := p.Cells()
	v, err := newView(p, cells)
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	v.Frame = newFrame(fmt.Sprintf("%s: %s", p.Title, v.Count), pageJS, "")
	v.withTrials(cells)
	// Nothing that a stranger wrote may hide or reorder what stands beside it, wherever it slips in.
	out := bufio.NewWriterSize(printable.NewWriter(w), 1<<16)
	if err := templates().ExecuteTemplate(out, "head", v); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := v.trials.write(out); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := templates().ExecuteTemplate(out, "tail", v); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// frame is what stands around a page, with the policy that keeps everything else out of it.
type frame struct {
	Title, Policy string
	Style         template.CSS
	Script        template.JS
}

// newFrame is that of a script; more are what its policy allows besides.
func newFrame(title, script, more string) frame {
	css := classes() + pageCSS
	policy := fmt.Sprintf("default-src 'none'; img-src data:; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", hash(script), hash(css))
	return frame{title, policy + more, template.CSS(css), template.JS(script)}
}

// hash names a script or style in a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// classes are those of the outcomes, for swatches and for the parts of a stack.
func classes() string {
	var b strings.Builder
	for _, o := range trial.Outcomes() {
		l := bitmap.LookOf(o)
		fmt.Fprintf(&b, ".%s{background:%s;color:%s}rect.%s{fill:%s}text.%s{fill:%s}", o, l.Fill, l.Ink, o, l.Fill, o, l.Ink)
	}
	return b.String()
}
