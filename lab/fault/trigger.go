package fault

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// Trigger says when a fault strikes. At most one of After, TXG and At is set; the zero value means at once.
type Trigger struct {
	// After is the time from arming, by the host's clock.
	After time.Duration
	// TXG is the beginning of a txg's sync.
	TXG TXG
	// At is a place in the guest's code: a function ("zio_free_sync"), an instruction of it ("space_map_write+0x12"),
	// or an address ("0xffffffffc0a01230"). Only at the entry of a function are its arguments known.
	At string
	// Hit counts the arrivals at At at which all of When hold, from 1; 0 means the first.
	Hit  int
	When []Condition
}

// TXG is a transaction group: that of the number, or the Number-th after the one that is being synced, or was last, when
// the trigger is armed.
type TXG struct {
	Number   uint64
	Relative bool
}

var triggerForm = regexp.MustCompile(`^txg( |\+)([0-9]+)$`)

// ParseTrigger reads "now", a duration, "txg 42", "txg+3" or a place in code.
func ParseTrigger(text string) (t Trigger, err error) {
	switch m := triggerForm.FindStringSubmatch(text); {
	case text == "now":
	case m != nil:
		t.TXG.Relative = m[1] == "+"
		if t.TXG.Number, err = strconv.ParseUint(m[2], 10, 64); err != nil || t.TXG.Number == 0 {
			return Trigger{}, fmt.Errorf("trigger %q: no txg has this number", text)
		}
	case codeForm.MatchString(text):
		t.At = text
	default:
		if t.After, err = time.ParseDuration(text); err != nil || t.After <= 0 {
			return Trigger{}, fmt.Errorf("trigger %q: write now, a duration like 2s, txg 42, txg+3, or a place in code like zio_free_sync", text)
		}
	}
	return t, nil
}

// String is the trigger as ParseTrigger reads it, with hit and conditions behind it.
func (t Trigger) String() string {
	switch {
	case t.TXG.Relative:
		return fmt.Sprintf("txg+%d", t.TXG.Number)
	case t.TXG.Number > 0:
		return fmt.Sprintf("txg %d", t.TXG.Number)
	case t.After > 0:
		return t.After.String()
	case t.At == "":
		return "now"
	}
	s := t.At
	if t.Hit > 1 {
		s = fmt.Sprintf("hit %d of %s", t.Hit, s)
	}
	for i, c := range t.When {
		s += []string{" when ", ", "}[min(i, 1)] + c.String()
	}
	return s
}

// Now says that the trigger waits for nothing.
func (t Trigger) Now() bool { return t.After == 0 && !t.inCode() }

func (t Trigger) inCode() bool { return t.At != "" || t.TXG.Number > 0 }

// syncFunction is called by the sync thread of a pool once a txg:
//
//	spa_sync(spa_t *spa, uint64_t txg)
//
// (module/zfs/spa.c). It is a better sign of a txg than the uberblock, which changes after the txg was written.
const syncFunction = "spa_sync"

// Armed is a trigger in place. Wait takes it away again, whether it fires or not.
type Armed struct {
	trigger Trigger
	site    Site
	kernel  *kernel.Kernel
	start   time.Time

	// Of a place in code:
	debugger machine.Debugger
	place    place
	txg      uint64 // the first that counts, if the trigger is one for a txg
	arrivals int    // of CPUs at the place
	hits     int    // of them those that count
	doubt    error  // the last condition that could not be told
	told     bool   // the conditions could be told once
}

// Arm puts the trigger in place. One in code leaves the machine standing still until Wait.
func (t Trigger) Arm(ctx context.Context, s Site) (*Armed, error) {
	if s.Kernel == nil {
		return nil, errors.New("the types of the guest's kernel are not at hand")
	}
	k, err := s.Kernel(ctx) // asks the guest, so before the machine stands still
	if err != nil {
		return nil, err
	}
	a := &Armed{trigger: t, site: s, kernel: k, start: time.Now()}
	if !t.inCode() {
		return a, nil
	}
	at := t.At
	if t.TXG.Number > 0 {
		at = syncFunction
	}
	if a.place, err = findPlace(ctx, s, k, at); err != nil {
		return nil, err
	}
	if a.debugger, err = Break(ctx, s.Machine, a.place.addr); err != nil {
		return nil, err
	}
	if err := a.firstTXG(ctx); err != nil {
		return nil, errors.Join(err, a.debugger.Close())
	}
	return a, nil
}

