// Package bench does trials: it forks a checkpoint, arms the fault, lets the workload run, watches from outside and says
// what happened. It counts nothing: what many trials say together is somebody else's business.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Bench does trials on this computer.
type Bench struct {
	Driver      machine.Driver
	Checkpoints *checkpoint.Cache
	// Image finds an image that a spec asks for.
	Image func(context.Context, trial.Image) (*images.Image, error)
	// Judge looks at the disks of a trial in which nothing was seen. Without one such damage stays unseen. Second is asked
	// for another opinion when Judge has found something.
	Judge, Second judge.Judge
	// Dir and Sockets are where trials put disks that are not the hypervisor's, and their sockets: see vdev.RackOptions.
	Dir, Sockets string

	scenarios sync.Map // by asked: *scenarios.Scenario
	groups    sync.Map // by origin: the name of a group
	forked    sync.Map // by group: the *machine.Checkpoint of its trials
}

// asked is what a scenario is read from, and the OpenZFS that decides what is expected.
type asked struct{ text, openzfs string }

// origin is what the group of a trial follows from.
type origin struct{ image, text, arm string }

// Trial is one that can be done at once: its checkpoints are there.
type Trial struct {
	bench    *Bench
	spec     trial.Spec
	scenario *scenarios.Scenario
	resolved scenarios.Resolved
	image    *images.Image
	fork     *machine.Checkpoint
	// booted is a guest of the image later, without a pool and with the same disks, for what needs a machine that the fault has never
	// seen: the step reboot, and the judges.
	later  *images.Image
	booted *machine.Checkpoint
	// before is done to the fork before its CPUs run, for what strikes at the very instant of the checkpoint.
	before func(context.Context, machine.Machine) ([]trial.Injection, error)
	// refused is why there is no checkpoint: the guest could not be prepared for this arm, as an older OpenZFS lacks what
	// the arm asks for. The trial is invalid then.
	refused error
	// untestable is why there is no guest at all: a tree does not compile, or does not come up. The trial is invalid, too.
	untestable error
}

