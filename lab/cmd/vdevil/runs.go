package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// stored opens the store for a command that needs no lab.
func (a *app) stored(ctx context.Context, do func(*store.Store) error) error {
	dirs, err := host.DefaultDirs()
	if err != nil {
		return err
	}
	s, err := lab.OpenStore(ctx, dirs)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

// misnamed makes a campaign that is not there the user's mistake.
func misnamed(err error) error {
	if errors.As(err, new(*store.NotFoundError)) {
		return usage(err)
	}
	return err
}

func (a *app) runsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List campaigns",
		Long: `Runs lists what was run, the latest first: name and ID, when it was begun, how many trials are stored, what they took, and
whether all that was wanted is done.`,
		Example: `  vdevil runs
  vdevil runs --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.stored(cmd.Context(), func(s *store.Store) error {
				all, err := s.List(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(a.out, append([]store.Campaign{}, all...))
				}
				return a.list(all)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) list(all []store.Campaign) error {
	var b strings.Builder
	b.WriteString("NAME\tID\tKIND\tBEGUN\tTRIALS\tINVALID\tTOOK\tSTATE\n")
	for _, c := range all {
		state := "to resume"
		if c.Over {
			state = "done"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", c.Name, c.ID, c.Kind, c.Created.Local().Format("2006-01-02 15:04"), c.Trials, c.Invalid,
			report.Clock(report.Seconds(c.Seconds)), state)
	}
	return columns(a.out, b.String())
}

// place is what show is asked for: RUN[/SCENARIO[@VERSION][/ARM/N]].
type place struct {
	run    string
	filter store.Filter
}

func parsePlace(word string) (p place, err error) {
	parts := strings.Split(word, "/")
	p.run = parts[0]
	if len(parts) > 1 {
		p.filter.Scenario, p.filter.OpenZFS, _ = strings.Cut(parts[1], "@")
	}
	if len(parts) == 4 {
		p.filter.Arm = parts[2]
		p.filter.Number, err = strconv.Atoi(parts[3])
	}
	if err != nil || len(parts) == 3 || len(parts) > 4 || len(parts) == 4 && p.filter.Number < 1 {
		return p, usage(fmt.Errorf("%q names no trial; write RUN, RUN/SCENARIO or RUN/SCENARIO/ARM/N, such as tonight/blkptr-dva-flip/flip/3", word))
	}
	return p, nil
}

// one reads the only trial that a place names.
func one(ctx context.Context, s *store.Store, c store.Campaign, f store.Filter) (store.Trial, error) {
	var found []store.Trial
	err := s.Trials(ctx, c.ID, f, func(t store.Trial) error {
		found = append(found, t)
		return nil
	})
	switch {
	case err != nil:
		return store.Trial{}, err
	case len(found) == 0:
		return store.Trial{}, usage(fmt.Errorf("campaign %s has no trial %s/%s/%d", c.Name, f.Scenario, f.Arm, f.Number))
	case len(found) > 1:
		return store.Trial{}, usage(fmt.Errorf("campaign %s has %d trials %s/%s/%d: name the version too, as in %s@%s", c.Name, len(found), f.Scenario, f.Arm,
			f.Number, f.Scenario, found[0].Spec.OpenZFS))
	}
	return found[0], nil
}

func (a *app) showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [RUN[/SCENARIO[@VERSION][/ARM/N]]]",
		Short: "Tell again what a campaign has found, or all that is known of one trial",
		Long: `Show prints the verdicts of a campaign, of one of its scenarios, or one trial whole: where it was done, what was injected,
the message with its stack, where the time went, and the command that does it again. RUN is a name or the beginning of an ID
that vdevil runs lists; without one it is the latest.`,
		Example: `  vdevil show
  vdevil show tonight/legacy-dedup-gang
  vdevil show tonight/legacy-dedup-gang/gang-dedup/3 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePlace(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return a.stored(cmd.Context(), func(s *store.Store) error { return a.show(cmd.Context(), s, p, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// drawing shows a campaign that is no run.
func (a *app) drawing(shown lab.Shown, asJSON bool) error {
	switch {
	case shown.Atlas != nil && asJSON:
		return shown.Atlas.WriteJSON(a.out)
	case shown.Atlas != nil:
		return bitmap.Text(a.out, *shown.Atlas)
	case shown.Hunt != nil && asJSON:
		return writeJSON(a.out, shown.Hunt)
	case shown.Hunt != nil:
		return shown.Hunt.Write(a.out)
	case shown.Minimum != nil && asJSON:
		return writeJSON(a.out, shown.Minimum)
	case shown.Minimum != nil:
		return shown.Minimum.Write(a.out)
	case shown.Bisection != nil && asJSON:
		return writeJSON(a.out, shown.Bisection)
	case shown.Bisection != nil:
		return shown.Bisection.Table(a.out)
	case asJSON:
		return shown.Study.WriteJSON(a.out)
	}
	return shown.Study.Table(a.out)
}

// oneTrial is what show says of a trial as JSON.
type oneTrial struct {
	store.Trial
	// Events are what the console said of trouble, with the stacks. As JSON their lines of the console are in base64: they may be anything.
	Events []panics.Event `json:"events"`
}

func (a *app) show(ctx context.Context, s *store.Store, p place, asJSON bool) error {
	c, err := s.Find(ctx, p.run)
	if err != nil {
		return misnamed(err)
	}
	if p.filter.Number > 0 {
		t, err := one(ctx, s, c, p.filter)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.out, oneTrial{t, append([]panics.Event{}, t.Result.Events...)})
		}
		return report.Trial(a.out, t.Spec, t.Result, t.Environment)
	}
	shown, err := lab.Show(ctx, s, c, asJSON)
	if err != nil {
		return err
	}
	labs, err := s.Labs(ctx, c.ID)
	if err != nil {
		return err
	}
	memory := lab.MemoryErrors(labs)
	if text := memory.String(); text != "" {
		a.say("vdevil: %s: %s\n", c.Name, text)
	}
	if shown.Run == nil && shown.Scenarios == nil {
		return a.drawing(shown, asJSON)
	}
	if p.filter.Scenario != "" {
		shown.Run = slices.DeleteFunc(shown.Run, func(s verdict.Summary) bool {
			return s.Scenario != p.filter.Scenario || p.filter.OpenZFS != "" && s.OpenZFS != p.filter.OpenZFS
		})
		if len(shown.Run) == 0 {
			return usage(fmt.Errorf("campaign %s has no trials of scenario %s %s", c.Name, p.filter.Scenario, p.filter.OpenZFS))
		}
	}
	if asJSON {
		env, err := s.Environment(ctx, c.ID)
		if err != nil {
			return err
		}
		return report.Document{Lab: env, Results: shown.Run, MemoryErrors: memory}.WriteJSON(a.out)
	}
	return report.Table(a.out, shown.Run, shown.Scenarios)
}

func (a *app) resumeCommand() *cobra.Command {
	var f labFlags
	var terms termFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "resume RUN",
		Short: "Go on with a campaign where it was",
		Long: `Resume does the trials of a campaign that are wanted yet, with the scenarios as they were when it was begun, and tells what
all of them say. It has the driver and the images that the campaign began with.`,
		Example: `  vdevil resume tonight
  vdevil resume 3f2a --budget 1h
  vdevil resume cut --shard 2/4`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.resume(cmd.Context(), f, terms, args[0], cmd.Flags().Changed("driver"), asJSON)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&terms.budget, "budget", 0, "`TIME` after which no more trials begin")
	flags.Var(&terms.shard, "shard", "do this part of what is left only; others may do theirs side by side")
	flags.UintVar(&f.jobs, "jobs", 0, "trials at once (default: one for each CPU, more while CPUs are idle)")
	flags.BoolVar(&asJSON, "json", false, "print one JSON document instead of tables")
	f.add(flags)
	return cmd
}

// campaignOf is the campaign of a word, which has to be one: of the latest nobody says so.
func campaignOf(ctx context.Context, s *store.Store, word string) (store.Campaign, error) {
	if word == "" {
		return store.Campaign{}, usage(errors.New("the name of the campaign is empty; vdevil runs lists them"))
	}
	c, err := s.Find(ctx, word)
	return c, misnamed(err)
}

func (a *app) resume(ctx context.Context, f labFlags, terms termFlags, word string, chosen, asJSON bool) error {
	var c store.Campaign
	if err := a.stored(ctx, func(s *store.Store) (err error) {
		c, err = campaignOf(ctx, s, word)
		return err
	}); err != nil {
		return err
	}
	if driver := c.Driver(); driver != "" && !chosen {
		if err := f.driver.name.Set(driver); err != nil {
			return usage(fmt.Errorf("campaign %s has driver %s: %w", c.Name, driver, err))
		}
	}
	keep := lab.KeepFailed
	if c.Kind != lab.KindRun { // as the commands that began it
		keep = lab.KeepNone
	}
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, f, view)
	if err != nil {
		view.close()
		return interrupted(ctx, err)
	}
	r, err := l.Resume(ctx, c, terms.terms(keep, view.event))
	view.close()
	err = interrupted(ctx, errors.Join(err, l.Close()))
	if r.Atlas != nil {
		return errors.Join(err, a.draw(atlasFlags{json: asJSON}, *r.Atlas))
	}
	if r.Bisection != nil {
		return a.tellBisection(*r.Bisection, asJSON, err)
	}
	if r.Hunt != nil {
		return a.tellHunt(c.Name, *r.Hunt, asJSON, err)
	}
	if r.Minimum != nil {
		return a.tellMinimum(*r.Minimum, asJSON, "", err)
	}
	if r.Study != nil {
		return a.tellStudy(*r.Study, asJSON, err)
	}
	run := runFlags{json: asJSON}
	run.only.Pick = r.Only
	return a.tell(l.Environment(), run, r.Scenarios, r.Run, err)
}

func (a *app) rmCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rm RUN...",
		Short: "Forget campaigns, with their trials and bundles",
		Long: `Rm takes campaigns out of the store, and removes their bundles from this computer. RUN is a name or the beginning of an ID that
vdevil runs lists.`,
		Example: `  vdevil rm tonight
  vdevil rm 3f2a 77b0`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := host.DefaultDirs()
			if err != nil {
				return err
			}
			return a.stored(cmd.Context(), func(s *store.Store) error {
				gone := []store.Campaign{}
				for _, word := range args {
					c, err := campaignOf(cmd.Context(), s, word)
					if err == nil {
						err = lab.Remove(cmd.Context(), dirs, s, c)
					}
					if err != nil {
						return err
					}
					gone = append(gone, c)
					if !asJSON {
						a.say("%s: %d trials forgotten\n", c.Name, c.Trials)
					}
				}
				if asJSON {
					return writeJSON(a.out, gone)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was forgotten as JSON")
	return cmd
}

func (a *app) mergeCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "merge FILE...",
		Short: "Take in the stores of other hosts",
		Long: `Merge adds the campaigns and trials of other stores, files named vdevil.db in the state directories of other hosts, or what vdevil
save wrote. Parts of
one campaign, done with --name and --shard, become one. To merge a file again changes nothing. Bundles stay where they are.`,
		Example: `  vdevil merge host1/vdevil.db host2/vdevil.db && vdevil show tonight
  vdevil merge nights.db.zst`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.stored(cmd.Context(), func(s *store.Store) error {
				all := []store.Merged{}
				for _, file := range args {
					m, err := lab.Merge(cmd.Context(), s, file)
					if errors.Is(err, os.ErrNotExist) {
						return usage(err)
					}
					if err != nil {
						return err
					}
					all = append(all, m)
				}
				if asJSON {
					return writeJSON(a.out, all)
				}
				var b strings.Builder
				for _, m := range all {
					fmt.Fprintf(&b, "%s: %d campaigns and %d trials added\n", m.File, m.Campaigns, m.Trials)
				}
				_, err := io.WriteString(a.out, b.String())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) saveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "save FILE",
		Short: "Copy the store, to be kept or merged elsewhere",
		Long: `Save writes all that is stored of campaigns to a file, whole even while others run, and compressed with zstd if its name ends in
.zst. Bundles are not in it. Merge takes it in.`,
		Example: `  vdevil save nights.db.zst`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.stored(cmd.Context(), func(s *store.Store) error { return s.Save(cmd.Context(), args[0]) })
		},
	}
}
