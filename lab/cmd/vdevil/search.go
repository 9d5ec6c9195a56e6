package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
)

// searchFlags are those of a search that asks for trials until it knows.
type searchFlags struct {
	labFlags
	terms termFlags
	seed  uint64
	json  bool
}

// addSearch adds them behind a command's own. Named is the name of a campaign to which nobody gives one.
func (f *searchFlags) addSearch(cmd *cobra.Command, named string) {
	flags := cmd.Flags()
	flags.UintVar(&f.jobs, "jobs", 0, "trials at once (default: one for each CPU, more while CPUs are idle)")
	flags.Uint64Var(&f.seed, "seed", 0, "what all random choices come from (default: random, and printed)")
	flags.Var(&f.terms.name, "name", "of the campaign; one that is there and asks for the same goes on (default: "+named+")")
	flags.DurationVar(&f.terms.budget, "budget", 0, "`TIME` after which no more trials begin, such as 2h; what is known then is told")
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of text")
	f.add(flags)
	cmd.PreRun = func(cmd *cobra.Command, _ []string) {
		if !cmd.Flags().Changed("seed") {
			f.seed = uint64(rand.Uint32()) // short enough to be typed
		}
	}
}

// search lets a lab do one, and closes it.
func (a *app) search(ctx context.Context, f searchFlags, do func(*lab.Lab, lab.Terms) error) error {
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, f.labFlags, view)
	if err != nil {
		view.close()
		return interrupted(ctx, err)
	}
	view.note(fmt.Sprintf("seed %d", f.seed))
	err = do(l, f.terms.terms(lab.KeepNone, view.event))
	view.close()
	return interrupted(ctx, errors.Join(err, l.Close()))
}
