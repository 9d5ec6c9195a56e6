// Package campaign asks for trials until a question is answered: a Search says which ones are wanted, benches do them, a store
// remembers them, and a Stream tells of it.
package campaign

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/trial"
)

// Search decides which trials are wanted next.
type Search interface {
	// Next is pure: the same results give the same answer, so that a search that was broken off goes on where it was. What it
	// wants is in order and not among done; when it wants nothing more it is over. news is all that there is to say so far,
	// what was said before first.
	Next(done Results) (want []Want, news []Event)
}

// Results are those of the trials that came to their end, by the ID of their spec.
type Results map[string]trial.Result

// Want is a trial that a search asks for.
type Want struct {
	ID   string // of Spec
	Spec trial.Spec
	// Bundle names the directory for its evidence within the campaign's, Repeat is the command that does it again.
	Bundle, Repeat string
}

// WantOf gives a spec its ID.
func WantOf(s trial.Spec) Want { return Want{ID: s.ID(), Spec: s} }

// Bench does trials.
type Bench interface {
	// Prepare makes what a trial starts from. Group names it: trials of one group start from the same.
	Prepare(ctx context.Context, s trial.Spec) (*bench.Trial, error)
	Group(s trial.Spec) string
}

// Store remembers results.
type Store interface {
	// Put remembers a trial that came to its end. The first result of a spec is the one that counts.
	Put(ctx context.Context, w Want, r trial.Result) error
}

// Runner does what a search asks for.
type Runner struct {
	Search Search
	Bench  Bench
	// Jobs is how many trials run at once.
	Jobs int
	// Store may be nil.
	Store Store
	// Options are for a trial.
	Options func(Want) bench.Options
	Stream  *Stream
}

// Run goes on until the search is over. done are the results of trials that were done before; those of this run are added to
// it, also when an error ends the run.
func (r *Runner) Run(ctx context.Context, done Results) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		want   Want
		result trial.Result
		err    error
	}
	var (
		told    int
		running = map[string]bool{}
		ended   = make(chan end)
		failed  error
	)
	for {
		want, news := r.Search.Next(done)
		for ; told < len(news); told++ {
			r.Stream.Publish(news[told])
		}
		for i, w := range want {
			if failed != nil || limited.Err() != nil || len(running) >= max(1, r.Jobs) {
				break
			}
			if running[w.ID] {
				continue
			}
			running[w.ID] = true
			next := r.following(want[i+1:], w)
			go func() {
				result, err := r.do(limited, w, next)
				ended <- end{w, result, err}
			}()
		}
		if len(running) == 0 {
			if failed == nil && len(want) > 0 {
				failed = context.Cause(ctx)
			}
			return failed
		}
		e := <-ended
		delete(running, e.want.ID)
		if e.err == nil {
			done[e.want.ID] = e.result
			if r.Store != nil {
				e.err = r.Store.Put(context.WithoutCancel(ctx), e.want, e.result)
			}
			r.Stream.Publish(Ended{e.want.Spec, e.result})
		}
		if e.err != nil && failed == nil && ctx.Err() == nil { // the first one is the cause of the others
			failed = e.err
			cancel()
		}
	}
}

// following is how many of the trials that will begin soon start from what w starts from.
func (r *Runner) following(want []Want, w Want) (n int) {
	group := r.Bench.Group(w.Spec)
	for _, other := range want[:min(len(want), 2*max(1, r.Jobs))] {
		if r.Bench.Group(other.Spec) == group {
			n++
		}
	}
	return n
}

func (r *Runner) do(ctx context.Context, w Want, next int) (trial.Result, error) {
	t, err := r.Bench.Prepare(ctx, w.Spec)
	if err != nil {
		return trial.Result{}, fmt.Errorf("%s: %w", w.Spec.Title(), err)
	}
	r.Stream.Publish(Started{w.Spec})
	o := r.Options(w)
	o.Next, o.Repeat = next, w.Repeat
	result, err := t.Do(ctx, o)
	if err != nil {
		err = fmt.Errorf("%s: %w", w.Spec.Title(), err)
	}
	return result, err
}
