package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// labFlags are those of every command that starts guests.
type labFlags struct {
	yes    bool
	plain  bool
	mirror string
	driver driverFlags
	jobs   uint
	source string
	// backports is a file that goes with the source.
	backports string
}

func (f *labFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.yes, "yes", false, "install missing host packages without asking, as CI=true does")
	flags.BoolVar(&f.plain, "plain", false, "say what goes on in plain lines, also on a terminal")
	flags.StringVar(&f.source, "source", os.Getenv("VDEVIL_ZFS_SOURCE"), "`DIR` of a git checkout of OpenZFS, whose revisions can be named as versions (or $VDEVIL_ZFS_SOURCE)")
	flags.StringVar(&f.backports, "backports", "", "`FILE` with patches that old revisions need, each line a range and a patch: zfs-2.1.0..zfs-2.1.5 objtool.patch. It raises Linux-Maximum in META, too, where that is below the guests' kernel")
	flags.StringVar(&f.mirror, "mirror", "", "`URL` to take the guests' packages from (default: the suite's own)")
	f.driver.add(flags)
}

// driverFlags choose what runs the guests.
type driverFlags struct {
	name    choice
	connect string
}

func (f *driverFlags) add(flags *pflag.FlagSet) {
	f.name = choice{value: lab.Drivers()[0], words: lab.Drivers()}
	flags.Var(&f.name, "driver", "what runs the guests: a QEMU child, or the libvirtd of this computer")
	flags.StringVar(&f.connect, "connect", "", "`URI` of the libvirtd, with --driver libvirt (default: "+libvirt.System+")")
}

// repeat are the arguments that choose the same.
func (f *driverFlags) repeat() (words []string) {
	if f.name.value != lab.Drivers()[0] {
		words = append(words, "--driver", f.name.value)
	}
	if f.connect != "" {
		words = append(words, "--connect", shellescape.Quote(f.connect))
	}
	return words
}

// repeat are the arguments that choose the same driver and sources.
func (f *labFlags) repeat() []string {
	words := f.driver.repeat()
	if f.source != "" {
		words = append(words, "--source", shellescape.Quote(f.source))
	}
	if f.backports != "" {
		words = append(words, "--backports", shellescape.Quote(f.backports))
	}
	return words
}

// flags are the same in one piece.
func (f *labFlags) flags() string {
	words := f.repeat()
	if len(words) == 0 {
		return ""
	}
	return " " + strings.Join(words, " ")
}

// check refuses what can be seen to be wrong before anything is opened.
func (f *driverFlags) check() error {
	if f.connect == "" {
		return nil
	}
	if f.name.value != libvirt.Name {
		return usage(errors.New("--connect says which libvirtd: it needs --driver libvirt"))
	}
	_, err := libvirt.ParseURI(f.connect)
	return usage(err)
}

// open opens the lab, and tells view what takes long.
func (a *app) open(ctx context.Context, f labFlags, view observer) (*lab.Lab, error) {
	if err := f.driver.check(); err != nil {
		return nil, err
	}
	dirs, err := host.DefaultDirs()
	if err != nil {
		return nil, err
	}
	return lab.Open(ctx, lab.Options{
		Dirs: dirs, Driver: f.driver.name.value, Connect: f.driver.connect, Mirror: f.mirror, Source: f.source, Backports: f.backports,
		Jobs: int(f.jobs), Progress: view.progress, Install: a.install(ctx, f.yes, dirs, view),
	})
}

func (a *app) install(ctx context.Context, yes bool, dirs host.Dirs, view observer) host.InstallOptions {
	o := host.InstallOptions{Yes: yes || os.Getenv("CI") == "true", Out: &besides{view, unguarded(a.err)}, Lock: dirs.Cache}
	_, asking := terminal(a.err)
	if _, answering := terminal(a.in); asking && answering {
		o.Ask = &answers{ctx, a.in}
	}
	return o
}

// besides writes where a view is, after it has made room.
type besides struct {
	view observer
	io.Writer
}

func (b *besides) Write(p []byte) (int, error) {
	b.view.aside()
	return b.Writer.Write(p)
}

// answers reads what the user types until the context ends.
type answers struct {
	ctx context.Context //nolint:containedctx // Read has no other way to it
	in  io.Reader
}

func (a *answers) Read(p []byte) (int, error) {
	type read struct {
		data []byte
		err  error
	}
	done := make(chan read, 1)
	go func() { // a terminal cannot be told to stop waiting; nobody reads from it afterwards
		data := make([]byte, len(p))
		n, err := a.in.Read(data)
		done <- read{data[:n], err}
	}()
	select {
	case r := <-done:
		return copy(p, r.data), r.err
	case <-a.ctx.Done():
		return 0, context.Cause(a.ctx)
	}
}

