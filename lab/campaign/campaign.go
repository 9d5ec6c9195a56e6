// Package campaign asks for trials until a question is answered: a Search says which ones are wanted, benches do them, a store
// remembers them, and a Stream tells of it.
package campaign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// Search decides which trials are wanted next.
type Search interface {
	// Next is pure: the same results give the same answer, so that a search that was broken off goes on where it was. What it
	// wants is in order and not among done; when it wants nothing more it is over. news is all that there is to say so far,
	// what was said before first.
	Next(done Results) (want []Want, news []Event)
}

// Noter is a Search that has something to note in a result before that is remembered: what it says of those before.
type Noter interface {
	Note(done Results, w Want, r *trial.Result)
}

// Results are those of the trials that came to their end, by the ID of their spec.
type Results map[string]trial.Result

// Want is a trial that a search asks for.
type Want struct {
	ID   string // of Spec
	Spec trial.Spec
	// Bundle names the directory for its evidence within the campaign's, Repeat is the command that does it again, empty for that of its
	// bundle.
	Bundle, Repeat string
}

// WantOf gives a spec its ID.
func WantOf(s trial.Spec) Want { return Want{ID: s.ID(), Spec: s} }

// Bench does trials.
type Bench interface {
	// Prepare makes what a trial starts from. Group names it: trials of one group start from the same. Release is told when none of
	// a group is to come.
	Prepare(ctx context.Context, s trial.Spec) (Trial, error)
	Group(s trial.Spec) string
	Release(group string) error
}

// Trial is one that is ready.
type Trial interface {
	// Do does it. An error means that the context ended or that nothing can be written.
	Do(ctx context.Context, o bench.Options) (trial.Result, error)
}

// On is the bench of package bench.
type On struct{ *bench.Bench }

// Prepare implements Bench.
func (b On) Prepare(ctx context.Context, s trial.Spec) (Trial, error) { return b.Bench.Prepare(ctx, s) }

// Store remembers results.
type Store interface {
	// Put remembers a trial that came to its end. The first result of a spec is the one that counts.
	Put(ctx context.Context, id string, s trial.Spec, r trial.Result) error
}

// Runner does what a search asks for.
type Runner struct {
	Search Search
	Bench  Bench
	// Jobs is how many trials run at once: more only, up to three times as many, while Spare says that the CPUs have time for
	// another one. It is asked again after a while. Nil is never.
	Jobs  int
	Spare func() bool
	// Shard is the part of the trials to do; the zero value is all of them.
	Shard Shard
	// Until is when to stop beginning trials; the zero value is never.
	Until time.Time
	// Store may be nil.
	Store Store
	// Options are for a trial.
	Options func(Want) bench.Options
	Stream  *Stream
	// Room says what there is too little of for another trial, beside so many that were just begun, empty for nothing. It is asked
	// again after a while; when it says so for long, and no trial runs that will give back what it has, the run ends with that. Nil is
	// always enough.
	Room func(begun int) string

	again time.Duration // 0 for the constant
}

// again is how long to wait where there is no room, tries how often.
const (
	again = 5 * time.Second
	tries = 4
)

// Shard is one of several parts of a campaign. Which trials are in it is decided by their IDs alone.
type Shard struct {
	Part int // from 1
	Of   int
}

// has says whether a trial is in the part.
func (s Shard) has(id string) bool {
	if s.Of < 2 {
		return true
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(id)) // never fails
	return sum.Sum64()%uint64(s.Of) == uint64(s.Part-1)
}

// of are those of some trials that are in the part.
func (s Shard) of(want []Want) []Want {
	if s.Of < 2 {
		return want
	}
	return slices.DeleteFunc(slices.Clone(want), func(w Want) bool { return !s.has(w.ID) })
}

// job is a trial that runs.
type job struct {
	cancel  context.CancelFunc
	group   string
	dropped bool // nobody waits for its result any more
}

// under is what is under way.
type under struct {
	running map[string]*job // by the ID of the spec
	groups  map[string]bool // of which trials were begun, and whether what they start from is made
	ended   chan end
	ready   chan string // groups
}

// end is how a trial came to its end.
type end struct {
	want   Want
	result trial.Result
	err    error
}

// Run goes on until the search is over, and says whether it is: a shard may be done, or the time used up, while the search wants
// more. done are the results of trials that were done before; those of this run are added to it, also when an error ends the
// run. A trial that the search can do without since another one has ended is broken off.
func (r *Runner) Run(ctx context.Context, done Results) (over bool, err error) {
	told, u := 0, &under{running: map[string]*job{}, groups: map[string]bool{}, ended: make(chan end), ready: make(chan string)}
	lacking, waits := "", 0
	for {
		want, news := r.Search.Next(done)
		for ; told < len(news); told++ {
			r.Stream.Publish(news[told])
		}
		if ctx.Err() != nil && err == nil {
			err = context.Cause(ctx)
		}
		mine := r.Shard.of(want)
		drop(u.running, mine, err != nil)
		err = errors.Join(err, r.release(u, mine))
		var later <-chan time.Time
		if err == nil && (r.Until.IsZero() || time.Now().Before(r.Until)) {
			lack, more := r.begin(ctx, mine, u)
			if waits++; lack == "" || len(u.running) > 0 {
				waits = 0
			}
			switch {
			case waits > tries:
				err = errors.New(lack)
			case lack != "", more:
				later = time.After(cmp.Or(r.again, again))
			}
			if lack != lacking {
				lacking = lack
				r.Stream.Publish(Paused{lack})
			}
		}
		if len(u.running) == 0 && later == nil {
			return len(want) == 0, err
		}
		select {
		case group := <-u.ready:
			u.groups[group] = true
		case e := <-u.ended:
			err = errors.Join(err, r.take(ctx, e, u, done))
		case <-later:
		case <-ctx.Done():
			if len(u.running) > 0 { // they end by themselves
				err = errors.Join(err, r.take(ctx, <-u.ended, u, done))
			}
		}
	}
}

