package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

const scripted = `name: scripted
question: Does it?
claim: "It does."
cause: memory
cost: fast
machine: {cpus: 1, memory: 1GiB, disks: {v0: 512MiB}}
pool: {name: tank, layout: v0}
workload: [arm]
fault:
  blkptr-dva-flip: {at: zio_free_sync, after: 8}
arms:
  - name: flip
  - name: no-flip
    control: true
    withhold: true
trials: 4
limit: 24h
expect:
  verdict: reproduces
  rate: 0.9
`

// stage is a run of eight trials, one after the other, with machines of a script.
type stage struct {
	runner *Runner
	asked  *Questions
	dir    string
}

func newStage(t *testing.T, fork func(n int, m *scripttest.Machine)) *stage {
	t.Helper()
	s, err := scenarios.Parse("scripted.yaml", []byte(scripted))
	if err != nil {
		t.Fatal(err)
	}
	var forks atomic.Int64
	driver := &scripttest.Driver{OnFork: func(context.Context, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
		m := scripttest.New(t)
		fork(int(forks.Add(1)), m)
		return m, nil
	}}
	img := &images.Image{ID: "image", OpenZFS: "2.3.2"}
	q := &Questions{
		Asked: Ask([]*scenarios.Scenario{s}), Images: []trial.Image{{ID: img.ID, OpenZFS: img.OpenZFS}}, Driver: driver.Name(), Accel: string(driver.Accel()),
	}
	if err := q.Plan(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &stage{asked: q, dir: dir, runner: &Runner{
		Search: q, Jobs: 1, Stream: &Stream{},
		Options: func(w Want) bench.Options { return bench.Options{Bundle: filepath.Join(dir, w.Bundle)} },
		Bench: On{&bench.Bench{
			Driver: driver, Image: func(context.Context, trial.Image) (*images.Image, error) { return img, nil },
			Checkpoints: &checkpoint.Cache{
				Dir: t.TempDir(), Driver: driver, Kernels: &checkpoint.Kernels{}, Progress: func(string, time.Duration) {},
				Open: func(dir string) (*machine.Checkpoint, error) {
					return &machine.Checkpoint{Dir: dir, Scale: 1}, os.MkdirAll(dir, 0o700)
				},
			},
		}},
	}}
}

// run gives what is known at the end.
func (s *stage) run(ctx context.Context) ([]verdict.Summary, error) {
	done := Results{}
	_, err := s.runner.Run(ctx, done)
	return s.asked.Summaries(done), err
}

// dying is a machine whose hypervisor is killed at once.
func dying(m *scripttest.Machine) { m.Die("was killed") }

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var fourth *scripttest.Machine
	c := newStage(t, func(n int, m *scripttest.Machine) {
		if n < 4 {
			dying(m)
			return
		}
		fourth = m
		cancel()
	})
	results, err := c.run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	r := results[0]
	if r.Missing != 5 || r.Held || r.Verdict != verdict.Inconclusive || r.OpenZFS != "2.3.2" {
		t.Errorf("got %+v", r)
	}
	if r.Arms[0].Trials != 2 || r.Arms[1].Trials != 1 || r.Arms[0].Outcomes[trial.Invalid] != 2 {
		t.Errorf("arms %+v", r.Arms)
	}
	select {
	case <-fourth.Done():
	default:
		t.Error("a machine was left running")
	}
	// What was broken off has no bundle, what was done has.
	bundles, err := filepath.Glob(filepath.Join(c.dir, "*", "*", "outcome.json"))
	if err != nil || len(bundles) != 3 {
		t.Errorf("bundles %v, %v", bundles, err)
	}
	if all, _ := filepath.Glob(filepath.Join(c.dir, "*", "*")); len(all) != 3 {
		t.Errorf("directories %v", all)
	}
}

