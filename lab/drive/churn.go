package drive

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/guest/churn"
	"github.com/vdevil/vdevil/scenarios"
)

func (w *Worker) churn(ctx context.Context, step *scenarios.Churn, tell func(guest.Counts)) error {
	name := "churn-"
	if branch := guest.BranchOf(ctx); branch > 0 { // of two side by side each has its own files
		name = fmt.Sprintf("churn-%d-", branch)
	}
	o := guest.ChurnOptions{Dataset: step.Dataset, Name: name, Files: step.Files, Duration: step.For, Writes: step.Writes, Seed: w.Seed}
	into := w.overwriting(step.Dataset, name, step.Files, tell)
	err := w.Guest.Churn(ctx, o, into.begun, into.tell)
	return into.ended(err)
}

func (w *Worker) storm(ctx context.Context, step *scenarios.SnapshotStorm, tell func(guest.Counts)) error {
	name := fmt.Sprintf("storm-%d-%d-", w.turn, guest.BranchOf(ctx)) // no two have snapshots of one name
	o := guest.SnapshotStormOptions{Dataset: step.Dataset, Name: name, Duration: step.For, Snapshots: step.Snapshots, Keep: step.Keep, Seed: w.Seed}
	into := w.overwriting(step.Dataset, name, guest.StormFiles, tell)
	err := w.Guest.SnapshotStorm(ctx, o, into.begun, into.tell)
	return into.ended(err)
}

// overwriting follows a churn: nothing is known of its files while it runs, and all when it has come to its end.
type overwriting struct {
	w        *Worker
	heard    func(guest.Counts)
	dataset  string
	name     string
	number   int    // of files
	folder   string // where they lie
	writes   int
	contents map[string][]byte // by name, before it
}

func (w *Worker) overwriting(dataset, name string, number int, tell func(guest.Counts)) *overwriting {
	return &overwriting{w: w, heard: tell, dataset: dataset, name: name, number: number, contents: map[string][]byte{}}
}

func (o *overwriting) begun(folder string) {
	o.folder = folder
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	for i := range o.number {
		file := o.name + strconv.Itoa(i)
		at := path.Join(folder, file)
		if data, known := o.w.churned[at]; known {
			o.contents[file] = slices.Clone(data)
			o.w.oracle.Forget(at)
			delete(o.w.churned, at)
		}
	}
}

func (o *overwriting) tell(did guest.Counts) {
	o.writes = did.Writes
	o.heard(did)
}

func (o *overwriting) ended(err error) error {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	switch {
	case err != nil:
		o.w.unsure(o.dataset)
		return err
	case o.w.murky[o.dataset]:
		return nil
	}
	churn.New(o.w.Seed, o.name, o.number).Write(o.contents, o.writes)
	if o.w.churned == nil {
		o.w.churned, o.w.unsynced = map[string][]byte{}, map[string]bool{}
	}
	for file, data := range o.contents {
		at := path.Join(o.folder, file)
		o.w.churned[at], o.w.unsynced[at] = data, true
		o.w.oracle.Record(at, data)
	}
	return nil
}

// unsure notes that a dataset has been churned by nobody knows how much.
func (w *Worker) unsure(dataset string) {
	if w.murky == nil {
		w.murky = map[string]bool{}
	}
	w.murky[dataset] = true
}

// unsureOf does so for all datasets that steps have churned when there was no trial.
func (w *Worker) unsureOf(s scenarios.Step) {
	switch {
	case s.Churn != nil:
		w.unsure(s.Churn.Dataset)
	case s.Together != nil:
		for _, one := range s.Together {
			w.unsureOf(one)
		}
	}
}

// settled notes that what was churned, and what operations did, is on the disks, unless that went wrong.
func (w *Worker) settled(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		clear(w.unsynced)
		if w.model != nil {
			w.model.Synced()
		}
	}
	return err
}

// forgetUnsynced takes out of what the oracle expects what a power cut may take.
func (w *Worker) forgetUnsynced() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := range w.unsynced {
		delete(w.churned, at)
		w.oracle.Forget(at)
	}
	clear(w.unsynced)
}
