package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/bisect"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
)

// bisectFlags are those of bisect.
type bisectFlags struct {
	searchFlags
	arm        string
	old, new   string
	text       string
	confidence float64
	priors     []string
	paths      []string
	skip       []string
	trials     uint
}

func (a *app) bisectCommand() *cobra.Command {
	var f bisectFlags
	cmd := &cobra.Command{
		Use:   "bisect SCENARIO --old VERSION --new VERSION",
		Short: "Find the commit that changed how a scenario comes out",
		Long: `Bisect compares how often a trial of a scenario hits, as its file says, at two ends of OpenZFS's history, finds out which end has
the higher rate, and searches for the commit with which it changed. A trial may hit by chance: every commit has a probability of being
the one, and the next to be tried is the one that a second spent on tells most about. Commits that compile to the same are one
candidate. One that does not compile, or boot, cannot be tried and stays possible. At the end both neighbours are tried again.

The ends are revisions of the checkout that --source names, or two versions of image list. Where history forks between them the
search goes by way of the merge base. A bisection is a campaign: what was done is stored, and vdevil resume goes on with one.`,
		Example: `  vdevil bisect legacy-dedup-gang --source ~/zfs --old zfs-2.3.1 --new zfs-2.3.5
  vdevil bisect recv-keymap --old 2.3.2 --new 2.4.4
  vdevil bisect blkptr-dva-flip --source ~/zfs --old zfs-2.3.2 --new zfs-2.3.6 --text 'adding existent segment'
  vdevil bisect legacy-dedup-gang --source ~/zfs --old zfs-2.3.3 --new zfs-2.3.4 --prior 'module/zfs/(ddt|zio)*=5' --budget 2h
  vdevil bisect status tonight
  vdevil bisect why tonight 1a2b3c4
  vdevil bisect log tonight > log && git bisect replay log`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.bisect(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.old, "old", "", "the older end, a `REVISION` of --source or a version of image list")
	flags.StringVar(&f.new, "new", "", "the newer end")
	flags.StringVar(&f.arm, "arm", "", "of the scenario (default: the first)")
	flags.StringVar(&f.text, "text", "", "a trial hits only if its message has this `TEXT` in it, too")
	flags.Float64Var(&f.confidence, "confidence", 0.99, "how probable the answer must be")
	flags.StringArrayVar(&f.priors, "prior", nil, "`GLOB=N`: commits that touch such a path, or have such a word in their subject, are N times as probable")
	flags.StringArrayVar(&f.paths, "path", nil, "only commits that touch a path like `GLOB` can be the one")
	flags.StringArrayVar(&f.skip, "skip", nil, "a `REVISION` that is not to be tried")
	flags.UintVar(&f.trials, "trials", 60, "at most so many `N` trials of one candidate")
	f.addSearch(cmd, "by the time")
	cmd.AddCommand(a.bisectStatus(), a.bisectWhy(), a.bisectLog())
	return cmd
}

func (a *app) bisect(ctx context.Context, f bisectFlags, args []string) error {
	found, err := find(args)
	if err != nil {
		return err
	}
	if f.old == "" || f.new == "" {
		return usage(errors.New("name both ends with --old and --new"))
	}
	if err := f.checkVersions(f.old, f.new); err != nil {
		return err
	}
	var priors []bisect.Prior
	for _, text := range f.priors {
		p, err := bisect.ParsePrior(text)
		if err != nil {
			return usage(fmt.Errorf("--prior: %w", err))
		}
		priors = append(priors, p)
	}
	if f.arm != "" {
		if _, err := found[0].ForArm(f.arm); err != nil {
			return usage(fmt.Errorf("--arm: %w", err))
		}
	}
	var s report.Bisection
	err = a.search(ctx, f.searchFlags, func(l *lab.Lab, t lab.Terms) error {
		s, err = l.Bisect(ctx, lab.BisectRequest{
			Scenario: found[0], Arm: f.arm, Old: f.old, New: f.new, Text: f.text, Confidence: f.confidence, Priors: priors, Paths: f.paths,
			Skip: f.skip, Most: int(f.trials), Seed: f.seed, Flags: f.flags(), Terms: t,
		})
		return err
	})
	return a.tellBisection(s, f.json, err)
}

// tellBisection prints what is known. A bisection that found nothing did not hold what was expected of it.
func (a *app) tellBisection(s report.Bisection, asJSON bool, err error) error {
	if len(s.Candidates) == 0 {
		return err
	}
	if asJSON {
		err = errors.Join(err, writeJSON(a.out, s))
	} else {
		err = errors.Join(err, s.Table(a.out))
	}
	if err == nil && s.State.Over() && s.State != report.StageFound {
		return &notHeldError{"no commit was found: " + s.Message}
	}
	return err
}

// knownBisection reads a stored bisection.
func (a *app) knownBisection(ctx context.Context, word string, tell func(report.Bisection) error) error {
	return a.stored(ctx, func(s *store.Store) error {
		c, err := s.Find(ctx, word)
		if err != nil {
			return misnamed(err)
		}
		if c.Kind != lab.KindBisect {
			return usage(fmt.Errorf("campaign %s is no bisection but of kind %s", c.Name, c.Kind))
		}
		shown, err := lab.Show(ctx, s, c, true)
		if err != nil {
			return err
		}
		return tell(*shown.Bisection)
	})
}

func (a *app) bisectStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status RUN",
		Short: "Show what a bisection knows, and what comes next",
		Long: `Status shows the candidates that were tried with their rates, how probable each is to have made the change, and what is tried
next, and why. The bisection may be under way.`,
		Example: `  vdevil bisect status tonight`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.knownBisection(cmd.Context(), args[0], func(s report.Bisection) error {
				if asJSON {
					return writeJSON(a.out, s)
				}
				return s.Table(a.out)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) bisectWhy() *cobra.Command {
	return &cobra.Command{
		Use:   "why RUN COMMIT",
		Short: "Say what is known of a commit, and why it is, or is not, tried next",
		Long: `Why finds the candidate that has the commit, and says what its trials showed, how probable it is, and how much a trial of it
would tell for the time it takes.`,
		Example: `  vdevil bisect why tonight 1a2b3c4`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.knownBisection(cmd.Context(), args[0], func(s report.Bisection) error {
				text, err := bisect.Why(s, args[1])
				if err != nil {
					return usage(err)
				}
				_, err = fmt.Fprintln(a.out, text)
				return err
			})
		},
	}
}

func (a *app) bisectLog() *cobra.Command {
	return &cobra.Command{
		Use:   "log RUN",
		Short: "Print a bisection as git bisect replay reads it",
		Long: `Log marks the commits of which the side is known with the confidence that was asked for as old or new, and those that cannot be
tried as skipped.`,
		Example: `  vdevil bisect log tonight > log && git bisect replay log`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.knownBisection(cmd.Context(), args[0], func(s report.Bisection) error {
				_, err := io.WriteString(a.out, s.Log())
				return err
			})
		},
	}
}
