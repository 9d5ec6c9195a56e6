package vdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
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

// Stale reads give what was there before the writes that came since the rule is in force, of whatever part of it was written.
type Stale struct{}

// maxStale is how many sectors a device keeps the old content of: 64 MiB. Later ones are never stale.
const maxStale = 64 << 20 / sector

// Name is "stale-read".
func (Stale) Name() string  { return "stale-read" }
func (Stale) ops() []nbd.Op { return []nbd.Op{nbd.Read} }

// meets is true of a read of what was written.
func (Stale) meets(d *Device, q *nbd.Request) bool {
	for n := int64(0); n+sector <= q.Length; n += sector {
		if d.old[q.Offset+n] != nil {
			return true
		}
	}
	return false
}

func (Stale) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	if err := d.honest(ctx, q); err != nil {
		return err
	}
	right := bytes.Clone(q.Data)
	d.mu.Lock()
	for n := int64(0); n+sector <= q.Length; n += sector {
		if old := d.old[q.Offset+n]; old != nil {
			copy(q.Data[n:], old)
		}
	}
	d.mu.Unlock()
	show(in, right, q.Data)
	return nil
}

// remember keeps what is there before a write, for reads that are to be stale.
func (d *Device) remember(ctx context.Context, q *nbd.Request) error {
	d.mu.Lock()
	stale := slices.ContainsFunc(d.rules, func(r *active) bool { return r.Action == Stale{} })
	d.mu.Unlock()
	if !stale || q.Op != nbd.Write {
		return nil
	}
	old, err := d.read(ctx, q.Offset, q.Length)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.old == nil {
		d.old = map[int64][]byte{}
	}
	for n := int64(0); n+sector <= q.Length; n += sector {
		if at := q.Offset + n; d.old[at] == nil && len(d.old) < maxStale {
			d.old[at] = bytes.Clone(old[n : n+sector])
		}
	}
	return nil
}

// Reorder answers a write and does it only when so many further writes have been done: flushes do not hurry it, so it is
// reordered across them. Until then it is in the device's memory, and a power cut loses it.
type Reorder struct{ Writes int }

// Name is "reordered-write".
func (Reorder) Name() string  { return "reordered-write" }
func (Reorder) ops() []nbd.Op { return []nbd.Op{nbd.Write} }

// heldWrite is a write that waits.
type heldWrite struct {
	nbd.Request
	left int
}

func (r Reorder) do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error {
	old, err := d.read(ctx, q.Offset, q.Length)
	if err != nil {
		return err
	}
	show(in, q.Data, old)
	in.Effect = fmt.Sprintf("held back until %d more writes are done", r.Writes)
	held := heldWrite{*q, r.Writes}
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

// meets is true of what asks for stable storage.
func (Lie) meets(_ *Device, q *nbd.Request) bool { return q.Op == nbd.Flush || q.FUA }

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

// Leave takes the device away from its guest, at a request that is not answered, and gives it back after a time: never with 0.
type Leave struct{ For time.Duration }

// Name is "gone".
func (Leave) Name() string  { return "gone" }
func (Leave) ops() []nbd.Op { return Fail{}.ops() }

func (l Leave) do(_ context.Context, d *Device, _ *nbd.Request, in *trial.Injection) error {
	if d.plug == nil {
		return fmt.Errorf("%s is nothing that can leave", d.name)
	}
	in.Effect = "the device is gone"
	if l.For > 0 {
		in.Effect += fmt.Sprintf(", for %s", l.For)
		time.AfterFunc(l.For, func() { d.plug.Return(d.name) }) //nolint:errcheck // fails for a name that nobody knows
	}
	return errors.Join(d.plug.Leave(d.name), nbd.ErrDisconnect)
}
