// Package bench does trials: it forks a checkpoint, arms the fault, lets the workload run, watches from outside and says
// what happened. It counts nothing: what many trials say together is somebody else's business.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Bench does trials on this computer.
type Bench struct {
	Driver      machine.Driver
	Checkpoints *checkpoint.Cache
	// Image finds the image that a spec asks for.
	Image func(context.Context, trial.Spec) (*images.Image, error)
	// Judge looks at the disks of a trial in which nothing was seen. Without one such damage stays unseen. Second is asked
	// for another opinion when Judge has found something.
	Judge, Second judge.Judge

	scenarios sync.Map // by text: *scenarios.Scenario
	groups    sync.Map // by origin: the name of a group
	forked    sync.Map // by group: the *machine.Checkpoint of its trials
}

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
	// booted is a guest without a pool and with the same disks, for what needs a machine that the fault has never seen: the
	// step reboot, and the judges.
	booted *machine.Checkpoint
	// before is done to the fork before its CPUs run, for what strikes at the very instant of the checkpoint.
	before func(context.Context, machine.Machine) ([]trial.Injection, error)
	// refused is why there is no checkpoint: the guest could not be prepared for this arm, as an older OpenZFS lacks what
	// the arm asks for. The trial is invalid then.
	refused error
}

// Prepare makes the checkpoints that a trial is forked from, unless they are there. That a guest refuses what the scenario
// prepares says something about the guest and is no error: the trial will be invalid.
func (b *Bench) Prepare(ctx context.Context, spec trial.Spec) (*Trial, error) {
	if at := b.Driver.Name(); spec.Driver != at || spec.Accel != string(b.Driver.Accel()) {
		return nil, fmt.Errorf("the trial is one for %s with %s, this lab has %s with %s", spec.Driver, spec.Accel, at, b.Driver.Accel())
	}
	t := &Trial{bench: b, spec: spec}
	var err error
	if t.scenario, t.resolved, err = b.resolve(spec); err != nil {
		return nil, err
	}
	if t.image, err = b.Image(ctx, spec); err != nil {
		return nil, err
	}
	if t.booted, err = b.Checkpoints.Booted(ctx, t.image, t.resolved.Machine); err != nil {
		return nil, err
	}
	if spec.Strike != nil {
		err = t.freeze(ctx)
	} else {
		t.fork, err = b.Checkpoints.Prepared(ctx, t.image, t.resolved)
	}
	var refused *guest.ExitError
	if errors.As(err, &refused) && spec.Strike == nil {
		t.refused, err = err, nil
	}
	if t.fork != nil {
		b.forked.Store(b.Group(spec), t.fork)
	}
	return t, err
}

// resolve reads each scenario once.
func (b *Bench) resolve(spec trial.Spec) (*scenarios.Scenario, scenarios.Resolved, error) {
	if known, ok := b.scenarios.Load(spec.Scenario); ok {
		s := known.(*scenarios.Scenario)
		r, err := s.ForArm(spec.Arm)
		return s, r, err
	}
	s, r, err := spec.Resolve()
	if err == nil {
		b.scenarios.Store(spec.Scenario, s)
	}
	return s, r, err
}

