package fault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// Anywhere is a trigger at a random place in code: one of the first arrivals at some functions is drawn, each with the same chance, and
// then one of the statements that are passed from there on, or the instruction that the function returns to, so that the trigger
// fires in any case. It is how probabilistic concurrency testing places a change of
// threads (Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, 2010).
type Anywhere struct {
	// In are patterns of functions' names, as of path.Match.
	In []string
	// Arrivals is how many of them there are to choose from, counted from arming.
	Arrivals int
}

func (a Anywhere) String() string { return fmt.Sprintf("one of %d arrivals in %v", a.Arrivals, a.In) }

// mostFunctions bounds how many are stopped at: every arrival costs milliseconds.
const mostFunctions = 300

// Roaming is such a trigger in place. Wait takes it away again, whether it fires or not.
type Roaming struct {
	trigger  Anywhere
	site     Site
	kernel   *kernel.Kernel
	debugger machine.Debugger
	at       map[uint64]*kernel.Func // the functions whose entries, or statements, triggers are at
	set      []uint64                // all triggers
	arrival  int                     // the one that was drawn, from 1
}

// Arm puts the trigger in place, and leaves the machine standing still until Wait.
func (a Anywhere) Arm(ctx context.Context, s Site) (*Roaming, error) {
	k, err := s.Kernel(ctx) // asks the guest, so before the machine stands still
	if err != nil {
		return nil, err
	}
	r := &Roaming{trigger: a, site: s, kernel: k, at: map[uint64]*kernel.Func{}, arrival: 1 + s.Rand.IntN(a.Arrivals)}
	for _, name := range k.Types().Functions() {
		if !slices.ContainsFunc(a.In, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			continue
		}
		p, err := findPlace(ctx, s, k, name)
		if err != nil || p.fn == nil { // split, or there twice: the others are enough
			continue
		}
		r.at[p.addr] = p.fn
	}
	switch n := len(r.at); {
	case n == 0:
		return nil, fmt.Errorf("no function of the modules matches %v", a.In)
	case n > mostFunctions:
		return nil, fmt.Errorf("%d functions match %v: write patterns that at most %d match", n, a.In, mostFunctions)
	}
	if r.debugger, err = s.Machine.Debug(ctx); err != nil {
		return nil, err
	}
	r.set = slices.Sorted(maps.Keys(r.at))
	for _, addr := range r.set {
		if err := r.debugger.Break(ctx, addr); err != nil {
			return nil, errors.Join(err, r.debugger.Close())
		}
	}
	return r, nil
}

// Wait returns when the trigger has fired, and the machine stands still then. On an error it runs on, and the trigger is gone.
func (r *Roaming) Wait(ctx context.Context) (*Moment, error) {
	m, err := r.wait(ctx)
	if err != nil {
		return nil, errors.Join(err, r.debugger.Close())
	}
	return m, nil
}

func (r *Roaming) wait(ctx context.Context) (*Moment, error) {
	var stop machine.Stop
	for n := range r.arrival {
		var err error
		if stop, err = r.debugger.Continue(ctx); err != nil {
			return nil, fmt.Errorf("arrival %d in %v did not come, there were %d: %w", r.arrival, r.trigger.In, n, err)
		}
	}
	fn := r.at[stop.Addr]
	fired := fmt.Sprintf("arrival %d in %v, in %s", r.arrival, r.trigger.In, fn.Name)
	statements, err := r.kernel.Types().Statements(ctx, fn)
	if err != nil {
		return nil, err
	}
	chance := min(1, passed/float64(len(statements)))
	if r.site.Rand.Float64() < chance {
		return r.moment(ctx, stop, fired, fn.Name)
	}
	where, err := r.spread(ctx, stop, fn, statements)
	if err != nil {
		return nil, err
	}
	for {
		if stop, err = r.debugger.Continue(ctx); err != nil {
			return nil, fmt.Errorf("%s was not returned from: %w", fn.Name, err)
		}
		if _, inside := r.at[stop.Addr]; !inside || r.site.Rand.Float64() < chance {
			return r.moment(ctx, stop, fired, where[stop.Addr])
		}
	}
}

// passed is how many statements of a function are chosen of, were all of them passed once: most functions pass a half of theirs, and one
// in five is then left without a choice.
const passed = 3

// spread puts triggers at all statements of a function behind its entry, where a CPU stands, and where it returns to, and says what is
// where. Those of the statements are in r.at afterwards.
func (r *Roaming) spread(ctx context.Context, stop machine.Stop, fn *kernel.Func, statements []kernel.Statement) (where map[uint64]string, err error) {
	regs, err := r.debugger.Registers(ctx, stop.CPU)
	if err != nil {
		return nil, err
	}
	back := make([]byte, 8) // the address of return is on top of the stack at the entry of a function
	if err := r.debugger.ReadVirt(ctx, stop.CPU, regs.RSP, back); err != nil {
		return nil, err
	}
	returns := binary.LittleEndian.Uint64(back)
	where = map[uint64]string{returns: "behind " + fn.Name}
	inside := map[uint64]*kernel.Func{}
	for _, s := range statements {
		if s.Offset > 0 {
			addr := stop.Addr + s.Offset
			where[addr], inside[addr] = fmt.Sprintf("%s+%#x (%s:%d)", fn.Name, s.Offset, s.File, s.Line), fn
		}
	}
	err = r.only(ctx, slices.Sorted(maps.Keys(where))...)
	r.at = inside
	return where, err
}

// only takes the triggers at functions away and sets others.
func (r *Roaming) only(ctx context.Context, triggers ...uint64) error {
	m := Moment{Debugger: r.debugger, triggers: r.set}
	r.set = triggers
	return m.Only(ctx, triggers...)
}

func (r *Roaming) moment(ctx context.Context, stop machine.Stop, fired, where string) (*Moment, error) {
	regs, err := r.debugger.Registers(ctx, stop.CPU)
	if err != nil {
		return nil, err
	}
	return &Moment{
		Site: r.site, CPU: stop.CPU, Registers: regs, Debugger: r.debugger, Fired: fired, Place: where,
		Scope:    core.Scope{ZFS: core.Open(r.kernel.View(ctx)), Rand: r.site.Rand},
		triggers: r.set,
	}, nil
}
