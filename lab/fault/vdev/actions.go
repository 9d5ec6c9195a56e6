package vdev

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/lab/trial"
)

// Of injections by actions, Before is what an honest device would have written or read, After what this one did, as far
// as shown.

// Lose answers a write and does not do it.
type Lose struct{}

// Name is "lost-write".
func (Lose) Name() string  { return "lost-write" }
func (Lose) ops() []nbd.Op { return []nbd.Op{nbd.Write} }

func (Lose) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	old, err := d.read(ctx, q.Offset, q.Length)
	show(in, q.Data, old)
	return err
}

// Tear does the first sectors of a write and answers.
type Tear struct{ Sectors int }

// Name is "torn-write".
func (Tear) Name() string  { return "torn-write" }
func (Tear) ops() []nbd.Op { return []nbd.Op{nbd.Write} }

func (t Tear) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	n := min(int64(t.Sectors)*sector, q.Length)
	rest, err := d.read(ctx, q.Offset+n, q.Length-n)
	if err != nil {
		return err
	}
	in.Offset += n
	show(in, q.Data[n:], rest)
	in.Effect = fmt.Sprintf("%d of %d bytes written", n, q.Length)
	torn := *q
	torn.Data, torn.Length = q.Data[:n], n
	return d.honest(ctx, &torn)
}

// Misdirect does a write somewhere else: so many bytes further on, round the end of the disk.
type Misdirect struct{ By int64 }

// Name is "misdirected-write".
func (Misdirect) Name() string  { return "misdirected-write" }
func (Misdirect) ops() []nbd.Op { return []nbd.Op{nbd.Write} }

func (m Misdirect) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	room := d.size - q.Length + sector // places where it can begin, in bytes
	to := ((q.Offset+m.By)%room + room) % room / sector * sector
	old, err := d.read(ctx, q.Offset, q.Length)
	if err != nil {
		return err
	}
	show(in, q.Data, old)
	in.Effect = fmt.Sprintf("written at %d instead", to)
	moved := *q
	moved.Offset = to
	return d.honest(ctx, &moved)
}

// Stale reads give what was there before the writes that came since the rule is in force. Sectors that were written once
// keep their old content for the rule.
type Stale struct{ old *oldSectors }

type oldSectors struct {
	mu  sync.Mutex
	was map[int64][]byte
}

// maxStale is how many sectors a rule keeps the old content of: 64 MiB. Later ones are never stale.
const maxStale = 64 << 20 / sector

// NewStale makes the action for one rule.
func NewStale() Stale { return Stale{&oldSectors{was: map[int64][]byte{}}} }

// Name is "stale-read".
func (Stale) Name() string  { return "stale-read" }
func (Stale) ops() []nbd.Op { return []nbd.Op{nbd.Read, nbd.Write} }

func (s Stale) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	s.old.mu.Lock()
	defer s.old.mu.Unlock()
	if q.Op == nbd.Write {
		old, err := d.read(ctx, q.Offset, q.Length)
		for n := int64(0); n < q.Length && err == nil; n += sector {
			if at := q.Offset + n; s.old.was[at] == nil && len(s.old.was) < maxStale {
				s.old.was[at] = bytes.Clone(old[n : n+sector])
			}
		}
		in.Effect = "remembered"
		show(in, q.Data, q.Data)
		if err != nil {
			return err
		}
		return d.honest(ctx, q)
	}
	if err := d.honest(ctx, q); err != nil {
		return err
	}
	right := bytes.Clone(q.Data)
	for n := int64(0); n+sector <= q.Length; n += sector {
		if old := s.old.was[q.Offset+n]; old != nil {
			copy(q.Data[n:], old)
		}
	}
	show(in, right, q.Data)
	return nil
}

// Hold answers a write and does it only when so many further writes have been done: flushes do not hurry it, so it is
// reordered across them. Until then it is in the device's memory, and a power cut loses it.
type Hold struct{ Writes int }

// Name is "reordered-write".
func (Hold) Name() string  { return "reordered-write" }
func (Hold) ops() []nbd.Op { return []nbd.Op{nbd.Write} }

// heldWrite is a write that waits.
type heldWrite struct {
	nbd.Request
	left int
}

func (h Hold) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	old, err := d.read(ctx, q.Offset, q.Length)
	if err != nil {
		return err
	}
	show(in, q.Data, old)
	in.Effect = fmt.Sprintf("held back until %d more writes are done", h.Writes)
	held := heldWrite{*q, h.Writes}
	held.Data = bytes.Clone(q.Data)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = append(d.held, held)
	return nil
}

// release counts down what is held back by the writes that were done, and does what is due; with 0 writes, everything.
func (d *Device) release(ctx context.Context, writes int) error {
	d.mu.Lock()
	var due []heldWrite
	d.held = slices.DeleteFunc(d.held, func(h heldWrite) bool {
		if writes > 0 && h.left > writes {
			return false
		}
		due = append(due, h)
		return true
	})
	for i := range d.held {
		d.held[i].left -= writes
	}
	next := d.next
	d.mu.Unlock()
	for i := range due {
		if err := next.Handle(ctx, &due[i].Request); err != nil {
			return err
		}
	}
	return nil
}

// patch puts what is held back over what was read.
func (d *Device) patch(q *nbd.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.held {
		from, to := max(h.Offset, q.Offset), min(h.Offset+h.Length, q.Offset+q.Length)
		if from < to {
			copy(q.Data[from-q.Offset:to-q.Offset], h.Data[from-h.Offset:])
		}
	}
}

// Lie answers a flush without doing it, and does a write without its FUA. It loses nothing by itself: a Cache behind the
// device does, when the power goes.
type Lie struct{}

// Name is "lying-flush".
func (Lie) Name() string  { return "lying-flush" }
func (Lie) ops() []nbd.Op { return []nbd.Op{nbd.Flush, nbd.Write} }

func (Lie) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	if q.Op == nbd.Flush {
		in.Effect = "answered, not done"
		return nil
	}
	honest := *q
	honest.FUA = false
	return d.honest(ctx, &honest)
}

// Delay does a request late.
type Delay struct{ By time.Duration }

// Name is "latency".
func (Delay) Name() string  { return "latency" }
func (Delay) ops() []nbd.Op { return []nbd.Op{nbd.Read, nbd.Write, nbd.Flush, nbd.Trim, nbd.Zero} }

func (l Delay) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	in.Effect = fmt.Sprintf("%s late", l.By)
	timer := time.NewTimer(l.By)
	defer timer.Stop()
	select {
	case <-timer.C:
		return d.honest(ctx, q)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Fail answers with an error and does nothing.
type Fail struct{ Errno syscall.Errno }

// Name is "error".
func (Fail) Name() string  { return "error" }
func (Fail) ops() []nbd.Op { return []nbd.Op{nbd.Read, nbd.Write, nbd.Flush, nbd.Trim, nbd.Zero} }

func (f Fail) do(_ context.Context, _ *Device, _ *nbd.Request, in *trial.Injection) error {
	in.Effect = f.Errno.Error()
	return f.Errno
}
