package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// Stopped is a moment of a trial that is repeated.
type Stopped struct {
	*fault.Moment
	// Time is the guest's, where it is known: at an instant that was asked for. Otherwise it is before Next, when the next timer is due.
	// From Since on the guest has run without a stop.
	Time, Since, Next time.Duration
}

// dumpers are the functions that are called once when a message of a class is about to be printed, before anything of it is.
var dumpers = map[panics.Class]string{
	panics.Panic: "spl_dumpstack", // of module/os/linux/spl/spl-err.c: by spl_panic and by vcmn_err
	panics.Oops:  "oops_begin",    // of arch/x86/kernel/dumpstack.c
}

// Stop says where in a trial.
type Stop struct {
	// At is a place in code. Without one it is the moment just before the first message of trouble, without a hit the last arrival before
	// that, by the thread that printed it.
	At fault.Trigger
	// Before is so many instructions before that message, as many as the CPU executes in that time; At is empty.
	Before int
	// Time is an instant of the guest's time, in place of both.
	Time time.Duration
}

// Step repeats a trial of a guest that counts its time up to a moment, and shows it. Counting arrivals at a place takes a repeat of its
// own, with a stop at each of them: what is counted is the trial with these stops. note is told what goes on.
func (l *Lab) Step(ctx context.Context, spec trial.Spec, before *trial.Result, to Stop, note func(string), look func(Stopped) error) error {
	if spec.Cut != nil || spec.Strike != nil {
		return errors.New("only trials of a scenario can be stepped through")
	}
	_, resolved, err := spec.Resolve()
	if err != nil {
		return err
	}
	if resolved.Machine.Clock != scenarios.Counted {
		return errors.New("its guest does not count its time, so it does not repeat exactly: run it with --exact")
	}
	if to.Time > 0 {
		return l.stop(ctx, spec, bench.Visit{Time: to.Time}, note, look)
	}
	at, err := l.moment(ctx, spec, before, to.At, note)
	if err != nil {
		return err
	}
	visit := bench.Visit{At: at}
	if to.Before > 0 {
		if visit, err = l.earlier(ctx, spec, at, to.Before, note); err != nil {
			return err
		}
	}
	return l.stop(ctx, spec, visit, note, look)
}

// moment is a place in code with the arrival at it.
func (l *Lab) moment(ctx context.Context, spec trial.Spec, before *trial.Result, at fault.Trigger, note func(string)) (_ fault.Trigger, err error) {
	dumper := ""
	if at.At == "" || at.Hit == 0 {
		if before == nil || len(before.Events) == 0 && (before.Outcome == trial.Panic || before.Outcome == trial.Oops) { // a bundle has no events
			note("a repeat, to see how it ends")
			now, err := l.Repeat(ctx, spec)
			if err != nil {
				return at, err
			}
			before = &now
		}
		if len(before.Events) > 0 {
			dumper = dumpers[before.Events[0].Class]
		}
	}
	switch {
	case at.At == "" && dumper == "":
		return at, fmt.Errorf("the trial ended %s without a message that has a place of its own: name one with --at", before.Outcome)
	case at.At == "":
		at.At, at.Hit = dumper, 1
	case at.Hit == 0:
		note("a repeat, to count the arrivals at " + at.At)
		if at.Hit, err = l.arrivals(ctx, spec, at, dumper); err != nil {
			return at, err
		}
		if at.Hit == 0 {
			return at, fmt.Errorf("%s does not come in this trial", at)
		}
	}
	return at, nil
}

// earlier is so many instructions before a place is reached.
func (l *Lab) earlier(ctx context.Context, spec trial.Spec, at fault.Trigger, instructions int, note func(string)) (v bench.Visit, err error) {
	var since, reached time.Duration
	times := func(s Stopped) error {
		since, reached = s.Since, s.Next
		return nil
	}
	if err := l.stop(ctx, spec, bench.Visit{At: at}, note, times); err != nil {
		return v, err
	}
	// The time would jump to ticks before the last stop there.
	if err := l.stop(ctx, spec, bench.Visit{At: at, TicksFrom: max(since+bench.Tick, reached-jiffies)}, note, times); err != nil {
		return v, err
	}
	if known := int((reached - since) / machine.Instruction); instructions >= known {
		return v, fmt.Errorf("the trial stands still %d instructions before that, for its fault or for what the guest tells, and its time jumps there: ask for fewer", known)
	}
	v.Time = reached - time.Duration(instructions)*machine.Instruction
	return v, nil
}

// jiffies are much longer than from one timer of a busy guest to the next: it has one each 4 ms (CONFIG_HZ=250), which may come late.
const jiffies = 20 * time.Millisecond

// stop repeats a trial up to a moment.
func (l *Lab) stop(ctx context.Context, spec trial.Spec, to bench.Visit, note func(string), look func(Stopped) error) error {
	moment := to.At.String()
	if to.Time > 0 {
		moment = fmt.Sprintf("%.8f s of the guest's time", to.Time.Seconds())
	}
	note("a repeat, to " + moment)
	over, end := context.WithCancelCause(ctx)
	defer end(nil)
	var shown error
	to.See = func(ctx context.Context, m *fault.Moment) error {
		s := Stopped{Moment: m, Time: to.Time}
		if s.Next, s.Since, shown = m.Site.Machine.(machine.Ringer).Elapsed(ctx); shown == nil {
			shown = look(s)
		}
		end(errShown)
		return errShown
	}
	r, err := l.visit(over, spec, to)
	switch {
	case errors.Is(context.Cause(over), errShown):
		return shown
	case err != nil:
		return err
	case r.Outcome == trial.Invalid: // the place may not be one
		return errors.New(r.Reason)
	}
	return fmt.Errorf("%s does not come in this trial", moment)
}

var errShown = errors.New("the moment was shown")

// stackSize is that of a kernel thread's stack on x86-64, which begins at a multiple of it (THREAD_SIZE without KASAN).
const stackSize = 16 << 10

// arrivals counts those at a place up to the last by the thread that comes to the dumper, or to the trial's end.
func (l *Lab) arrivals(ctx context.Context, spec trial.Spec, at fault.Trigger, dumper string) (int, error) {
	var threads []uint64
	of := -1
	visits := []bench.Visit{{At: at, See: func(_ context.Context, m *fault.Moment) error {
		threads = append(threads, m.Registers.RSP/stackSize)
		return nil
	}}}
	if dumper != "" {
		visits = append(visits, bench.Visit{At: fault.Trigger{At: dumper}, See: func(_ context.Context, m *fault.Moment) error {
			of = 0
			for i, thread := range threads {
				if thread == m.Registers.RSP/stackSize {
					of = i + 1
				}
			}
			return errShown
		}})
	}
	r, err := l.visit(ctx, spec, visits...)
	switch {
	case err != nil:
		return 0, err
	case r.Outcome == trial.Invalid:
		return 0, errors.New(r.Reason)
	case of < 0:
		return len(threads), nil
	}
	return of, nil
}

// visit repeats a trial and leaves nothing behind.
func (l *Lab) visit(ctx context.Context, spec trial.Spec, visits ...bench.Visit) (_ trial.Result, err error) {
	t, err := l.bench.Prepare(ctx, spec)
	if err != nil {
		return trial.Result{}, err
	}
	dir, err := os.MkdirTemp("", "vdevil-step-")
	if err != nil {
		return trial.Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return t.Do(ctx, bench.Options{Bundle: filepath.Join(dir, "trial"), Visits: visits})
}
