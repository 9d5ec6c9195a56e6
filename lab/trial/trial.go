// Package trial does one trial: it forks a checkpoint, arms the fault, lets the workload run, watches from outside and
// says what happened. It also makes the checkpoints, since that takes the same steps. It counts nothing: what many
// trials say together is the campaign's business.
package trial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// Plan is everything that decides how a trial goes.
type Plan struct {
	Scenario *scenarios.Scenario `json:"-"`
	Resolved scenarios.Resolved  `json:"resolved"`
	OpenZFS  string              `json:"openzfs"`
	Number   int                 `json:"number"` // from 1, within its arm
	// Seed is the trial's own; CampaignSeed is what it was derived from and what the user repeats a run with.
	Seed         uint64 `json:"seed"`
	CampaignSeed uint64 `json:"campaign_seed"`
	// Repeat is the command that does this trial again.
	Repeat string `json:"repeat"`

	Image      *images.Image       `json:"-"`
	Checkpoint *machine.Checkpoint `json:"-"`
	// Refused is why there is no checkpoint: the guest could not be prepared for this arm, as an older OpenZFS lacks what
	// the arm asks for. The trial is invalid then.
	Refused error `json:"-"`
	// Next is how many trials of this checkpoint are still to come, Bundle the directory to leave the evidence in.
	Next   int    `json:"-"`
	Bundle string `json:"-"`
	// Keep decides, when the outcome is known, whether the disks stay in the bundle.
	Keep func(Result) bool `json:"-"`
}

// Result is what happened.
type Result struct {
	Arm       string  `json:"arm"`
	Control   bool    `json:"control"`
	Number    int     `json:"number"`
	Seed      uint64  `json:"seed"`
	Outcome   Outcome `json:"outcome"`
	Signature string  `json:"signature,omitempty"`
	// Text is the raw message of the event that decided.
	Text string `json:"text,omitempty"`
	// Reason says why a trial is invalid, or what decided where there is no message.
	Reason     string            `json:"reason,omitempty"`
	Events     []panics.Event    `json:"-"` // in stack.txt
	Injections []fault.Injection `json:"injections,omitempty"`
	Status     *guest.PoolStatus `json:"pool,omitempty"`
	Findings   guest.Findings    `json:"findings,omitempty"`
	// Workload is what the workloads say they have done.
	Workload []Work `json:"workload,omitempty"`
	// LastStep is the step that ran when the trial ended.
	LastStep string `json:"last_step,omitempty"`

	Started     time.Time `json:"started"`
	ForkSeconds float64   `json:"fork_seconds"`
	Seconds     float64   `json:"seconds"`
	Bundle      string    `json:"bundle"`
}

// settleLimit is how long, on the reference host, a message that has begun may take to come to its end: the console is
// slow, and the stack is what tells one bug from another.
const settleLimit = 200 * time.Millisecond

// Run does the trial. Lab trouble is not an error but an invalid outcome; an error means that the context ended or the
// bundle could not be written.
func Run(ctx context.Context, driver machine.Driver, p Plan) (r Result, err error) {
	b, err := newBundle(p)
	if err != nil {
		return Result{}, err
	}
	r = Result{
		Arm: p.Resolved.Arm.Name, Control: p.Resolved.Arm.Control, Number: p.Number, Seed: p.Seed,
		Started: time.Now().UTC(), Bundle: p.Bundle,
	}
	vm, err := fork(ctx, driver, p)
	if err == nil {
		r.ForkSeconds = time.Since(r.Started).Seconds()
		defer func() { err = errors.Join(err, vm.Close()) }()
		t := &run{Plan: p, vm: vm, scale: p.Checkpoint.Scale}
		t.drive(ctx, &r)
	} else {
		r.invalid(err)
	}
	r.Seconds = time.Since(r.Started).Seconds()
	if ctx.Err() != nil { // what was seen of a trial that was broken off counts for nothing
		return r, errors.Join(ctx.Err(), b.discard())
	}
	return r, b.write(ctx, vm, r, p.Keep(r))
}

