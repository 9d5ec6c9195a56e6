// Package lab is vdevil for programs: the command, the e2e suite and whoever else wants to ask a pool a question. Open a
// Lab, Run scenarios, read the results.
package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Version is that of the lab.
const Version = "0.1.0"

// Options say where and how a lab works.
type Options struct {
	Dirs host.Dirs
	// Driver is what runs the guests, one of Drivers(); empty for the first.
	Driver string
	// Connect is the URI of the libvirtd to use, empty for the system's.
	Connect string
	// Mirror is where packages for images come from, empty for the default of the suite.
	Mirror string
	// Source is the git checkout of OpenZFS whose revisions can be named as versions; empty for none.
	Source string
	// Backports is a list of patches that revisions need to be compiled, as source.Repo.Backport reads it; empty for none.
	Backports string
	// Install says what to do about packages that this computer lacks.
	Install host.InstallOptions
	// Jobs is how many trials run at once, 0 for one per CPU, and more while CPUs have nothing to do.
	Jobs int
	// Progress is told of long work other than trials. It may be nil.
	Progress func(Progress)
}

// Progress is news of long work: a step of an image's build, a checkpoint being made, a wait for another lab.
type Progress struct {
	What string
	// Index and Of count the steps, from 1; Of is 0 for work that has no steps.
	Index, Of int
	// Expected is how long the work takes on a machine like the one it was measured on, 0 if unknown.
	Expected time.Duration
	// Took is 0 when the work begins and its duration when it is done.
	Took time.Duration
	Done bool
}

// Lab has found its host in order and its driver working.
type Lab struct {
	opts        Options
	driver      *vm.Driver
	images      *images.Store
	checkpoints *checkpoint.Cache
	bench       *bench.Bench
	known       sync.Map // images by ID
	trees       sync.Map // trees by the ID of their image, of those that were asked for
	store       *store.Store
	more        bool // jobs than Options.Jobs, while CPUs have nothing to do
}

// Open installs what the host lacks, if Options.Install allows it, and starts the driver.
func Open(ctx context.Context, o Options) (*Lab, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	more := o.Jobs == 0
	if more {
		o.Jobs = runtime.NumCPU()
	}
	if err := host.Install(ctx, host.Missing(needs(o.Driver)...), o.Install); err != nil {
		return nil, err
	}
	if _, err := Collect(ctx, o.Dirs); err != nil {
		return nil, fmt.Errorf("clear what a killed lab left: %w", err)
	}
	all, err := images.Open(ctx, o.Dirs)
	if err != nil {
		return nil, err
	}
	stored, err := OpenStore(ctx, o.Dirs)
	if err != nil {
		return nil, err
	}
	driver, err := newDriver(ctx, o)
	if err != nil {
		return nil, errors.Join(err, stored.Close())
	}
	l := &Lab{opts: o, driver: driver, images: all, store: stored, more: more}
	l.checkpoints = &checkpoint.Cache{
		Dir: checkpointsDir(o.Dirs), Driver: driver, Open: vm.Open, Progress: l.progress,
		Kernels: &checkpoint.Kernels{Dir: filepath.Join(o.Dirs.Cache, "types")},
	}
	l.bench = &bench.Bench{
		Driver: driver, Checkpoints: l.checkpoints, Image: l.ensure, Judge: judge.Auditor{}, Second: judge.ZDB{Driver: driver},
		Dir: MachinesDir(o.Dirs), Sockets: driver.Sockets(),
	}
	return l, nil
}

func checkpointsDir(d host.Dirs) string { return filepath.Join(d.Cache, "checkpoints") }

// MachinesDir is where running machines keep their disks and memory.
func MachinesDir(d host.Dirs) string { return filepath.Join(d.Cache, "machines") }

// PoolsDir is where the tests keep pools that guests have made.
func PoolsDir(d host.Dirs) string { return filepath.Join(d.Cache, "pools") }

func (l *Lab) progress(what string, took time.Duration) {
	l.opts.Progress(Progress{What: what, Took: took, Done: took > 0})
}

// Close ends the driver. Machines that were not closed die with it.
func (l *Lab) Close() error { return errors.Join(l.driver.Close(), l.store.Close()) }

// Driver starts machines.
func (l *Lab) Driver() machine.Driver { return l.driver }

// Checkpoints keeps prepared machines.
func (l *Lab) Checkpoints() *checkpoint.Cache { return l.checkpoints }

// Bench does trials.
func (l *Lab) Bench() *bench.Bench { return l.bench }

// Guest is a machine prepared for an arm of a scenario, and a way into it.
func (l *Lab) Guest(ctx context.Context, s *scenarios.Scenario, arm, version string) (machine.Machine, *guest.Guest, error) {
	img, err := l.Image(ctx, version)
	if err != nil {
		return nil, nil, err
	}
	resolved, err := s.ForArm(arm)
	if err != nil {
		return nil, nil, err
	}
	cp, err := l.checkpoints.Prepared(ctx, img, resolved)
	if err != nil {
		return nil, nil, err
	}
	return checkpoint.Enter(ctx, l.driver, img, cp)
}

// Environment is where this lab does its trials.
func (l *Lab) Environment() trial.Environment {
	return trial.Environment{Version: Version, Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Host: describe(l.driver.Version())}
}

func describe(hypervisor string) string {
	return fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), hypervisor)
}
