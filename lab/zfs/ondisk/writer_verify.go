package ondisk

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Verify opens the changed pool anew and walks it: nothing is unreadable that was not before, every reference to a
// rewritten block has its new checksum, and every copy of it is good. devices are those to read, nil for what Commit would
// write.
func (w *Writer) Verify(ctx context.Context, devices []Device) error {
	was := make([]Device, len(w.devices))
	for i, d := range w.devices {
		was[i] = Device{Name: d.Name, Data: w.overlays[i].base, Size: d.Size}
	}
	before, err := w.survey(ctx, was, false)
	if err != nil {
		return fmt.Errorf("verify: the pool before the change: %w", err)
	}
	if devices == nil {
		devices = w.devices
	}
	after, err := w.survey(ctx, devices, true)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	var problems []error
	for r, err := range after.problems {
		if before.problems[r] == nil && len(problems) < maxProblems {
			problems = append(problems, fmt.Errorf("%v: %w", r, err))
		}
	}
	for key, b := range w.rewritten {
		if !after.met[key] {
			problems = append(problems, fmt.Errorf("nothing refers to the rewritten block %v", b))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("verify: the change would damage more than it should: %w", errors.Join(problems...))
	}
	return nil
}

// survey is what a walk has found.
type survey struct {
	mu       sync.Mutex
	problems map[Ref]error
	met      map[blockKey]bool // rewritten blocks
}

func (w *Writer) survey(ctx context.Context, devices []Device, changed bool) (*survey, error) {
	s := &survey{problems: map[Ref]error{}, met: map[blockKey]bool{}}
	p, err := Open(ctx, devices, w.options)
	if err != nil {
		return nil, err
	}
	block := func(r Ref, b BlkPtr) error {
		if b.Embedded() || !changed || r.Kind == RefPending || r.Kind == RefLivelist {
			return nil
		}
		key := blockKey{at: NewDVA(b.DVA[0].VDev(), b.DVA[0].Offset(), 0, false)}
		want, ok := w.rewritten[key]
		if !ok {
			return nil
		}
		if want.Cksum != b.Cksum || want.Prop != b.Prop {
			return fmt.Errorf("%v refers to a rewritten block with its old checksum", r)
		}
		copies, err := p.Check(ctx, b)
		if err != nil {
			return err
		}
		for _, c := range copies {
			if len(c.Damage) > 0 {
				return fmt.Errorf("%v: copy at %v: %v", r, c.DVA, c.Damage)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.met[key] = true
		return nil
	}
	return s, p.Visit(ctx, &Visitor{
		Workers: max(w.options.Workers, 1), Block: block,
		Problem: func(r Ref, err error) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.problems) < maxSurveyProblems {
				s.problems[r] = err
			}
			return nil
		},
	})
}

// maxSurveyProblems bounds what is remembered of a pool that is damaged already.
const maxSurveyProblems = 1 << 16
