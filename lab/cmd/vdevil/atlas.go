package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/scenarios"
)

// momentFlags choose an instant in the life of a guest.
type momentFlags struct {
	labFlags
	scenario string
	version  string
	at       string
	when     []string
	hit      uint
	seed     uint64
}

func (f *momentFlags) addMoment(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.at, "at", "now", "`TRIGGER`: a kernel function, a duration like 2s, txg+3, or now")
	flags.StringArrayVar(&f.when, "when", nil, "`PATH=VALUE` that must hold at the function; may be given several times")
	flags.UintVar(&f.hit, "hit", 1, "the arrival at the function that counts, of those for which --when holds")
	flags.StringVar(&f.scenario, "scenario", "blkptr-dva-flip", "the `SCENARIO` that gives pool and workload; the trigger is armed where it arms its fault")
	flags.StringVar(&f.version, "zfs", "", "OpenZFS `VERSION`: of image list, a revision of --source, or a checkout as ./DIR (default: the one that image list marks)")
	flags.Uint64Var(&f.seed, "seed", 1, "what random choices come from")
}

// moment checks what can be seen to be wrong before a lab is opened.
func (f *momentFlags) moment() (*scenarios.Scenario, scenarios.Trigger, error) {
	t := scenarios.Trigger{At: f.at, Hit: int(f.hit)}
	parsed, err := fault.ParseTrigger(f.at)
	if err != nil {
		return nil, t, usage(fmt.Errorf("--at: %w", err))
	}
	if t.When, err = conditions(f.when); err != nil {
		return nil, t, err
	}
	if parsed.At == "" && (len(t.When) > 0 || f.hit > 1) {
		return nil, t, usage(errors.New("--when and --hit need a kernel function in --at"))
	}
	found, err := find([]string{f.scenario})
	if err != nil {
		return nil, t, err
	}
	if f.version != "" {
		err = f.checkVersions(f.version)
	}
	return found[0], t, err
}

// conditions reads those of --when.
func conditions(words []string) (map[string]string, error) {
	when := map[string]string{}
	for _, w := range words {
		path, value, found := strings.Cut(w, "=")
		if !found || path == "" {
			return nil, usage(fmt.Errorf("--when: %q is no condition; write for example txg=42", w))
		}
		when[path] = value
	}
	return when, nil
}

// atlasFlags are those of atlas.
type atlasFlags struct {
	momentFlags
	bits     bitRange
	window   time.Duration
	controls uint
	again    bool
	terms    termFlags
	json     bool
	html     string
	svg      string
}

// bitRange is the value of --bits.
type bitRange struct{ *atlas.Range }

func (b *bitRange) Type() string { return "A-B" }

func (b *bitRange) String() string {
	if b.Range == nil {
		return ""
	}
	return fmt.Sprintf("%d-%d", b.First, b.Last)
}

func (b *bitRange) Set(text string) error {
	first, last, found := strings.Cut(text, "-")
	if !found {
		last = first
	}
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || from < 0 || to < from {
		return errors.New("write the first and the last bit, such as 0-63, or one bit")
	}
	b.Range = &atlas.Range{First: from, Last: to}
	return nil
}

