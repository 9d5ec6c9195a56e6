package vdev

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Forge damages the metadata of a pool under valid checksums, on the disks of a machine that stands still. The guest does not
// see it before it reads the disks again: the pool must be exported, and a reboot must follow. Withheld, it writes the same
// blocks again without a change.
type Forge struct {
	// Forgery is the name of one of package forge.
	Forgery string
	// Dataset and File narrow down what is hit; empty means any.
	Dataset, File string
}

// Name is "forge".
func (Forge) Name() string { return "forge" }

// Arm strikes at once, while the machine stands still.
func (f Forge) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	if err := s.Machine.Pause(ctx); err != nil {
		return nil, err
	}
	done, err := f.strike(ctx, s)
	if err := errors.Join(err, s.Machine.Resume(ctx)); err != nil {
		return nil, err
	}
	return func(context.Context) ([]trial.Injection, error) { return done, nil }, nil
}

func (f Forge) strike(ctx context.Context, s fault.Site) (all []trial.Injection, err error) {
	disks, err := openDisks(s.Machine.Disks(), false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disks.close()) }()
	kind, err := forge.Find(f.Forgery)
	if err != nil {
		return nil, err
	}
	w, err := ondisk.NewWriter(ctx, disks.devices(), ondisk.InPlace, ondisk.Options{})
	if err != nil {
		return nil, err
	}
	record, err := kind.Make(ctx, w, forge.Options{Seed: s.Rand.Uint64(), Dataset: f.Dataset, File: f.File})
	if err != nil {
		return nil, err
	}
	if s.Withhold {
		if w, err = rewritten(ctx, disks, record); err != nil {
			return nil, err
		}
	}
	targets := make([]ondisk.Target, 0, len(disks))
	for _, d := range disks {
		targets = append(targets, d.file)
	}
	if err := w.Commit(ctx, targets); err != nil {
		return nil, err
	}
	for _, c := range record.Changes {
		in := trial.Injection{
			Fault: f.Name(), Time: time.Now().UTC(), Trigger: "at once", Withheld: s.Withhold, Target: c.String(),
			Before: c.Before, After: c.After, Effect: record.Effect,
		}
		if s.Withhold {
			in.After = in.Before
		}
		all = append(all, in)
	}
	return all, nil
}

// rewritten has the blocks of a forgery written again as they are.
func rewritten(ctx context.Context, disks diskSet, record forge.Record) (*ondisk.Writer, error) {
	w, err := ondisk.NewWriter(ctx, disks.devices(), ondisk.InPlace, ondisk.Options{})
	if err != nil {
		return nil, err
	}
	for _, c := range record.Changes {
		if _, err := w.Block(ctx, c.Position, func([]byte, binary.ByteOrder) error { return nil }); err != nil {
			return nil, err
		}
	}
	return w, nil
}