// take notes how a trial ended.
func (r *Runner) take(ctx context.Context, e end, u *under, done Results) (err error) {
	j := u.running[e.want.ID]
	delete(u.running, e.want.ID)
	j.cancel()
	if !u.groups[j.group] { // it was to make what the group starts from: another one may
		delete(u.groups, j.group)
	}
	switch {
	case e.err == nil:
		if n, ok := r.Search.(Noter); ok {
			n.Note(done, e.want, &e.result)
		}
		done[e.want.ID] = e.result
		if r.Store != nil {
			err = r.Store.Put(context.WithoutCancel(ctx), e.want.ID, e.want.Spec, e.result)
		}
		r.Stream.Publish(Ended{e.want.Spec, e.result})
	case j.dropped, ctx.Err() != nil:
		r.Stream.Publish(Dropped{e.want.Spec})
	default:
		r.Stream.Publish(Dropped{e.want.Spec})
		err = fmt.Errorf("%s: %w", e.want.Spec.Title(), e.err)
	}
	return err
}

// release tells the bench of groups of which no trial is to come.
func (r *Runner) release(u *under, want []Want) (err error) {
	open := map[string]bool{}
	for _, j := range u.running {
		open[j.group] = true
	}
	for i := 0; i < len(want) && len(open) < len(u.groups); i++ {
		open[r.Bench.Group(want[i].Spec)] = true
	}
	for group := range u.groups {
		if !open[group] {
			delete(u.groups, group)
			err = errors.Join(err, r.Bench.Release(group))
		}
	}
	return err
}

// drop breaks off what runs and is not wanted any more, or all.
func drop(running map[string]*job, want []Want, all bool) {
	wanted := 0
	for _, j := range running {
		j.dropped = true
	}
	for _, w := range want {
		if wanted == len(running) || all {
			break
		}
		if j := running[w.ID]; j != nil {
			j.dropped = false
			wanted++
		}
	}
	for _, j := range running {
		if j.dropped {
			j.cancel()
		}
	}
}

// most is how many times Jobs may run where the CPUs have time.
const most = 3

// begin starts the next trials, as many as there is room for. It says what there is too little of, or that more may begin when the
// CPUs have time. What trials start from is made by the first of them: until then the others let the next group go first, rather
// than wait for it side by side.
func (r *Runner) begin(ctx context.Context, want []Want, u *under) (lack string, more bool) {
	jobs, begun := max(1, r.Jobs), 0
	for i, w := range want {
		if u.running[w.ID] != nil {
			continue
		}
		group := r.Bench.Group(w.Spec)
		if made, begun := u.groups[group]; begun && !made {
			continue
		}
		if len(u.running) >= jobs {
			if r.Spare == nil || len(u.running) >= most*jobs {
				return "", false
			}
			if !r.Spare() {
				return "", true
			}
		}
		if r.Room != nil {
			if lack := r.Room(begun); lack != "" {
				return lack, false
			}
		}
		limited, cancel := context.WithCancel(ctx)
		if !u.groups[group] {
			u.groups[group] = false
		}
		u.running[w.ID] = &job{cancel: cancel, group: group}
		begun++
		next := r.following(want[i+1:], group)
		go func() {
			result, err := r.do(limited, w, next, func() {
				select {
				case u.ready <- group:
				case <-limited.Done():
				}
			})
			u.ended <- end{w, result, err}
		}()
	}
	return "", false
}

// following is how many of the trials that will begin soon are of a group.
func (r *Runner) following(want []Want, group string) (n int) {
	for _, other := range want[:min(len(want), 2*max(1, r.Jobs))] {
		if r.Bench.Group(other.Spec) == group {
			n++
		}
	}
	return n
}

func (r *Runner) do(ctx context.Context, w Want, next int, ready func()) (trial.Result, error) {
	t, err := r.Bench.Prepare(ctx, w.Spec)
	if err != nil {
		return trial.Result{}, err
	}
	ready()
	r.Stream.Publish(Started{w.Spec})
	o := r.Options(w)
	o.Next, o.Repeat = next, cmp.Or(w.Repeat, o.Repeat)
	o.Entered = func(c *machine.Console) { r.Stream.Publish(Entered{w.Spec, c.Path(), int64(c.Start())}) }
	return t.Do(ctx, o)
}
