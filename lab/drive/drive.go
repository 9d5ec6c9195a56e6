// Package drive does the steps of a scenario in a guest and remembers what they have done.
package drive

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// Worker does the steps of a scenario in a guest. Its fields are set before the first step; what they need of a trial is nil
// where there is none.
type Worker struct {
	Guest *guest.Guest
	Pool  string
	// Disks are the names of the machine's, which commands know as variables of the shell, Layout the words of the pool's, some of them
	// among it.
	Disks  []string
	Layout []string
	Seed   uint64
	// Arm is called where the scenario lets the fault strike.
	Arm func(context.Context) error
	// Reboot goes on in a fresh machine with the same disks, in which Guest is another one then. Panics runs steps that must end
	// in a panic.
	Reboot func(context.Context) error
	Panics func(context.Context, []scenarios.Step) error

	oracle oracle.Oracle
	model  *ops.Model // what operations have made; nil before the first one
	// misreads are files that an operation found wrong, whatever they are later. mu guards them.
	misreads oracle.Findings
	output   transcript // what commands print

	turn int // of the step under way, from 1

	mu sync.Mutex
	// churned holds what churn has written, by path, unsynced what a power cut may take of it yet. Datasets are murky that were churned by
	// nobody knows how much.
	churned  map[string][]byte
	unsynced map[string]bool
	murky    map[string]bool
	// written holds the contents that the oracle knows only digests of, for faults that look for them on a disk.
	written map[string][]byte
	done    Done
}

// Done is what the steps have done so far.
type Done struct {
	Step     string          // under way, or the last one
	Work     []trial.Work    // what workloads say they have done
	Findings oracle.Findings // what the oracle found when it was last asked, and what was read wrong before
	Survived []string        // signatures of panics that had to come
	Past     []panics.Event  // what the consoles said up to them
}

// Done may be asked while a step runs, which may hang.
func (w *Worker) Done() Done {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.done
	d.Work, d.Findings = slices.Clone(d.Work), slices.Clone(d.Findings)
	d.Survived, d.Past = slices.Clone(d.Survived), slices.Clone(d.Past)
	return d
}

// Output is what commands of the scenario printed so far, each line with the time since the first one, in seconds.
func (w *Worker) Output() []byte { return w.output.bytes() }

// Written are the contents of the files that were written, by path in the guest.
func (w *Worker) Written() map[string][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.written)
}

// EarlyError ends a workload before its last step because the guest did not do what the scenario says it does. That is a
// result, not trouble.
type EarlyError struct{ Reason string }

func (e *EarlyError) Error() string { return e.Reason }

// Run does steps, one after the other.
func (w *Worker) Run(ctx context.Context, steps []scenarios.Step) error {
	for _, s := range steps {
		w.mu.Lock()
		w.done.Step = s.String()
		w.turn++
		w.mu.Unlock()
		if err := w.do(ctx, s); err != nil {
			return fmt.Errorf("step %s: %w", s, err)
		}
	}
	return nil
}

func (w *Worker) do(ctx context.Context, s scenarios.Step) error {
	g := w.Guest
	switch {
	case s.Parameter != nil:
		return w.parameters(ctx, s.Parameter)
	case s.Write != nil:
		return w.write(ctx, s.Write)
	case s.Sync:
		return w.settled(g.Sync(ctx, w.Pool))
	case s.Snapshot != "":
		return g.Snapshot(ctx, s.Snapshot)
	case s.Remove != nil:
		w.forget(s.Remove)
		return g.Remove(ctx, s.Remove...)
	case s.Destroy != "":
		w.destroyed(s.Destroy)
		return g.DestroyDataset(ctx, s.Destroy)
	case s.Create != "":
		return g.CreateDataset(ctx, s.Create, nil)
	case s.Operations != "", s.Generate != nil:
		return w.operations(ctx, s)
	case s.Together != nil:
		return w.together(ctx, s.Together)
	case s.Scrub:
		return g.Scrub(ctx, w.Pool)
	case s.Holds != nil:
		return w.holds(s.Holds)
	case s.Verify:
		return w.verify(ctx)
	case s.Arm:
		return w.Arm(ctx)
	case s.Reboot:
		return w.reboot(ctx)
	case s.Import:
		return g.Import(ctx, w.Pool)
	case s.Export:
		return w.settled(g.Export(ctx, w.Pool))
	case s.Healthy:
		return w.healthy(ctx)
	case s.Panic != nil:
		return w.Panics(ctx, s.Panic)
	case s.Must != "", s.MustFail != "", s.Run != "":
		return w.shell(ctx, s)
	default:
		return w.load(ctx, s)
	}
}