// Break attaches a debugger and sets a trigger in code.
func Break(ctx context.Context, m machine.Machine, addr uint64) (machine.Debugger, error) {
	d, err := m.Debug(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.Break(ctx, addr); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// firstTXG turns a number of txgs into the number of a txg.
func (a *Armed) firstTXG(ctx context.Context) error {
	want := a.trigger.TXG
	if want.Number == 0 {
		return nil
	}
	scope := core.Scope{ZFS: core.Open(a.kernel.View(ctx))}
	var last uint64
	for _, path := range []string{"spa.spa_uberblock.ub_txg", "spa.spa_syncing_txg"} {
		v, err := scope.Resolve(path)
		if err != nil {
			return err
		}
		txg, err := v.Uint()
		if err != nil {
			return err
		}
		last = max(last, txg)
	}
	a.txg = want.Number
	if want.Relative {
		a.txg += last
	}
	if a.txg <= last {
		return fmt.Errorf("txg %d is over, the pool is at %d", a.txg, last)
	}
	return nil
}

// Wait returns when the trigger has fired, and the machine stands still then. On an error it runs on, and the trigger is
// gone. A trigger of time may be waited for again after Release and has fired then.
func (a *Armed) Wait(ctx context.Context) (*Moment, error) {
	if a.debugger == nil {
		return a.waitClock(ctx)
	}
	m, err := a.waitCode(ctx)
	if err != nil {
		return nil, errors.Join(err, a.debugger.Close())
	}
	return m, nil
}

func (a *Armed) waitClock(ctx context.Context) (*Moment, error) {
	timer := time.NewTimer(time.Until(a.start.Add(a.trigger.After)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s did not pass: %w", a.trigger, ctx.Err())
	}
	return a.site.Halt(ctx, a.kernel, a.trigger.String())
}

func (a *Armed) waitCode(ctx context.Context) (*Moment, error) {
	for {
		stop, err := a.debugger.Continue(ctx)
		if err != nil {
			return nil, a.missed(err)
		}
		a.arrivals++
		m, err := a.arrival(ctx, stop.CPU)
		if err != nil {
			return nil, err
		}
		counts, err := a.holds(m)
		if err != nil {
			return nil, err
		}
		if !counts {
			continue
		}
		if a.hits++; a.hits >= a.trigger.Hit {
			return m, nil
		}
	}
}

// missed is the error of a trigger that did not fire.
func (a *Armed) missed(err error) error {
	text := fmt.Sprintf("%s did not come: %d of %d arrivals at %s count", a.trigger, a.hits, a.arrivals, a.place.name)
	if a.doubt != nil {
		return fmt.Errorf("%s (%w): %w", text, a.doubt, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

// untold is at how many arrivals in a row, from the first on, a condition may lead nowhere before it is taken for wrong.
const untold = 100

// holds says whether an arrival counts. A path that leads nowhere at one arrival, as a pointer is NULL there, may lead
// somewhere at the next.
func (a *Armed) holds(m *Moment) (bool, error) {
	if a.txg > 0 {
		txg, err := m.Scope.ZFS.View().Arg(*m.Scope.Frame, "txg").Uint()
		return txg >= a.txg, err
	}
	var doubt error
	for _, c := range a.trigger.When {
		ok, err := c.holds(m.Scope)
		switch {
		case errors.Is(err, errNever):
			return false, err
		case err != nil:
			doubt = errors.Join(doubt, err)
		case !ok: // whatever the others say, which may make no sense here
			a.told = true
			return false, nil
		}
	}
	if doubt != nil {
		a.doubt = doubt
		if !a.told && a.arrivals >= untold {
			return false, doubt
		}
		return false, nil
	}
	a.told = true
	return true, nil
}

// arrival is the moment of a CPU that stands at the place.
func (a *Armed) arrival(ctx context.Context, cpu int) (*Moment, error) {
	regs, err := a.debugger.Registers(ctx, cpu)
	if err != nil {
		return nil, err
	}
	m := &Moment{
		Site: a.site, CPU: cpu, Registers: regs, Debugger: a.debugger, Func: a.place.fn,
		Scope: core.Scope{ZFS: core.Open(a.kernel.View(ctx)), Rand: a.site.Rand},
		Fired: a.trigger.String(), Place: a.place.name, triggers: []uint64{a.place.addr},
	}
	if a.txg == 0 {
		m.Hit = a.hits + 1
	}
	if a.place.fn != nil {
		m.Scope.Frame = &kernel.Frame{Func: a.place.fn, Registers: regs}
	}
	return m, nil
}
