package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

func (a *app) repeatCommand() *cobra.Command {
	var f repeatFlags
	cmd := &cobra.Command{
		Use:   "repeat TRIAL|BUNDLE",
		Short: "Do one trial again, and say whether its outcome agrees",
		Long: `Repeat does a trial again from what decided it, whatever has become of its scenario's file since. A TRIAL is one that
vdevil show names, RUN/SCENARIO/ARM/N; a BUNDLE is the directory of its evidence, or the spec.json in it alone, here or from
another host.

A trial whose guest counts its time (clock: icount) is the same to the byte in every repeat from the same checkpoint: all that the
console says, and the disks at the end. That is compared, too, unless the checkpoint had to be made anew.

The exit status is 0 when outcome, signature and injected bytes are the same, 1 when they are not, and 3 when the trial was invalid.`,
		Example: `  vdevil repeat tonight/blkptr-dva-flip/flip/3
  vdevil repeat tonight/blkptr-dva-flip/flip/3 --times 10
  vdevil repeat ~/.local/state/vdevil/runs/20261128-141348.507/blkptr-dva-flip-2.3.2/flip-001`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.chosen = cmd.Flags().Changed("driver")
			return a.repeat(cmd.Context(), f, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.UintVar(&f.times, "times", 1, "do it `N` times, until one is not as before")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	f.add(flags)
	return cmd
}

// repeatFlags are those of repeat.
type repeatFlags struct {
	labFlags
	chosen bool // the driver
	times  uint
	json   bool
}

// before is a trial with what came of it, if that is known.
type before struct {
	spec   trial.Spec
	result *trial.Result
}

// recall finds the trial: in a bundle where there is one of that name, else in the store.
func (a *app) recall(ctx context.Context, word string) (b before, err error) {
	if info, err := os.Stat(word); err == nil {
		file := word
		if info.IsDir() {
			file = filepath.Join(word, "spec.json")
		}
		return fromBundle(file)
	}
	p, err := parsePlace(word)
	if err == nil && p.filter.Number == 0 {
		err = usage(fmt.Errorf("%s is no bundle and names no trial; write RUN/SCENARIO/ARM/N or the directory of a bundle", word))
	}
	if err != nil {
		return b, err
	}
	err = a.stored(ctx, func(s *store.Store) error {
		c, err := s.Find(ctx, p.run)
		if err != nil {
			return misnamed(err)
		}
		t, err := one(ctx, s, c, p.filter)
		b = before{t.Spec, &t.Result}
		return err
	})
	return b, err
}

func fromBundle(file string) (b before, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return b, usage(fmt.Errorf("%s is no bundle of a trial: %w", filepath.Dir(file), err))
	}
	if err != nil {
		return b, err
	}
	if b.spec, err = trial.ParseSpec(text); err != nil {
		return b, usage(fmt.Errorf("%s: %w", file, err))
	}
	outcome := filepath.Join(filepath.Dir(file), "outcome.json")
	text, err = os.ReadFile(outcome)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	b.result = &trial.Result{}
	if err := json.Unmarshal(text, b.result); err != nil {
		return b, usage(fmt.Errorf("%s: %w", outcome, err))
	}
	return b, nil
}

// repeated is what repeat says as JSON.
type repeated struct {
	Spec   trial.Spec    `json:"spec"`
	Before *trial.Result `json:"before"` // null when it is not known
	// Times is how often it was done; Now is the last time, and all others were as before.
	Times int          `json:"times"`
	Now   trial.Result `json:"now"`
	// Events are what the console said of trouble now, with the stacks.
	Events []panics.Event `json:"events"`
	// Differs lists what is not as it was.
	Differs []string `json:"differs"`
}

func (a *app) repeat(ctx context.Context, f repeatFlags, word string) error {
	b, err := a.recall(ctx, word)
	if err != nil {
		return err
	}
	if f.times == 0 {
		return usage(errors.New("--times: write 1 at least"))
	}
	l, view, err := a.openFor(ctx, &f.labFlags, b.spec, f.chosen)
	if err != nil {
		return err
	}
	r := repeated{Spec: b.spec, Before: b.result, Differs: []string{}}
	for before := b.result; r.Times < int(f.times) && len(r.Differs) == 0; r.Times++ {
		var now trial.Result
		if now, err = l.Repeat(ctx, b.spec); err != nil {
			break
		}
		if r.Now = now; before == nil {
			before = &now
		}
		r.Differs = append(r.Differs, differs(*before, now)...)
	}
	view.close()
	if err = interrupted(ctx, errors.Join(err, l.Close())); err != nil {
		return err
	}
	now := r.Now
	r.Events = append([]panics.Event{}, now.Events...)
	if f.json {
		err = writeJSON(a.out, r)
	} else {
		err = errors.Join(report.Trial(a.out, b.spec, now, l.Environment()), a.agreement(r))
	}
	switch {
	case err != nil:
		return err
	case now.Outcome == trial.Invalid:
		return errors.New("the trial was invalid")
	case len(r.Differs) > 0:
		return &notHeldError{"not as before: " + strings.Join(r.Differs, "; ")}
	}
	return nil
}

// openFor opens the lab that a trial is repeated in, with the trial's own driver unless another one was chosen.
func (a *app) openFor(ctx context.Context, f *labFlags, spec trial.Spec, chosen bool) (*lab.Lab, observer, error) {
	if !chosen {
		if err := f.driver.name.Set(spec.Driver); err != nil {
			return nil, nil, usage(fmt.Errorf("the trial was done with driver %s: %w", spec.Driver, err))
		}
	}
	f.jobs = 1
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, *f, view)
	if err != nil {
		view.close()
		return nil, nil, interrupted(ctx, err)
	}
	view.note(spec.Title())
	return l, view, nil
}

