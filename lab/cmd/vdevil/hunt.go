package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/hunt"
	"github.com/vdevil/vdevil/lab/ops"
)

// huntFlags are those of hunt.
type huntFlags struct {
	searchFlags
	scenario string
	faults   string
	exact    bool
	versions []string
	features []string
	draw     uint
	count    uint
	long     uint
	trials   uint
	minimize bool
}

func (a *app) huntCommand() *cobra.Command {
	var f huntFlags
	cmd := &cobra.Command{
		Use:   "hunt",
		Short: "Try operations that nobody wrote, and put what goes wrong into groups",
		Long: `Hunt makes programs of operations, of a few features that have met seldom so far, every second one longer and of half of all, and
tries each on every version: does the kernel fall over, does what must be refused succeed or the other way round, are files what was written, does the space add up on the
disks. With a version FIRST:LATER the programs run on FIRST, and then a machine with LATER imports the pool and reads it. Trials that end
alike are one finding, which names the features that all of them have and the scenarios that know such an end. The first program of a
finding is tried twice more, with other seeds; what comes again is made as small as it gets, beside the programs that follow. A program that
came to a function of OpenZFS to which none had come before is followed by another one of its features, until that brings nothing new;
which functions, is in functions.txt of a trial's bundle. A guest whose CPUs are emulated tells this, KVM does not.

A hunt is a campaign: vdevil resume goes on with one that was broken off, vdevil show tells what one has found, and vdevil minimize
takes a trial of it and writes a scenario with controls. The exit status is 1 when anything was found.`,
		Example: `  vdevil hunt --budget 20m
  vdevil hunt --zfs 2.3.9,2.4.4 --exact --budget 8h --name night
  vdevil hunt --scenario random-pools --exact --budget 1h
  vdevil hunt --faults power --exact --budget 1h
  vdevil hunt --zfs 2.3.9:2.4.4 --exact --budget 1h
  vdevil hunt --features dedup,gang,snapshot --draw 2 --trials 50 --seed 1
  vdevil minimize night/hunt/mirror-legacy-dedup/17`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.hunt(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.versions, "zfs", nil, "OpenZFS `VERSION[,VERSION]` to hunt on, or FIRST:LATER (default: the one that image list marks)")
	flags.StringSliceVar(&f.features, "features", nil, "only these `FEATURE[,FEATURE]` (default: those of the scenario)")
	flags.UintVar(&f.draw, "draw", 3, "so many `N` features in a program")
	flags.UintVar(&f.count, "operations", 12, "so many `N` operations in a program, beside those that features begin with")
	flags.UintVar(&f.long, "long", 40, "so many `N` in every second program, which is of half the features; 0 for none")
	flags.UintVar(&f.trials, "trials", 1000, "at most so many `N` programs, beside those that follow others")
	flags.BoolVar(&f.minimize, "minimize", true, "look for the fewest operations of what was found")
	flags.StringVar(&f.faults, "faults", "none", "`none|power|memory`: nothing but the operations, a power cut after the last one, or a bit that flips in the memory of ZFS")
	flags.StringVar(&f.scenario, "scenario", "", "the `SCENARIO` with pools, a fault perhaps, and what comes after the operations (default: that of --faults)")
	addExact(flags, &f.exact)
	f.addSearch(cmd, "hunt-SEED")
	return cmd
}

// faulty are the scenarios of hunts with faults.
var faulty = map[string]string{"none": "random-operations", "power": "random-cuts", "memory": "random-bits"}

func (a *app) hunt(ctx context.Context, f huntFlags) error {
	later := func(word string) bool { return len(lab.Pair(word)) > 1 }
	switch with, known := faulty[f.faults]; {
	case !known:
		return usage(fmt.Errorf("--faults: %q is unknown; write none, power or memory", f.faults))
	case f.scenario == "" && f.faults == "none" && slices.ContainsFunc(f.versions, later):
		f.scenario = "random-moves"
	case f.scenario == "":
		f.scenario = with
	case f.faults != "none":
		return usage(errors.New("--faults and --scenario: the scenario says which fault there is; leave one of them out"))
	}
	found, err := find([]string{f.scenario})
	if err == nil && f.exact {
		found, err = counting(found)
	}
	if err != nil {
		return err
	}
	var features []ops.Feature
	for _, name := range f.features {
		if !slices.Contains(ops.Features(), ops.Feature(name)) {
			return usage(fmt.Errorf("--features: %q is unknown; write some of %v", name, ops.Features()))
		}
		features = append(features, ops.Feature(name))
	}
	if f.draw == 0 || f.count == 0 || f.trials == 0 {
		return usage(errors.New("--draw, --operations and --trials: write 1 at least"))
	}
	if err := f.checkPairs(f.versions...); err != nil {
		return err
	}
	var s hunt.Summary
	name := ""
	err = a.search(ctx, f.searchFlags, func(l *lab.Lab, t lab.Terms) error {
		t.Name = cmp.Or(t.Name, fmt.Sprintf("hunt-%d", f.seed))
		name = t.Name
		s, err = l.Hunt(ctx, lab.HuntRequest{
			Scenario: found[0], Versions: f.versions, Features: features, Draw: int(f.draw), Count: int(f.count), Long: int(f.long), Trials: int(f.trials),
			Seed: f.seed, Minimize: f.minimize, Terms: t,
		})
		return err
	})
	return a.tellHunt(name, s, f.json, err)
}

// tellHunt prints what was found. A hunt that found something did not hold what one hopes for.
func (a *app) tellHunt(name string, s hunt.Summary, asJSON bool, err error) error {
	if s.Planned == 0 {
		return err
	}
	if asJSON {
		err = errors.Join(err, writeJSON(a.out, s))
	} else {
		err = errors.Join(err, s.Write(a.out))
	}
	if err == nil && len(s.Findings) > 0 {
		first := s.Findings[0].First
		return &notHeldError{fmt.Sprintf("%d findings; vdevil minimize %s/%s/%s/%d takes the first", len(s.Findings), name, hunt.Name, first.Arm, first.Number)}
	}
	return err
}
