package lab

import (
	"cmp"
	"context"
	"time"

	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/scenarios"
)

// AtlasRequest says what to make an atlas of.
type AtlasRequest struct {
	Target  string
	Trigger scenarios.Trigger
	// Scenario gives pool and workload.
	Scenario *scenarios.Scenario
	// Version is that of OpenZFS, empty for the default.
	Version  string
	Seed     uint64
	Bits     *atlas.Range
	Controls int
	Window   time.Duration
	// Again flips bits that were flipped in an earlier run of the same request, too.
	Again   bool
	Repeat  string
	Observe func(campaign.Event)
}

// Atlas flips every bit of a structure, one at a time, from one instant. What was flipped in an earlier run of the same
// request is not flipped again, unless it is asked for. The map is returned also with an error, as far as it came.
func (l *Lab) Atlas(ctx context.Context, r AtlasRequest) (atlas.Map, error) {
	img, err := l.Image(ctx, r.Version)
	if err != nil {
		return atlas.Map{}, err
	}
	a := &atlas.Atlas{
		Target: r.Target, Trigger: r.Trigger, Scenario: r.Scenario, Image: img.ID, OpenZFS: img.OpenZFS, Driver: l.driver.Name(),
		Accel: string(l.driver.Accel()), Seed: r.Seed, Bits: r.Bits, Controls: r.Controls, Window: r.Window, Repeat: r.Repeat,
	}
	structure, _, err := l.bench.Instant(ctx, a.Spec(0, true, 1))
	if err != nil {
		return atlas.Map{}, err
	}
	done := campaign.Results{}
	if err := a.Plan(structure, done); err != nil {
		return atlas.Map{}, err
	}
	err = l.campaign(ctx, a, done, KeepNone, r.Observe)
	m := a.Map(done)
	m.VDevil = Version
	return m, err
}

// Look runs a scenario's workload until a trigger fires and shows that moment.
func (l *Lab) Look(ctx context.Context, s *scenarios.Scenario, arm, version string, at scenarios.Trigger, seed uint64, look func(*fault.Moment) error) error {
	img, err := l.Image(ctx, version)
	if err != nil {
		return err
	}
	resolved, err := s.ForArm(cmp.Or(arm, s.Arms[0].Name))
	if err != nil {
		return err
	}
	t, err := bench.Trigger(at)
	if err != nil {
		return err
	}
	return l.checkpoints.Look(ctx, img, checkpoint.Moment{Resolved: resolved, Trigger: t, Seed: seed}, look)
}