func (a *app) agreement(r repeated) error {
	before, text := r.Before, ""
	if before == nil {
		before, text = &r.Now, "\nWhat came of it before is not known.\n" // all times are like the last one
	}
	what := "It is"
	if r.Times > 1 {
		what = fmt.Sprintf("All %d times it is", r.Times)
	}
	switch {
	case len(r.Differs) > 0:
		text += fmt.Sprintf("\nNot as before, at time %d:\n  - %s\n", r.Times, strings.Join(r.Differs, "\n  - "))
	case r.Before == nil && r.Times == 1:
	case sameStart(*before, r.Now):
		text += "\n" + what + " as before to the byte: outcome, injections, console and disks.\n"
	case r.Now.Exact != nil:
		text += "\n" + what + " as before in outcome, signature and injected bytes. Its checkpoint was made anew since, so more cannot be compared.\n"
	default:
		text += "\n" + what + " as before in outcome, signature and injected bytes.\n"
	}
	_, err := fmt.Fprint(a.out, text)
	return err
}

// sameStart says whether two trials must be the same to the byte.
func sameStart(before, now trial.Result) bool {
	return before.Exact != nil && now.Exact != nil && before.Exact.Checkpoint == now.Exact.Checkpoint
}

// differs lists in what a trial did not end as before.
func differs(before, now trial.Result) (list []string) {
	if before.Outcome != now.Outcome || before.Signature != now.Signature {
		list = append(list, fmt.Sprintf("it was %s %s and is %s %s now", before.Outcome, before.Signature, now.Outcome, now.Signature))
	}
	if sameStart(before, now) && before.Exact.SHA256 != now.Exact.SHA256 {
		list = append(list, "console or disks are not the same to the byte")
	}
	if len(before.Injections) != len(now.Injections) {
		return append(list, fmt.Sprintf("there were %d injections and are %d now", len(before.Injections), len(now.Injections)))
	}
	for i, was := range before.Injections {
		is := now.Injections[i]
		if !bytes.Equal(was.Before, is.Before) || !bytes.Equal(was.After, is.After) || was.Offset != is.Offset || was.Disk != is.Disk || was.Target != is.Target {
			list = append(list, fmt.Sprintf("injection %d was %x -> %x in %s and is %x -> %x in %s now", i+1, was.Before, was.After, was.Target,
				is.Before, is.After, is.Target))
		}
	}
	return list
}