// runFlags are those of run.
type runFlags struct {
	labFlags
	versions []string
	trials   uint
	seed     uint64
	only     pick
	keep     choice
	fixed    bool
	bisect   bool
	exact    bool
	terms    termFlags
	json     bool
}

func (a *app) runCommand() *cobra.Command {
	f := runFlags{keep: choice{
		value: string(lab.KeepFailed),
		words: []string{string(lab.KeepFailed), string(lab.KeepAll), string(lab.KeepNone)},
	}}
	cmd := &cobra.Command{
		Use:   "run [SCENARIO...]",
		Short: "Run scenarios and say what reproduces",
		Long: `Run boots a guest, forks it for every trial of every arm of the scenarios, and says for each scenario whether it
reproduces what it asks about. A SCENARIO is a name that vdevil list shows, or the path of a YAML file; without any, those
marked as default are run.

The first run installs missing host packages (it asks first) and builds an image of the guest, which takes a while. Each
arm has trials until its verdict is known, at most as many as the scenario says: the tests may be looked at after every trial,
and a scenario in which nothing reproduces is said to reproduce in one run of a hundred at most. --fixed and --trials do a
fixed number.

Every trial leaves a bundle in the state directory: the hypervisor's command line, what decides it, console, injections, stack,
outcome. A trial is repeated by the seed of its run and its own name, or with vdevil repeat; such a run judges nothing, and its
exit status is 0 unless the trial was invalid (3).

A run is a campaign under a name, stored as its trials end: vdevil runs lists them, vdevil show tells again what one has
found, vdevil resume goes on with one. A run that fails or is interrupted reports the trials that came to their end, those of
the scenario under way without a verdict, and exits with 3.`,
		Example: `  vdevil run
  vdevil run legacy-dedup-gang --trials 20 --json
  vdevil run blkptr-dva-flip --zfs 2.1.11,2.3.2 --seed 1
  vdevil run legacy-dedup-gang --zfs zfs-2.3.1,zfs-2.3.5 --source ~/zfs
  vdevil run blkptr-dva-flip --zfs ./zfs --trials 1
  vdevil run forged-duplicate-free --zfs 2.3.2:2.4.4
  git bisect run vdevil run legacy-dedup-gang --zfs . --bisect
  vdevil run blkptr-dva-flip --seed 1 --only flip/3 --keep all
  vdevil run ./my-scenario.yaml --trials 3
  vdevil run legacy-dedup-gang --exact
  vdevil run --name tonight --seed 1 --budget 20m
  vdevil run --name tonight --seed 1 --shard 2/8`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("seed") {
				f.seed = uint64(rand.Uint32()) // short enough to be typed
			}
			return a.run(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.versions, "zfs", nil, "OpenZFS `VERSION[,VERSION]` to run on: of image list, a revision of --source, or a checkout as ./DIR; FIRST:LATER is for scenarios with a reboot, after which it is LATER (default: the one that image list marks)")
	flags.UintVar(&f.trials, "trials", 0, "`N` trials of the largest arm, the others in proportion, however soon it is known (default: at most the scenario's)")
	flags.BoolVar(&f.fixed, "fixed", false, "do all of the scenario's trials, however soon it is known")
	flags.UintVar(&f.jobs, "jobs", 0, "trials at once (default: one for each CPU, more while CPUs are idle)")
	flags.Uint64Var(&f.seed, "seed", 0, "what all random choices come from (default: random, and printed)")
	flags.Var(&f.only, "only", "repeat one trial")
	flags.Var(&f.keep, "keep", "the trials whose disks stay in their bundles")
	addExact(flags, &f.exact)
	f.terms.add(flags)
	flags.BoolVar(&f.bisect, "bisect", false, "exit as git bisect run wants it: 1 reproduces, 0 does not, 125 cannot be said or compiled, 128 lab trouble")
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of tables")
	f.add(flags)
	return cmd
}

// termFlags hold for every campaign.
type termFlags struct {
	name   word
	budget time.Duration
	shard  shard
}

func (f *termFlags) add(flags *pflag.FlagSet) {
	flags.Var(&f.name, "name", "of the campaign; one that is there and asks for the same goes on (default: by the time)")
	flags.DurationVar(&f.budget, "budget", 0, "`TIME` after which no more trials begin, such as 20m; what is known then is told")
	flags.Var(&f.shard, "shard", "do this part of the trials only, in a fixed number; vdevil merge puts the parts together")
}

func (f *termFlags) terms(keep lab.Keep, observe func(campaign.Event)) lab.Terms {
	return lab.Terms{Name: string(f.name), Budget: f.budget, Shard: f.shard.Shard, Keep: keep, Observe: observe}
}

// find gives the scenarios that args mean. A file in the current directory gets its directory: a scenario whose file has
// none is one of the lab's own.
func find(args []string) ([]*scenarios.Scenario, error) {
	paths := make([]string, len(args))
	for i, arg := range args {
		if strings.HasSuffix(arg, ".yaml") && !strings.Contains(arg, "/") {
			arg = "./" + arg
		}
		paths[i] = arg
	}
	found, err := scenarios.Find(paths)
	return found, usage(err)
}

// addExact adds a flag for trials that repeat to the byte.
func addExact(flags *pflag.FlagSet, exact *bool) {
	flags.BoolVar(exact, "exact", false, "one CPU, and time that counts its instructions (clock: icount): every trial repeats to the byte")
}

// counting gives the scenarios with guests that count their time, as --exact asks for.
func counting(asked []*scenarios.Scenario) ([]*scenarios.Scenario, error) {
	out := make([]*scenarios.Scenario, len(asked))
	for i, s := range asked {
		var err error
		if out[i], err = s.CountingTime(); err != nil {
			return nil, usage(fmt.Errorf("--exact: %w", err))
		}
	}
	return out, nil
}

// check refuses what can be seen to be wrong before a lab is opened.
func (f *runFlags) check(asked []*scenarios.Scenario) error {
	if f.bisect && (len(asked) != 1 || len(f.versions) > 1) {
		return usage(errors.New("--bisect has one answer: name one scenario, and one version"))
	}
	if f.only.Pick != nil {
		if len(asked) != 1 {
			return usage(errors.New("--only repeats a trial of one scenario: name it"))
		}
		if _, err := asked[0].ForArm(f.only.Arm); err != nil {
			return usage(fmt.Errorf("--only: %w", err))
		}
	}
	if err := f.checkPairs(f.versions...); err != nil {
		return err
	}
	recipes, err := images.Recipes()
	if err != nil {
		return err
	}
	packaged := func(v string) bool { return slices.Contains(known(recipes), v) }
	for _, s := range asked { // of a tree it is known when its META is read
		if len(f.versions) == 0 || slices.ContainsFunc(f.versions, func(v string) bool { return !packaged(v) || s.Applies(v) }) {
			return nil
		}
	}
	return usage(fmt.Errorf("--zfs: none of the scenarios can be asked of OpenZFS %s", either(f.versions)))
}

func (a *app) run(ctx context.Context, f runFlags, args []string) error {
	asked, err := find(args)
	if err == nil && f.exact {
		asked, err = counting(asked)
	}
	if err != nil {
		return err
	}
	if err := f.check(asked); err != nil {
		return err
	}
	flags := f.flags()
	if f.exact {
		flags += " --exact"
	}
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, f.labFlags, view)
	if err != nil {
		view.close()
		return interrupted(ctx, err)
	}
	view.note(fmt.Sprintf("seed %d", f.seed))
	results, err := l.Run(ctx, lab.Request{
		Scenarios: asked, Versions: f.versions, Trials: int(f.trials), Only: f.only.Pick, Seed: f.seed, Flags: flags,
		Fixed: f.trials > 0 || f.fixed || f.terms.shard.Of > 0, Terms: f.terms.terms(lab.Keep(f.keep.value), view.event),
	})
	view.close()
	err = interrupted(ctx, errors.Join(err, l.Close()))
	told := a.tell(l.Environment(), f, asked, results, err)
	if f.bisect {
		return forGit(results, err)
	}
	return told
}

