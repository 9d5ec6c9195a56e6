package lab

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

// AtlasRequest says what to make an atlas of.
type AtlasRequest struct {
	Terms
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
	Again  bool
	Repeat string
}

// Atlas flips every bit of a structure, one at a time, from one instant. What was flipped in an earlier run of the same
// request is not flipped again, unless it is asked for. The map is returned also with an error, as far as it came.
func (l *Lab) Atlas(ctx context.Context, r AtlasRequest) (bitmap.Map, error) {
	img, err := l.Image(ctx, r.Version)
	if err != nil {
		return bitmap.Map{}, err
	}
	a := &atlas.Atlas{
		Target: r.Target, Trigger: r.Trigger, Asked: campaign.Ask([]*scenarios.Scenario{r.Scenario})[0], Image: img.ID, OpenZFS: img.OpenZFS,
		Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Seed: r.Seed, Bits: r.Bits, Controls: r.Controls, Window: r.Window, Repeat: r.Repeat,
	}
	return l.atlas(ctx, a, r.Again, r.Terms)
}

func (l *Lab) atlas(ctx context.Context, a *atlas.Atlas, again bool, t Terms) (bitmap.Map, error) {
	if err := a.Read(); err != nil {
		return bitmap.Map{}, err
	}
	structure, instant, err := l.bench.Instant(ctx, a.Spec(0, true, 1))
	if err != nil {
		return bitmap.Map{}, err
	}
	a.Structure = structure
	// Another QEMU, another driver, has another instant; what was found out from one says nothing of the next.
	identity := a.Identity(instant.Checkpoint.Made)
	if t.Name == "" {
		t.Name = KindAtlas + "-" + store.NewCampaign(KindAtlas, "", identity, nil, "").ID
	}
	c := store.NewCampaign(KindAtlas, t.Name, identity, a, l.newDir())
	done, err := l.campaign(ctx, c, campaign.On{Bench: l.bench}, t, func(done campaign.Results) (campaign.Search, error) {
		// What the lab spoiled is done again.
		forget, err := a.Plan(structure, done, again)
		for _, id := range forget {
			delete(done, id)
		}
		return a, errors.Join(err, l.store.Forget(ctx, c.ID, forget))
	})
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
