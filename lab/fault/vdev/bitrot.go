// Package vdev holds faults of the devices behind a pool.
package vdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// sector is the alignment of everything on a vdev.
const sector = 512

// Bitrot overwrites bytes of what the workload wrote, where it lies on the disks. The places are found by their content
// and not by asking ZFS, so the data must lie there as it was written: uncompressed, unencrypted, and in a mirror or on a
// single disk.
type Bitrot struct {
	// Disks are damaged in the same places of the same files.
	Disks []string
	// Extents is the number of places, Bytes how many are overwritten in each, at most 512.
	Extents, Bytes int
}

// Name is "vdev-bitrot".
func (Bitrot) Name() string { return "vdev-bitrot" }

// Arm strikes at once, while the machine stands still.
func (b Bitrot) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	if err := s.Machine.Pause(ctx); err != nil {
		return nil, err
	}
	done, err := b.rot(s)
	if err := errors.Join(err, s.Machine.Resume(ctx)); err != nil {
		return nil, err
	}
	return func(context.Context) ([]trial.Injection, error) { return done, nil }, nil
}

// place is a sector's worth of a file.
type place struct {
	file   string
	offset int
}

func (b Bitrot) rot(s fault.Site) ([]trial.Injection, error) {
	var all []trial.Injection
	places := choose(s.Rand, s.Written, b.Extents)
	// All disks lose the same bytes of a place: ZFS repairs a block from any copy that is whole.
	start := s.Rand.IntN(sector - b.Bytes + 1)
	for _, name := range b.Disks {
		disk, err := find(s.Machine.Disks(), name)
		if err != nil {
			return nil, err
		}
		found, err := locate(disk.Path, s.Written, places)
		if err != nil {
			return nil, fmt.Errorf("look for what was written on disk %s: %w", name, err)
		}
		for i, p := range places {
			for _, at := range found[i] {
				in, err := b.overwrite(s, disk, p, at, start)
				if err != nil {
					return nil, fmt.Errorf("disk %s at %d: %w", name, at, err)
				}
				all = append(all, in)
			}
		}
	}
	return all, nil
}

// choose draws distinct sectors of what was written, each file with a chance in proportion to its size.
func choose(r *rand.Rand, written map[string][]byte, n int) []place {
	var all []place
	for _, file := range slices.Sorted(maps.Keys(written)) {
		for at := 0; at+sector <= len(written[file]); at += sector {
			all = append(all, place{file, at})
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

// locate reads a disk once and finds every sector that holds each place. There may be several: a block that was written
// while its file still grew is written again elsewhere in the next txg, and the first copy stays behind in free space.
// Which of them is in use is ZFS's secret, so all of them are the place.
func locate(path string, written map[string][]byte, places []place) ([][]int64, error) {
	want := map[string][]int{} // by content: two places may hold the same bytes
	for i, p := range places {
		content := string(written[p.file][p.offset : p.offset+sector])
		want[content] = append(want[content], i)
	}
	found := make([][]int64, len(places))
	err := host.EachBlock(path, sector, func(at int64, data []byte) {
		for _, i := range want[string(data)] {
			found[i] = append(found[i], at)
		}
	})
	if err != nil {
		return nil, err
	}
	for i, p := range places {
		if len(found[i]) == 0 {
			return nil, fmt.Errorf("%s at %d is not there as it was written", p.file, p.offset)
		}
	}
	return found, nil
}

func (b Bitrot) overwrite(s fault.Site, disk machine.Disk, p place, at int64, start int) (trial.Injection, error) {
	before := s.Written[p.file][p.offset+start : p.offset+start+b.Bytes]
	after := make([]byte, b.Bytes)
	for bytes.Equal(after, before) || after[0] == 0 && bytes.Count(after, []byte{0}) == len(after) {
		for i := range after {
			after[i] = byte(s.Rand.Uint32())
		}
	}
	at += int64(start)
	in := trial.Injection{
		Fault: b.Name(), Time: time.Now().UTC(), Trigger: "at once", Withheld: s.Withhold,
		Target: fmt.Sprintf("%s bytes %d-%d", p.file, p.offset+start, p.offset+start+b.Bytes-1), File: p.file,
		Disk: disk.Name, Offset: at, Before: before, After: after,
	}
	if s.Withhold {
		in.After = before
		return in, nil
	}
	f, err := os.OpenFile(disk.Path, os.O_WRONLY, 0)
	if err != nil {
		return in, err
	}
	_, err = f.WriteAt(after, at)
	return in, errors.Join(err, f.Close())
}

func find(disks []machine.Disk, name string) (machine.Disk, error) {
	for _, d := range disks {
		if d.Name == name {
			return d, nil
		}
	}
	return machine.Disk{}, fmt.Errorf("the machine has no disk %q", name)
}
