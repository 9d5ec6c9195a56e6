// Package trial does one trial: it forks a checkpoint, arms the fault, lets the workload run, watches from outside and
// says what happened. It also makes the checkpoints, since that takes the same steps. It counts nothing: what many
// trials say together is the campaign's business.
package trial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/kernel"
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
	// Booted is a guest without a pool and with the same disks, for what needs a machine that the fault has never seen: the
	// step reboot, and the Judge.
	Booted *machine.Checkpoint `json:"-"`
	// Kernels knows the guest's kernel, for faults that hit what has a type.
	Kernels *Kernels `json:"-"`
	// Judge looks at the disks of a trial in which nothing was seen. Without one such damage stays unseen. Second is asked
	// for another opinion when Judge has found something.
	Judge, Second judge.Judge `json:"-"`
	// Before is done to the fork before its CPUs run, for faults that strike at the very instant of the checkpoint.
	Before func(context.Context, machine.Machine) ([]fault.Injection, error) `json:"-"`
	// Watch is how long a trial goes on at least, from the moment the CPUs run, on this host.
	Watch time.Duration `json:"watch_ns,omitempty"`
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
	threads    []byte            // what the kernel said of them and of its CPUs, of a hang that no event tells of; in stack.txt
	Injections []fault.Injection `json:"injections,omitempty"`
	Status     *guest.PoolStatus `json:"pool,omitempty"`
	Findings   guest.Findings    `json:"findings,omitempty"`
	// Audit is what the judge found inconsistent on the disks, ZDB what the second one says to that.
	Audit []string `json:"audit,omitempty"`
	ZDB   []string `json:"zdb,omitempty"`
	// NotAudited names what the pool uses and the judge does not know; empty when it was judged, or was not to be.
	NotAudited string `json:"not_audited,omitempty"`
	// Repeat is the command that does this trial again.
	Repeat string `json:"repeat"`
	// Workload is what the workloads say they have done.
	Workload []Work `json:"workload,omitempty"`
	// Survived are the signatures of the panics that steps required, after which the trial went on.
	Survived []string `json:"survived,omitempty"`
	// LastStep is the step that ran when the trial ended.
	LastStep string `json:"last_step,omitempty"`

	Started     time.Time `json:"started"`
	ForkSeconds float64   `json:"fork_seconds"`
	Seconds     float64   `json:"seconds"`
	Bundle      string    `json:"bundle"`
}

// Run does the trial. Lab trouble is not an error but an invalid outcome; an error means that the context ended or the
// bundle could not be written.
func Run(ctx context.Context, driver machine.Driver, p Plan) (r Result, err error) {
	b, err := newBundle(p)
	if err != nil {
		return Result{}, err
	}
	r = Result{
		Arm: p.Resolved.Arm.Name, Control: p.Resolved.Arm.Control, Number: p.Number, Seed: p.Seed,
		Started: time.Now().UTC(), Bundle: p.Bundle, Repeat: p.Repeat,
	}
	t := &run{Plan: p, driver: driver, over: make(chan struct{})}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.begin(ctx, &r); err != nil {
		r.invalid(err)
	} else {
		r.ForkSeconds = time.Since(r.Started).Seconds()
		t.drive(ctx, &r)
		t.audit(ctx, &r)
	}
	r.Seconds = time.Since(r.Started).Seconds()
	if ctx.Err() != nil { // what was seen of a trial that was broken off counts for nothing
		return r, errors.Join(ctx.Err(), b.discard())
	}
	return r, b.write(ctx, t.all(), r, t.worker.output.bytes(), p.Keep(r))
}

func (r *Result) invalid(err error) {
	r.Outcome, r.Reason = Invalid, err.Error()
}

// run is a trial under way.
type run struct {
	Plan
	driver machine.Driver
	scale  machine.Scale
	worker worker
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
	injections []fault.Injection
	err        error
}

// title names the trial.
func (p *Plan) title() string {
	return fmt.Sprintf("%s on OpenZFS %s, %s/%d", p.Resolved.Scenario, p.OpenZFS, p.Resolved.Arm.Name, p.Number)
}

// begin forks the checkpoint.
func (t *run) begin(ctx context.Context, r *Result) error {
	if t.Refused != nil {
		return t.Refused
	}
	t.scale = t.Checkpoint.Scale
	vm, err := t.driver.Fork(ctx, t.Checkpoint, machine.ForkOptions{For: t.title(), Next: t.Next, Paused: t.Before != nil})
	if err != nil {
		return err
	}
	if err := t.enter(vm); err != nil || t.Before == nil {
		return err
	}
	if r.Injections, err = t.Before(ctx, vm); err != nil {
		return err
	}
	return vm.Resume(ctx)
}

// drive runs the workload to its end, to a crash or to its time limit, whichever comes first. It never waits for a
// command of the guest: after a panic the thread is parked for ever and the command with it.
func (t *run) drive(ctx context.Context, r *Result) {
	start := time.Now()
	limited, stop := context.WithTimeout(ctx, t.scale.Limit(t.Resolved.Limit))
	defer stop()
	e := t.work(limited)
	if e.err == nil && e.status != nil {
		t.linger(ctx, start.Add(t.Watch))
	}
	if errors.Is(e.err, context.DeadlineExceeded) && !errors.Is(e.err, errNotReached) {
		e.look = t.now().look(ctx, t.scale)
	}
	// A broken connection or a failed command can be the first sign of a message that is still being printed.
	t.now().settle(ctx, t.scale, e.err != nil || t.now().ended())
	stop()
	e.events, e.still, e.strike = t.now().watch.events(), t.now().stands(), t.finish()
	if e.strike != nil {
		r.Injections = append(r.Injections, e.strike.injections...)
	}
	past := t.worker.report(r)
	t.classify(ctx, r, e)
	r.Events = slices.Concat(past, r.Events)
	if r.Outcome == Hang && len(e.still) == 0 {
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
	t.worker = worker{guest: t.now().guest, pool: t.Resolved.Pool.Name, seed: t.Seed}
	t.worker.arm = func(context.Context) error { return t.arm(limited) }
	t.worker.reboot, t.worker.panics = t.reboot, t.panics
	t.worker.recall(t.Resolved.Prepare)
	done := make(chan ending, 1)
	go func() {
		var e ending
		if e.err = t.worker.run(limited, t.Resolved.Workload); e.err == nil {
			e.err = t.delivered(limited)
		}
		if e.err == nil { // what is wrong in memory only may go to disk, or strike, as late as now
			e.err = t.worker.guest.Sync(limited, t.Resolved.Pool.Name)
		}
		if e.err == nil || errors.As(e.err, new(*early)) || errors.As(e.err, new(*broken)) {
			var err error
			if e.status, err = t.status(limited); err != nil && !errors.As(e.err, new(*broken)) {
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
	f := t.Resolved.Fault
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
		Machine: vm, Guest: t.worker.guest, Written: t.worker.written,
		Rand: rand.New(rand.NewPCG(t.Seed, 1)), Withhold: t.Resolved.Arm.Withhold,
		Over: over.Done(),
		Kernel: func(ctx context.Context) (*kernel.Kernel, error) {
			return t.Kernels.Open(ctx, t.Image, t.Checkpoint, vm, t.worker.guest)
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
