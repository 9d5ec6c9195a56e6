package vdev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Requests makes disks of a Rack misbehave, from when it is armed until the workload ends or the power is cut.
type Requests struct {
	// Rack has the Disks. Each of them has the Rule for itself, with what it counts.
	Rack  *Rack
	Disks []string
	Rule  Rule
	// Class and Dataset say what must lie, when the fault is armed, where a request goes to; empty is anywhere. What ZFS
	// writes anew goes to where nothing lies (Free), but for labels and uberblocks.
	Class   Class
	Dataset string
}

// Name is "device".
func (Requests) Name() string { return "device" }

// Arm puts the rules in force.
func (f Requests) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	places, err := f.places(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, name := range f.Disks {
		d, err := f.Rack.Device(name)
		if err != nil {
			return nil, err
		}
		rule := f.Rule
		if f.Class != "" {
			if rule.Places = places[name]; len(rule.Places) == 0 {
				return nil, fmt.Errorf("disk %s has no %s", name, f.Class)
			}
		}
		if err := d.Add(rule); err != nil {
			return nil, err
		}
	}
	return f.Rack.strike(s, fmt.Errorf("no request of the workload was one that %s is done to", f.Rule.Action.Name())), nil
}

// strike waits for the end of the workload and makes the disks honest again. Without any strike the fault was not delivered.
func (r *Rack) strike(s fault.Site, none error) fault.Strike {
	return func(ctx context.Context) ([]trial.Injection, error) {
		select {
		case <-s.Over:
		case <-ctx.Done():
		}
		err := r.clear(context.WithoutCancel(ctx))
		done := r.Injections()
		if len(done) == 0 {
			err = errors.Join(err, none)
		}
		return done, err
	}
}

// places are the ranges of each disk where something of the class lies.
func (f Requests) places(ctx context.Context, s fault.Site) (_ map[string][]Range, err error) {
	if f.Class == "" {
		return nil, nil //nolint:nilnil // anywhere
	}
	disks, err := openDisks(s.Machine.Disks(), true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disks.close()) }()
	if err := s.Machine.Pause(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Machine.Resume(context.WithoutCancel(ctx))) }()
	if err := f.Rack.flush(ctx); err != nil { // a disk may write what it has cached whenever it likes
		return nil, err
	}
	pool, err := ondisk.Open(ctx, disks.devices(), ondisk.Options{})
	if err != nil {
		return nil, fmt.Errorf("read the pool: %w", err)
	}
	look := &survey{pool: pool, dataset: f.Dataset}
	if f.Class == Uberblock {
		return look.rings(ctx)
	}
	all, err := look.find(ctx, f.Class)
	if err != nil {
		return nil, err
	}
	found := map[string][]Range{}
	for _, t := range all {
		for _, at := range t.places {
			found[at.disk] = append(found[at.disk], Range{From: at.offset, To: at.offset + at.size})
		}
	}
	return found, nil
}

// rings are where uberblocks are written: the next one is in a slot whose content is old, or empty.
func (s *survey) rings(ctx context.Context) (map[string][]Range, error) {
	found := map[string][]Range{}
	for _, v := range s.leaves() {
		labels, err := ondisk.ReadLabels(ctx, *v.Device)
		if err != nil {
			return nil, err
		}
		for _, l := range labels {
			at, err := onDisk(v, l.Offset+ringStart)
			if err != nil {
				return nil, err
			}
			found[at.disk] = append(found[at.disk], Range{From: at.offset, To: at.offset + ringSize})
		}
	}
	return found, nil
}

// Swapped makes two disks of a Rack change places, as after cables were mixed up.
type Swapped struct {
	Rack  *Rack
	Disks []string
}

// Name is "device".
func (Swapped) Name() string { return "device" }

// Arm swaps them, while the machine stands still.
func (f Swapped) Arm(ctx context.Context, s fault.Site) (_ fault.Strike, err error) {
	a, err := f.Rack.Device(f.Disks[0])
	if err != nil {
		return nil, err
	}
	b, err := f.Rack.Device(f.Disks[1])
	if err != nil {
		return nil, err
	}
	in := trial.Injection{
		Fault: "vdev-swapped", Time: time.Now().UTC(), Trigger: "at once", Withheld: s.Withhold, Amiss: !s.Withhold, Disk: f.Disks[0],
		Target: fmt.Sprintf("%s and %s", f.Disks[0], f.Disks[1]), Effect: "each answers for the other",
	}
	if !s.Withhold {
		if err := s.Machine.Pause(ctx); err != nil {
			return nil, err
		}
		if err := errors.Join(Swap(a, b), s.Machine.Resume(ctx)); err != nil {
			return nil, err
		}
	}
	f.Rack.note(in)
	return f.Rack.strike(s, nil), nil
}

// PowerCut takes what the disks of a Rack have not written when the machine is switched off, and does nothing else.
type PowerCut struct{ Rack *Rack }

// Name is "device".
func (PowerCut) Name() string { return "device" }

// Arm does nothing: Rack.Cut does.
func (f PowerCut) Arm(_ context.Context, s fault.Site) (fault.Strike, error) {
	return f.Rack.strike(s, errors.New("the machine was not switched off: the step reboot does")), nil
}
