package trial

import (
	"context"
	"sync"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// watch reads a console for signs of trouble while it grows.
type watch struct {
	// crash is closed when a message has begun that no workload survives.
	crash chan struct{}

	mu      sync.Mutex
	scanner panics.Scanner
	seen    []panics.Event
	pending bool
	changed chan struct{} // closed and replaced with every piece of console
	once    sync.Once
}

func newWatch() *watch {
	return &watch{crash: make(chan struct{}), changed: make(chan struct{})}
}

// watchConsole begins with the machine's own first byte: what the guest printed before its checkpoint is history.
func watchConsole(ctx context.Context, vm machine.Machine) *watch {
	w := newWatch()
	console := vm.Console().Reader(ctx, vm.Console().Start())
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := console.Read(buf)
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
	w.seen = append(w.seen, w.scanner.Feed(p)...)
	w.pending = w.scanner.Pending()
	for _, e := range w.seen {
		if e.Class == panics.Panic || e.Class == panics.Oops || e.Class == panics.Detected {
			w.once.Do(func() { close(w.crash) })
		}
	}
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

// state says whether a message is being printed, and gives a channel that is closed when that may have changed.
func (w *watch) state() (pending bool, seen int, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending, len(w.seen), w.changed
}

// events are all messages, a last incomplete one included.
func (w *watch) events() []panics.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, w.scanner.Flush()...)
	return w.seen
}
