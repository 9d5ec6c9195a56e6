package qmp

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// Event is something that QEMU tells unasked.
type Event struct {
	Name string
	Data json.RawMessage // the event's arguments, nil if it has none
	Time time.Time       // by the host's clock, in microseconds
}

// Subscribe delivers the events of the given names, or all events when none is named, in their order and from now on.
// No event is lost however slow the receiver is. The channel is closed when the connection has ended and everything
// before that was received, or after cancel, which must be called in any case and may be called twice.
func (c *Client) Subscribe(names ...string) (events <-chan Event, cancel func()) {
	s := &subscription{
		names:     names,
		out:       make(chan Event),
		grown:     make(chan struct{}, 1),
		cancelled: make(chan struct{}),
	}
	c.mu.Lock()
	c.subs[s] = struct{}{}
	if c.err != nil {
		s.end()
	}
	c.mu.Unlock()
	go s.deliver()
	return s.out, sync.OnceFunc(func() {
		c.mu.Lock()
		delete(c.subs, s)
		c.mu.Unlock()
		close(s.cancelled)
	})
}

func (c *Client) publish(m message) {
	e := Event{
		Name: m.Event,
		Data: m.Data,
		Time: time.Unix(m.Timestamp.Seconds, m.Timestamp.Microseconds*int64(time.Microsecond)),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		if len(s.names) == 0 || slices.Contains(s.names, e.Name) {
			s.put(e)
		}
	}
}

// subscription is a queue without a bound: the reader of the connection must not wait for a receiver that may itself
// be waiting for an answer to a command.
type subscription struct {
	names     []string
	out       chan Event
	grown     chan struct{} // holds a token while queue or ended have news
	cancelled chan struct{}

	mu    sync.Mutex
	queue []Event
	ended bool
}

func (s *subscription) put(e Event) {
	s.mu.Lock()
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	s.wake()
}

func (s *subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wake()
}

func (s *subscription) wake() {
	select {
	case s.grown <- struct{}{}:
	default:
	}
}

func (s *subscription) deliver() {
	defer close(s.out)
	for {
		s.mu.Lock()
		batch, ended := s.queue, s.ended
		s.queue = nil
		s.mu.Unlock()
		for _, e := range batch {
			select {
			case s.out <- e:
			case <-s.cancelled:
				return
			}
		}
		if ended {
			return
		}
		select {
		case <-s.grown:
		case <-s.cancelled:
			return
		}
	}
}
