package trial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// classOutcome says what a message on the console means for a trial.
var classOutcome = map[panics.Class]Outcome{
	panics.Panic: Panic, panics.Oops: Oops, panics.Hang: Hang, panics.Warned: Warned,
}

// classify decides the outcome: the worst of what the console says, of what the pool reports and of what the oracle
// found. workload is how the workload ended.
func (t *run) classify(ctx context.Context, r *Result, events []panics.Event, workload error) {
	r.Events, r.Outcome = events, Masked
	for _, e := range events {
		o, ok := classOutcome[e.Class]
		if !ok || e.Class == panics.Hang && workload == nil {
			continue // a task that was slow and went on
		}
		// The first of several is the cause of the others.
		if Worst(o, r.Outcome) != r.Outcome {
			r.Outcome, r.Signature, r.Text = o, e.Signature(), e.Text
		}
	}
	switch {
	case r.Outcome.Crash():
	case t.ended():
		r.Outcome, r.Reason = Oops, "the machine stopped without a message: "+t.vm.Wait(ctx).Error()
	case errors.Is(workload, context.DeadlineExceeded):
		r.Outcome, r.Reason = Hang, fmt.Sprintf("step %q had not ended after %s", r.LastStep, t.scale.Limit(t.Resolved.Limit))
	case workload != nil:
		r.invalid(workload)
		return
	default:
		t.inspect(ctx, r)
	}
	if t.Resolved.Fault != nil && (t.struck == nil || t.strikeErr != nil) {
		// What happened, happened without the fault.
		r.Signature, r.Text = "", ""
		r.invalid(fmt.Errorf("the fault was not delivered (%s seen): %w", r.Outcome, cmp.Or(t.strikeErr, errNotArmed)))
	}
}

var errNotArmed = errors.New("the workload did not come to where it is armed")

func (t *run) ended() bool {
	select {
	case <-t.vm.Done():
		return true
	default:
		return false
	}
}

// inspect asks the pool and the oracle after a workload that came to its end.
func (t *run) inspect(ctx context.Context, r *Result) {
	limited, cancel := context.WithTimeout(ctx, t.scale.Limit(statusLimit))
	defer cancel()
	status, err := t.worker.guest.Status(limited, t.Resolved.Pool.Name)
	if err != nil {
		r.invalid(fmt.Errorf("the state of the pool is not known: %w", err))
		return
	}
	r.Status = &status
	r.judgePool(status)
}

// judgePool adds what the pool reports and what the oracle found to what is known already.
func (r *Result) judgePool(status guest.PoolStatus) {
	switch {
	case len(status.Damaged) > 0 || status.ScanErrors > 0:
		r.atLeast(Detected, "the pool names "+strings.Join(status.Damaged, ", "))
	case status.Repaired > 0:
		r.atLeast(Healed, fmt.Sprintf("%d bytes repaired", status.Repaired))
	}
	for _, f := range r.Findings {
		if f.Result == guest.Wrong || f.Result != guest.Intact && !slices.Contains(status.Damaged, f.Path) {
			r.atLeast(Corrupt, fmt.Sprintf("%s is %s and the pool does not report it", f.Path, f.Result))
		}
	}
	// To report one file too few, or another, is as wrong as to report none.
	damaged, named := r.damaged(), slices.Sorted(slices.Values(status.Damaged))
	if r.Outcome == Detected && len(damaged) > 0 && !slices.Equal(damaged, named) {
		r.atLeast(Corrupt, fmt.Sprintf("damaged were %s, the pool names %s", strings.Join(damaged, ", "), strings.Join(named, ", ")))
	}
}

// atLeast makes the outcome o unless it is worse already.
func (r *Result) atLeast(o Outcome, reason string) {
	if r.Outcome != o && Worst(r.Outcome, o) == o {
		r.Outcome, r.Reason = o, reason
	}
}

// damaged are the files that the fault has changed on a disk, in order.
func (r *Result) damaged() (files []string) {
	for _, i := range r.Injections {
		if i.File != "" && !i.Withheld {
			files = append(files, i.File)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
