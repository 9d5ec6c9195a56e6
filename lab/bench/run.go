package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
	"github.com/vdevil/vdevil/lab/trial"
)

// run is a trial under way.
type run struct {
	*Trial
	next    int                    // trials of the checkpoint that will follow
	entered func(*machine.Console) // see Options
	visits  []Visit                // see Options
	code    bool                   // see Options
	scale   machine.Scale
	worker  drive.Worker
	over    chan struct{} // closed when a machine has crashed or ended that was not expected to
	ended   sync.Once

	mu     sync.Mutex
	lives  []*life
	closed bool
	strike *strike    // nil until the fault is being armed
	rack   *vdev.Rack // disks of the first machine that are not its hypervisor's; nil without any
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
	if err := cmp.Or(t.untestable, t.refused); err != nil {
		return err
	}
	t.scale = t.fork.Scale
	o := machine.ForkOptions{For: t.spec.Title(), Next: t.next, Paused: t.before != nil}
	if err := t.mount(ctx, &o); err != nil {
		return err
	}
	vm, err := t.bench.Driver.Fork(ctx, t.fork, o)
	if err != nil {
		return err
	}
	if err := t.enter(ctx, vm, t.image, t.fork); err != nil || t.before == nil {
		return err
	}
	if r.Injections, err = t.before(ctx, vm); err != nil {
		return err
	}
	return vm.Resume(ctx)
}

// mount puts disks that a fault makes misbehave into a rack.
func (t *run) mount(ctx context.Context, o *machine.ForkOptions) (err error) {
	if t.resolved.Fault == nil || t.resolved.Fault.Device == nil {
		return nil
	}
	var id [4]byte
	rand.Read(id[:]) // of crypto/rand: it never fails
	name, f := hex.EncodeToString(id[:]), t.resolved.Fault.Device
	saved := func(disk string) string { return vm.Files{Dir: t.fork.Dir}.Disk(disk) }
	t.rack, err = vdev.NewRack(ctx, t.fork, saved, f.Disks, vdev.RackOptions{
		Dir: filepath.Join(t.bench.Dir, name), Sockets: filepath.Join(t.bench.Sockets, name),
		Seed: t.spec.Seed, Withhold: t.resolved.Arm.Withhold, Cache: f.Cache, Keep: f.Keep,
	})
	if err == nil {
		o.NBD = t.rack.Disks()
	}
	return err
}

// off switches the machine off. Its disks do what they have not written, unless the power was cut before.
func (t *run) off(ctx context.Context) error {
	err := t.now().leave()
	if t.rack != nil {
		err = errors.Join(err, t.rack.Settle(ctx))
	}
	return err
}

// drive runs the workload to its end, to a crash or to its time limit, whichever comes first. It never waits for a
// command of the guest: after a panic the thread is parked for ever and the command with it.
func (t *run) drive(ctx context.Context, r *result) {
	start := time.Now()
	limit := t.scale.Limit(t.resolved.Limit)
	if len(t.visits) > 0 {
		limit = visitLimit
	}
	limited, stop := context.WithTimeout(ctx, limit)
	defer stop()
	e := t.work(limited)
	if e.err == nil && e.status != nil {
		rest := t.spec.Watch
		if !t.now().guest.Counted() { // whose watch must not depend on the host
			rest -= time.Since(start)
		}
		t.linger(ctx, rest)
	}
	r.lap(trial.Workload)
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
	t.worker.Disks, t.worker.Layout = t.resolved.Machine.Names(), t.resolved.Pool.Layout
	t.worker.Arm = func(context.Context) error { return t.arm(limited) }
	t.worker.Reboot, t.worker.Panics = t.reboot, t.panics
	if err := errors.Join(t.worker.Recall(t.resolved.Prepare), t.stir(limited), t.visited(limited)); err != nil {
		return ending{err: err}
	}
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
func (t *run) linger(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	pass := wait
	if g := t.now().guest; g.Counted() {
		pass = g.Pass
	}
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		_ = pass(ctx, d) // a guest that does not let time pass has been watched, too
	}()
	select {
	case <-passed:
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
	ready, err := faultOf(f, t.rack)
	if err != nil {
		return err
	}
	over, end := context.WithCancel(ctx)
	s := &strike{end: end, done: make(chan struct{})}
	if err := t.expect(ctx, s); err != nil {
		end()
		return err
	}
	site := t.site()
	site.Written, site.Withhold, site.Over = t.worker.Written(), t.resolved.Arm.Withhold, over.Done()
	do, err := ready.Arm(ctx, site)
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

// site is the machine at work as faults see it.
func (t *run) site() fault.Site {
	l := t.now()
	return fault.Site{
		Machine: l.vm, Guest: t.worker.Guest, Rand: mathrand.New(mathrand.NewPCG(t.spec.Seed, 1)),
		Kernel: func(ctx context.Context) (*kernel.Kernel, error) {
			return t.bench.Checkpoints.Kernel(ctx, l.image, l.fork, l.vm, t.worker.Guest)
		},
	}
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
