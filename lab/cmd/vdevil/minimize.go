package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/minimize"
	"github.com/vdevil/vdevil/scenarios"
)

// minimizeFlags are those of minimize.
type minimizeFlags struct {
	searchFlags
	arm       string
	version   string
	signature string
	outcomes  []string
	rate      float64
	confirm   uint
	out       string
}

func (a *app) minimizeCommand() *cobra.Command {
	var f minimizeFlags
	cmd := &cobra.Command{
		Use:   "minimize TRIAL|BUNDLE|SCENARIO",
		Short: "Find the fewest operations that still end in a signature",
		Long: `Minimize takes operations away, and what the pool has of options, as long as what is left still ends as the trial did: delta
debugging, where each candidate has as many trials as it takes to tell the rate from a quarter of it. What must be refused once others
are gone goes with them. The answer has a few trials more, for its rate.

A TRIAL is one that vdevil show names, RUN/SCENARIO/ARM/N, a BUNDLE the directory of its evidence; a SCENARIO has a step operations.
Two files are written: a scenario with a control arm for each operation, which lacks it, and a script for a shell of the guest.
It is a campaign: vdevil resume goes on with one that was broken off.

The exit status is 1 when the whole does not end so at the rate.`,
		Example: `  vdevil minimize tonight/random-operations/single-legacy-dedup/7
  vdevil minimize ./storm.yaml --signature range-tree-add-overlap@metaslab_free_concrete --rate 0.5
  vdevil minimize tonight/random-operations/mirror-fast-dedup/3 --outcome latent --zfs 2.3.9`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.minimize(cmd.Context(), f, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.arm, "arm", "", "of a scenario (default: the first)")
	flags.StringVar(&f.version, "zfs", "", "OpenZFS `VERSION`: of image list, a revision of --source, or a checkout as ./DIR (default: that of the trial, or the one that image list marks)")
	flags.StringVar(&f.signature, "signature", "", "what trials must end in (default: that of the trial, or what the scenario expects)")
	flags.StringSliceVar(&f.outcomes, "outcome", nil, "outcomes, one of which they must have, in place of a signature")
	flags.Float64Var(&f.rate, "rate", 0.9, "how often at least")
	flags.UintVar(&f.confirm, "trials", 10, "`N` trials of the answer")
	flags.StringVar(&f.out, "out", ".", "`DIR` for the two files")
	f.addSearch(cmd, "by the time")
	return cmd
}

// minimizeRequest is what is asked for: of a trial, of a bundle, or of a scenario.
func (a *app) minimizeRequest(ctx context.Context, f minimizeFlags, word string) (r lab.MinimizeRequest, err error) {
	switch {
	case f.rate <= 0 || f.rate > 1:
		return r, usage(fmt.Errorf("--rate: %g is not above 0 and at most 1", f.rate))
	case f.signature != "" && len(f.outcomes) > 0:
		return r, usage(errors.New("--signature and --outcome: give one of them"))
	}
	ofTrial := !strings.HasSuffix(word, ".yaml") && strings.Contains(word, "/")
	seed := uint64(0)
	if ofTrial {
		r, seed, err = a.minimizeTrial(ctx, f, word)
	} else {
		r, err = minimizeScenario(f, word)
	}
	if err != nil {
		return r, err
	}
	r.Rate, r.Confirm, r.Seed = f.rate, int(f.confirm), f.seed
	if f.signature != "" || len(f.outcomes) > 0 {
		r.Signature, r.Outcomes = f.signature, f.outcomes
	}
	if r.Signature == "" && len(r.Outcomes) == 0 {
		return r, usage(fmt.Errorf("%s says no signature and no outcome: name one with --signature or --outcome", word))
	}
	resolved, err := r.Scenario.ForArm(r.Arm)
	if err != nil {
		return r, usage(fmt.Errorf("--arm: %w", err))
	}
	r.Step = slices.IndexFunc(resolved.Workload, func(s scenarios.Step) bool { return s.Operations != "" || s.Generate != nil })
	if r.Step < 0 || resolved.Workload[r.Step].Generate != nil && !ofTrial {
		return r, usage(fmt.Errorf("the workload of %s has no step operations; of one with generate, name a trial", r.Scenario.Name))
	}
	p, err := drive.Program(resolved.Workload[r.Step], resolved.Pool.Name, resolved.Machine.Names(), resolved.Pool.Layout, seed)
	r.Program = p.String()
	return r, err
}

// minimizeScenario takes what a scenario expects.
func minimizeScenario(f minimizeFlags, word string) (r lab.MinimizeRequest, err error) {
	found, err := find([]string{word})
	if err != nil {
		return r, err
	}
	s := found[0]
	return lab.MinimizeRequest{
		Scenario: s, Arm: cmp.Or(f.arm, s.Arms[0].Name), Version: f.version, Signature: s.Expect.Signature, Outcomes: s.Expect.Outcome,
	}, nil
}

// minimizeTrial takes how a trial ended, which may not be known, and gives its seed.
func (a *app) minimizeTrial(ctx context.Context, f minimizeFlags, word string) (r lab.MinimizeRequest, seed uint64, err error) {
	b, err := a.recall(ctx, word)
	if err != nil {
		return r, 0, err
	}
	r = lab.MinimizeRequest{Arm: b.spec.Arm, Version: cmp.Or(f.version, b.spec.OpenZFS)}
	if b.result != nil {
		if r.Signature = b.result.Signature; r.Signature == "" {
			r.Outcomes = []string{string(b.result.Outcome)}
		}
	}
	r.Scenario, _, err = b.spec.Resolve()
	return r, b.spec.Seed, err
}

func (a *app) minimize(ctx context.Context, f minimizeFlags, word string) error {
	r, err := a.minimizeRequest(ctx, f, word)
	if err != nil {
		return err
	}
	if r.Version != "" {
		if err := f.checkPairs(r.Version); err != nil {
			return err
		}
	}
	base := filepath.Join(f.out, r.Scenario.Name+"-minimal")
	for _, ext := range []string{".yaml", ".sh"} {
		if _, err := os.Stat(base + ext); !errors.Is(err, fs.ErrNotExist) {
			return usage(errors.Join(err, fmt.Errorf("%s is there: move it away, or name another directory with --out", base+ext)))
		}
	}
	var m minimize.Minimum
	err = a.search(ctx, f.searchFlags, func(l *lab.Lab, t lab.Terms) error {
		r.Terms = t
		m, err = l.Minimize(ctx, r)
		return err
	})
	return a.tellMinimum(m, f.json, base, err)
}

// tellMinimum prints what is known, and writes it to two files if there is a name for them.
func (a *app) tellMinimum(m minimize.Minimum, asJSON bool, base string, err error) error {
	if m.From == 0 {
		return err
	}
	if asJSON {
		err = errors.Join(err, writeJSON(a.out, m))
	} else {
		err = errors.Join(err, m.Write(a.out))
	}
	if m.Failed {
		return errors.Join(err, &notHeldError{"the whole program does not end so at the rate"})
	}
	if base == "" {
		return err
	}
	text, wrong := m.Named(filepath.Base(base))
	return errors.Join(err, wrong, os.WriteFile(base+".yaml", []byte(text), 0o644), os.WriteFile(base+".sh", []byte(m.Script), 0o644))
}