func (a *app) atlasCommand() *cobra.Command {
	var f atlasFlags
	cmd := &cobra.Command{
		Use:   "atlas TARGET",
		Short: "Flip every bit of one structure, one at a time, and draw what happened",
		Long: `Atlas runs a scenario's workload until the trigger fires, freezes the guest at that instant, and forks it once for
every bit of TARGET: the bit is flipped, the fork goes on with the rest of the workload, three more txgs are synced, and
what happened is classified; where nothing was seen, the disks are audited as vdevil audit does. A few forks without a flip
are the control. TARGET is a path as C would write it, from an argument of the function at the trigger, from a type that
one of its arguments points to, or from spa("NAME"). vdevil peek shows what is there. Where TARGET is all zeros, a hole,
the function's next call is waited for.

Results are kept as they come: an atlas that was interrupted goes on where it was when the same command is given again.
The exit status is 0 when every control was masked and no trial was invalid, 1 otherwise.`,
		Example: `  vdevil atlas 'blkptr.blk_dva[0]' --at zio_free_sync --html atlas.html
  vdevil atlas 'bp.blk_dva[0].dva_word[1]' --at zio_free_sync --bits 0-23
  vdevil atlas 'bp.blk_dva[0].dva_word[1]' --at zio_free_sync --bits 6 --again
  vdevil atlas 'spa("tank").vdev[0].ms[0].ms_allocatable.seg[0]' --at now --svg map.svg --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.atlas(cmd.Context(), f, args[0]) },
	}
	f.addMoment(cmd)
	flags := cmd.Flags()
	flags.Var(&f.bits, "bits", "only these bits (default: all)")
	flags.DurationVar(&f.window, "window", 4*time.Second, "how long a fork is watched at least")
	flags.UintVar(&f.controls, "controls", 8, "forks without a flip")
	flags.UintVar(&f.jobs, "jobs", 0, "forks at once (default: one for each CPU, more while CPUs are idle)")
	flags.BoolVar(&f.again, "again", false, "flip bits that were flipped before again")
	f.terms.add(flags)
	flags.BoolVar(&f.json, "json", false, "print one JSON document instead of tables")
	flags.StringVar(&f.html, "html", "", "write the map to `FILE`, for a browser")
	flags.StringVar(&f.svg, "svg", "", "write the map to `FILE`, for a document")
	f.add(flags)
	return cmd
}

func (a *app) atlas(ctx context.Context, f atlasFlags, target string) error {
	s, trigger, err := f.moment()
	if err != nil {
		return err
	}
	view := a.observer(ctx, f.plain)
	l, err := a.open(ctx, f.labFlags, view)
	if err != nil {
		view.close()
		return interrupted(ctx, err)
	}
	m, err := l.Atlas(ctx, lab.AtlasRequest{
		Target: target, Trigger: trigger, Scenario: s, Version: f.version, Seed: f.seed, Bits: f.bits.Range,
		Controls: int(f.controls), Window: f.window, Again: f.again, Repeat: f.repeat(target),
		Terms: f.terms.terms(lab.KeepNone, view.event),
	})
	view.close()
	err = interrupted(ctx, errors.Join(err, l.Close()))
	if len(m.Bits) == 0 {
		return err
	}
	return errors.Join(err, a.draw(f, m))
}

// repeat is the command that makes the atlas again, without the options that say how its results are shown.
func (f *atlasFlags) repeat(target string) string {
	words := []string{"vdevil", "atlas", shellescape.Quote(target), "--at", shellescape.Quote(f.at)}
	for _, w := range f.when {
		words = append(words, "--when", shellescape.Quote(w))
	}
	if f.hit > 1 {
		words = append(words, "--hit", strconv.Itoa(int(f.hit)))
	}
	words = append(words, "--scenario", shellescape.Quote(f.scenario), "--seed", strconv.FormatUint(f.seed, 10), "--window", f.window.String())
	if f.version != "" {
		words = append(words, "--zfs", f.version)
	}
	words = append(words, f.labFlags.repeat()...)
	return strings.Join(words, " ")
}

// draw writes the map in all forms asked for.
func (a *app) draw(f atlasFlags, m bitmap.Map) error {
	for file, draw := range map[string]func(io.Writer, bitmap.Map) error{f.html: bitmap.HTML, f.svg: bitmap.SVG} {
		if file == "" {
			continue
		}
		if err := drawFile(file, m, draw); err != nil {
			return err
		}
	}
	print := func() error { return bitmap.Text(a.out, m) }
	if f.json {
		print = func() error { return m.WriteJSON(a.out) }
	}
	if err := print(); err != nil {
		return err
	}
	return sound(m)
}

func drawFile(name string, m bitmap.Map, draw func(io.Writer, bitmap.Map) error) (err error) {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return draw(printable.NewWriter(out), m)
}

// sound is an error when the controls or invalid trials forbid to believe a map.
func sound(m bitmap.Map) error {
	invalid, stirred := 0, 0
	for _, b := range m.Bits {
		if b.Outcome == "invalid" {
			invalid++
		}
	}
	for _, c := range m.Controls {
		if c.Outcome != "masked" {
			stirred++
		}
	}
	if invalid+stirred == 0 {
		return nil
	}
	return &notHeldError{fmt.Sprintf("%d of %d controls were not masked, %d of %d bits are invalid", stirred, len(m.Controls), invalid, len(m.Bits))}
}