// Prepare makes the checkpoints that a trial is forked from, unless they are there. That a guest refuses what the scenario
// prepares, or that a tree does not compile, says something about OpenZFS and is no error: the trial will be invalid.
func (b *Bench) Prepare(ctx context.Context, spec trial.Spec) (*Trial, error) {
	if at := b.Driver.Name(); spec.Driver != at || spec.Accel != string(b.Driver.Accel()) {
		return nil, fmt.Errorf("the trial is one for %s with %s, this lab has %s with %s", spec.Driver, spec.Accel, at, b.Driver.Accel())
	}
	t := &Trial{bench: b, spec: spec}
	var err error
	if t.scenario, t.resolved, err = b.resolve(spec); err != nil {
		return nil, err
	}
	if err := b.able(spec, t.resolved); err != nil {
		return nil, err
	}
	var built *images.BuildError
	if err = t.find(ctx); errors.As(err, &built) && built.Remedy == "" {
		t.untestable = err
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.booted, err = b.Checkpoints.Booted(ctx, t.later, t.resolved.Machine)
	if errors.Is(err, checkpoint.ErrNotUp) && t.later.Tree != nil {
		t.untestable = err
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if spec.Strike != nil {
		err = t.freeze(ctx)
	} else {
		t.fork, err = b.Checkpoints.Prepared(ctx, t.image, t.resolved)
	}
	var refused *guest.ExitError
	switch {
	case spec.Strike != nil:
	case t.image.Tree != nil && ctx.Err() == nil && (errors.As(err, &refused) || errors.Is(err, context.DeadlineExceeded)):
		t.untestable = err // a tree that cannot make its pool, or hangs over it, is as one that does not boot
		return t, nil
	case errors.As(err, &refused):
		t.refused, err = err, nil
	}
	if t.fork != nil {
		b.forked.Store(b.Group(spec), t.fork)
	}
	return t, err
}

// find finds the images.
func (t *Trial) find(ctx context.Context) (err error) {
	first, later := t.spec.Images()
	if t.image, err = t.bench.Image(ctx, first); err != nil {
		return err
	}
	if t.later = t.image; later != first {
		t.later, err = t.bench.Image(ctx, later)
	}
	return err
}

// able says whether the driver can do the machine and the fault of an arm, and whether all images have their turn.
func (b *Bench) able(spec trial.Spec, r scenarios.Resolved) error {
	cannot := func(a machine.Ability, needs, remedy string) error {
		return fmt.Errorf("scenario %s: driver %s cannot %s, which its %s needs: %s", r.Scenario, b.Driver.Name(), a, needs, remedy)
	}
	if a := needs(r.Fault); a != "" && !b.Driver.Can(a) {
		return cannot(a, "fault "+r.Fault.Kind(), "choose another one with --driver")
	}
	if first, later := spec.Images(); first != later && !slices.ContainsFunc(r.Workload, func(s scenarios.Step) bool { return s.Reboot }) {
		return fmt.Errorf("scenario %s: OpenZFS %s is for what comes after a step reboot, and its workload has none: write --zfs %s", r.Scenario, later.OpenZFS, first.OpenZFS)
	}
	if r.Machine.Clock == scenarios.Counted && !b.Driver.Can(machine.CountsTime) {
		return cannot(machine.CountsTime, "clock", "it takes the driver qemu, and a user who may not open /dev/kvm")
	}
	return nil
}

// resolve reads each scenario once.
func (b *Bench) resolve(spec trial.Spec) (*scenarios.Scenario, scenarios.Resolved, error) {
	at := asked{spec.Scenario, spec.OpenZFS}
	if known, ok := b.scenarios.Load(at); ok {
		s := known.(*scenarios.Scenario)
		r, err := s.ForArm(spec.Arm)
		return s, r, err
	}
	s, r, err := spec.Resolve()
	if err == nil {
		b.scenarios.Store(at, s)
	}
	return s, r, err
}

// Group names what a trial starts from: those with the same group share a checkpoint.
func (b *Bench) Group(spec trial.Spec) string {
	if s := spec.Strike; s != nil {
		return fmt.Sprint(spec.Image, spec.Name, s.Target, s.Trigger, s.Seed)
	}
	from := origin{spec.Image, spec.Scenario, spec.Arm}
	if known, ok := b.groups.Load(from); ok {
		return known.(string)
	}
	group := spec.Image + spec.Name
	if _, resolved, err := b.resolve(spec); err == nil {
		group = spec.Image + resolved.PrepareKey()
	}
	b.groups.Store(from, group)
	return group
}

// Release lets go of what was made ready for trials of a group, when none is to come.
func (b *Bench) Release(group string) error {
	cp, ok := b.forked.LoadAndDelete(group)
	ahead, can := b.Driver.(machine.Releaser)
	if !ok || !can {
		return nil
	}
	return ahead.Release(cp.(*machine.Checkpoint))
}

// Options are what does not decide how a trial goes.
type Options struct {
	// Bundle is the directory to leave the evidence in.
	Bundle string
	// Repeat is the command that does the trial again, for the result.
	Repeat string
	// Next is how many trials of the same checkpoint are about to follow.
	Next int
	// Entered is told of the console of every machine that the trial has, when it begins to be watched. Nil is for nobody to tell.
	Entered func(*machine.Console)
	// Visits look at the machine in the course of a trial whose guest counts its time.
	Visits []Visit
	// Code has the result say to what functions of the modules the trial came. It takes a driver that can tell.
	Code bool
	// Keep decides, when the outcome is known, whether the disks stay in the bundle. Nil keeps none.
	Keep func(*scenarios.Scenario, trial.Result) bool
}

// Do does the trial. Lab trouble is not an error but an invalid outcome; an error means that the context ended or the
// bundle could not be written.
func (t *Trial) Do(ctx context.Context, o Options) (_ trial.Result, err error) {
	b, err := newBundle(o.Bundle, t.spec)
	if err != nil {
		return trial.Result{}, err
	}
	arm := t.resolved.Arm
	r := &result{begun: time.Now()}
	r.Result = trial.Result{
		Arm: arm.Name, Control: arm.Control, Number: t.spec.Number, Seed: t.spec.Seed, Started: r.begun.UTC(), Bundle: o.Bundle, Repeat: o.Repeat,
	}
	one := &run{Trial: t, next: o.Next, entered: o.Entered, visits: o.Visits, code: o.Code, over: make(chan struct{})}
	defer func() { err = errors.Join(err, one.close()) }()
	err = one.begin(ctx, r)
	r.lap("fork")
	if t.untestable != nil {
		r.Untestable = inShort(t.untestable)
	}
	if err != nil {
		r.invalid(err)
	} else {
		one.drive(ctx, r)
		if o.Code {
			if r.Code, err = one.reached(ctx); err != nil {
				r.invalid(err)
			}
			r.lap("code")
		}
		one.audit(ctx, r)
		r.lap("judge")
		if one.resolved.Machine.Clock == scenarios.Counted {
			if r.Exact, err = one.exact(ctx); err != nil {
				r.invalid(err)
			}
			r.lap("digest")
		}
	}
	r.Seconds = time.Since(r.begun).Seconds()
	if ctx.Err() != nil { // what was seen of a trial that was broken off counts for nothing
		return r.Result, errors.Join(ctx.Err(), b.discard())
	}
	keep := o.Keep != nil && o.Keep(t.scenario, r.Result)
	var off error
	if keep && len(one.all()) > 0 {
		off = one.off(ctx)
	}
	return r.Result, errors.Join(off, b.write(ctx, one.all(), r, one.worker.Output(), keep))
}

// inShort is an error whose first line is what a compiler said, where one did.
func inShort(err error) string {
	var built *images.BuildError
	if errors.As(err, &built) && len(built.Tail) > 0 {
		return built.Tail[0] + "\n" + err.Error()
	}
	return err.Error()
}

// result is what is known of a trial under way.
type result struct {
	trial.Result
	begun   time.Time // by the clock that nobody sets, unlike Started
	threads []byte    // what the kernel said of them and of its CPUs, of a hang that no event tells of; in stack.txt
}

// lap says what the time since the last one was spent on.
func (r *result) lap(name string) {
	spent := time.Since(r.begun).Seconds()
	for _, s := range r.Spans {
		spent -= s.Seconds
	}
	r.Spans = append(r.Spans, trial.Span{Name: name, Seconds: spent})
}

func (r *result) invalid(err error) {
	r.Outcome, r.Reason = trial.Invalid, err.Error()
}
