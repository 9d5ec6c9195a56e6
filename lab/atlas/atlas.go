package atlas

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Atlas is a structure, an instant, and what is to be done with them.
type Atlas struct {
	// Target is the path of the structure, Trigger the instant.
	Target  string
	Trigger fault.Trigger
	// Scenario gives the pool and the workload, the first fault arm of it.
	Scenario *scenarios.Scenario
	Image    *images.Image
	Seed     uint64
	// Bits are the first and the last bit to flip; nil means all.
	Bits *Range
	// Again flips those that have been flipped before, too.
	Again bool
	// Controls is the number of forks without a flip.
	Controls int
	// Window is how long a fork is watched at least, after its CPUs run.
	Window time.Duration
	// Jobs is how many forks run at once.
	Jobs int
	// Dir keeps the results, so that an atlas that was broken off goes on where it was, and the bundle of each trial; those
	// of each instant in a directory of their own.
	Dir string
	// Repeat is the command that makes the atlas again, without its bits.
	Repeat string

	Driver machine.Driver
	Stable *trial.Stable
	// Observe is told when the instant is there, and of each trial, one call at a time.
	Observe func(Event)
}

// Range is a range of bits, both ends included.
type Range struct{ First, Last int }

// Event is progress: Begun once, then one Flipped for each trial.
type Event any

// Begun says what will be done: so many trials, of which some were done when the atlas was broken off before.
type Begun struct {
	Type        string
	Size        int // of the structure, in bits
	Trials      int
	DoneAlready int
}

// Flipped says how a trial went. Bit is nil for a control.
type Flipped struct {
	Bit     *Bit
	Control *Control
}

// structure is what is known of the target at the instant.
type structure struct {
	Path   string         `json:"path"`
	Type   string         `json:"type"`
	Size   int            `json:"size"` // in bits
	Pieces []kernel.Piece `json:"pieces"`
	// Shift is the first bit's place in the first byte, above 0 for a bit field.
	Shift  int      `json:"shift"`
	Fields []string `json:"fields"` // of each bit
	// Values is the structure as C would print it.
	Value string `json:"value"`
}

// drain is how many txgs are synced after the workload: what was freed passes both ms_defer, and what was changed in memory
// only is written.
const drain = 3

// Run flips every bit, each in a fork of its own.
func (a *Atlas) Run(ctx context.Context) (_ Map, err error) {
	start := time.Now()
	resolved, err := a.Scenario.ForArm(a.arm())
	if err != nil {
		return Map{}, err
	}
	moment := trial.Moment{Resolved: resolved, Trigger: a.Trigger, Seed: a.Seed, Subject: a.Target}
	var s structure
	instant, err := a.Stable.Frozen(ctx, a.Image, moment, &s, func(m *fault.Moment) (err error) {
		s, err = examine(m, a.Target)
		return err
	})
	if err != nil {
		return Map{}, err
	}
	bits := Range{0, s.Size - 1}
	if a.Bits != nil {
		bits = *a.Bits
	}
	if bits.First < 0 || bits.Last < bits.First || bits.Last >= s.Size {
		return Map{}, fmt.Errorf("bits %d-%d: %s has bits 0-%d", bits.First, bits.Last, s.Path, s.Size-1)
	}
	// Another QEMU, another driver, has another instant; what was found out from one says nothing of the next.
	dir := filepath.Join(a.Dir, instant.Checkpoint.Made.UTC().Format("20060102-150405.000000000"))
	store, err := OpenStore(filepath.Join(dir, "results.jsonl"), Header{
		Target: a.Target, Trigger: a.Trigger.String(), OpenZFS: a.Image.OpenZFS, Seed: a.Seed,
		Instant: instant.Checkpoint.Made.Format(time.RFC3339Nano),
	})
	if err != nil {
		return Map{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	booted, err := a.Stable.Booted(ctx, a.Image, resolved.Machine)
	if err != nil {
		return Map{}, err
	}
	r := &runner{Atlas: a, structure: s, instant: instant, dir: dir, booted: booted, resolved: resolved, store: store}
	err = r.run(ctx, r.queue(bits))
	m := Map{
		Target: a.Target, Trigger: a.Trigger.String(), OpenZFS: a.Image.OpenZFS, Type: s.Type, Size: s.Size,
		Scenario: a.Scenario.Name, Seed: a.Seed, Started: start.UTC(), Seconds: time.Since(start).Seconds(),
		Accel: string(a.Driver.Accel()), Repeat: a.Repeat, Controls: store.Controls(),
	}
	done := store.Done()
	for i, field := range s.Fields {
		bit, ok := done[i]
		if !ok {
			bit = Bit{Bit: i, Field: field}
		}
		m.Bits = append(m.Bits, bit)
	}
	return m, err
}

// arm is the first that is no control.
func (a *Atlas) arm() string {
	for _, arm := range a.Scenario.Arms {
		if !arm.Control {
			return arm.Name
		}
	}
	return ""
}

// examine resolves the target at the instant.
func examine(m *fault.Moment, target string) (structure, error) {
	v, err := m.Scope.Resolve(target)
	if err != nil {
		return structure{}, err
	}
	offset, size := v.Bits()
	s := structure{Path: v.Path(), Type: v.Type().String(), Size: size, Shift: offset % 8}
	if s.Pieces, err = v.Pieces(); err != nil {
		return structure{}, err
	}
	if s.Value, err = v.Format(); err != nil {
		return structure{}, err
	}
	data, err := v.Bytes()
	if err != nil {
		return structure{}, err
	}
	if !slices.ContainsFunc(data, func(b byte) bool { return b != 0 }) { // a hole, an empty slot
		return structure{}, fmt.Errorf("%s is all zeros: %w", s.Path, trial.ErrNext)
	}
	for bit := range size {
		path := kernel.FieldAt(v.Type(), bit)
		if path == "" {
			path = v.Path()
		}
		s.Fields = append(s.Fields, FieldName(path, bit%64))
	}
	return s, nil
}

// task is a trial to do: a bit, or -1 for a control.
type task struct{ bit, number int }

const control = -1

// runner does the trials of one atlas.
type runner struct {
	*Atlas
	structure
	instant  *trial.Instant
	dir      string // of its results
	booted   *machine.Checkpoint
	resolved scenarios.Resolved
	store    *Store

	mu sync.Mutex
}

// queue are the trials that have not been done, or that the lab spoiled, the controls spread among the bits: what changes on
// the host meanwhile changes for both.
func (r *runner) queue(bits Range) (todo []task) {
	done, controls := r.store.Done(), len(r.store.Controls())
	for bit := bits.First; bit <= bits.Last; bit++ {
		if b, ok := done[bit]; !ok || b.Outcome == trial.Invalid || r.Again {
			todo = append(todo, task{bit: bit})
		}
	}
	missing := max(0, r.Controls-controls)
	for i := range missing {
		todo = slices.Insert(todo, (i+1)*(len(todo)+1)/(missing+1)%(len(todo)+1), task{control, controls + i + 1})
	}
	all := bits.Last - bits.First + 1 + r.Controls
	r.Observe(Begun{Type: r.Type, Size: r.Size, Trials: all, DoneAlready: all - len(todo)})
	return todo
}

func (r *runner) run(ctx context.Context, todo []task) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, r.Jobs))
	for i, t := range todo {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return r.flip(ctx, t, len(todo)-i-1) })
	}
	return group.Wait()
}

