package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// CrashRequest says which workload is cut short, and how.
type CrashRequest struct {
	Terms
	Scenario *scenarios.Scenario
	// Arm is one of the scenario's, empty for the first.
	Arm string
	// Version is that of OpenZFS, empty for the default.
	Version string
	Seed    uint64
	// States is how many states are judged.
	States int
	Flush  crash.Flush
	// Promises is for how long files are written with fsync beside the workload.
	Promises time.Duration
}

// Crash records a workload once and judges the states in which a power cut could have left its disks. What was judged
// before an error is returned with it. The record is kept with the campaign, which goes on from it.
func (l *Lab) Crash(ctx context.Context, r CrashRequest) (_ report.Study, err error) {
	if r.Name != "" { // each record is another one: a name has the one that it was begun with
		if c, err := l.store.Find(ctx, r.Name); err == nil && c.Name == r.Name {
			return report.Study{}, misnamed(ctx, fmt.Errorf("campaign %s is there already: vdevil resume %s goes on with it, or choose another name",
				c.Name, shellescape.Quote(c.Name)))
		}
	}
	arm := cmp.Or(r.Arm, r.Scenario.Arms[0].Name)
	resolved, err := r.Scenario.ForArm(arm)
	if err != nil {
		return report.Study{}, err
	}
	if err := drive.CheckWorkload(resolved); err != nil {
		return report.Study{}, err
	}
	img, err := l.Image(ctx, r.Version)
	if err != nil {
		return report.Study{}, err
	}
	s, closeStudy, err := l.study(crash.Request{
		Asked: campaign.Ask([]*scenarios.Scenario{r.Scenario})[0], Arm: arm, Image: trial.Image{ID: img.ID, OpenZFS: img.OpenZFS},
		Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Seed: r.Seed, Flush: r.Flush, States: r.States, Promises: r.Promises,
	}, img)
	if err != nil {
		return report.Study{}, err
	}
	defer func() { err = errors.Join(err, closeStudy()) }()
	if err := s.Record(ctx); err != nil {
		return report.Study{}, err
	}
	c := store.NewCampaign(KindCrash, l.name(r.Terms), s.Request, s.Request, l.newDir())
	done, err := l.campaign(ctx, c, s, r.Terms, func(campaign.Results) (campaign.Search, error) { return s, s.Keep(ctx, recordDir(c.Dir)) })
	return studied(s.Request, done), err
}

// recordDir is where the record of a study lies among the bundles of its campaign.
func recordDir(campaign string) string { return filepath.Join(campaign, "record") }

// study makes one without a record. Its directories are marked as the lab's, so that what a kill leaves is collected like a machine.
func (l *Lab) study(r crash.Request, img *images.Image) (s *crash.Study, closeStudy func() error, err error) {
	name := make([]byte, 4)
	if _, err := rand.Read(name); err != nil {
		return nil, nil, err
	}
	dirs := []string{filepath.Join(MachinesDir(l.opts.Dirs), hex.EncodeToString(name)), filepath.Join(l.driver.Sockets(), hex.EncodeToString(name))}
	s = &crash.Study{Request: r, OnImage: img, Machines: l.driver, Checkpoints: l.checkpoints, Dir: dirs[0], Sockets: dirs[1]}
	closeStudy = func() error {
		err := s.Close()
		for _, d := range dirs {
			err = errors.Join(err, host.Release(d))
		}
		return err
	}
	for _, d := range dirs {
		if err := host.Claim(d); err != nil {
			return nil, nil, errors.Join(err, closeStudy())
		}
	}
	return s, closeStudy, nil
}

// recalled is a study with the record that a campaign has kept.
func (l *Lab) recalled(ctx context.Context, dir string) (s *crash.Study, closeStudy func() error, err error) {
	r, err := crash.ReadRequest(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("the record of the power cut is not here: %w; begin a new study with vdevil crash", err)
	}
	img, err := l.ensure(ctx, r.Image)
	if err != nil {
		return nil, nil, err
	}
	if s, closeStudy, err = l.study(r, img); err != nil {
		return nil, nil, err
	}
	if err := s.Recall(ctx, dir); err != nil {
		return nil, nil, errors.Join(err, closeStudy())
	}
	return s, closeStudy, nil
}

// resumeCrash goes on with a study.
func (l *Lab) resumeCrash(ctx context.Context, c store.Campaign, t Terms) (shown Shown, err error) {
	s, closeStudy, err := l.recalled(ctx, recordDir(c.Dir))
	if err != nil {
		return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
	}
	defer func() { err = errors.Join(err, closeStudy()) }()
	if err := l.like(c, s.Driver, s.Accel); err != nil {
		return Shown{}, err
	}
	done, err := l.campaign(ctx, c, s, t, func(campaign.Results) (campaign.Search, error) { return s, nil })
	study := studied(s.Request, done)
	return Shown{Study: &study}, err
}

// repeatCut judges a state again, from the record of the campaign that it was one of.
func (l *Lab) repeatCut(ctx context.Context, spec trial.Spec) (_ trial.Result, err error) {
	all, err := filepath.Glob(recordDir(filepath.Join(RunsDir(l.opts.Dirs), "*")))
	if err != nil {
		return trial.Result{}, err
	}
	at := slices.IndexFunc(all, func(dir string) bool {
		r, err := crash.ReadRequest(dir)
		return err == nil && r.Recorded.ID == spec.Cut.Record
	})
	if at < 0 {
		return trial.Result{}, errors.New("the trial is one of disks after a power cut, and the record of what was written to them is not here")
	}
	s, closeStudy, err := l.recalled(ctx, all[at])
	if err != nil {
		return trial.Result{}, err
	}
	defer func() { err = errors.Join(err, closeStudy()) }()
	t, err := s.Prepare(ctx, spec)
	if err != nil {
		return trial.Result{}, err
	}
	return t.Do(ctx, bench.Options{})
}

// studied is what a study has shown.
func studied(r crash.Request, done campaign.Results) report.Study {
	s := report.Study{
		Scenario: r.Name(), Arm: r.Arm, OpenZFS: r.Image.OpenZFS, Seed: r.Seed, Lying: r.Flush.Lying, Flush: r.Flush.String(),
		Writes: r.Recorded.Writes, Flushes: r.Recorded.Flushes, Bytes: r.Recorded.Bytes, Promised: r.Recorded.Promised, RecordSeconds: r.Recorded.Seconds,
		Planned: r.States, States: slices.Collect(maps.Values(done)),
	}
	slices.SortFunc(s.States, func(a, b trial.Result) int { return a.Number - b.Number })
	return s
}
