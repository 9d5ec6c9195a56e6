package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"time"

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
// before an error is returned with it. The record is dropped at the end: such a campaign does not go on.
func (l *Lab) Crash(ctx context.Context, r CrashRequest) (_ report.Study, err error) {
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
	// Both are marked as the lab's, so that what a kill leaves is collected like a machine.
	name := make([]byte, 4)
	if _, err := rand.Read(name); err != nil {
		return report.Study{}, err
	}
	dir := filepath.Join(MachinesDir(l.opts.Dirs), hex.EncodeToString(name))
	run := filepath.Join(l.driver.Sockets(), hex.EncodeToString(name))
	for _, d := range []string{dir, run} {
		if err := host.Claim(d); err != nil {
			return report.Study{}, err
		}
		defer func() { err = errors.Join(err, host.Release(d)) }()
	}
	s := &crash.Study{
		Request: crash.Request{
			Asked: campaign.Ask([]*scenarios.Scenario{r.Scenario})[0], Arm: arm, Image: campaign.Image{ID: img.ID, OpenZFS: img.OpenZFS},
			Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Seed: r.Seed, Flush: r.Flush, States: r.States, Promises: r.Promises,
		},
		OnImage: img, Machines: l.driver, Checkpoints: l.checkpoints, Dir: dir, Sockets: run,
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Record(ctx); err != nil {
		return report.Study{}, err
	}
	c := store.NewCampaign(KindCrash, l.name(r.Terms), s.Request, s.Request, l.newDir())
	done, err := l.campaign(ctx, c, s, r.Terms, func(campaign.Results) (campaign.Search, error) { return s, nil })
	return studied(s.Request, done), err
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
