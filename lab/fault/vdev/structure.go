package vdev

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Structure damages what lies on the devices of a pool, by what it is. The places are found by a reader that is not
// ZFS, on the disks of a machine that stands still, so that nothing is left to chance but which of several alike is hit.
type Structure struct {
	// Class and Dataset say what is hit. Dataset narrows the classes of datasets down to one; empty means all.
	Class   Class
	Dataset string
	// Disk and Offset, in bytes, are in place of Class.
	Disk   string
	Offset int64
	// Blocks is how many things of the class are hit: random ones, of uberblocks the newest.
	Blocks int
	// All hits every copy of them, on every device, parity included; otherwise it is the first copy, on one device.
	All bool
	// Damage is done to each place.
	Damage Damage
}

// Damage is what is done to a place. Exactly one field is set.
type Damage struct {
	// Bits is the number of random bits that are turned over in one sector of 512 bytes.
	Bits int
	// Zero and Garbage are the number of bytes that are overwritten; no more than the place has.
	Zero, Garbage int
}

// Name is "vdev".
func (Structure) Name() string { return "vdev" }

// Arm strikes at once, while the machine stands still or when it has ended.
func (f Structure) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	resume := s.Machine.Resume
	select {
	case <-s.Machine.Done():
		resume = func(context.Context) error { return nil }
	default:
		if err := s.Machine.Pause(ctx); err != nil {
			return nil, err
		}
	}
	done, err := f.strike(ctx, s)
	if err := errors.Join(err, resume(ctx)); err != nil {
		return nil, err
	}
	return func(context.Context) ([]trial.Injection, error) { return done, nil }, nil
}

func (f Structure) strike(ctx context.Context, s fault.Site) (all []trial.Injection, err error) {
	disks, err := openDisks(s.Machine.Disks(), s.Withhold)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disks.close()) }()
	things, err := f.choose(ctx, s.Rand, disks)
	if err != nil {
		return nil, err
	}
	for _, t := range things {
		for _, at := range f.hit(t) {
			in, err := f.damage(s, disks, t, at)
			if err != nil {
				return nil, fmt.Errorf("%s, disk %s at %d: %w", t.name, at.disk, at.offset, err)
			}
			all = append(all, in)
		}
	}
	return all, nil
}

// choose draws what is hit.
func (f Structure) choose(ctx context.Context, r *rand.Rand, disks diskSet) ([]thing, error) {
	if f.Class == "" {
		d, err := disks.find(f.Disk)
		if err != nil {
			return nil, err
		}
		if f.Offset >= d.Size {
			return nil, fmt.Errorf("disk %s ends at %d", f.Disk, d.Size)
		}
		at := spot{disk: f.Disk, offset: f.Offset, size: d.Size - f.Offset, note: "by offset"}
		return []thing{{name: fmt.Sprintf("disk %s", f.Disk), places: []spot{at}}}, nil
	}
	pool, err := ondisk.Open(ctx, disks.devices(), ondisk.Options{})
	if err != nil {
		return nil, fmt.Errorf("read the pool: %w", err)
	}
	all, err := (&survey{pool: pool, dataset: f.Dataset}).find(ctx, f.Class)
	if err != nil {
		return nil, err
	}
	if len(all) < f.Blocks {
		return nil, fmt.Errorf("the pool has %d of %s, not %d", len(all), f.Class, f.Blocks)
	}
	if f.Class != Uberblock {
		r.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	}
	return all[:f.Blocks], nil
}

// hit are the places that are damaged. One copy is one that is read as long as it is good: data, not parity.
func (f Structure) hit(t thing) []spot {
	if f.All {
		return t.places
	}
	i := max(slices.IndexFunc(t.places, func(p spot) bool { return !p.parity }), 0)
	return t.places[i : i+1]
}

func (f Structure) damage(s fault.Site, disks diskSet, t thing, at spot) (trial.Injection, error) {
	disk, err := disks.find(at.disk)
	if err != nil {
		return trial.Injection{}, err
	}
	from, before, err := f.window(s.Rand, disk.file, at)
	if err != nil {
		return trial.Injection{}, err
	}
	in := trial.Injection{
		Fault: f.Name(), Time: time.Now().UTC(), Trigger: "at once", Withheld: s.Withhold,
		Target: fmt.Sprintf("%s, %s", t.name, at.note), File: t.file, Disk: at.disk, Offset: from,
		Before: before, After: before,
	}
	if s.Withhold {
		return in, nil
	}
	if in.After, err = f.Damage.apply(s.Rand, before); err != nil {
		return in, err
	}
	_, err = disk.file.WriteAt(in.After, from)
	return in, err
}

// window is the range of a place that is damaged, and what it holds. Garbage and zeroes begin where the place does, bits are in
// any sector of it.
func (f Structure) window(r *rand.Rand, file *os.File, at spot) (from int64, before []byte, err error) {
	size := int64(cmp.Or(f.Damage.Zero, f.Damage.Garbage, sector))
	size = min(size, at.size)
	before = make([]byte, size)
	from = at.offset
	if f.Damage.Bits > 0 {
		from += r.Int64N(at.size/size) * size
	}
	_, err = file.ReadAt(before, from)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return from, before, err
}

var errNothing = errors.New("it is zeroes already, so zeroes change nothing")

// apply gives what a place holds afterwards, which differs from before.
func (d Damage) apply(r *rand.Rand, before []byte) ([]byte, error) {
	after := bytes.Clone(before)
	switch {
	case d.Bits > 0:
		for _, bit := range r.Perm(len(after) * 8)[:min(d.Bits, len(after)*8)] {
			after[bit/8] ^= 1 << (bit % 8)
		}
	case d.Zero > 0:
		clear(after)
		if bytes.Equal(after, before) {
			return nil, errNothing
		}
	default:
		for bytes.Equal(after, before) {
			for i := range after {
				after[i] = byte(r.Uint32())
			}
		}
	}
	return after, nil
}

// diskSet are the disks of a machine, open.
type diskSet []openDisk

type openDisk struct {
	machine.Disk
	file *os.File
}

func openDisks(disks []machine.Disk, readOnly bool) (all diskSet, err error) {
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	for _, d := range disks {
		f, err := os.OpenFile(d.Path, mode, 0)
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		all = append(all, openDisk{d, f})
	}
	return all, nil
}

func (s diskSet) close() (err error) {
	for _, d := range s {
		err = errors.Join(err, d.file.Close())
	}
	return err
}

func (s diskSet) find(name string) (openDisk, error) {
	i := slices.IndexFunc(s, func(d openDisk) bool { return d.Name == name })
	if i < 0 {
		return openDisk{}, fmt.Errorf("the machine has no disk %q", name)
	}
	return s[i], nil
}

func (s diskSet) devices() (all []ondisk.Device) {
	for _, d := range s {
		all = append(all, ondisk.Device{Name: d.Name, Data: d.file, Size: d.Size})
	}
	return all
}

// onDisk is a place of a member of a pool on the disk that it is, or is a partition of.
func onDisk(v *ondisk.VDev, offset uint64) (spot, error) {
	if v.Device == nil {
		return spot{}, fmt.Errorf("%v: %w", v, ondisk.ErrMissing)
	}
	name, start := v.Device.Name, int64(0)
	if part, ok := v.Device.Data.(*io.SectionReader); ok {
		_, start, _ = part.Outer()
	}
	name, _, _ = strings.Cut(name, ",") // a partition is called after its disk (ondisk.Partitions)
	return spot{disk: name, offset: start + int64(offset)}, nil
}
