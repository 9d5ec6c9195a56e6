package trial

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// worker does the steps of a scenario in a guest.
type worker struct {
	guest  *guest.Guest
	pool   string
	seed   uint64
	oracle guest.Oracle
	// written holds the contents that the oracle knows only digests of, for faults that look for them on a disk.
	written map[string][]byte
	// arm is called where the scenario lets the fault strike.
	arm func(context.Context) error
	// reboot goes on in a fresh machine with the same disks, panics runs steps that must end in a panic.
	reboot func(context.Context) error
	panics func(context.Context, []scenarios.Step) error

	output transcript // what commands print

	mu       sync.Mutex
	step     string         // under way
	did      []Work         // what workloads say they have done
	findings guest.Findings // what the oracle found when it was last asked
	survived []string       // signatures of panics that had to come
	past     []panics.Event // what the consoles said up to them
}

// Work is what one step has done.
type Work struct {
	Step string `json:"step"`
	guest.Counts
}

func (w *worker) run(ctx context.Context, steps []scenarios.Step) error {
	for _, s := range steps {
		w.mu.Lock()
		w.step = s.String()
		w.mu.Unlock()
		if err := w.do(ctx, s); err != nil {
			return fmt.Errorf("step %s: %w", s, err)
		}
	}
	return nil
}

func (w *worker) do(ctx context.Context, s scenarios.Step) error {
	g := w.guest
	switch {
	case s.Parameter != nil:
		return w.parameters(ctx, s.Parameter)
	case s.Write != nil:
		return w.write(ctx, s.Write)
	case s.Sync:
		return g.Sync(ctx, w.pool)
	case s.Snapshot != "":
		return g.Snapshot(ctx, s.Snapshot)
	case s.Remove != nil:
		w.forget(s.Remove)
		return g.Remove(ctx, s.Remove...)
	case s.Destroy != "":
		return g.DestroyDataset(ctx, s.Destroy)
	case s.Create != "":
		return g.CreateDataset(ctx, s.Create, nil)
	case s.Together != nil:
		return w.together(ctx, s.Together)
	case s.Scrub:
		return g.Scrub(ctx, w.pool)
	case s.Verify:
		return w.verify(ctx)
	case s.Arm:
		return w.arm(ctx)
	case s.Reboot:
		return w.reboot(ctx)
	case s.Import:
		return g.Import(ctx, w.pool)
	case s.Export:
		return g.Export(ctx, w.pool)
	case s.Healthy:
		return w.healthy(ctx)
	case s.Panic != nil:
		return w.panics(ctx, s.Panic)
	case s.Must != "":
		return must(w.command(ctx, s, s.Must))
	case s.MustFail != "":
		return mustFail(s.MustFail, w.command(ctx, s, s.MustFail))
	case s.Run != "":
		return w.command(ctx, s, s.Run)
	default:
		return w.load(ctx, s)
	}
}

// load runs the steps that put a pool to work for a while.
func (w *worker) load(ctx context.Context, s scenarios.Step) error {
	var (
		did guest.Counts
		err error
	)
	switch {
	case s.Churn != nil:
		did, err = w.guest.Churn(ctx, guest.ChurnOptions{
			Dataset: s.Churn.Dataset, Files: s.Churn.Files, Duration: s.Churn.For, Seed: w.seed,
		})
	case s.SnapshotStorm != nil:
		did, err = w.guest.SnapshotStorm(ctx, guest.SnapshotStormOptions{
			Dataset: s.SnapshotStorm.Dataset, Duration: s.SnapshotStorm.For, Keep: s.SnapshotStorm.Keep, Seed: w.seed,
		})
	case s.AutoSnapshot != nil:
		did, err = w.guest.AutoSnapshot(ctx, guest.AutoSnapshotOptions{
			Label: s.AutoSnapshot.Label, Keep: s.AutoSnapshot.Keep, Times: s.AutoSnapshot.Times,
		})
	default:
		return fmt.Errorf("no step of kind %s is known", s.Kind())
	}
	w.mu.Lock()
	w.did = append(w.did, Work{s.String(), did})
	w.mu.Unlock()
	return err
}

// parameters sets parameters of the zfs module, and of spl where the name says so.
func (w *worker) parameters(ctx context.Context, values map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		module := "zfs"
		if strings.HasPrefix(name, "spl_") {
			module = "spl"
		}
		if err := w.guest.SetParameter(ctx, module, name, values[name]); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) write(ctx context.Context, step *scenarios.Write) error {
	for _, f := range step.Files() {
		if err := w.guest.WriteFile(ctx, f.Path, w.record(f, step.Size)); err != nil {
			return err
		}
	}
	return nil
}

// record notes a file's content, which follows from the seed, and returns it.
func (w *worker) record(f scenarios.File, size int64) []byte {
	data := guest.Content(w.seed, f.Content, int(size))
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
func (w *worker) forget(paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range paths {
		delete(w.written, path)
		w.oracle.Forget(path)
	}
}

// recall notes what the preparation wrote and removed, without doing it again. It was written when there was no trial and so
// no seed.
func (w *worker) recall(prepare []scenarios.Step) {
	seed := w.seed
	w.seed = 0
	defer func() { w.seed = seed }()
	for _, s := range prepare {
		w.forget(s.Remove)
		if s.Write == nil {
			continue
		}
		for _, f := range s.Write.Files() {
			w.record(f, s.Write.Size)
		}
	}
}

func (w *worker) verify(ctx context.Context) error {
	findings, err := w.oracle.Verify(ctx, w.guest)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.findings = findings
	return err
}

// healthy ends the workload unless the pool says that nothing is wrong, the last scrub included.
func (w *worker) healthy(ctx context.Context) error {
	status, err := w.guest.Status(ctx, w.pool)
	if err == nil && (!status.Healthy() || status.ScanErrors > 0 || status.Repaired > 0) {
		err = &early{fmt.Sprintf("the pool is not healthy: %s, %s, %s", status.State, status.Scan, status.Errors)}
	}
	return err
}

// survive notes a panic that the trial goes on after.
func (w *worker) survive(signature string, events []panics.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.survived, w.past = append(w.survived, signature), append(w.past, events...)
}

// report is what is known now; a step that hangs may still run.
func (w *worker) report(r *Result) (past []panics.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.LastStep, r.Workload, r.Findings, r.Survived = w.step, slices.Clone(w.did), slices.Clone(w.findings), slices.Clone(w.survived)
	return slices.Clone(w.past)
}

// together runs steps side by side. The first error ends the others.
func (w *worker) together(ctx context.Context, steps []scenarios.Step) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range steps {
		group.Go(func() error { return w.do(ctx, s) })
	}
	return group.Wait()
}
