package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// What hangs is told by threads that stand still. The kernel reports one that was blocked for 120 s of its own time, which
// on a slow host is little: there it may still get on. So a report proves nothing alone. The kernel is asked what its
// threads do when patience is over, and a thread that then stands where it was reported hangs. The same question, asked
// twice, gives the stacks of a trial that has come to its limit before any report.
const (
	// patience is how long, on the reference host, a thread must go on standing still after it was reported.
	patience = 5 * time.Second
	// between is the time, on the reference host, between two looks at a guest that has come to its limit.
	between = time.Second
	// answerLimit is what the kernel gets to answer, on the reference host. A stack is a kilobyte on a slow console.
	answerLimit = 5 * time.Second
)

// The keys of drivers/tty/sysrq.c: blocked threads, then what the CPUs do, then a line of help that tells the end of it all.
const (
	sysrqKeys = "wlh"
	sysrqEnd  = "sysrq: HELP"
)

// stands are the threads that stand still in OpenZFS, as was found by looking.
func (l *life) stands() []panics.Event {
	l.hung.Lock()
	defer l.hung.Unlock()
	return slices.Clone(l.still)
}

// answer is what the kernel said when it was asked last, nil if it never was. A thread that never waits, but goes round in
// circles, is in there alone.
func (l *life) answer() []byte {
	l.hung.Lock()
	defer l.hung.Unlock()
	return l.said
}

func (l *life) note(answer []byte) {
	l.hung.Lock()
	defer l.hung.Unlock()
	l.said = bytes.Clone(answer)
}

func (l *life) stand(events []panics.Event) {
	l.hung.Lock()
	defer l.hung.Unlock()
	l.still = events
}

// ask has the guest's kernel print what its blocked threads wait in, by its keyboard and not by a command, and returns
// those that are in OpenZFS.
func (l *life) ask(ctx context.Context, scale machine.Scale) ([]panics.Event, error) {
	keyboard, ok := l.vm.(machine.SysRqSender)
	if !ok {
		return nil, errors.New("the machine has no keyboard")
	}
	ctx, cancel := context.WithTimeout(ctx, scale.Limit(answerLimit))
	defer cancel()
	from := l.watch.size()
	for _, key := range sysrqKeys {
		if err := keyboard.SysRq(ctx, key); err != nil {
			return nil, fmt.Errorf("ask the kernel for its threads: %w", err)
		}
	}
	for {
		text, changed := l.watch.since(from)
		l.note(text)
		if i := bytes.Index(text, []byte(sysrqEnd)); i >= 0 {
			return inOpenZFS(panics.Blocked(text[:i])), nil
		}
		select {
		case <-changed:
		case <-l.vm.Done():
			return nil, errors.New("the machine ended while its kernel was asked for its threads")
		case <-ctx.Done():
			return inOpenZFS(panics.Blocked(text)), fmt.Errorf("ask the kernel for its threads: no answer: %w", ctx.Err())
		}
	}
}

func inOpenZFS(events []panics.Event) []panics.Event {
	return slices.DeleteFunc(events, func(e panics.Event) bool { return e.Caller == "" })
}

// look finds the threads that stand still at the end of a trial which has come to its limit.
func (l *life) look(ctx context.Context, scale machine.Scale) error {
	if l.guest != nil {
		l.guest.Free(ctx)
	}
	first, err := l.ask(ctx, scale)
	if err != nil || len(first) == 0 {
		return err
	}
	if err := wait(ctx, scale.Limit(between)); err != nil {
		return err
	}
	second, err := l.ask(ctx, scale)
	l.stand(same(first, second))
	return err
}

// prove watches for reports of hung threads until one of them turns out to hang, and then calls over. A thread that merely
// waits for a txg hangs for another one's sake, or waits for work that takes its time: it proves nothing.
func (l *life) prove(ctx context.Context, scale machine.Scale, over func()) {
	for seen := 0; ; {
		reported, changed := l.watch.reports()
		if len(reported) <= seen {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		seen = len(reported)
		suspects := slices.DeleteFunc(inOpenZFS(reported), waitsForTxg)
		if len(suspects) == 0 {
			continue
		}
		if wait(ctx, scale.Limit(patience)) != nil {
			return
		}
		now, err := l.ask(ctx, scale)
		if err != nil {
			continue // the next report is another occasion
		}
		if still := same(suspects, now); len(still) > 0 {
			l.stand(still)
			over()
			return
		}
	}
}

// waitsForTxg says that a thread is in txg_wait_synced and the like (module/zfs/txg.c).
func waitsForTxg(e panics.Event) bool {
	return slices.ContainsFunc(e.Stack, func(f panics.Frame) bool {
		return !f.Unreliable && strings.HasPrefix(f.Func, "txg_wait_")
	})
}

// same are those threads of then that stand in the same place now.
func same(then, now []panics.Event) []panics.Event {
	return slices.DeleteFunc(slices.Clone(now), func(n panics.Event) bool {
		return !slices.ContainsFunc(then, func(t panics.Event) bool { return t.PID == n.PID && slices.Equal(calls(t), calls(n)) })
	})
}

// calls are the places that a thread will return to.
func calls(e panics.Event) (places []string) {
	for _, f := range e.Stack {
		if !f.Unreliable {
			places = append(places, fmt.Sprintf("%s+%#x", f.Func, f.Offset))
		}
	}
	return places
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
