package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Page is what campaigns say together, to be written as a page, as JUnit or as Markdown. c has what runs say beside earlier ones;
// it is empty when there are none.
func Page(ctx context.Context, d host.Dirs, s *store.Store, all []store.Campaign, c report.Comparison) (page.Page, error) {
	p := page.Page{Report: report.Report{Made: time.Now().UTC()}}
	names, ids, asked := make([]string, len(all)), map[string]string{}, map[string]bool{}
	for i, one := range all {
		names[i], ids[one.Name] = one.Name, one.ID
		shown, err := Show(ctx, s, one, false)
		if err != nil {
			return p, err
		}
		env, err := s.Environment(ctx, one.ID)
		if err != nil {
			return p, err
		}
		labs, err := s.Labs(ctx, one.ID)
		if err != nil {
			return p, err
		}
		run := report.Run{Name: one.Name, Environment: env, Results: shown.Run, Wanted: shown.Wanted, Memory: MemoryErrors(labs)}
		switch {
		case shown.Atlas != nil:
			p.Atlases = append(p.Atlases, *shown.Atlas)
		case shown.Bisection != nil:
			p.Bisections = append(p.Bisections, *shown.Bisection)
		case shown.Study != nil:
			shown.Study.Run = one.Name
			p.Studies = append(p.Studies, *shown.Study)
		}
		if !one.Over && len(labs) > 0 && labs[0].Error != "" {
			run.Error = labs[0].Error
			p.Error = strings.TrimPrefix(p.Error+"; "+one.Name+": "+run.Error, "; ")
		}
		p.Runs = append(p.Runs, run)
		for _, q := range shown.Scenarios {
			if !asked[q.Name] {
				asked[q.Name], p.Asked = true, append(p.Asked, q)
			}
		}
	}
	p.Title = strings.Join(names, ", ")
	if len(c.Nights) > 1 {
		p.Past, p.Changes, p.Known, p.Tonight = c.Past(), c.Changes(), c.Reasons(), c.Nights[len(c.Nights)-1].Name
	}
	p.Whole = func(at page.Place, r trial.Result) (trial.Result, trial.Environment, error) {
		var found store.Trial
		err := s.Trials(ctx, ids[at.Run], store.Filter{Scenario: at.Scenario, OpenZFS: at.OpenZFS, Arm: r.Arm, Number: r.Number}, func(t store.Trial) error {
			found = t
			return nil
		})
		if err == nil && found.ID == "" {
			err = fmt.Errorf("%s/%s@%s/%s/%d: it is not stored any more", at.Run, at.Scenario, at.OpenZFS, r.Arm, r.Number)
		}
		return found.Result, found.Environment, err
	}
	p.Console = func(r trial.Result) []byte { return console(RunsDir(d), r.Bundle) }
	return p, nil
}

// MemoryErrors are those that the hosts of a campaign's labs counted meanwhile.
func MemoryErrors(labs []store.Lab) (m report.MemoryErrors) {
	for _, l := range labs {
		m.Add(report.MemoryErrors{Corrected: l.Corrected, Uncorrected: l.Uncorrected})
	}
	return m
}

// consoleMost is how much of the end of a console is shown, in bytes.
const consoleMost = 256 << 10

// console is the end of what a guest printed, nil where that is gone. The directory of a bundle comes from the store, which may be
// another host's: none but those of the runs of this one are read.
func console(runs, bundle string) []byte {
	at, err := filepath.Rel(runs, bundle)
	if err != nil || !filepath.IsLocal(at) {
		return nil
	}
	root, err := os.OpenRoot(runs) // no link leads out of it
	if err != nil {
		return nil
	}
	defer func() { _ = root.Close() }() // it was only read from
	f, err := root.Open(filepath.Join(at, "console.log"))
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	} else if st.Size() > consoleMost {
		if _, err := f.Seek(-consoleMost, io.SeekEnd); err != nil {
			return nil
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, consoleMost))
	if err != nil {
		return nil
	}
	return text
}

// Past are the stored runs that were begun before the latest of some, these included: what a report is compared with.
func Past(ctx context.Context, s *store.Store, of []store.Campaign) (runs []store.Campaign, err error) {
	var latest time.Time
	for _, c := range of {
		if c.Kind == KindRun && c.Created.After(latest) {
			latest = c.Created
		}
	}
	all, err := s.List(ctx)
	for _, c := range all {
		if c.Kind == KindRun && !c.Created.After(latest) {
			runs = append(runs, c)
		}
	}
	return runs, err
}

// Compared says what changed over runs; with fewer than two there is nothing to say.
func Compared(ctx context.Context, s *store.Store, runs []store.Campaign, known []scenarios.Known) (report.Comparison, error) {
	if len(runs) < 2 {
		return report.Comparison{}, nil
	}
	c, err := Compare(ctx, s, runs, known)
	if err != nil {
		return c, fmt.Errorf("comparing with earlier runs: %w", err)
	}
	return c, nil
}
