// Package campaign runs many trials and says what they mean together: it plans them, spreads them over the host, and
// turns outcomes into verdicts.
package campaign

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Campaign is scenarios times versions times arms times trials.
type Campaign struct {
	Scenarios []*scenarios.Scenario
	// Images are the OpenZFS versions to run on.
	Images []*images.Image
	// Trials is the number for each fault arm, 0 for what the scenario says. Arms that have fewer trials than the most
	// in their file keep the proportion.
	Trials int
	// Only picks one trial of one arm, for repeating it.
	Only *Pick
	// Jobs is how many trials run at once.
	Jobs int
	Seed uint64
	// Dir takes a directory for each trial's bundle.
	Dir  string
	Keep Keep

	Driver machine.Driver
	Stable *trial.Stable
	// Flags chose the driver, for the command that repeats a trial; empty, or with a blank in front.
	Flags string
	// Observe is told of everything that happens, one call at a time.
	Observe func(Event)
}

// Pick names one trial.
type Pick struct {
	Arm    string
	Number int // from 1
}

// Keep says of which trials the disks are kept.
type Keep string

// What can be kept.
const (
	KeepFailed Keep = "failed" // those that went against the expectation, and the invalid ones
	KeepAll    Keep = "all"
	KeepNone   Keep = "none"
)

// Event is progress: one of the types below.
type Event any

// Planned opens a scenario on a version: these arms will have so many trials.
type Planned struct {
	Scenario, OpenZFS string
	Arms              []ArmPlan
}

// ArmPlan is an arm with the number of its trials.
type ArmPlan struct {
	Arm    scenarios.Arm
	Trials int
}

// Skipped says that a scenario's question cannot be asked of a version.
type Skipped struct{ Scenario, OpenZFS string }

// Started says that a trial began.
type Started struct {
	Scenario, OpenZFS, Arm string
	Number                 int
}

// Ended says how it went.
type Ended struct {
	Scenario, OpenZFS string
	Result            trial.Result
}

// Judged closes a scenario on a version. One trial alone is not judged.
type Judged struct{ Result Result }

// Run does all of it, scenario by scenario. What was done before an error or the end of the context is returned with it, the
// finished trials of the scenario under way included; of that scenario there is no verdict then.
func (c *Campaign) Run(ctx context.Context) ([]Result, error) {
	var all []Result
	for _, img := range c.Images {
		for _, s := range c.Scenarios {
			if !s.Applies(img.OpenZFS) {
				c.Observe(Skipped{s.Name, img.OpenZFS})
				continue
			}
			r, err := c.scenario(ctx, s, img)
			if err == nil || r.Missing > 0 {
				all = append(all, r)
			}
			if err != nil {
				return all, fmt.Errorf("scenario %s on OpenZFS %s: %w", s.Name, img.OpenZFS, err)
			}
			if c.Only == nil {
				c.Observe(Judged{r})
			}
		}
	}
	return all, nil
}

// scenario returns a result with an error only if some of its trials were done, and others are Missing.
func (c *Campaign) scenario(ctx context.Context, s *scenarios.Scenario, img *images.Image) (Result, error) {
	start := time.Now()
	arms, err := c.arms(s)
	if err != nil {
		return Result{}, err
	}
	c.Observe(Planned{s.Name, img.OpenZFS, arms})
	plans, err := c.plan(ctx, s, img, arms)
	if err != nil {
		return Result{}, err
	}
	results, err := c.trials(ctx, s, plans)
	if err == nil && len(results) < len(plans) {
		err = ctx.Err() // which ended before the next trial began
	}
	if len(results) == 0 && err != nil {
		return Result{}, err
	}
	r := conclude(s, results, len(plans)-len(results), c.Only == nil)
	r.OpenZFS, r.Seed, r.Seconds = img.OpenZFS, c.Seed, time.Since(start).Seconds()
	return r, err
}

// arms says how many trials each arm gets.
func (c *Campaign) arms(s *scenarios.Scenario) (plans []ArmPlan, err error) {
	most := 0
	for _, a := range s.Arms {
		most = max(most, a.Trials)
	}
	for _, a := range s.Arms {
		n := a.Trials
		if c.Trials > 0 {
			n = (c.Trials*a.Trials + most - 1) / most
		}
		if c.Only != nil {
			n = 0
			if c.Only.Arm == a.Name {
				n = 1
			}
		}
		plans = append(plans, ArmPlan{a, n})
	}
	if c.Only != nil {
		_, err = s.ForArm(c.Only.Arm) // an unknown name is an error, not an empty run
	}
	return plans, err
}

