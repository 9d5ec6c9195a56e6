package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	// Bell tells the guest's time.
	Bell machine.Ringer
}

// dumpers are the functions that are called once when a message of a class is about to be printed, before anything of it is.
var dumpers = map[panics.Class]string{
	panics.Panic: "spl_dumpstack", // of module/os/linux/spl/spl-err.c: by spl_panic and by vcmn_err
	panics.Oops:  "oops_begin",    // of arch/x86/kernel/dumpstack.c
}

// Step repeats a trial of a guest that counts its time up to a moment, and shows it. A trigger without a place is the moment just before
// the first message of trouble, one without a hit the last arrival before that, by the thread that printed it. Counting these takes a
// repeat of its own, with a stop at each of them: what is counted is the trial with these stops. note is told what goes on.
func (l *Lab) Step(ctx context.Context, spec trial.Spec, before *trial.Result, at fault.Trigger, note func(string), look func(Stopped) error) error {
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
	dumper := ""
	if at.At == "" || at.Hit == 0 {
		if before == nil {
			note("a repeat, to see how it ends")
			now, err := l.Repeat(ctx, spec)
			if err != nil {
				return err
			}
			before = &now
		}
		if len(before.Events) > 0 {
			dumper = dumpers[before.Events[0].Class]
		}
	}
	switch {
	case at.At == "" && dumper == "":
		return fmt.Errorf("the trial ended %s without a message that has a place of its own: name one with --at", before.Outcome)
	case at.At == "":
		at.At, at.Hit = dumper, 1
	case at.Hit == 0:
		note("a repeat, to count the arrivals at " + at.At)
		if at.Hit, err = l.arrivals(ctx, spec, at, dumper); err != nil {
			return err
		}
		if at.Hit == 0 {
			return fmt.Errorf("%s does not come in this trial", at)
		}
	}
	note("a repeat, to " + at.String())
	over, end := context.WithCancelCause(ctx)
	defer end(nil)
	var shown error
	r, err := l.visit(over, spec, bench.Visit{At: at, See: func(_ context.Context, m *fault.Moment) error {
		bell, _ := m.Site.Machine.(machine.Ringer)
		shown = look(Stopped{m, bell})
		end(errShown)
		return errShown
	}})
	switch {
	case errors.Is(context.Cause(over), errShown):
		return shown
	case err != nil:
		return err
	case r.Outcome == trial.Invalid: // the place may not be one
		return errors.New(r.Reason)
	}
	return fmt.Errorf("%s does not come in this trial", at)
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
