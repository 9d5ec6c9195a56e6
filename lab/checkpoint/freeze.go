package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/scenarios"
)

// Moment says at which moment of a scenario's workload a machine is to be frozen.
type Moment struct {
	Resolved scenarios.Resolved `json:"resolved"`
	// Trigger is armed where the scenario arms its fault, at the start if it has none.
	Trigger fault.Trigger `json:"trigger"`
	Seed    uint64        `json:"seed"`
	// Subject is what will be looked at then.
	Subject string `json:"subject"`
}

// Instant is a machine that was frozen in the middle of a workload.
type Instant struct {
	Checkpoint *machine.Checkpoint
	Trigger    fault.Trigger
	// Rest are the steps of the workload that had not begun. The command of the step that had goes on in the guest.
	Rest []scenarios.Step
}

// instantNote is the file beside a checkpoint that says what was seen at the instant.
const instantNote = "instant.json"

// Frozen is the machine frozen at a moment, cached by content like all checkpoints. look sees the moment; what it puts into
// note, a pointer, is kept with the checkpoint and read back when that is found again.
func (c *Cache) Frozen(ctx context.Context, img *images.Image, m Moment, note any, look func(*fault.Moment) error) (*Instant, error) {
	kept := struct {
		Begun int `json:"begun"`
		Note  any `json:"note"`
	}{Note: note}
	key := c.key(img, "instant", m)
	cp, err := c.cached(ctx, key, fmt.Sprintf("freeze %s of %s at %s", m.Resolved.Scenario, img.OpenZFS, m.Trigger), func(dir string) (*machine.Checkpoint, error) {
		cp, begun, err := c.freeze(ctx, img, m, dir, look)
		if err != nil {
			return nil, err
		}
		kept.Begun = begun
		text, err := json.Marshal(kept)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, instantNote), text, 0o644)
		}
		return cp, err
	}, instantNote)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(cp.Dir, instantNote))
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s is not whole, remove it: %w", cp.Dir, err)
	}
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("checkpoint %s is not whole, remove it: %w", cp.Dir, err)
	}
	steps, _ := m.afterArm()
	return &Instant{Checkpoint: cp, Trigger: m.Trigger, Rest: steps[kept.Begun:]}, nil
}

// afterArm parts the workload at the step that arms the fault.
func (m Moment) afterArm() (after, before []scenarios.Step) {
	steps := m.Resolved.Workload
	arm := slices.IndexFunc(steps, func(s scenarios.Step) bool { return s.Arm })
	return steps[arm+1:], steps[:max(arm, 0)]
}

// freezeLimit is what a trigger gets to fire on the reference host, from the step that arms it.
const freezeLimit = 30 * time.Second

// freeze returns how many steps had begun after the trigger was armed.
func (c *Cache) freeze(ctx context.Context, img *images.Image, m Moment, dir string, look func(*fault.Moment) error) (cp *machine.Checkpoint, begun int, err error) {
	err = c.reach(ctx, img, m, machine.ForkOptions{Freezable: true}, func(vm machine.Machine, at *fault.Moment, steps int, scale machine.Scale) (err error) {
		if err := look(at); err != nil {
			return err
		}
		begun = steps
		cp, err = vm.Checkpoint(ctx, dir, scale)
		return err
	})
	return cp, begun, err
}

// ErrNext is what look returns to be shown the next moment at which the trigger fires.
var ErrNext = errors.New("not at this moment")

// Look shows a moment of a workload, in a machine that is thrown away.
func (c *Cache) Look(ctx context.Context, img *images.Image, m Moment, look func(*fault.Moment) error) error {
	return c.reach(ctx, img, m, machine.ForkOptions{}, func(_ machine.Machine, at *fault.Moment, _ int, _ machine.Scale) error {
		return look(at)
	})
}

// reach runs a workload until the trigger fires, and hands over the machine as it stands then, with the number of steps
// that had begun after the trigger was armed.
func (c *Cache) reach(ctx context.Context, img *images.Image, m Moment, o machine.ForkOptions,
	do func(machine.Machine, *fault.Moment, int, machine.Scale) error,
) (err error) {
	prepared, err := c.Prepared(ctx, img, m.Resolved)
	if err != nil {
		return err
	}
	vm, err := c.Driver.Fork(ctx, prepared, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	limited, cancel := context.WithTimeout(ctx, prepared.Scale.Limit(connectLimit+m.Resolved.Limit+freezeLimit))
	defer cancel()
	g, err := guest.Connect(limited, vm, Keys(img))
	if err != nil {
		return err
	}
	defer g.Close()
	w := &drive.Worker{Guest: g, Pool: m.Resolved.Pool.Name, Disks: m.Resolved.Machine.Names(), Layout: m.Resolved.Pool.Layout, Seed: m.Seed}
	if err := w.Recall(m.Resolved.Prepare); err != nil {
		return err
	}
	after, before := m.afterArm()
	if err := w.Run(limited, before); err != nil {
		return err
	}
	armed, err := m.Trigger.Arm(limited, fault.Site{
		Machine: vm, Guest: g, Written: w.Written(), Rand: rand.New(rand.NewPCG(m.Seed, 1)),
		Kernel: func(ctx context.Context) (*kernel.Kernel, error) { return c.Kernel(ctx, img, prepared, vm, g) },
	})
	if err != nil {
		return err
	}
	background := &background{worker: w, stop: cancel}
	if !m.Trigger.Now() {
		go background.run(limited, after)
	}
	for {
		moment, err := armed.Wait(limited)
		begun, failed := background.state()
		if err != nil {
			return errors.Join(failed, fmt.Errorf("%w; %d of %d steps had begun", err, begun, len(after)))
		}
		err = do(vm, moment, begun, prepared.Scale)
		if !errors.Is(err, ErrNext) || m.Trigger.Now() || m.Trigger.After > 0 { // only code is come to again
			return err // the machine ends with its debugger
		}
	}
}

// background runs the steps of a workload while something else waits for what they bring about.
type background struct {
	worker *drive.Worker
	stop   context.CancelFunc // ends the wait when a step has failed

	mu    sync.Mutex
	begun int
	err   error
}

func (b *background) run(ctx context.Context, steps []scenarios.Step) {
	for i, s := range steps {
		b.mu.Lock()
		b.begun = i + 1
		b.mu.Unlock()
		if err := b.worker.Run(ctx, []scenarios.Step{s}); err != nil {
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
			b.stop()
			return
		}
	}
}

func (b *background) state() (begun int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.begun, b.err
}
