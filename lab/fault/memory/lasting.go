package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/trial"
)

// campaign strikes at random until the workload or the trial ends. There may be no strike at all.
func (h *hand) campaign(ctx context.Context) (done []trial.Injection, err error) {
	m, _, err := h.catch(ctx) // to measure what is to be hit
	if err != nil {
		return nil, err
	}
	if err := m.Release(ctx); err != nil {
		return nil, err
	}
	for pause(ctx, h.site, h.Rate.gap(h.site.Rand, h.size)) {
		strike, err := h.once(ctx)
		if err != nil && over(ctx, h.site) {
			break
		}
		if err != nil {
			return done, err
		}
		for i := range strike {
			strike[i].Trigger = fmt.Sprintf("strike %d at %s", len(done)+1, h.Rate)
		}
		done = append(done, strike...)
	}
	return done, nil
}

// hold keeps a stuck bit at its value until the workload or the trial ends.
func (h *hand) hold(ctx context.Context, done []trial.Injection) ([]trial.Injection, error) {
	if h.stuck == nil {
		return done, nil
	}
	for pause(ctx, h.site, h.stuck.stuck.Every) {
		again, err := h.reapply(ctx)
		if err != nil && over(ctx, h.site) {
			break
		}
		if err != nil {
			return done, err
		}
		if again {
			done[0].Reapplied++
		}
	}
	return done, nil
}

// reapply sets the bit again if the guest has changed it. The machine stands still meanwhile: otherwise what it writes
// to other bits of the byte could be lost.
func (h *hand) reapply(ctx context.Context) (bool, error) {
	e := h.stuck
	now := make([]byte, 1)
	if err := h.site.Machine.ReadPhys(ctx, e.phys, now); err != nil || now[0] == e.stuck.set(now[0], e.bit) {
		return false, err
	}
	if err := h.site.Machine.Pause(ctx); err != nil {
		return false, err
	}
	err := h.site.Machine.ReadPhys(ctx, e.phys, now)
	if err == nil {
		now[0] = e.stuck.set(now[0], e.bit)
		err = h.site.Machine.WritePhys(ctx, e.phys, now)
	}
	return err == nil, errors.Join(err, h.site.Resume(ctx))
}

// pause waits, and says whether the workload still runs then.
func pause(ctx context.Context, s fault.Site, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return !over(ctx, s)
	case <-ctx.Done():
	case <-s.Over:
	case <-s.Machine.Done():
	}
	return false
}

// over says whether the workload or the trial has ended, or the machine.
func over(ctx context.Context, s fault.Site) bool {
	select {
	case <-ctx.Done():
	case <-s.Over:
	case <-s.Machine.Done():
	default:
		return false
	}
	return true
}
