package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vdevil/vdevil/lab/nbd"
)

// Kind says how a state was chosen.
type Kind string

// The kinds of states.
const (
	// Boundary: the power is cut as a flush has been answered; nothing that was not flushed has reached a disk.
	Boundary Kind = "boundary"
	// Subset: at any moment; some of what was not flushed has reached the disks, in any order.
	Subset Kind = "subset"
	// Torn: at any moment; everything has reached the disks but the end of the last write.
	Torn Kind = "torn"
)

// State is one in which a cut could have left the disks.
type State struct {
	Number int // from 1
	Kind   Kind
	// At is the moment of the cut: so many events had happened.
	At int
	// Unflushed is how many writes were at the mercy of the cut, Kept how many of them are there.
	Unflushed, Kept int
	// TornSectors is how many sectors of the last write are there, of a torn state.
	TornSectors int64

	durable []int // by disk: events before it are there
	kept    map[int]bool
	torn    int // the event, -1 without
}

// has says whether a sector of an event is in the state.
func (m *State) has(i int, e *Event, sectorOfEvent int64) bool {
	switch {
	case i >= m.At:
		return false
	case i == m.torn:
		return sectorOfEvent < m.TornSectors
	}
	return i < m.durable[e.Disk] || m.kept[i]
}

// Disks has the disks as they were before, and the log, by place. It never changes.
type Disks struct {
	log   *Log
	disks []storedDisk
}

type storedDisk struct {
	base io.ReaderAt
	size int64
	// changes are the numbers of the events that wrote a sector, in order, by the sector's number.
	changes map[int64][]int32
}

// NewDisks sorts a log that is complete. bases are the disks as they were before its first event.
func NewDisks(l *Log, bases []io.ReaderAt, sizes []int64) *Disks {
	s := &Disks{log: l}
	for i, b := range bases {
		s.disks = append(s.disks, storedDisk{base: b, size: sizes[i], changes: map[int64][]int32{}})
	}
	for i, e := range l.events {
		for n := range e.Length / sector {
			d := &s.disks[e.Disk]
			d.changes[e.Offset/sector+n] = append(d.changes[e.Offset/sector+n], int32(i))
		}
	}
	return s
}

// readSector reads a sector of a state.
func (s *Disks) readSector(m *State, disk int, n int64, p []byte) error {
	all := s.disks[disk].changes[n]
	from := sort.Search(len(all), func(k int) bool { return int(all[k]) >= m.At })
	for k := from - 1; k >= 0; k-- {
		i := int(all[k])
		e := &s.log.events[i]
		at := n - e.Offset/sector
		if !m.has(i, e, at) {
			continue
		}
		if e.Op != nbd.Write { // what is trimmed reads as zeroes, as QEMU's disks promise
			clear(p)
			return nil
		}
		_, err := s.log.spool.ReadAt(p, e.data+at*sector)
		return err
	}
	_, err := s.disks[disk].base.ReadAt(p, n*sector)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// View is a disk of a state. What is written to it stays with the view.
type View struct {
	all   *Disks
	state *State
	disk  int

	mu      sync.RWMutex
	written map[int64]*[sector]byte
	trouble atomic.Pointer[error] // the first of the lab's own
}

// View is the disk of a number.
func (s *Disks) View(m *State, disk int) *View {
	return &View{all: s, state: m, disk: disk, written: map[int64]*[sector]byte{}}
}

// maxWritten is how much may be written to a view, in sectors: 128 MiB.
const maxWritten = 128 << 20 / sector

// Size is in bytes.
func (v *View) Size() int64 { return v.all.disks[v.disk].size }

// ReadAt reads what the disk holds now.
func (v *View) ReadAt(p []byte, offset int64) (int, error) {
	size := v.Size()
	if offset < 0 || offset > size {
		return 0, fmt.Errorf("read at %d of a disk of %d bytes", offset, size)
	}
	done := 0
	var whole [sector]byte
	v.mu.RLock()
	defer v.mu.RUnlock()
	for done < len(p) {
		at := offset + int64(done)
		if at >= size {
			return done, io.EOF
		}
		if w := v.written[at/sector]; w != nil {
			done += copy(p[done:], w[at%sector:])
			continue
		}
		if err := v.all.readSector(v.state, v.disk, at/sector, whole[:]); err != nil {
			return done, v.fail(err)
		}
		done += copy(p[done:], whole[at%sector:])
	}
	return done, nil
}

// Trouble is why the view has failed what a disk would have done: whoever used it was told of an error that is the lab's.
func (v *View) Trouble() error {
	if err := v.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// fail notes trouble.
func (v *View) fail(err error) error {
	v.trouble.CompareAndSwap(nil, &err)
	return err
}

// Handle does a request of a guest.
func (v *View) Handle(_ context.Context, r *nbd.Request) error {
	switch r.Op {
	case nbd.Read:
		_, err := v.ReadAt(r.Data, r.Offset)
		return err
	case nbd.Flush:
		return nil
	}
	if r.Offset%sector != 0 || r.Length%sector != 0 {
		return fmt.Errorf("%v of %d bytes at %d is not in sectors: %w", r.Op, r.Length, r.Offset, syscall.EINVAL)
	}
	if err := v.write(r); err != nil {
		return v.fail(err)
	}
	return nil
}

func (v *View) write(r *nbd.Request) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n := range r.Length / sector {
		if len(v.written) >= maxWritten {
			return fmt.Errorf("more than %d sectors are written to a state: %w", maxWritten, syscall.ENOSPC)
		}
		var w [sector]byte
		if r.Op == nbd.Write {
			copy(w[:], r.Data[n*sector:])
		}
		v.written[r.Offset/sector+n] = &w
	}
	return nil
}