// TestFailed lets the second trial meet an error of this computer.
func TestFailed(t *testing.T) {
	var c *stage
	c = newStage(t, func(n int, m *scripttest.Machine) {
		if n == 2 {
			if err := os.RemoveAll(filepath.Join(c.dir, "scripted-2.3.2", "no-flip-001")); err != nil {
				t.Error(err)
			}
		}
		dying(m)
	})
	results, err := c.run(t.Context())
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "scripted on OpenZFS 2.3.2, no-flip/1") || len(results) != 1 || results[0].Missing != 7 || results[0].Arms[0].Trials != 1 {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestNothingDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newStage(t, func(int, *scripttest.Machine) { cancel() })
	if results, err := c.run(ctx); !errors.Is(err, context.Canceled) || len(results) != 0 {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestWhole(t *testing.T) {
	c := newStage(t, func(_ int, m *scripttest.Machine) { dying(m) })
	results, err := c.run(t.Context())
	if err != nil || len(results) != 1 || results[0].Missing != 0 || results[0].Arms[0].Trials+results[0].Arms[1].Trials != 8 {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestArms(t *testing.T) {
	s := &scenarios.Scenario{Arms: []scenarios.Arm{{Name: "fault", Trials: 10}, {Name: "control", Control: true, Trials: 5}}}
	for trials, want := range map[int][2]int{0: {10, 5}, 20: {20, 10}, 3: {3, 2}, 1: {1, 1}} {
		c := Questions{Trials: trials}
		got, err := c.arms(s)
		if err != nil || got[0].Trials != want[0] || got[1].Trials != want[1] {
			t.Errorf("--trials %d gives %v, %v; want %v", trials, got, err, want)
		}
	}
	c := Questions{Only: &Pick{Arm: "no such", Number: 1}}
	if _, err := c.arms(s); err == nil {
		t.Error("an arm that does not exist can be picked")
	}
}

// A file of the user's is repeated by its path, and every trial with the driver that was chosen.
func TestRepeat(t *testing.T) {
	c := Questions{Seed: 7, Flags: " --driver libvirt"}
	for file, want := range map[string]string{"mine.yaml": "mine", "./mine.yaml": "./mine.yaml"} {
		p := c.want(&scenarios.Scenario{Name: "mine", File: file}, trial.Image{OpenZFS: "2.3.9"}, "flip", 4)
		if want = "vdevil run " + want + " --zfs 2.3.9 --seed 7 --only flip/4 --driver libvirt"; p.Repeat != want {
			t.Errorf("%s: %q, want %q", file, p.Repeat, want)
		}
	}
}

func TestSeed(t *testing.T) {
	seen := map[uint64]string{}
	for _, scenario := range []string{"a", "b"} {
		for _, arm := range []string{"x", "y"} {
			for n := 1; n <= 3; n++ {
				k := scenario + arm + string(rune('0'+n))
				s := seed(7, scenario, "2.3.2", arm, n)
				if other, ok := seen[s]; ok {
					t.Errorf("%s and %s have the same seed", k, other)
				}
				if s != seed(7, scenario, "2.3.2", arm, n) {
					t.Errorf("the seed of %s changes", k)
				}
				seen[s] = k
			}
		}
	}
}

// TestShards expects two parts of a campaign to be the whole, and nothing twice.
func TestShards(t *testing.T) {
	all := Results{}
	for part := 1; part <= 2; part++ {
		s := newStage(t, func(_ int, m *scripttest.Machine) { dying(m) })
		s.runner.Shard = Shard{part, 2}
		done := Results{}
		over, err := s.runner.Run(t.Context(), done)
		if err != nil || over || len(done) == 0 || len(done) == 8 {
			t.Errorf("part %d: over %t, %d trials, %v", part, over, len(done), err)
		}
		for id, r := range done {
			if _, ok := all[id]; ok {
				t.Errorf("%s/%d is in both parts", r.Arm, r.Number)
			}
			all[id] = r
		}
	}
	if want, _ := newStage(t, nil).asked.Next(all); len(all) != 8 || len(want) != 0 {
		t.Errorf("%d trials, %d are wanted yet", len(all), len(want))
	}
}

// TestBudget expects what runs to come to its end when the time is used up, and nothing more to begin.
func TestBudget(t *testing.T) {
	s := newStage(t, func(_ int, m *scripttest.Machine) { dying(m) })
	s.runner.Search = script{func(done Results) []Want {
		if len(done) == 2 {
			s.runner.Until = time.Now().Add(-time.Second)
		}
		want, _ := s.asked.Next(done)
		return want
	}}
	done := Results{}
	if over, err := s.runner.Run(t.Context(), done); err != nil || over || len(done) != 2 {
		t.Errorf("over %t, %d trials, %v", over, len(done), err)
	}
}

// TestResume expects what was done not to be done again.
func TestResume(t *testing.T) {
	forks := 0
	count := func(_ int, m *scripttest.Machine) { forks++; dying(m) }
	s := newStage(t, count)
	s.runner.Until = time.Now() // none
	done := Results{}
	for _, w := range s.asked.questions[0].wants["flip"] {
		done[w.ID] = trial.Result{Arm: "flip", Number: w.Spec.Number, Outcome: trial.Invalid}
	}
	s.runner.Until = time.Time{}
	if over, err := s.runner.Run(t.Context(), done); err != nil || !over || len(done) != 8 || forks != 4 {
		t.Errorf("over %t, %d trials, %d forks, %v", over, len(done), forks, err)
	}
	for _, e := range events[Planned](t, s) {
		if len(e.Done) != 4 || verdict.Conclude(e.Asked, e.Done, e.Plan).Arms[0].Trials != 4 {
			t.Errorf("nobody is told what was done before: %+v", e.Done)
		}
	}
}

// events are those of a type that a stage has had.
func events[T Event](t *testing.T, s *stage) (all []T) {
	t.Helper()
	s.runner.Stream.Close()
	for e := range s.runner.Stream.Follow(t.Context()) {
		if e, ok := e.(T); ok {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		t.Errorf("there was no %T", *new(T))
	}
	return all
}

// TestEntered expects the console of a trial to be found while it runs.
func TestEntered(t *testing.T) {
	var consoles []string
	s := newStage(t, func(_ int, m *scripttest.Machine) {
		consoles = append(consoles, m.Console().Path())
		dying(m)
	})
	if _, err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, e := range events[Entered](t, s) {
		text, err := os.ReadFile(e.Console)
		if err != nil || e.Console != consoles[i] || e.From != int64(len("[    0.0] Linux\n")) || int64(len(text)) < e.From {
			t.Errorf("console %s from %d, %v", e.Console, e.From, err)
		}
	}
}

// script is a search that wants what it is told to.
type script struct{ next func(done Results) []Want }

func (s script) Next(done Results) ([]Want, []Event) { return s.next(done), nil }

// TestDropped expects a trial to be broken off that the search can do without, and not to be counted.
func TestDropped(t *testing.T) {
	hangs := make(chan *scripttest.Machine, 1)
	s := newStage(t, func(n int, m *scripttest.Machine) {
		if n == 1 {
			hangs <- m
			return
		}
		dying(m)
	})
	wants := s.asked.questions[0].wants
	s.runner.Jobs = 2
	s.runner.Search = script{func(done Results) []Want {
		if len(done) > 0 {
			return nil
		}
		return []Want{wants["flip"][0], wants["no-flip"][0]}
	}}
	done := Results{}
	over, err := s.runner.Run(t.Context(), done)
	if err != nil || !over || len(done) != 1 {
		t.Errorf("over %t, %d trials, %v", over, len(done), err)
	}
	select {
	case <-(<-hangs).Done():
	default:
		t.Error("its machine was left running")
	}
	s.runner.Stream.Close()
	var dropped, ended int
	for e := range s.runner.Stream.Follow(t.Context()) {
		switch e.(type) {
		case Dropped:
			dropped++
		case Ended:
			ended++
		}
	}
	if dropped != 1 || ended != 1 {
		t.Errorf("%d were dropped, %d ended", dropped, ended)
	}
}

// TestFollow expects one who comes late to see all, and one who looks away to hold up nobody.
func TestFollow(t *testing.T) {
	var s Stream
	for n := range 3 {
		s.Publish(n)
	}
	seen := make(chan Event)
	go func() {
		defer close(seen)
		for e := range s.Follow(t.Context()) {
			seen <- e
		}
	}()
	if e := <-seen; e != 0 {
		t.Errorf("the first is %v", e)
	}
	for n := 3; n < 1000; n++ { // nobody takes them now
		s.Publish(n)
	}
	s.Close()
	n := 1
	for e := range seen {
		if e != n {
			t.Fatalf("event %d is %v", n, e)
		}
		n++
	}
	if n != 1000 {
		t.Errorf("%d events", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range (&Stream{}).Follow(ctx) {
		t.Error("an event of none")
	}
}

// TestJSON expects what was read back to ask for the same trials.
func TestJSON(t *testing.T) {
	q := newStage(t, nil).asked
	q.Seed, q.Only = 1<<63+1, &Pick{"flip", 3}
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	var back Questions
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	q.questions = nil
	if err := errors.Join(q.Plan(), back.Plan()); err != nil {
		t.Fatal(err)
	}
	want, _ := q.Next(nil)
	got, _ := back.Next(nil)
	if len(want) != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestPaused expects trials to wait where there is no room, and the wait to be told once.
func TestPaused(t *testing.T) {
	s := newStage(t, func(_ int, m *scripttest.Machine) { dying(m) })
	asked := 0
	s.runner.again = time.Millisecond
	s.runner.Room = func(int) string {
		if asked++; asked > 2 && asked < 6 {
			return "no room"
		}
		return ""
	}
	done := Results{}
	if over, err := s.runner.Run(t.Context(), done); err != nil || !over || len(done) != 8 {
		t.Errorf("over %t, %d trials, %v", over, len(done), err)
	}
	s.runner.Stream.Close()
	var told []string
	for e := range s.runner.Stream.Follow(t.Context()) {
		if p, ok := e.(Paused); ok {
			told = append(told, p.Lacking)
		}
	}
	if !slices.Equal(told, []string{"no room", ""}) {
		t.Errorf("told %q", told)
	}
}

// TestNoRoom expects a run to end that waits for what nobody will give back.
func TestNoRoom(t *testing.T) {
	s := newStage(t, nil)
	s.runner.again = time.Millisecond
	s.runner.Room = func(int) string { return "no room" }
	if over, err := s.runner.Run(t.Context(), Results{}); over || err == nil || err.Error() != "no room" {
		t.Errorf("over %t, %v", over, err)
	}
}

// TestPausedForEver expects a context to end a wait for room.
func TestPausedForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newStage(t, nil)
	s.runner.Room = func(int) string { cancel(); return "no room" }
	if over, err := s.runner.Run(ctx, Results{}); over || !errors.Is(err, context.Canceled) {
		t.Errorf("over %t, %v", over, err)
	}
}
