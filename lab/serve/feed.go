package serve

import (
	"bytes"
	"context"
	"sync"
	"time"
)

const (
	// tick is how often it is looked whether there is news.
	tick = time.Second
	// kept is for how long what was shown stays ready after the last browser has gone: one that loads a page anew is back at once.
	kept = 10 * time.Second
	// rest is how many times what it takes to draw a page is waited before it is drawn again.
	rest = 10
)

// shown is what browsers that look at one thing are to see, and how often each part has changed.
type shown struct {
	title       string
	now, told   []byte
	nows, tolds int
}

// drawing draws what is to be seen.
type drawing interface {
	// told draws what is stored, now what is done at this moment. With stale set, what was told is not so any more, though the store is
	// as it was: a lab that is killed writes nothing.
	told(context.Context) (title string, html []byte, err error)
	now(context.Context) (html []byte, stale bool, err error)
}

// feed draws one thing for all browsers that look at it, for as long as there are any. Who is slow sees fewer of its states, and the
// latest in the end.
type feed struct {
	mu       sync.Mutex
	state    shown
	changed  chan struct{} // closed when there is another state
	watchers int
	left     time.Time // the last watcher
}

// look gives the present state, and what is closed when there is another one.
func (f *feed) look() (shown, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.changed
}

// set makes the state another one.
func (f *feed) set(s shown) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
	close(f.changed)
	f.changed = make(chan struct{})
}

// idle says that nobody has looked for a while.
func (f *feed) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watchers == 0 && time.Since(f.left) > kept
}

// watch gives the feed of a name, which draw draws, until leave is called.
func (s *Server) watch(name string, draw drawing) (f *feed, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f = s.feeds[name]
	if f == nil {
		f = &feed{changed: make(chan struct{})}
		s.feeds[name] = f
		s.work.Add(1)
		go func() {
			defer s.work.Done()
			s.feed(name, f, draw)
		}()
	}
	f.mu.Lock()
	f.watchers++
	f.mu.Unlock()
	return f, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.watchers--
		f.left = time.Now()
	}
}

// feed draws until nobody looks any more, or the server ends.
func (s *Server) feed(name string, f *feed, draw drawing) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	var state shown
	drawn := int64(-1) // the version of the store
	var next time.Time
	for {
		before := state
		version, err := s.changes.Version(s.ctx)
		if err == nil && version != drawn && !time.Now().Before(next) {
			begun := time.Now()
			var told []byte
			if state.title, told, err = draw.told(s.ctx); err == nil {
				drawn, next = version, begun.Add((rest+1)*time.Since(begun))
				if !bytes.Equal(told, state.told) {
					state.told = told
					state.tolds++
				}
			}
		}
		var now []byte
		if err == nil {
			var stale bool
			if now, stale, err = draw.now(s.ctx); stale {
				drawn = -1
			}
		}
		if err != nil {
			now = trouble(err)
		}
		if !bytes.Equal(now, state.now) {
			state.now = now
			state.nows++
		}
		if state.nows != before.nows || state.tolds != before.tolds {
			f.set(state)
		}
		select {
		case <-clock.C:
		case <-s.ctx.Done():
			return
		}
		if s.drop(name, f) {
			return
		}
	}
}

// drop forgets a feed at which nobody looks.
func (s *Server) drop(name string, f *feed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.idle() {
		return false
	}
	delete(s.feeds, name)
	return true
}
