package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/lab/zfs/status"
)

// classOutcome says what a message on the console means for a trial.
var classOutcome = map[panics.Class]trial.Outcome{
	panics.Panic: trial.Panic, panics.Oops: trial.Oops, panics.Hang: trial.Hang, panics.Warned: trial.Warned,
	panics.Detected: trial.Detected,
}

// ending is how a trial came to its end.
type ending struct {
	err    error        // of the workload; nil as well when a crash or the machine's end cut it short
	status *status.Pool // nil when the pool could not be asked
	events []panics.Event
	still  []panics.Event // threads that were found to hang
	look   error          // why it is not known which do
	strike *strike
}

// classify decides the outcome: the worst of what the console says, of what the pool reports and of what the oracle
// found.
func (t *run) classify(ctx context.Context, r *result, e ending) {
	r.Events, r.Outcome = slices.Concat(e.still, e.events), trial.Masked
	r.decide(e)
	off := t.now().off.Load() // as for a reboot, and no other machine came
	gone := t.now().ended() && !off
	var died error
	if gone {
		died = t.now().vm.Wait(ctx)
	}
	switch {
	case r.Outcome == trial.Hang && died == nil && !gone:
		t.judgeHang(r, e)
	case r.Outcome.Crash() && (died == nil || r.Outcome != trial.Hang):
	case died != nil: // whatever hung then might have gone on
		r.Signature, r.Text = "", ""
		r.invalid(HypervisorDied(died))
	case gone: // by the guest's own doing: a reset, a triple fault, a shutdown
		r.silent(trial.Oops, "the machine stopped without a message")
	case errors.Is(e.err, errNotReached), off && e.err != nil:
		r.invalid(e.err)
	case errors.Is(e.err, context.DeadlineExceeded):
		r.silent(trial.Hang, "")
		t.judgeHang(r, e)
	default:
		t.judgeEnd(r, e)
	}
	if t.resolved.Fault == nil || r.Outcome == trial.Invalid {
		return
	}
	// What happened without the fault says nothing about it.
	switch {
	case e.strike == nil:
		r.undelivered(errors.New("the workload did not come to where it is armed"))
	case e.strike.err != nil:
		r.undelivered(e.strike.err)
	}
}

// HypervisorDied says why a trial is invalid whose machine ended without the guest's doing.
func HypervisorDied(err error) error {
	return fmt.Errorf("the hypervisor died, and the guest with it: %w", err)
}

// judgeHang says why a trial is called a hang.
func (t *run) judgeHang(r *result, e ending) {
	var why []string
	if errors.Is(e.err, context.DeadlineExceeded) {
		why = append(why, fmt.Sprintf("step %q had not ended after %s", r.LastStep, t.scale.Limit(t.resolved.Limit)))
	}
	if len(e.still) > 0 {
		why = append(why, fmt.Sprintf("thread %s:%d stands still", e.still[0].Thread, e.still[0].PID))
	}
	if e.look != nil {
		why = append(why, "no stacks: "+e.look.Error())
	}
	r.Reason = strings.Join(why, "; ")
}

// decide takes the worst of what the console says.
func (r *result) decide(e ending) {
	placed := false
	for _, event := range r.Events {
		o := classOutcome[event.Class]
		if o == trial.Hang && (e.status != nil || guest.Refused(e.err)) {
			continue // a task that was slow and went on
		}
		// The first of several is the cause of the others. Not so hung tasks, which the kernel reports in the order of
		// their birth: there the first one that stands still in OpenZFS says more than one that waits for it in the kernel.
		if o != r.Outcome && trial.Worst(o, r.Outcome) == o || o == trial.Hang && r.Outcome == trial.Hang && !placed && event.Caller != "" {
			r.Outcome, r.Signature, r.Text = o, event.Signature(), event.Text
			placed = event.Caller != ""
		}
	}
}

// silent is an end that no message tells of. What the console said before, a warning, does not name it.
func (r *result) silent(o trial.Outcome, reason string) {
	r.Outcome, r.Reason, r.Signature, r.Text = o, reason, "", ""
}

func (r *result) undelivered(err error) {
	r.Signature, r.Text = "", ""
	r.invalid(fmt.Errorf("the fault was not delivered (%s seen): %w", r.Outcome, err))
}

