package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// AtlasRequest says what to make an atlas of.
type AtlasRequest struct {
	Target  string
	Trigger fault.Trigger
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
	Observe func(atlas.Event)
}

// Atlas flips every bit of a structure, one at a time, from one instant. What was flipped in an earlier run of the same
// request is not flipped again, unless it is asked for. The map is returned also with an error, as far as it came.
func (l *Lab) Atlas(ctx context.Context, r AtlasRequest) (atlas.Map, error) {
	img, err := l.Image(ctx, r.Version)
	if err != nil {
		return atlas.Map{}, err
	}
	dir := filepath.Join(l.opts.Dirs.State, "atlas", atlasKey(r, img.ID))
	a := &atlas.Atlas{
		Target: r.Target, Trigger: r.Trigger, Scenario: r.Scenario, Image: img, Seed: r.Seed, Bits: r.Bits, Again: r.Again, Controls: r.Controls,
		Window: r.Window, Jobs: l.opts.Jobs, Dir: dir, Repeat: r.Repeat, Driver: l.driver, Stable: l.stable, Observe: r.Observe,
	}
	m, err := a.Run(ctx)
	m.VDevil = Version
	return m, err
}

// atlasKey names the directory of an atlas.
func atlasKey(r AtlasRequest, image string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d\n%s", r.Target, r.Trigger, r.Scenario.Source, r.Seed, r.Window))
	return image + "-" + hex.EncodeToString(sum[:6])
}

// Look runs a scenario's workload until a trigger fires and shows that moment.
func (l *Lab) Look(ctx context.Context, s *scenarios.Scenario, arm, version string, t fault.Trigger, seed uint64, look func(*fault.Moment) error) error {
	img, err := l.Image(ctx, version)
	if err != nil {
		return err
	}
	resolved, err := s.ForArm(cmp.Or(arm, s.Arms[0].Name))
	if err != nil {
		return err
	}
	return l.stable.Look(ctx, img, trial.Moment{Resolved: resolved, Trigger: t, Seed: seed}, look)
}
