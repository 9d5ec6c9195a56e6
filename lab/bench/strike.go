package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/core"
	"github.com/vdevil/vdevil/scenarios"
)

// Structure is what is known of a strike's target at the instant.
type Structure struct {
	Path   string         `json:"path"`
	Type   string         `json:"type"`
	Size   int            `json:"size"` // in bits
	Pieces []kernel.Piece `json:"pieces"`
	// Shift is the first bit's place in the first byte, above 0 for a bit field.
	Shift  int      `json:"shift"`
	Fields []string `json:"fields"` // of each bit
	// Value is the structure as C would print it.
	Value string `json:"value"`
}

// Instant is the structure that a spec's strike hits, and the checkpoint of the moment. It makes what is not there.
func (b *Bench) Instant(ctx context.Context, spec trial.Spec) (Structure, *checkpoint.Instant, error) {
	trigger, err := Trigger(spec.Strike.Trigger)
	if err != nil {
		return Structure{}, nil, err
	}
	_, resolved, err := b.resolve(spec)
	if err != nil {
		return Structure{}, nil, err
	}
	first, _ := spec.Images()
	img, err := b.Image(ctx, first)
	if err != nil {
		return Structure{}, nil, err
	}
	var s Structure
	moment := checkpoint.Moment{Resolved: resolved, Trigger: trigger, Seed: spec.Strike.Seed, Subject: spec.Strike.Target}
	instant, err := b.Checkpoints.Frozen(ctx, img, moment, &s, func(m *fault.Moment) (err error) {
		s, err = examine(m, spec.Strike.Target)
		return err
	})
	return s, instant, err
}

// freeze makes the checkpoint of the instant, and the trial one of a single bit.
func (t *Trial) freeze(ctx context.Context) error {
	s, instant, err := t.bench.Instant(ctx, t.spec)
	if err != nil {
		return err
	}
	strike := *t.spec.Strike
	if strike.Bit < 0 || strike.Bit >= s.Size {
		return fmt.Errorf("bit %d: %s has bits 0-%d", strike.Bit, s.Path, s.Size-1)
	}
	t.fork = instant.Checkpoint
	t.resolved.Fault = nil
	t.resolved.Arm.Control, t.resolved.Arm.Withhold = strike.Withhold, strike.Withhold
	t.resolved.Workload = slices.Concat(instant.Rest, slices.Repeat([]scenarios.Step{{Sync: true}}, strike.Txgs))
	t.before = func(ctx context.Context, vm machine.Machine) ([]trial.Injection, error) {
		return s.strike(ctx, vm, strike, instant.Trigger)
	}
	return nil
}

// examine resolves the target at the instant.
func examine(m *fault.Moment, target string) (Structure, error) {
	v, err := m.Scope.Resolve(target)
	if err != nil {
		return Structure{}, err
	}
	offset, size := v.Bits()
	s := Structure{Path: v.Path(), Type: v.Type().String(), Size: size, Shift: offset % 8}
	if s.Pieces, err = v.Pieces(); err != nil {
		return Structure{}, err
	}
	if s.Value, err = v.Format(); err != nil {
		return Structure{}, err
	}
	data, err := v.Bytes()
	if err != nil {
		return Structure{}, err
	}
	if !slices.ContainsFunc(data, func(b byte) bool { return b != 0 }) { // a hole, an empty slot
		return Structure{}, fmt.Errorf("%s is all zeros: %w", s.Path, checkpoint.ErrNext)
	}
	for bit := range size {
		path := kernel.FieldAt(v.Type(), bit)
		if path == "" {
			path = v.Path()
		}
		s.Fields = append(s.Fields, core.FieldName(path, bit%64))
	}
	return s, nil
}

// strike flips a bit of a machine that stands still, or none.
func (s *Structure) strike(ctx context.Context, vm machine.Machine, strike trial.Strike, at fault.Trigger) ([]trial.Injection, error) {
	i := trial.Injection{
		Fault: "bit", Time: time.Now().UTC(), Target: s.Path, Trigger: at.String(), Withheld: strike.Withhold,
	}
	if strike.Withhold {
		return []trial.Injection{i}, nil
	}
	bit := s.Shift + strike.Bit
	i.Target = fmt.Sprintf("%s bit %d (%s)", s.Path, strike.Bit, s.Fields[strike.Bit])
	for _, p := range s.Pieces {
		if bit >= 8*p.Len {
			bit -= 8 * p.Len
			continue
		}
		i.Virt, i.Phys = p.Virt+uint64(bit/8), p.Phys+uint64(bit/8)
		break
	}
	before := make([]byte, 1)
	if err := vm.ReadPhys(ctx, i.Phys, before); err != nil {
		return nil, err
	}
	i.Before, i.After = before, trial.Bytes{before[0] ^ 1<<(bit%8)}
	return []trial.Injection{i}, vm.WritePhys(ctx, i.Phys, i.After)
}