// load runs the steps that put a pool to work for a while. What they have done is known as they run: a panic stops some for ever.
func (w *Worker) load(ctx context.Context, s scenarios.Step) error {
	w.mu.Lock()
	n := len(w.done.Work)
	w.done.Work = append(w.done.Work, trial.Work{Step: s.String()})
	w.mu.Unlock()
	tell := func(did guest.Counts) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done.Work[n].Counts = trial.Counts(did)
	}
	switch {
	case s.Churn != nil:
		return w.churn(ctx, s.Churn, tell)
	case s.SnapshotStorm != nil:
		return w.storm(ctx, s.SnapshotStorm, tell)
	case s.AutoSnapshot != nil:
		return w.Guest.AutoSnapshot(ctx, guest.AutoSnapshotOptions{
			Label: s.AutoSnapshot.Label, Keep: s.AutoSnapshot.Keep, Times: s.AutoSnapshot.Times,
		}, tell)
	case s.Cron != nil:
		return w.Guest.Cron(ctx, guest.CronOptions{Duration: s.Cron.For, Jobs: s.Cron.Jobs}, tell)
	default:
		return fmt.Errorf("no step of kind %q is known", s.Kind())
	}
}

// parameters sets parameters of the zfs module, and of spl where the name says so.
func (w *Worker) parameters(ctx context.Context, values map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		module := "zfs"
		if strings.HasPrefix(name, "spl_") {
			module = "spl"
		}
		if err := w.Guest.SetParameter(ctx, module, name, values[name]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) write(ctx context.Context, step *scenarios.Write) error {
	for _, f := range step.Files() {
		if err := w.Guest.WriteFile(ctx, f.Path, w.record(f, step.Size)); err != nil {
			return err
		}
	}
	return nil
}

// record notes a file's content, which follows from the seed, and returns it.
func (w *Worker) record(f scenarios.File, size int64) []byte {
	data := oracle.Content(w.Seed, f.Content, int(size))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.written == nil {
		w.written = map[string][]byte{}
	}
	w.written[f.Path] = data
	w.oracle.Record(f.Path, data)
	return data
}

// forget takes files out of what the oracle expects to find.
func (w *Worker) forget(paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range paths {
		delete(w.written, path)
		delete(w.churned, path)
		w.oracle.Forget(path)
	}
}

// holds notes what the oracle finds in files that nobody here has written.
func (w *Worker) holds(step *scenarios.Holds) error {
	for _, p := range step.Pairs() {
		if err := w.oracle.Copy(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

// destroyed takes the files of a dataset, or of a snapshot that is mounted where .zfs shows it, out of what the oracle expects to find.
func (w *Worker) destroyed(dataset string) {
	name, snapshot, _ := strings.Cut(dataset, "@")
	dir := "/" + name
	if snapshot != "" {
		dir += "/.zfs/snapshot/" + snapshot
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.oracle.ForgetBelow(dir)
	below := func(path string, _ []byte) bool { return strings.HasPrefix(path, dir+"/") }
	maps.DeleteFunc(w.written, below)
	maps.DeleteFunc(w.churned, below)
}

// Recall notes what the preparation wrote and removed, without doing it again. It was written when there was no trial and so
// no seed.
func (w *Worker) Recall(prepare []scenarios.Step) error {
	seed := w.Seed
	w.Seed = 0
	defer func() { w.Seed = seed }()
	for _, s := range prepare {
		w.turn++
		w.unsureOf(s)
		switch {
		case s.Write != nil:
			for _, f := range s.Write.Files() {
				w.record(f, s.Write.Size)
			}
		case s.Holds != nil:
			if err := w.holds(s.Holds); err != nil {
				return fmt.Errorf("step %s: %w", s, err)
			}
		case s.Remove != nil:
			w.forget(s.Remove)
		case s.Destroy != "":
			w.destroyed(s.Destroy)
		}
	}
	return nil
}

func (w *Worker) verify(ctx context.Context) error {
	findings, err := w.Guest.Verify(ctx, &w.oracle)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.Findings = slices.Concat(w.misreads, findings)
	return err
}

// healthy ends the workload unless the pool says that nothing is wrong, the last scrub included.
func (w *Worker) healthy(ctx context.Context) error {
	status, err := w.Guest.Status(ctx, w.Pool)
	if err == nil && (!status.Healthy() || status.ScanErrors > 0 || status.Repaired > 0) {
		err = &EarlyError{fmt.Sprintf("the pool is not healthy: %s, %s, %s", status.State, status.Scan, status.Errors)}
	}
	return err
}

// Survive notes a panic that the trial goes on after, and what the console said up to it.
func (w *Worker) Survive(signature string, events []panics.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.Survived, w.done.Past = append(w.done.Survived, signature), append(w.done.Past, events...)
}

// together runs steps side by side. The first error ends the others.
func (w *Worker) together(ctx context.Context, steps []scenarios.Step) error {
	group, ctx := errgroup.WithContext(ctx)
	leave := w.Guest.Branch(len(steps))
	for i, s := range steps {
		group.Go(func() error {
			defer leave()
			return w.do(guest.InBranch(ctx, i), s)
		})
	}
	return group.Wait()
}