// plan prepares the checkpoints and lays out the trials, the arms taking turns: what changes on the host while they run
// changes for all of them.
func (c *Campaign) plan(ctx context.Context, s *scenarios.Scenario, img *images.Image, arms []ArmPlan) ([]trial.Plan, error) {
	left := map[string]int{} // trials to come, by checkpoint
	first := make([]trial.Plan, len(arms))
	most := 0
	for i, a := range arms {
		if a.Trials == 0 {
			continue
		}
		p, err := c.prepare(ctx, s, img, a.Arm.Name)
		if err != nil {
			return nil, err
		}
		first[i] = p
		left[p.Resolved.PrepareKey()] += a.Trials
		most = max(most, a.Trials)
	}
	var plans []trial.Plan
	for round := 1; round <= most; round++ {
		for i, a := range arms {
			if round > a.Trials {
				continue
			}
			key := first[i].Resolved.PrepareKey()
			left[key]--
			plans = append(plans, c.one(first[i], c.number(round), left[key]))
		}
	}
	return plans, nil
}

// prepare is what all trials of an arm have in common. That the guest refuses a preparation says something about the
// guest, not about the lab: the campaign goes on with the other arms.
func (c *Campaign) prepare(ctx context.Context, s *scenarios.Scenario, img *images.Image, arm string) (trial.Plan, error) {
	resolved, err := s.ForArm(arm)
	if err != nil {
		return trial.Plan{}, err
	}
	p := trial.Plan{
		Scenario: s, Resolved: resolved, OpenZFS: img.OpenZFS, Image: img, CampaignSeed: c.Seed,
		Kernels: c.Stable.Kernels, Judge: judge.Auditor{}, Second: judge.ZDB{Driver: c.Driver},
	}
	p.Keep = func(r trial.Result) bool { return c.Keep == KeepAll || c.Keep == KeepFailed && !asExpected(s, r) }
	if p.Booted, err = c.Stable.Booted(ctx, img, resolved.Machine); err != nil {
		return p, err
	}
	var refused *guest.ExitError
	p.Checkpoint, err = c.Stable.Prepared(ctx, img, resolved)
	if errors.As(err, &refused) {
		p.Refused, err = err, nil
	}
	return p, err
}

func (c *Campaign) number(round int) int {
	if c.Only != nil {
		return c.Only.Number
	}
	return round
}

// one is the trial of an arm with that number, next how many more of its checkpoint are to come.
func (c *Campaign) one(p trial.Plan, number, next int) trial.Plan {
	name, arm := p.Scenario.Name, p.Resolved.Arm.Name
	p.Number, p.Next = number, next
	p.Seed = seed(c.Seed, name, p.OpenZFS, arm, number)
	p.Bundle = filepath.Join(c.Dir, name+"-"+p.OpenZFS, fmt.Sprintf("%s-%03d", arm, number))
	p.Repeat = repeat(p.Scenario, p.OpenZFS, c.Seed, arm, number) + c.Flags
	return p
}

// repeat is the command that does one trial again. A scenario of the user's own is named by its file, which has a slash.
func repeat(s *scenarios.Scenario, version string, seed uint64, arm string, number int) string {
	argument := s.Name
	if strings.Contains(s.File, "/") {
		argument = s.File
	}
	return fmt.Sprintf("vdevil run %s --zfs %s --seed %d --only %s/%d", argument, version, seed, arm, number)
}

// seed gives each trial its own, so that adding a trial or an arm leaves the others as they were.
func seed(campaign uint64, scenario, version, arm string, number int) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s/%s/%s/%d", campaign, scenario, version, arm, number))
	return binary.LittleEndian.Uint64(sum[:])
}

// trials runs them in order, Jobs at a time, and returns those that came to their end: not all of them with an error.
func (c *Campaign) trials(ctx context.Context, s *scenarios.Scenario, plans []trial.Plan) ([]trial.Result, error) {
	var (
		mu      sync.Mutex
		results = make([]*trial.Result, len(plans))
	)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, c.Jobs))
	observe := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		c.Observe(e)
	}
	for i, p := range plans {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			observe(Started{s.Name, p.OpenZFS, p.Resolved.Arm.Name, p.Number})
			r, err := trial.Run(ctx, c.Driver, p)
			if err != nil {
				return err
			}
			results[i] = &r
			observe(Ended{s.Name, p.OpenZFS, r})
			return nil
		})
	}
	err := group.Wait()
	var done []trial.Result
	for _, r := range results {
		if r != nil {
			done = append(done, *r)
		}
	}
	return done, err
}
