package vdev

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/lab/trial"
)

// Device is a disk that keeps to rules of how to misbehave. Without rules it is the disk behind it. It serves guests
// through package nbd.
type Device struct {
	name string
	size int64

	mu       sync.Mutex
	next     nbd.Handler
	rand     *rand.Rand
	rules    []*active
	held     []heldWrite
	old      map[int64][]byte // content of sectors before they were written, for Stale
	struck   []trial.Injection
	more     int // strikes beyond maxStruck
	withhold bool
	plug     plug // nil for a device that cannot leave
}

// plug is what a device leaves its guest by.
type plug interface {
	Leave(disk string) error
	Return(disk string) error
}

// maxStruck is how many strikes of a device are written down, so that one that is late for every request of a storm does not
// fill memory and bundle. The rest is counted.
const maxStruck = 200

// NewDevice puts a device without rules before a disk of size bytes. Random choices come from r; a device that withholds
// counts and writes down its strikes and does everything right.
func NewDevice(name string, size int64, next nbd.Handler, r *rand.Rand, withhold bool) *Device {
	return &Device{name: name, size: size, next: next, rand: r, withhold: withhold}
}

// Rule says which requests meet an action.
type Rule struct {
	// Ops are the operations, none for all that the action can be done to.
	Ops []nbd.Op
	// Places are ranges; a request that overlaps one matches. None is the whole disk. A flush has no place and matches always.
	Places []Range
	// Nth counts matching requests, from 1: the action begins with this one. 0 is the first.
	Nth int
	// Times is how often it is done at most, 0 for ever.
	Times int
	// Probability is that of each request that matches and counts, 0 for certain.
	Probability float64
	Action      Action
}

// Range is a part of a disk, in bytes.
type Range struct{ From, To int64 }

// matches says whether a rule is one for a request, but for what it counts.
func (r *Rule) matches(q *nbd.Request) bool {
	if !slices.Contains(r.Ops, q.Op) {
		return false
	}
	return q.Op == nbd.Flush || len(r.Places) == 0 || slices.ContainsFunc(r.Places, func(at Range) bool {
		return q.Offset < at.To && q.Offset+q.Length > at.From
	})
}

// Action is one way to misbehave.
type Action interface {
	// Name is what an injection is called.
	Name() string
	// ops are what it can be done to.
	ops() []nbd.Op
	// do handles a request in place of the device. What it did is in the injection, whose place is filled in.
	do(ctx context.Context, d *Device, q *nbd.Request, in *trial.Injection) error
}

// selective is an Action that is not for every request of its operations. The device is locked.
type selective interface {
	meets(d *Device, q *nbd.Request) bool
}

type active struct {
	Rule
	met, done int
}

// Add puts a rule in force, behind those that are. The first that matches decides.
func (d *Device) Add(r Rule) error {
	for _, op := range r.Ops {
		if !slices.Contains(r.Action.ops(), op) {
			return fmt.Errorf("%s cannot be done to a %v", r.Action.Name(), op)
		}
	}
	if len(r.Ops) == 0 {
		r.Ops = r.Action.ops()
	}
	for _, at := range r.Places {
		if at.From < 0 || at.To > d.size || at.From >= at.To {
			return fmt.Errorf("%s at %d to %d of %d bytes", r.Action.Name(), at.From, at.To, d.size)
		}
	}
	if r.Probability < 0 || r.Probability > 1 {
		return fmt.Errorf("%s with probability %g", r.Action.Name(), r.Probability)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, &active{Rule: r})
	return nil
}

// Clear takes all rules out of force. What was held back is written.
func (d *Device) Clear(ctx context.Context) error {
	d.mu.Lock()
	d.rules, d.old = nil, nil
	d.mu.Unlock()
	return d.release(ctx, 0)
}

// Drop takes all rules out of force and forgets what was held back, as when the power goes. It says how many writes were.
func (d *Device) Drop() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := len(d.held)
	d.rules, d.old, d.held = nil, nil, nil
	return lost
}

// Injections are the strikes so far. Of very many the first are given, and one stands for the rest.
func (d *Device) Injections() []trial.Injection {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Clone(d.struck)
	if d.more > 0 {
		last := all[len(all)-1]
		all = append(all, trial.Injection{
			Fault: last.Fault, Time: last.Time, Trigger: "later requests", Withheld: last.Withheld, Disk: d.name, Target: fmt.Sprintf("%d more", d.more),
		})
	}
	return all
}

// Swap makes two devices of the same size change places, as after cables were mixed up.
func Swap(a, b *Device) error {
	if a.size != b.size {
		return fmt.Errorf("%s has %d bytes, %s has %d", a.name, a.size, b.name, b.size)
	}
	a.mu.Lock()
	first := a.next
	a.mu.Unlock()
	b.mu.Lock()
	second := b.next
	b.next = first
	b.mu.Unlock()
	a.mu.Lock()
	a.next = second
	a.mu.Unlock()
	return nil
}

// Handle does a request, or what a rule makes of it.
func (d *Device) Handle(ctx context.Context, q *nbd.Request) error {
	if err := d.remember(ctx, q); err != nil {
		return err
	}
	rule := d.match(q)
	if rule == nil {
		return d.honest(ctx, q)
	}
	in := trial.Injection{
		Fault: "vdev-" + rule.Action.Name(), Time: time.Now().UTC(), Trigger: fmt.Sprintf("request %d", rule.met), Hit: rule.met,
		Withheld: d.withhold, Amiss: !d.withhold, Target: request(q), Disk: d.name, Offset: q.Offset,
	}
	var err error
	if d.withhold {
		err = d.honest(ctx, q)
	} else {
		err = rule.Action.do(ctx, d, q, &in)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.struck) < maxStruck {
		d.struck = append(d.struck, in)
	} else {
		d.more++
	}
	return err
}

// request says what is asked for.
func request(q *nbd.Request) string {
	if q.Op == nbd.Flush {
		return "flush"
	}
	return fmt.Sprintf("%v of %d bytes", q.Op, q.Length)
}

// match finds the rule for a request and counts.
func (d *Device) match(q *nbd.Request) *active {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.rules {
		if s, ok := r.Action.(selective); !r.matches(q) || ok && !s.meets(d, q) {
			continue
		}
		r.met++
		if r.met < r.Nth || r.Times > 0 && r.done >= r.Times || r.Probability > 0 && d.rand.Float64() >= r.Probability {
			continue
		}
		r.done++
		copied := *r
		return &copied
	}
	return nil
}

// honest does a request as it should be done.
func (d *Device) honest(ctx context.Context, q *nbd.Request) error {
	if err := d.behind().Handle(ctx, q); err != nil {
		return err
	}
	switch q.Op {
	case nbd.Read:
		d.patch(q)
	case nbd.Write:
		return d.release(ctx, 1)
	}
	return nil
}

func (d *Device) behind() nbd.Handler {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.next
}

// read gives what the disk holds at a place.
func (d *Device) read(ctx context.Context, offset, length int64) ([]byte, error) {
	q := &nbd.Request{Op: nbd.Read, Offset: offset, Length: length, Data: make([]byte, length)}
	err := d.behind().Handle(ctx, q)
	return q.Data, err
}

// shown is how much of a request an injection shows, in bytes.
const shown = 512

// show puts into an injection what was to be and what is.
func show(in *trial.Injection, wanted, got []byte) {
	in.Before, in.After = bytes.Clone(wanted[:min(len(wanted), shown)]), bytes.Clone(got[:min(len(got), shown)])
}
