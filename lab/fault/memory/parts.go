package memory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/memory/dram"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// Parts makes a part of the guest's memory modules fail, wherever it lies and whatever is there: once, when the trigger fires, or as
// often as such parts do until the workload ends. What a lasting fault covers is looked at again after every period; in between the guest
// can write a value and read it back right.
type Parts struct {
	Trigger fault.Trigger
	// TimeScale, if set, stands in place of Trigger: the hours of the field that one hour of the trial stands for. The rate is that of
	// the preset.
	TimeScale float64
	// Preset is the name of one of dram.Presets, which Mode and Lasting are drawn from. Empty leaves them as they are.
	Preset  string
	Mode    dram.Mode
	Lasting bool
	// Every is the period, at most.
	Every time.Duration
	ECC   ECC
}

// Name is "memory".
func (Parts) Name() string { return "memory" }

// Arm puts the trigger in place.
func (p Parts) Arm(ctx context.Context, s fault.Site) (fault.Strike, error) {
	checker, ok := s.Machine.(machine.MCEInjector)
	if !ok && p.ECC != NoECC {
		return nil, fmt.Errorf("ecc %s: this driver cannot report damaged memory to the guest", p.ECC)
	}
	ram, err := usableRAM(ctx, s.Guest)
	if err != nil {
		return nil, err
	}
	last := ram[len(ram)-1]
	f := &failing{Parts: p, site: s, checker: checker, end: last.start + last.size}
	f.module = dram.Of(f.end, p.ECC.word(), p.ECC.checkBits())
	if f.armed, err = p.Trigger.Arm(ctx, s); err != nil {
		return nil, err
	}
	if p.TimeScale > 0 {
		return f.years, nil
	}
	if !p.Trigger.Now() {
		return func(ctx context.Context) ([]trial.Injection, error) {
			done, err := f.once(ctx)
			if err != nil {
				return nil, err
			}
			return f.last(ctx, done)
		}, nil
	}
	done, err := f.once(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]trial.Injection, error) { return f.last(ctx, done) }, nil
}

// failing is a module whose parts fail.
type failing struct {
	Parts
	site    fault.Site
	armed   *fault.Armed
	checker machine.MCEInjector
	module  dram.Module
	end     uint64 // of the guest's memory
	parts   []dram.Fault
	checked bool // a machine check was raised, which few kernels survive
}

// once waits for the trigger and lets a part fail.
func (f *failing) once(ctx context.Context) (_ []trial.Injection, err error) {
	m, err := f.armed.Wait(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(ctx, m)) }()
	mode, lasting := f.Mode, f.Lasting
	if f.Preset != "" {
		mode, lasting = dram.Presets[f.Preset].Draw(f.site.Rand)
	}
	part := f.module.Draw(f.site.Rand, mode, lasting)
	t := tally{words: map[Result]int{}, would: map[Result]int{}}
	if err := f.fail(ctx, part, &t); err != nil {
		return nil, err
	}
	if !f.site.Withhold {
		f.parts = append(f.parts, part)
	}
	i := m.Record(f.Name())
	i.Target, i.Phys, i.Before, i.After = part.String(), t.phys, t.before, t.after
	i.Effect = t.String()
	if f.ECC == NoECC {
		i.SECDED = string(worst(t.would))
	} else {
		i.ECC = string(worst(t.words))
	}
	if i.Withheld {
		i.After = i.Before
	}
	return []trial.Injection{i}, nil
}

// years lets parts fail at their rate until the workload ends. There may be none at all.
func (f *failing) years(ctx context.Context) (done []trial.Injection, err error) {
	rate := Rate{FITPerMbit: dram.Presets[f.Preset].Total() / 1024, TimeScale: f.TimeScale}
	next := time.Now().Add(rate.gap(f.site.Rand, uint64(f.module.Gbit()*(1<<27))))
	for {
		if !f.wait(ctx, time.Until(next)) {
			return done, nil
		}
		all, err := f.once(ctx)
		if err != nil && over(ctx, f.site) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		for _, i := range all {
			i.Trigger = fmt.Sprintf("fault %d of %s, time scale %g", len(done)+1, f.Preset, f.TimeScale)
			done = append(done, i)
		}
		next = time.Now().Add(rate.gap(f.site.Rand, uint64(f.module.Gbit()*(1<<27))))
	}
}

// last keeps what is wrong wrong until the workload ends.
func (f *failing) last(ctx context.Context, done []trial.Injection) ([]trial.Injection, error) {
	for f.wait(ctx, time.Hour) {
	}
	return done, nil
}