// judgeEnd decides about a workload that has come to an end, be it the last step or one that failed.
func (t *run) judgeEnd(r *result, e ending) {
	if e.status != nil {
		r.Status = e.status
		r.judgePool(*e.status)
	}
	var (
		stopped *drive.EarlyError
		wrong   *drive.BrokenError
	)
	switch {
	case e.err == nil:
	case errors.As(e.err, &stopped):
		if e.status != nil && !e.status.Healthy() {
			r.atLeast(trial.Detected, stopped.Reason)
		}
		r.Reason = cmp.Or(r.Reason, stopped.Reason)
	case errors.As(e.err, &wrong):
		r.atLeast(trial.Broken, wrong.Reason)
	case (guest.Refused(e.err) || guest.Lost(e.err)) && struck(r.Injections):
		// What works in a sound machine has failed in one that was damaged, and was reported: a command, or the ssh server itself.
		r.atLeast(trial.Detected, e.err.Error())
	default:
		r.invalid(e.err)
	}
}

// struck says whether a fault was felt: something changed, the memory's ECC raised an alarm, or a disk did not do what it said.
func struck(injections []trial.Injection) bool {
	return slices.ContainsFunc(injections, func(i trial.Injection) bool {
		return !i.Withheld && (i.BitsChanged() > 0 || i.ECC == string(memory.Detected) || i.Amiss)
	})
}

// status asks the pool after a workload that has come to its end.
func (t *run) status(ctx context.Context) (*status.Pool, error) {
	pool, err := t.worker.Guest.Status(ctx, t.resolved.Pool.Name)
	if err != nil {
		return nil, fmt.Errorf("the state of the pool is not known: %w", err)
	}
	return &pool, nil
}

// judgePool adds what the pool reports and what the oracle found to what is known already.
func (r *result) judgePool(pool status.Pool) {
	switch {
	case len(pool.Damaged) > 0 || pool.ScanErrors > 0:
		r.atLeast(trial.Detected, "the pool names "+strings.Join(pool.Damaged, ", "))
	case pool.Repaired > 0:
		r.atLeast(trial.Healed, fmt.Sprintf("%d bytes repaired", pool.Repaired))
	case checksumErrors(pool) > 0: // a bad copy that is read is written anew from a good one
		r.atLeast(trial.Healed, fmt.Sprintf("%d checksum errors, and nothing is lost", checksumErrors(pool)))
	}
	for _, f := range r.Findings {
		switch {
		case f.Result == oracle.Unreadable: // which its reader is told
			r.atLeast(trial.Detected, fmt.Sprintf("%s is unreadable: %s", f.Path, f.Detail))
		case f.Result == oracle.Wrong || f.Result != oracle.Intact && !reported(f.Path, pool):
			r.atLeast(trial.Corrupt, fmt.Sprintf("%s is %s and the pool does not report it", f.Path, f.Result))
		}
	}
	// To report one file too few, or another, is as wrong as to report none.
	damaged, named := r.damaged(), slices.Sorted(slices.Values(pool.Damaged))
	if r.Outcome == trial.Detected && len(damaged) > 0 && !slices.Equal(damaged, named) {
		r.atLeast(trial.Corrupt, fmt.Sprintf("damaged were %s, the pool names %s", strings.Join(damaged, ", "), strings.Join(named, ", ")))
	}
}

// checksumErrors are those that the devices are charged with.
func checksumErrors(pool status.Pool) (n uint64) {
	for _, d := range pool.Devices {
		if d.Leaf {
			n += d.Checksum
		}
	}
	return n
}

// reported says whether the pool names a file, or something of its dataset that is no file: without that the dataset may
// not even be mounted. Of a block of dnodes zpool status -v knows that there is damage and names nothing.
func reported(path string, pool status.Pool) bool {
	return pool.ScanErrors > 0 && len(pool.Damaged) == 0 || slices.ContainsFunc(pool.Damaged, func(d string) bool {
		dataset, _, object := strings.Cut(d, ":<")
		return d == path || object && strings.HasPrefix(path, "/"+dataset+"/")
	})
}

// atLeast makes the outcome o unless it is worse already.
func (r *result) atLeast(o trial.Outcome, reason string) {
	if r.Outcome != o && trial.Worst(r.Outcome, o) == o {
		r.Outcome, r.Reason = o, reason
	}
}

// damaged are the files that the fault has changed on a disk, in order.
func (r *result) damaged() (files []string) {
	for _, i := range r.Injections {
		if i.File != "" && !i.Withheld {
			files = append(files, i.File)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
