package bench

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// watch reads a console for signs of trouble while it grows.
type watch struct {
	// crash is closed when a message has begun that no workload survives.
	crash chan struct{}

	mu      sync.Mutex
	text    []byte // all that came
	scanner panics.Scanner
	seen    []panics.Event
	pending bool
	over    bool          // the machine has ended, and nothing more comes
	changed chan struct{} // closed and replaced with every piece of console, and at its end
	once    sync.Once
}

func newWatch() *watch {
	return &watch{crash: make(chan struct{}), changed: make(chan struct{})}
}

// watchConsole begins at an offset.
func watchConsole(ctx context.Context, vm machine.Machine, from int) *watch {
	w := newWatch()
	console := vm.Console().Reader(ctx, from)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := console.Read(buf)
			if errors.Is(err, io.EOF) {
				w.end()
			}
			if err != nil {
				return
			}
			w.feed(buf[:n])
		}
	}()
	return w
}

func (w *watch) feed(p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	w.seen = append(w.seen, w.scanner.Feed(p)...)
	w.pending = w.scanner.Pending()
	for _, e := range w.seen {
		if e.Class == panics.Panic || e.Class == panics.Oops || e.Class == panics.Detected {
			w.once.Do(func() { close(w.crash) })
		}
	}
	w.wake()
}

// end notes that the console has ended.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.wake()
}

func (w *watch) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// crashed says whether a crash has been seen.
func (w *watch) crashed() bool {
	select {
	case <-w.crash:
		return true
	default:
		return false
	}
}

// settled says whether there is nothing to wait for: no message is being printed, and where something is amiss there is one.
// changed is closed when that may be otherwise.
func (w *watch) settled(amiss bool) (yes bool, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over || !w.pending && (len(w.seen) > 0 || !amiss), w.changed
}

// settle waits until messages that have begun are complete, or the console has ended. amiss says that there must be one,
// which may still be on its way.
func (w *watch) settle(ctx context.Context, limit time.Duration, amiss bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		yes, changed := w.settled(amiss)
		if yes {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// events are all messages so far, a last incomplete one included. To ask changes nothing.
func (w *watch) events() []panics.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return panics.Scan(w.text)
}

// size is how much of the console was read so far, and since what came after that. changed is closed when there is more.
func (w *watch) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.text)
}

func (w *watch) since(from int) (text []byte, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text[from:len(w.text):len(w.text)], w.changed
}

// reports are the complete reports of hung threads so far. changed is closed when there may be another one.
func (w *watch) reports() (hung []panics.Event, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.seen {
		if e.Class == panics.Hang {
			hung = append(hung, e)
		}
	}
	return hung, w.changed
}

// ended says whether the console has.
func (w *watch) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}