// wait looks at all lasting faults again and again, and says whether the workload still runs after a time.
func (f *failing) wait(ctx context.Context, d time.Duration) bool {
	until := time.Now().Add(d)
	period := f.Every
	for {
		left := time.Until(until)
		if !slices.ContainsFunc(f.parts, func(p dram.Fault) bool { return p.Lasting }) {
			return pause(ctx, f.site, left)
		}
		if left <= 0 {
			return !over(ctx, f.site)
		}
		if !pause(ctx, f.site, min(period, left)) {
			return false
		}
		begun := time.Now()
		for _, part := range f.parts {
			if part.Lasting && f.again(ctx, part) != nil {
				return false // the machine has ended, or its memory cannot be got at any more
			}
		}
		period = max(f.Every, 3*time.Since(begun)) // the guest is to have most of the time
	}
}

// again makes what a lasting fault covers wrong where the guest has written.
func (f *failing) again(ctx context.Context, part dram.Fault) error {
	t := tally{words: map[Result]int{}, would: map[Result]int{}}
	look := *f
	look.site.Withhold = true // only looks
	if err := look.fail(ctx, part, &t); err != nil || t.wrong == 0 || f.ECC != NoECC && !worst(t.words).unnoticed() && worst(t.words) != Detected {
		return err
	}
	if err := f.site.Machine.Pause(ctx); err != nil {
		return err
	}
	return errors.Join(f.fail(ctx, part, &tally{words: map[Result]int{}, would: map[Result]int{}}), f.site.Resume(ctx))
}

// tally is what a fault has done.
type tally struct {
	bits, wrong  int // bits that were wrong, words that had such
	words, would map[Result]int
	// phys is the first place that was changed, or where all was corrected the first that was wrong, with what was there and what is.
	phys          uint64
	before, after []byte
}

// fail makes what a part covers wrong, as far as the ECC lets it.
func (f *failing) fail(ctx context.Context, part dram.Fault, t *tally) error {
	var alarm, corrected uint64
	for a := range f.module.Areas(part) {
		size := min(uint64(a.Beats*f.module.Bus), max(f.end, a.Address)-a.Address)
		if size == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		now := make([]byte, size)
		if err := f.site.Machine.ReadPhys(ctx, a.Address, now); err != nil {
			return err
		}
		then, at, right := f.area(part, a.Address, now, t)
		alarm, corrected = cmp.Or(alarm, at), cmp.Or(corrected, right)
		if f.site.Withhold || bytes.Equal(now, then) {
			continue
		}
		if err := f.site.Machine.WritePhys(ctx, a.Address, then); err != nil {
			return err
		}
	}
	switch {
	case f.site.Withhold || f.checked:
	case alarm != 0:
		f.checked = true
		return f.checker.MachineCheck(ctx, alarm)
	case corrected != 0:
		return f.checker.CorrectedError(ctx, corrected)
	}
	return nil
}

// area is what a part of memory is read as from now on, where it first raised an alarm, and where it was first corrected.
func (f *failing) area(part dram.Fault, address uint64, now []byte, t *tally) (then []byte, alarm, corrected uint64) {
	then = bytes.Clone(now)
	bus := f.module.Bus
	for n := 0; n+bus <= len(now); n += bus {
		at := address + uint64(n)
		wrong, check := f.module.Wrong(part, at, now[n:n+bus])
		count := bits.OnesCount16(check)
		for _, b := range wrong {
			count += bits.OnesCount8(b)
		}
		if count == 0 {
			continue
		}
		left, r := f.ECC.decode(wrong, check)
		t.bits, t.wrong = t.bits+count, t.wrong+1
		t.words[r]++
		if f.ECC == NoECC {
			_, would := SECDED.decode(wrong, 0)
			t.would[would]++
		}
		for i, b := range left {
			then[n+i] ^= b
		}
		if changed := !bytes.Equal(t.before, t.after); t.before == nil || !changed && !bytes.Equal(now[n:n+bus], then[n:n+bus]) {
			t.phys, t.before, t.after = at, now[n:n+bus], then[n:n+bus]
		}
		switch r {
		case Detected:
			alarm = cmp.Or(alarm, at)
		case Corrected:
			corrected = cmp.Or(corrected, at)
		}
	}
	return then, alarm, corrected
}

// String says how much was wrong, and what the ECC made of it.
func (t *tally) String() string {
	s := fmt.Sprintf("%d bits wrong in %d words", t.bits, t.wrong)
	of := t.words
	if len(t.would) > 0 {
		s += "; SECDED would have"
		of = t.would
	}
	parts := make([]string, 0, len(of))
	for _, r := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%d %s", of[r], r))
	}
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

// worst is the worst result of all words.
func worst(words map[Result]int) (r Result) {
	for one := range words {
		r = r.worse(one)
	}
	return r
}

// checkBits are those of a word.
func (e ECC) checkBits() int {
	return map[ECC]int{SECDED: 8, Chipkill: 16}[e]
}
