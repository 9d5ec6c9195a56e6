// Package crash asks what a pool is like after the power was cut at any moment of a workload. It records all that the
// workload writes to the disks of a machine, builds from the record the states in which a cut could have left them,
// and judges each: is it consistent, can it be imported, is there what fsync had promised? A promise is a file that the
// guest has reported as written; what was reported before the cut must be there after it.
//
// The recorder is a server of the lab's own and not QEMU's blklogwrites driver: one log has the writes of all disks in
// one order, so that a cut hits all of them at the same instant, and it is known which of them had been answered when a
// promise was made.
package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vdevil/vdevil/lab/nbd"
)

// sector is what a disk writes as a whole, in bytes.
const sector = 512

// Event is a request that changed a disk, or flushed it.
type Event struct {
	// Disk is the number of the disk, in the order of the machine's.
	Disk int
	// Op is Write, Zero, Trim or Flush.
	Op nbd.Op
	// Offset and Length are in bytes, whole sectors.
	Offset, Length int64
	FUA            bool
	data           int64 // where the bytes of a write are in the log
}

// Log is all that was written to some disks, in the order in which it was answered. A flush covers what stands before
// it: its client has seen those answers, or may have.
type Log struct {
	mu     sync.Mutex
	events []Event
	spool  *os.File // the data of all writes, one after the other
	size   int64
	limit  int64
}

// NewLog makes a log of at most limit bytes, in a file without a name in dir.
func NewLog(dir string, limit int64) (*Log, error) {
	f, err := os.CreateTemp(dir, "log-")
	if err != nil {
		return nil, fmt.Errorf("log of writes: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Log{spool: f, limit: limit}, nil
}

// Close drops the log.
func (l *Log) Close() error {
	if l.spool == nil {
		return nil
	}
	return l.spool.Close()
}

// Len is how many events there are: the time on the clock of the record.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

// Disk is the disk of a number, whose requests are written down on their way to next.
func (l *Log) Disk(number int, next nbd.Handler) nbd.Handler {
	return nbd.HandlerFunc(func(ctx context.Context, r *nbd.Request) error {
		if r.Op != nbd.Read && r.Op != nbd.Flush && (r.Offset%sector != 0 || r.Length%sector != 0) {
			return fmt.Errorf("%v of %d bytes at %d is not in sectors", r.Op, r.Length, r.Offset)
		}
		if err := next.Handle(ctx, r); err != nil || r.Op == nbd.Read {
			return err
		}
		return l.add(Event{Disk: number, Op: r.Op, Offset: r.Offset, Length: r.Length, FUA: r.FUA}, r.Data)
	})
}

func (l *Log) add(e Event, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Op == nbd.Write {
		if l.size+e.Length > l.limit {
			return fmt.Errorf("the workload writes more than %d bytes", l.limit)
		}
		e.data = l.size
		if _, err := l.spool.WriteAt(data, l.size); err != nil {
			return fmt.Errorf("log of writes: %w", err)
		}
		l.size += e.Length
	}
	l.events = append(l.events, e)
	return nil
}
