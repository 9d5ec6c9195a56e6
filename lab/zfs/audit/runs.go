package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// runs sorts claims that are added by several goroutines. What memory has no room for goes to files.
type runs struct {
	limit int64 // bytes in memory
	dir   string
	most  int64 // bytes in all, 0: as many as there are

	mu      sync.Mutex
	filling []claim
	sorted  [][]claim
	spare   [][]claim // what lay in them is in files
	held    int64     // bytes of sorted
	total   int64     // bytes of sorted and files
	files   []*os.File
}

// runLength is how many claims are sorted at once.
const runLength = 1 << 14

func newRuns(limit int64, dir string) *runs { return &runs{limit: limit, dir: dir} }

func (r *runs) add(all ...claim) error {
	r.mu.Lock()
	var full []claim
	if len(r.filling)+len(all) > cap(r.filling) {
		full, r.filling = r.filling, r.empty()
	}
	r.filling = append(r.filling, all...)
	r.mu.Unlock()
	if len(full) == 0 {
		return nil
	}
	return r.keep(full)
}

// empty is room for one more run.
func (r *runs) empty() []claim {
	last := len(r.spare) - 1
	if last < 0 {
		return make([]claim, 0, runLength)
	}
	room := r.spare[last]
	r.spare = r.spare[:last]
	return room
}

func (r *runs) keep(run []claim) error {
	slices.SortFunc(run, func(a, b claim) int { return a.compare(&b) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sorted = append(r.sorted, run)
	size := int64(cap(run)) * claimSize
	r.held += size
	r.total += size
	if r.most > 0 && r.total > r.most {
		return fmt.Errorf("%w: %d bytes for sorting are not enough", ondisk.ErrExcess, r.most)
	}
	if r.held < min(r.limit, max(r.total/16, usuallyHeld)) {
		return nil
	}
	return r.spill()
}

// usuallyHeld are the bytes that are held whatever there is. Of more, a sixteenth is held: the number of files stays
// small, and so does what an audit of a pool of usual size takes.
const usuallyHeld = 1 << 20

// spill moves what is in memory to one more file, which has no name and so is gone when the process is.
func (r *runs) spill() (err error) {
	if err := r.hasRoom(); err != nil {
		return err
	}
	f, err := os.CreateTemp(r.dir, "vdevil-audit-*")
	if err != nil {
		return fmt.Errorf("sorting on disk: %w", err)
	}
	r.files = append(r.files, f)
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	record := make([]byte, claimSize)
	for c := range merge(cursorsOf(r.sorted)) {
		c.encode(record)
		if _, err := w.Write(record); err != nil {
			return fmt.Errorf("sorting on disk: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sorting on disk: %w", err)
	}
	for _, run := range r.sorted {
		r.spare = append(r.spare, run[:0])
	}
	r.sorted, r.held = nil, 0
	return nil
}

// hasRoom says whether the file system has room for what is in memory, so that the audit never fills it: a twentieth of
// it, and at most 1 GiB, is left.
func (r *runs) hasRoom() error {
	var s unix.Statfs_t
	if err := unix.Statfs(r.dir, &s); err != nil {
		return fmt.Errorf("sorting on disk: statfs %s: %w", r.dir, err)
	}
	unit := uint64(s.Bsize)
	if left := min(s.Blocks*unit/20, 1<<30); s.Blocks > 0 && s.Bavail*unit < left+uint64(r.held) {
		return fmt.Errorf("sorting on disk: %s has %d bytes left, of which %d are not used, and %d more are needed now: "+
			"name another directory, or allow more memory", r.dir, s.Bavail*unit, left, r.held)
	}
	return nil
}

// all are the claims in order. Nothing is added any more.
func (r *runs) all(ctx context.Context) iter.Seq2[*claim, error] {
	return func(yield func(*claim, error) bool) {
		if len(r.filling) > 0 {
			slices.SortFunc(r.filling, func(a, b claim) int { return a.compare(&b) })
			r.sorted = append(r.sorted, r.filling)
			r.filling = nil
		}
		cursors := cursorsOf(r.sorted)
		for _, f := range r.files {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				yield(nil, err)
				return
			}
			cursors = append(cursors, &cursor{file: bufio.NewReaderSize(f, 1<<16)})
		}
		n := 0
		for c := range merge(cursors) {
			if n++; n%(1<<16) == 0 && ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if !yield(c, nil) {
				return
			}
		}
		for _, c := range cursors {
			if c.err != nil {
				yield(nil, fmt.Errorf("sorting on disk: %w", c.err))
				return
			}
		}
	}
}

func (r *runs) close() error {
	all := make([]error, len(r.files))
	for i, f := range r.files {
		all[i] = f.Close()
	}
	return errors.Join(all...)
}

// cursor is a place in one run, in memory or in a file.
type cursor struct {
	now  claim
	rest []claim
	file *bufio.Reader
	err  error
}

func cursorsOf(sorted [][]claim) (all []*cursor) {
	for _, run := range sorted {
		all = append(all, &cursor{rest: run})
	}
	return all
}

func (c *cursor) next() bool {
	if c.file == nil {
		if len(c.rest) == 0 {
			return false
		}
		c.now, c.rest = c.rest[0], c.rest[1:]
		return true
	}
	record, err := c.file.Peek(claimSize)
	if err != nil {
		if len(record) > 0 || !errors.Is(err, io.EOF) {
			c.err = err
		}
		return false
	}
	c.now.decode(record)
	_, c.err = c.file.Discard(claimSize)
	return c.err == nil
}

// merge yields the claims of all runs in order. The one yielded is valid until the next.
func merge(cursors []*cursor) iter.Seq[*claim] {
	return func(yield func(*claim) bool) {
		var heap []*cursor // a binary heap, the first in order on top
		down := func(i int) {
			for {
				least := i
				for _, k := range [...]int{2*i + 1, 2*i + 2} {
					if k < len(heap) && heap[k].now.compare(&heap[least].now) < 0 {
						least = k
					}
				}
				if least == i {
					return
				}
				heap[i], heap[least] = heap[least], heap[i]
				i = least
			}
		}
		for _, c := range cursors {
			if c.next() {
				heap = append(heap, c)
			}
		}
		for i := len(heap)/2 - 1; i >= 0; i-- {
			down(i)
		}
		for len(heap) > 0 {
			if !yield(&heap[0].now) {
				return
			}
			if !heap[0].next() {
				heap[0] = heap[len(heap)-1]
				heap = heap[:len(heap)-1]
			}
			down(0)
		}
	}
}