// Group names what a trial starts from: those with the same group share a checkpoint.
func (b *Bench) Group(spec trial.Spec) string {
	from := origin{spec.Image, spec.Scenario, spec.Arm}
	if known, ok := b.groups.Load(from); ok {
		return known.(string)
	}
	_, resolved, err := b.resolve(spec)
	group := spec.Image + spec.Name
	if err == nil && spec.Strike == nil {
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
	r := &result{Result: trial.Result{
		Arm: arm.Name, Control: arm.Control, Number: t.spec.Number, Seed: t.spec.Seed, Started: time.Now().UTC(), Bundle: o.Bundle, Repeat: o.Repeat,
	}}
	one := &run{Trial: t, next: o.Next, over: make(chan struct{})}
	defer func() { err = errors.Join(err, one.close()) }()
	err = one.begin(ctx, r)
	r.lap("fork")
	if err != nil {
		r.invalid(err)
	} else {
		one.drive(ctx, r)
		one.audit(ctx, r)
		r.lap("judge")
	}
	r.Seconds = time.Since(r.Started).Seconds()
	if ctx.Err() != nil { // what was seen of a trial that was broken off counts for nothing
		return r.Result, errors.Join(ctx.Err(), b.discard())
	}
	keep := o.Keep != nil && o.Keep(t.scenario, r.Result)
	err = b.write(ctx, one.all(), r, one.worker.Output(), keep)
	return r.Result, err
}

// result is what is known of a trial under way.
type result struct {
	trial.Result
	threads []byte // what the kernel said of them and of its CPUs, of a hang that no event tells of; in stack.txt
}

// lap says what the time since the last one was spent on.
func (r *result) lap(name string) {
	spent := time.Since(r.Started).Seconds()
	for _, s := range r.Spans {
		spent -= s.Seconds
	}
	r.Spans = append(r.Spans, trial.Span{Name: name, Seconds: spent})
}

func (r *result) invalid(err error) {
	r.Outcome, r.Reason = trial.Invalid, err.Error()
}

// run is a trial under way.
type run struct {
	*Trial
	next   int // trials of the checkpoint that will follow
	scale  machine.Scale
	worker drive.Worker
	over   chan struct{} // closed when a machine has crashed or ended that was not expected to
	ended  sync.Once

	mu     sync.Mutex
	lives  []*life
	closed bool
	strike *strike // nil until the fault is being armed
}

// strike is a fault that is being armed, or is.
type strike struct {
	end  context.CancelFunc // says that the workload has come to its end
	done chan struct{}      // closed when it has struck or given up
	// Valid after done.
	injections []trial.Injection
	err        error
}

// begin forks the checkpoint.
func (t *run) begin(ctx context.Context, r *result) error {
	if t.refused != nil {
		return t.refused
	}
	t.scale = t.fork.Scale
	vm, err := t.bench.Driver.Fork(ctx, t.fork, machine.ForkOptions{For: t.spec.Title(), Next: t.next, Paused: t.before != nil})
	if err != nil {
		return err
	}
	if err := t.enter(vm); err != nil || t.before == nil {
		return err
	}
	if r.Injections, err = t.before(ctx, vm); err != nil {
		return err
	}
	return vm.Resume(ctx)
}

// drive runs the workload to its end, to a crash or to its time limit, whichever comes first. It never waits for a
// command of the guest: after a panic the thread is parked for ever and the command with it.
func (t *run) drive(ctx context.Context, r *result) {
	start := time.Now()
	limited, stop := context.WithTimeout(ctx, t.scale.Limit(t.resolved.Limit))
	defer stop()
	e := t.work(limited)
	if e.err == nil && e.status != nil {
		t.linger(ctx, start.Add(t.spec.Watch))
	}
	r.lap("workload")
	if errors.Is(e.err, context.DeadlineExceeded) && !errors.Is(e.err, errNotReached) {
		e.look = t.now().look(ctx, t.scale)
	}
	// A broken connection or a failed command can be the first sign of a message that is still being printed.
	t.now().settle(ctx, t.scale, e.err != nil || t.now().ended())
	r.lap("settle")
	stop()
	e.events, e.still, e.strike = t.now().watch.events(), t.now().stands(), t.finish()
	if e.strike != nil {
		r.Injections = append(r.Injections, e.strike.injections...)
	}
	done := t.worker.Done()
	r.LastStep, r.Workload, r.Findings, r.Survived = done.Step, done.Work, done.Findings, done.Survived
	t.classify(ctx, r, e)
	r.Events = slices.Concat(done.Past, r.Events)
	if r.Outcome == trial.Hang && len(e.still) == 0 {
		r.threads = t.now().answer()
	}
}

// errNotReached says that a trial ended before its workload began.
var errNotReached = errors.New("the guest was not reached")

// work connects, runs the workload and, when that has come to its end, asks the pool how it is.
func (t *run) work(limited context.Context) (e ending) {
	if err := t.reach(limited); err != nil {
		return ending{err: err}
	}
	if t.isOver() {
		return ending{}
	}
	t.worker.Guest, t.worker.Pool, t.worker.Seed = t.now().guest, t.resolved.Pool.Name, t.spec.Seed
	t.worker.Arm = func(context.Context) error { return t.arm(limited) }
	t.worker.Reboot, t.worker.Panics = t.reboot, t.panics
	t.worker.Recall(t.resolved.Prepare)
	done := make(chan ending, 1)
	go func() {
		var e ending
		if e.err = t.worker.Run(limited, t.resolved.Workload); e.err == nil {
			e.err = t.delivered(limited)
		}
		if e.err == nil { // what is wrong in memory only may go to disk, or strike, as late as now
			e.err = t.worker.Guest.Sync(limited, t.resolved.Pool.Name)
		}
		if e.err == nil || errors.As(e.err, new(*drive.EarlyError)) || errors.As(e.err, new(*drive.BrokenError)) {
			var err error
			if e.status, err = t.status(limited); err != nil && !errors.As(e.err, new(*drive.BrokenError)) {
				e.err = err
			}
		}
		done <- e
	}()
	select {
	case e = <-done:
	case <-t.over:
	case <-limited.Done():
		e.err = limited.Err()
	}
	return e
}

// reach connects to the guest, unless the trial is over before.
func (t *run) reach(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-t.over:
			stop()
		case <-ctx.Done():
		}
	}()
	err := t.connect(ctx, t.now())
	if t.isOver() {
		return nil
	}
	return err
}

