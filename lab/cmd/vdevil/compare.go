package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

func (a *app) compareCommand() *cobra.Command {
	var known string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "compare [RUN...]",
		Short: "Say what changed since the nights before, and since when",
		Long: `Compare puts the latest of some runs beside the others, all that are stored if none is named: verdicts that changed, rates that
changed with the night on which they did and what became of that, scenarios and images that are others now. Only trials that are
done alike are pooled. The exit status is 1 when a verdict changed that --known does not list; single trials decide nothing.`,
		Example: `  vdevil compare
  vdevil compare monday tuesday tonight --json
  vdevil compare --known known.yaml`,
		RunE: func(cmd *cobra.Command, words []string) error {
			list, err := readKnown(known)
			if err != nil {
				return err
			}
			return a.stored(cmd.Context(), func(s *store.Store) error {
				runs, err := nightly(cmd.Context(), s, words)
				if err != nil {
					return err
				}
				c, err := lab.Compare(cmd.Context(), s, runs, list)
				if err != nil {
					return err
				}
				if asJSON {
					err = c.WriteJSON(a.out)
				} else {
					err = c.Table(a.out)
				}
				if err != nil {
					return err
				}
				return unexpected(c)
			})
		},
	}
	cmd.Flags().StringVar(&known, "known", "", "`FILE` of what is known to deviate, and until when")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func readKnown(file string) ([]scenarios.Known, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage(fmt.Errorf("--known: %w", err))
	}
	list, err := scenarios.ParseKnown(file, text)
	return list, usage(err)
}

// nightly are the runs of some words, or all that are stored.
func nightly(ctx context.Context, s *store.Store, words []string) (runs []store.Campaign, err error) {
	if len(words) == 0 {
		if runs, err = s.List(ctx); err != nil {
			return nil, err
		}
		runs = slices.DeleteFunc(runs, func(c store.Campaign) bool { return c.Kind != lab.KindRun })
		if len(runs) == 0 {
			return nil, misnamed(&store.NotFoundError{})
		}
		return runs, nil
	}
	for _, word := range words {
		c, err := s.Find(ctx, word)
		if err != nil {
			return nil, misnamed(err)
		}
		if c.Kind != lab.KindRun {
			return nil, usage(fmt.Errorf("campaign %s is of kind %s: only runs have a rate over nights", c.Name, c.Kind))
		}
		if !slices.ContainsFunc(runs, func(r store.Campaign) bool { return r.ID == c.ID }) {
			runs = append(runs, c)
		}
	}
	return runs, nil
}

// unexpected is the error of verdicts that changed, nil when none did.
func unexpected(c report.Comparison) error {
	changed := c.Unexpected()
	names := make([]string, len(changed))
	for i, q := range changed {
		names[i] = title(q.Scenario, q.OpenZFS)
	}
	if len(names) == 0 {
		return nil
	}
	return &notHeldError{fmt.Sprintf("%d verdicts changed: %s", len(names), strings.Join(names, ", "))}
}
