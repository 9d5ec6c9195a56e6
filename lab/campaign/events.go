package campaign

import (
	"context"
	"iter"
	"sync"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Event is progress: one of the types below, or of those that a search has of its own.
type Event any

// Started says that a trial began.
type Started struct{ Spec trial.Spec }

// Entered says that it has a machine: what the guest prints is found in a file of this computer from an offset on, for as long as
// the trial runs.
type Entered struct {
	Spec    trial.Spec
	Console string
	From    int64
}

// Ended says how it went.
type Ended struct {
	Spec   trial.Spec
	Result trial.Result
}

// Dropped says that it was broken off: it was not wanted any more, or the campaign ends.
type Dropped struct{ Spec trial.Spec }

// Paused says what there is too little of for another trial, and with an empty word that there is enough again.
type Paused struct{ Lacking string }

// Planned opens a scenario on a version: these arms will have at most so many trials.
type Planned struct {
	Scenario, OpenZFS string
	Arms              []ArmPlan
	// Asked, Plan and Done are for verdict.Conclude: with the results that come they say at any time how it stands. Done are those
	// of trials that were stored before.
	Asked *scenarios.Scenario
	Plan  verdict.Plan
	Done  []trial.Result
}

// ArmPlan is an arm with the number of its trials.
type ArmPlan struct {
	Arm    scenarios.Arm
	Trials int
}

// Skipped says that a scenario's question cannot be asked of a version.
type Skipped struct{ Scenario, OpenZFS string }

// Judged closes a scenario on a version. One trial alone is not judged.
type Judged struct{ Summary verdict.Summary }

// Stream is what happens in a campaign. Whoever follows it sees all of it from the beginning, also one who comes late, and
// nobody who is slow keeps it from going on. Its zero value is ready.
type Stream struct {
	mu      sync.Mutex
	events  []Event
	closed  bool
	changed chan struct{} // closed when there is more; nil while nobody waits
}

// Publish adds an event.
func (s *Stream) Publish(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	s.wake()
}

// Close says that nothing more comes.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
}

func (s *Stream) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Follow gives all events, those that are still to come included, until the stream is closed or the context ends.
func (s *Stream) Follow(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for seen := 0; ; {
			events, closed, changed := s.since(seen)
			for _, e := range events {
				if !yield(e) {
					return
				}
			}
			seen += len(events)
			if len(events) > 0 {
				continue
			}
			if closed {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *Stream) since(n int) (events []Event, closed bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.events[n:len(s.events):len(s.events)], s.closed, s.changed
}
