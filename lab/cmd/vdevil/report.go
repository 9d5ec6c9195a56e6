package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
)

type reportFlags struct {
	html, junit, markdown, json string
	against                     []string
	known                       string
	trials                      int
}

func (a *app) reportCommand() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [RUN...]",
		Short: "Write what campaigns found as a page, JUnit or Markdown, with what changed",
		Long: `Report tells of campaigns, the latest if none is named: the matrix of verdicts, arms with their rates, signatures, and of every
trial what was injected, what the console said and the command that repeats it. Runs are compared with all that are stored from
before, or with those of --against: what changed since when is in every form of the report. Without a form it is Markdown on stdout. - is
stdout, too.`,
		Example: `  vdevil report tonight --html tonight.html
  vdevil report tonight --junit junit.xml --markdown summary.md --known known.yaml
  vdevil report edited --against plain --html edited.html`,
		RunE: func(cmd *cobra.Command, words []string) error {
			known, err := readKnown(f.known)
			if err != nil {
				return err
			}
			if f.html == "" && f.junit == "" && f.markdown == "" && f.json == "" {
				f.markdown = "-"
			}
			return a.stored(cmd.Context(), func(s *store.Store) error {
				all, past, err := campaigns(cmd.Context(), s, words, f.against)
				if err != nil {
					return err
				}
				c, err := lab.Compared(cmd.Context(), s, past, known)
				if err != nil {
					return err
				}
				dirs, err := host.DefaultDirs()
				if err != nil {
					return err
				}
				p, err := lab.Page(cmd.Context(), dirs, s, all, c)
				if err != nil {
					return err
				}
				p.Most = f.trials
				return a.write(f, p, func(w io.Writer) error { return reportJSON(cmd.Context(), s, w, all, p.Report, c) })
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.html, "html", "", "write one page to `FILE` that needs nothing else")
	flags.StringVar(&f.junit, "junit", "", "write JUnit to `FILE`: a case for each scenario, version and driver; one that changed fails")
	flags.StringVar(&f.markdown, "markdown", "", "write Markdown to `FILE`: the matrix and what changed")
	flags.StringVar(&f.json, "json", "", "write what run --json prints to `FILE`, of all runs")
	flags.StringSliceVar(&f.against, "against", nil, "compare with `RUN`, and with no other (default: all runs begun before)")
	flags.StringVar(&f.known, "known", "", "`FILE` of what is known to deviate, and until when")
	flags.IntVar(&f.trials, "trials", 0, "how many trials the page has at most; where there are more it says which it has (default 20000)")
	return cmd
}

// campaigns are those of some words, the latest for none, and the runs that they are compared with, they among them.
func campaigns(ctx context.Context, s *store.Store, words, against []string) (all, past []store.Campaign, err error) {
	if len(words) == 0 {
		words = []string{""}
	}
	for _, word := range words {
		c, err := s.Find(ctx, word)
		if err != nil {
			return nil, nil, misnamed(err)
		}
		all = append(all, c)
	}
	if len(against) == 0 {
		past, err = lab.Past(ctx, s, all)
		return all, past, err
	}
	if past, err = nightly(ctx, s, against); err != nil {
		return nil, nil, err
	}
	before := len(past)
	for _, c := range all {
		if c.Kind == lab.KindRun && !slices.ContainsFunc(past, func(p store.Campaign) bool { return p.ID == c.ID }) {
			past = append(past, c)
		}
	}
	if len(past) == before {
		return nil, nil, usage(fmt.Errorf("--against %s: there is no other run in the report to compare it with", strings.Join(against, ",")))
	}
	latest := slices.MaxFunc(past, func(a, b store.Campaign) int { return a.Created.Compare(b.Created) })
	if i := slices.IndexFunc(past, func(c store.Campaign) bool { return c.ID == latest.ID }); i < before {
		return nil, nil, usage(fmt.Errorf("--against %s: it began after what is reported, and changes are told of the later one: vdevil report %s --against %s",
			latest.Name, latest.Name, past[before].Name))
	}
	return all, past, nil
}

// write writes the forms that are asked for, each whole or not at all.
func (a *app) write(f reportFlags, p page.Page, json func(io.Writer) error) error {
	forms := []struct {
		file  string
		write func(io.Writer) error
	}{
		{f.html, func(w io.Writer) error { return page.Write(w, p) }},
		{f.junit, p.JUnit},
		{f.markdown, p.Markdown},
		{f.json, json},
	}
	var errs []error
	for _, form := range forms {
		switch form.file {
		case "":
		case "-":
			errs = append(errs, form.write(a.out))
		default:
			errs = append(errs, whole(form.file, form.write))
		}
	}
	return errors.Join(errs...)
}

// whole writes a file that is there when it is complete.
func whole(file string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".vdevil-report-*")
	if err != nil {
		if cause := (*os.PathError)(nil); errors.As(err, &cause) {
			err = cause.Err
		}
		return fmt.Errorf("write %s: %w: its directory must be there and writable", file, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has another name when all went well
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// reportJSON writes what run --json prints, of all runs, with what changed.
func reportJSON(ctx context.Context, s *store.Store, w io.Writer, all []store.Campaign, r report.Report, c report.Comparison) error {
	d := report.Document{Error: r.Error}
	if len(c.Nights) > 1 {
		d.Comparison = &c
	}
	for _, run := range r.Runs {
		d.Lab = run.Environment
		d.MemoryErrors.Add(run.Memory)
	}
	for _, one := range all {
		if one.Kind != lab.KindRun {
			return usage(fmt.Errorf("--json: campaign %s is of kind %s, whose JSON is that of vdevil show %s --json", one.Name, one.Kind, one.Name))
		}
		shown, err := lab.Show(ctx, s, one, true)
		if err != nil {
			return err
		}
		d.Results = append(d.Results, shown.Run...)
	}
	return d.WriteJSON(w)
}
