package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// crashFlags are those of crash.
type crashFlags struct {
	labFlags
	version  string
	seed     uint64
	states   uint
	flush    choice
	cache    uint
	promises time.Duration
	name     word
	budget   time.Duration
	shard    shard
	json     bool
}

func (a *app) crashCommand() *cobra.Command {
	f := crashFlags{flush: choice{value: "honest", words: []string{"honest", "lying"}}}
	cmd := &cobra.Command{
		Use:   "crash [SCENARIO]",
		Short: "Cut the power at every moment of a workload and see what is left",
		Long: `Crash runs the workload of a scenario once, on disks that write down everything they are asked to do, while files are
written with fsync beside it. From the record it builds the states in which a power cut could have left the disks: after
every flush, with some of what was not flushed, with the last write torn in the middle; all disks at the same instant.
Each state is audited, imported read-only and then read-write in a guest that never saw the workload, checked for every
file that fsync had promised before the cut, exported and audited again.

With --flush lying the disks answer a flush without doing anything, and lose what is in their caches.

The exit status is 0 when every state was consistent and no promise was broken, 1 otherwise; with lying disks it is 0, as
nothing is promised then. A state is not audited when its pool uses what the audit does not know: that counts for nothing,
and zdb's word is shown. A study that is interrupted reports the states that were judged, and exits with 3. Its record lies with the campaign,
so that vdevil resume goes on with it and vdevil repeat judges a state again; vdevil rm removes it.`,
		Example: `  vdevil crash
  vdevil crash crash-storm --states 500 --json
  vdevil crash --flush lying --cache 8 --states 100
  vdevil crash ./my-workload.yaml --seed 7`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"crash-storm"}
			}
			return a.crash(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.UintVar(&f.states, "states", 500, "states to judge")
	flags.Var(&f.flush, "flush", "what a flush is worth")
	flags.UintVar(&f.cache, "cache", 32, "what the cache of each lying disk holds, in `MiB`")
	flags.DurationVar(&f.promises, "promises", 10*time.Second, "how long files are written with fsync, by the guest's clock")
	flags.StringVar(&f.version, "zfs", "", "OpenZFS `VERSION`: of image list, a revision of --source, or a checkout as ./DIR (default: the one that image list marks)")
	flags.Uint64Var(&f.seed, "seed", 1, "what random choices come from; the workload's own timing does not")
	flags.UintVar(&f.jobs, "jobs", 0, "states at once (default: one for each CPU, more while CPUs are idle)")
	flags.Var(&f.name, "name", "of the campaign (default: by the time)")
	flags.DurationVar(&f.budget, "budget", 0, "`TIME` after which no more states are judged, such as 20m; vdevil resume goes on")
	flags.Var(&f.shard, "shard", "judge this part of the states only; vdevil resume --shard does another one of the same record, side by side")
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of tables")
	f.add(flags)
	return cmd
}

func (a *app) crash(ctx context.Context, f crashFlags, args []string) error {
	found, err := find(args)
	if err != nil {
		return err
	}
	if f.version != "" {
		if err := f.checkVersions(f.version); err != nil {
			return err
		}
	}
	if f.states == 0 {
		return usage(errors.New("--states: at least one"))
	}
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, f.labFlags, view)
	if err != nil {
		view.close()
		return interrupted(ctx, err)
	}
	request := lab.CrashRequest{
		Scenario: found[0], Version: f.version, Seed: f.seed, States: int(f.states), Promises: f.promises,
		Terms: lab.Terms{Name: string(f.name), Budget: f.budget, Shard: f.shard.Shard, Observe: view.event},
	}
	if f.flush.value == "lying" {
		request.Flush = crash.Flush{Lying: true, Cache: int64(f.cache) << 20}
	}
	study, err := l.Crash(ctx, request)
	view.close()
	err = interrupted(ctx, errors.Join(err, l.Close()))
	return a.tellStudy(study, f.json, err)
}

// tellStudy prints what was judged, and gives the error that decides the exit status.
func (a *app) tellStudy(study report.Study, asJSON bool, err error) error {
	if len(study.States) == 0 {
		return err
	}
	print := study.Table
	if asJSON {
		print = study.WriteJSON
	}
	if err := errors.Join(err, print(a.out)); err != nil {
		return err
	}
	return kept(study)
}

// kept is an error when something broke that should not have, or could not be judged.
func kept(s report.Study) error {
	broken := s.Count(report.Lost)
	invalid := len(s.States) - s.Count(func(trial.Result) bool { return true })
	if invalid > 0 {
		return fmt.Errorf("%d of %d states could not be judged", invalid, len(s.States))
	}
	if broken > 0 && !s.Lying {
		return &notHeldError{fmt.Sprintf("%d of %d states are inconsistent or break a promise", broken, len(s.States))}
	}
	return nil
}