// isOver says whether a machine has crashed or ended that was not expected to.
func (t *run) isOver() bool {
	select {
	case <-t.over:
		return true
	default:
		return false
	}
}

// linger goes on watching.
func (t *run) linger(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.over:
	case <-ctx.Done():
	}
}

// arm makes the fault ready and lets it wait for its trigger beside the workload. The strike is known from the beginning,
// so that the end of the trial waits for it; nothing is locked while the machine and the guest are asked, who may hang.
func (t *run) arm(ctx context.Context) error {
	f := t.resolved.Fault
	if f == nil {
		return errors.New("the scenario has no fault to arm")
	}
	ready, err := faultOf(f)
	if err != nil {
		return err
	}
	over, end := context.WithCancel(ctx)
	s := &strike{end: end, done: make(chan struct{})}
	if err := t.expect(ctx, s); err != nil {
		end()
		return err
	}
	vm := t.now().vm
	do, err := ready.Arm(ctx, fault.Site{
		Machine: vm, Guest: t.worker.Guest, Written: t.worker.Written(),
		Rand: rand.New(rand.NewPCG(t.spec.Seed, 1)), Withhold: t.resolved.Arm.Withhold,
		Over: over.Done(),
		Kernel: func(ctx context.Context) (*kernel.Kernel, error) {
			return t.bench.Checkpoints.Kernels.Open(ctx, t.image, t.fork, vm, t.worker.Guest)
		},
	})
	if err != nil {
		end()
		s.err = fmt.Errorf("arm %s: %w", f.Kind(), err)
		close(s.done)
		return s.err
	}
	go func() {
		defer close(s.done)
		s.injections, s.err = do(ctx)
	}()
	return nil
}

// expect notes a strike, unless the trial is over: then nobody would take the trigger away.
func (t *run) expect(ctx context.Context, s *strike) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.strike = s
	return nil
}

func (t *run) armed() *strike {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.strike
}

// delivered waits for a fault that strikes after the last step has returned, as a txg syncs later than a command ends. One
// that goes on for as long as the workload does ends here.
func (t *run) delivered(ctx context.Context) error {
	s := t.armed()
	if s == nil {
		return nil
	}
	s.end()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish waits until the fault has let go of the machine. The context that it was armed with has ended.
func (t *run) finish() *strike {
	s := t.armed()
	if s != nil {
		<-s.done
	}
	return s
}