// flip does one trial and stores what happened.
func (r *runner) flip(ctx context.Context, t task, next int) error {
	result, err := trial.Run(ctx, r.Driver, r.plan(t, next))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text := result.Text
	if text == "" {
		text = result.Reason
	}
	c := Control{Outcome: result.Outcome, Signature: result.Signature, Text: text, Seconds: result.Seconds}
	if t.bit == control {
		r.Observe(Flipped{Control: &c})
		return r.store.AddControl(c)
	}
	b := Bit{Bit: t.bit, Field: r.Fields[t.bit], Outcome: c.Outcome, Signature: c.Signature, Text: c.Text, Seconds: c.Seconds}
	r.Observe(Flipped{Bit: &b})
	return r.store.Add(b)
}

func (r *runner) plan(t task, next int) trial.Plan {
	arm, number, repeat := "control", t.number, r.Repeat
	if t.bit != control {
		arm, number, repeat = "bit", t.bit, fmt.Sprintf("%s --bits %d --again", r.Repeat, t.bit)
	}
	resolved := r.resolved
	resolved.Arm = scenarios.Arm{Name: arm, Control: t.bit == control, Withhold: t.bit == control}
	resolved.Fault = nil
	resolved.Workload = slices.Concat(r.instant.Rest, slices.Repeat([]scenarios.Step{{Sync: true}}, drain))
	return trial.Plan{
		Scenario: r.Scenario, Resolved: resolved, OpenZFS: r.Image.OpenZFS, Image: r.Image, Number: number, Next: next,
		Seed: r.Seed, CampaignSeed: r.Seed, Repeat: repeat, Checkpoint: r.instant.Checkpoint, Booted: r.booted,
		Kernels: r.Stable.Kernels, Judge: judge.Auditor{}, Second: judge.ZDB{Driver: r.Driver}, Watch: r.Window,
		Bundle: filepath.Join(r.dir, fmt.Sprintf("%s-%04d", arm, number)),
		Keep:   func(trial.Result) bool { return false },
		Before: func(ctx context.Context, vm machine.Machine) ([]fault.Injection, error) {
			return r.strike(ctx, vm, t.bit)
		},
	}
}

// strike flips a bit of a machine that stands still, or none.
func (r *runner) strike(ctx context.Context, vm machine.Machine, bit int) ([]fault.Injection, error) {
	i := fault.Injection{
		Fault: "atlas", Time: time.Now().UTC(), Target: r.Path, Trigger: r.Trigger.String(), Withheld: bit == control,
	}
	if bit == control {
		return []fault.Injection{i}, nil
	}
	at := r.Shift + bit
	i.Target = fmt.Sprintf("%s bit %d (%s)", r.Path, bit, r.Fields[bit])
	for _, p := range r.Pieces {
		if at >= 8*p.Len {
			at -= 8 * p.Len
			continue
		}
		i.Virt, i.Phys = p.Virt+uint64(at/8), p.Phys+uint64(at/8)
		break
	}
	before := make([]byte, 1)
	if err := vm.ReadPhys(ctx, i.Phys, before); err != nil {
		return nil, err
	}
	i.Before, i.After = before, fault.Bytes{before[0] ^ 1<<(at%8)}
	return []fault.Injection{i}, vm.WritePhys(ctx, i.Phys, i.After)
}
