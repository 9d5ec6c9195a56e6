package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// life is one machine of a trial: the fork that it began with, or one that its disks were moved to.
type life struct {
	vm    machine.Machine
	image *images.Image       // what it runs
	fork  *machine.Checkpoint // what it is a fork of
	guest *guest.Guest        // nil until connected
	watch *watch
	stop  context.CancelFunc // of the watch
	// crashed is closed when the console tells of a crash, and a counted guest stands.
	crashed chan struct{}
	tracing *tracing // nil of a trial whose code nobody asks for
	// expected is set while the machine may end without ending the trial, off when it was switched off by the lab.
	expected, off atomic.Bool

	hung  sync.Mutex
	still []panics.Event // threads that hang, see prove and look
	said  []byte         // what the kernel last answered about its threads and CPUs
}

// now is the machine that is at work.
func (t *run) now() *life {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lives[len(t.lives)-1]
}

// all are the machines of the trial so far, the first one first.
func (t *run) all() []*life {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lives)
}

// enter makes a machine the one at work and begins to watch it, from its own first byte: what the guest printed before its
// checkpoint is history. A trial that is over closes it: a step may come too late.
func (t *run) enter(ctx context.Context, vm machine.Machine, img *images.Image, fork *machine.Checkpoint) error {
	traced, err := t.follow(ctx, vm)
	if err != nil {
		return errors.Join(err, vm.Close())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.Join(errOver, vm.Close())
	}
	ctx, stop := context.WithCancel(context.Background()) // ends with the life, see close
	l := &life{vm: vm, tracing: traced, image: img, fork: fork, watch: watchConsole(ctx, vm, vm.Console().Start()), stop: stop, crashed: make(chan struct{})}
	t.lives = append(t.lives, l)
	if t.entered != nil {
		t.entered(vm.Console())
	}
	over := func() {
		if !l.expected.Load() {
			t.ended.Do(func() { close(t.over) })
		}
	}
	go l.prove(ctx, t.scale, over)
	go func() {
		select {
		case <-l.watch.crash:
			t.standstill(ctx, l)
			close(l.crashed)
		case <-vm.Done():
		case <-ctx.Done():
			return
		}
		over()
	}()
	return nil
}

// standLimit is what a counted guest gets, on the reference host, to come to a stand after it has crashed.
const standLimit = 10 * time.Second

// standstill waits until a counted guest that has crashed stands at its bell, so that it is the same instant in every repeat.
func (t *run) standstill(ctx context.Context, l *life) {
	t.mu.Lock()
	g := l.guest
	t.mu.Unlock()
	if g == nil || !g.Counted() {
		return
	}
	timer := time.NewTimer(t.scale.Limit(standLimit))
	defer timer.Stop()
	select {
	case <-g.Stays():
	case <-l.vm.Done():
	case <-timer.C: // what rings the bell may have died
	case <-ctx.Done():
	}
}

// stays says whether a counted guest that has printed something grave has crashed: it stands then, and all that it has printed is about
// to be read.
func (t *run) stays(ctx context.Context, l *life) bool {
	timer := time.NewTimer(t.scale.Limit(settleLimit))
	defer timer.Stop()
	select {
	case <-l.watch.crash:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

var errOver = errors.New("the trial is over")

func (t *run) connect(ctx context.Context, l *life) error {
	g, err := guest.Connect(ctx, l.vm, checkpoint.Keys(l.image))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotReached, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.Join(errOver, g.Close())
	}
	l.guest = g
	g.OnTrouble(func(ctx context.Context) bool { return t.stays(ctx, l) })
	return nil
}

// stir makes what is drawn in the guest follow from the trial's seed.
func (t *run) stir(ctx context.Context) error {
	if g := t.now().guest; g != nil {
		return g.Stir(ctx, t.spec.Seed)
	}
	return nil
}

// leave switches a machine off. Its disks and console stay until the trial ends.
func (l *life) leave() error {
	l.expected.Store(true)
	l.off.Store(true)
	return l.vm.PowerOff()
}

func (l *life) ended() bool {
	select {
	case <-l.vm.Done():
		return true
	default:
		return false
	}
}

// settleLimit is how long, on the reference host, a message that has begun may take to come to its end: the console is
// slow, and the stack is what tells one bug from another.
const settleLimit = 200 * time.Millisecond

// settle waits until the console says no more that matters, see watch.settle. A machine whose console has ended is about to
// be known as ended, too.
func (l *life) settle(ctx context.Context, scale machine.Scale, amiss bool) {
	l.watch.settle(ctx, scale.Limit(settleLimit), amiss)
	if l.watch.ended() {
		select {
		case <-l.vm.Done():
		case <-ctx.Done():
		}
	}
}

// close ends all machines of the trial.
func (t *run) close() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, l := range t.lives {
		l.stop()
		if l.guest != nil {
			l.guest.Close()
		}
		err = errors.Join(err, l.vm.Close())
	}
	if t.rack != nil {
		err = errors.Join(err, t.rack.Close())
	}
	return err
}

// reboot switches the machine off, as it stands, and goes on with its disks in a fresh one. The pool is not imported yet.
func (t *run) reboot(ctx context.Context) error {
	old := t.now()
	if t.rack != nil { // whose disks lose with the power what they hold back
		if err := errors.Join(old.leave(), t.rack.Cut(ctx)); err != nil {
			return err
		}
	}
	if err := t.delivered(ctx); err != nil {
		return err
	}
	if err := old.leave(); err != nil {
		return err
	}
	vm, err := t.bench.Driver.Fork(ctx, t.booted, machine.ForkOptions{Disks: machine.Contents(old.vm.Disks())})
	if err != nil {
		return err
	}
	if err := t.enter(ctx, vm, t.later, t.booted); err != nil {
		return err
	}
	if err := errors.Join(t.connect(ctx, t.now()), t.stir(ctx)); err != nil {
		return err
	}
	t.worker.Guest = t.now().guest
	return errors.Join(t.worker.Guest.Bring(ctx, t.resolved.Files), t.worker.Guest.Rescan(ctx))
}

// panics runs steps that must end in a panic, the expected one if the scenario names a signature. The trial goes on after
// it, which it can only do with a reboot.
func (t *run) panics(ctx context.Context, steps []scenarios.Step) error {
	l := t.now()
	l.expected.Store(true)
	done := make(chan error, 1)
	go func() { done <- t.worker.Run(ctx, steps) }()
	var err error
	select {
	case err = <-done:
	case <-l.crashed:
	case <-l.vm.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	l.settle(ctx, t.scale, err != nil || l.ended())
	events := l.watch.events()
	for _, e := range events {
		if want := t.scenario.Expect.Signature; e.Class == panics.Panic && (want == "" || e.Signature() == want) {
			t.worker.Survive(e.Signature(), events)
			return nil
		}
	}
	if l.ended() || l.watch.crashed() { // in another way than expected
		t.ended.Do(func() { close(t.over) })
	}
	if err != nil {
		return err
	}
	return &drive.EarlyError{Reason: "the steps that must end in a panic did not"}
}