func fork(ctx context.Context, d machine.Driver, p Plan) (machine.Machine, error) {
	if p.Refused != nil {
		return nil, p.Refused
	}
	return d.Fork(ctx, p.Checkpoint, machine.ForkOptions{Next: p.Next})
}

func (r *Result) invalid(err error) {
	r.Outcome, r.Reason = Invalid, err.Error()
}

// run is a trial under way.
type run struct {
	Plan
	vm     machine.Machine
	scale  machine.Scale
	worker worker

	mu     sync.Mutex
	strike *strike // nil until the fault is armed
}

// strike is an armed fault.
type strike struct {
	done chan struct{} // closed when it has struck or given up
	// Valid after done.
	injections []fault.Injection
	err        error
}

// drive runs the workload to its end, to a crash or to its time limit, whichever comes first. It never waits for a
// command of the guest: after a panic the thread is parked for ever and the command with it.
func (t *run) drive(ctx context.Context, r *Result) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := watchConsole(ctx, t.vm)
	limited, stop := context.WithTimeout(ctx, t.scale.Limit(t.Resolved.Limit))
	defer stop()
	var e ending
	if g, err := guest.Connect(limited, t.vm, keys(t.Image)); err == nil {
		defer g.Close()
		t.worker = worker{guest: g, pool: t.Resolved.Pool.Name, seed: t.Seed}
		t.worker.arm = func(context.Context) error { return t.arm(limited) }
		t.worker.recall(t.Resolved.Prepare)
		e = t.work(limited, watch)
	} else {
		e.err = fmt.Errorf("%w: %w", errNotReached, err)
	}
	// A broken connection or a failed command can be the first sign of a message that is still being printed.
	t.settle(ctx, watch, e.err != nil || t.ended())
	stop()
	e.events, e.strike = watch.events(), t.finish()
	if e.strike != nil {
		r.Injections = e.strike.injections
	}
	r.LastStep, r.Workload, r.Findings = t.worker.report()
	t.classify(ctx, r, e)
}

// errNotReached says that a trial ended before its workload began.
var errNotReached = errors.New("the guest was not reached")

// work runs the workload and, when that has come to its end, asks the pool how it is.
func (t *run) work(limited context.Context, w *watch) (e ending) {
	done := make(chan ending, 1)
	go func() {
		var e ending
		if e.err = t.worker.run(limited, t.Resolved.Workload); e.err == nil {
			e.err = t.delivered(limited)
		}
		if e.err == nil {
			e.status, e.err = t.status(limited)
		}
		done <- e
	}()
	select {
	case e = <-done:
	case <-w.crash:
	case <-t.vm.Done():
	case <-limited.Done():
		e.err = limited.Err()
	}
	return e
}

// arm makes the fault ready and lets it wait for its trigger beside the workload.
func (t *run) arm(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.Resolved.Fault
	if f == nil {
		return errors.New("the scenario has no fault to arm")
	}
	if ctx.Err() != nil { // the trial is over, and nobody would take the trigger away
		return ctx.Err()
	}
	do, err := faultOf(f).Arm(ctx, fault.Site{
		Machine: t.vm, Guest: t.worker.guest, Written: t.worker.written,
		Rand: rand.New(rand.NewPCG(t.Seed, 1)), Withhold: t.Resolved.Arm.Withhold,
	})
	if err != nil {
		return fmt.Errorf("arm %s: %w", f.Kind(), err)
	}
	s := &strike{done: make(chan struct{})}
	t.strike = s
	go func() {
		defer close(s.done)
		s.injections, s.err = do(ctx)
	}()
	return nil
}

func (t *run) armed() *strike {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.strike
}

// delivered waits for a fault that strikes after the last step has returned, as a txg syncs later than a command ends.
func (t *run) delivered(ctx context.Context) error {
	s := t.armed()
	if s == nil {
		return nil
	}
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

// settle waits until messages that have begun are complete. failed says that something is amiss already: then one may
// still be on its way.
func (t *run) settle(ctx context.Context, w *watch, failed bool) {
	timer := time.NewTimer(t.scale.Limit(settleLimit))
	defer timer.Stop()
	for {
		pending, seen, changed := w.state()
		if !pending && (seen > 0 || !failed) {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
