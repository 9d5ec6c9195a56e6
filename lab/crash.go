package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path/filepath"
	"time"

	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/scenarios"
)

// CrashRequest says which workload is cut short, and how.
type CrashRequest struct {
	Scenario *scenarios.Scenario
	// Arm is one of the scenario's, empty for the first.
	Arm string
	// Version is that of OpenZFS, empty for the default.
	Version string
	Seed    uint64
	// Images is how many states are judged.
	Images int
	Flush  crash.Flush
	// Promises is for how long files are written with fsync beside the workload.
	Promises time.Duration
	Observe  func(crash.Progress)
}

// Crash records a workload once and judges the states in which a power cut could have left its disks. What was judged
// before an error is returned with it.
func (l *Lab) Crash(ctx context.Context, r CrashRequest) (_ *crash.Report, err error) {
	resolved, err := r.Scenario.ForArm(cmp.Or(r.Arm, r.Scenario.Arms[0].Name))
	if err != nil {
		return nil, err
	}
	if err := drive.CheckWorkload(resolved); err != nil {
		return nil, err
	}
	img, err := l.Image(ctx, r.Version)
	if err != nil {
		return nil, err
	}
	// Both are marked as the lab's, so that what a kill leaves is collected like a machine.
	name := make([]byte, 4)
	if _, err := rand.Read(name); err != nil {
		return nil, err
	}
	dir := filepath.Join(MachinesDir(l.opts.Dirs), hex.EncodeToString(name))
	run := filepath.Join(l.driver.Sockets(), hex.EncodeToString(name))
	for _, d := range []string{dir, run} {
		if err := host.Claim(d); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, host.Release(d)) }()
	}
	s := &crash.Study{
		Resolved: resolved, Image: img, Driver: l.driver, Checkpoints: l.checkpoints, Seed: r.Seed, Promises: r.Promises,
		Images: r.Images, Jobs: l.opts.Jobs, Flush: r.Flush, Dir: dir, Sockets: run, Observe: r.Observe,
	}
	return s.Run(ctx)
}
