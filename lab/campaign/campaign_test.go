package campaign

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
		Asked: Ask([]*scenarios.Scenario{s}), Images: []Image{{img.ID, img.OpenZFS}}, Driver: driver.Name(), Accel: string(driver.Accel()),
	}
	if err := q.Plan(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &stage{asked: q, dir: dir, runner: &Runner{
		Search: q, Jobs: 1, Stream: &Stream{},
		Options: func(w Want) bench.Options { return bench.Options{Bundle: filepath.Join(dir, w.Bundle)} },
		Bench: &bench.Bench{
			Driver: driver, Image: func(context.Context, trial.Spec) (*images.Image, error) { return img, nil },
			Checkpoints: &checkpoint.Cache{
				Dir: t.TempDir(), Driver: driver, Kernels: &checkpoint.Kernels{}, Progress: func(string, time.Duration) {},
				Open: func(dir string) (*machine.Checkpoint, error) {
					return &machine.Checkpoint{Dir: dir, Scale: 1}, os.MkdirAll(dir, 0o700)
				},
			},
		},
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
		p := c.want(&scenarios.Scenario{Name: "mine", File: file}, Image{OpenZFS: "2.3.9"}, "flip", 4)
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