// tell prints the results, also those from before an error, and gives the error that decides the exit status.
func (a *app) tell(env trial.Environment, f runFlags, asked []*scenarios.Scenario, results []verdict.Summary, err error) error {
	d := report.Document{Lab: env, Results: results}
	if err != nil {
		d.Error = err.Error()
	}
	var written error
	switch {
	case f.json:
		written = d.WriteJSON(a.out)
	case f.only.Pick != nil:
		written = report.Trials(a.out, results)
	default:
		written = report.Table(a.out, results, asked)
	}
	if err := errors.Join(err, written); err != nil {
		return err
	}
	if f.only.Pick != nil {
		return valid(results)
	}
	return expectations(results)
}

// interrupted says so instead of what the interruption did to whatever was going on.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("ended early: %w", context.Cause(ctx))
	}
	return err
}

// expectations is an error when one did not hold. Of what was left for another part, or another time, nothing is known.
func expectations(results []verdict.Summary) error {
	var names []string
	for _, r := range results {
		if !r.Held && (r.Missing == 0 || len(r.Against) > 0) {
			names = append(names, title(r.Scenario, r.OpenZFS))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &notHeldError{fmt.Sprintf("%d of %d expectations did not hold: %s", len(names), len(results), strings.Join(names, ", "))}
}

// valid is an error when a repeated trial was not.
func valid(results []verdict.Summary) error {
	for _, r := range results {
		for _, arm := range r.Arms {
			if arm.Valid < arm.Trials {
				return errors.New("the trial was invalid")
			}
		}
	}
	return nil
}
