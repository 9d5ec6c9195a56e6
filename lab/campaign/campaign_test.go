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
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
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

// newCampaign is one of eight trials, one after the other, with machines of a script.
func newCampaign(t *testing.T, fork func(n int, m *scripttest.Machine)) *Campaign {
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
	return &Campaign{
		Scenarios: []*scenarios.Scenario{s}, Images: []*images.Image{{ID: "image", OpenZFS: "2.3.2"}}, Jobs: 1, Dir: t.TempDir(),
		Driver: driver, Observe: func(Event) {}, Stable: &trial.Stable{
			Dir: t.TempDir(), Driver: driver, Kernels: &trial.Kernels{}, Progress: func(string, time.Duration) {},
			Open: func(dir string) (*machine.Checkpoint, error) {
				return &machine.Checkpoint{Dir: dir, Scale: 1}, os.MkdirAll(dir, 0o700)
			},
		},
	}
}

// dying is a machine whose hypervisor is killed at once.
func dying(m *scripttest.Machine) { m.Die("was killed") }

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var fourth *scripttest.Machine
	c := newCampaign(t, func(n int, m *scripttest.Machine) {
		if n < 4 {
			dying(m)
			return
		}
		fourth = m
		cancel()
	})
	results, err := c.Run(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "scenario scripted on OpenZFS 2.3.2") {
		t.Fatalf("got %v", err)
	}
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	r := results[0]
	if r.Missing != 5 || r.Held || r.Verdict != Inconclusive || r.OpenZFS != "2.3.2" {
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
	bundles, err := filepath.Glob(filepath.Join(c.Dir, "*", "*", "outcome.json"))
	if err != nil || len(bundles) != 3 {
		t.Errorf("bundles %v, %v", bundles, err)
	}
	if all, _ := filepath.Glob(filepath.Join(c.Dir, "*", "*")); len(all) != 3 {
		t.Errorf("directories %v", all)
	}
}

// TestFailed lets the second trial meet an error of this computer.
func TestFailed(t *testing.T) {
	var c *Campaign
	c = newCampaign(t, func(n int, m *scripttest.Machine) {
		if n == 2 {
			if err := os.RemoveAll(filepath.Join(c.Dir, "scripted-2.3.2", "no-flip-001")); err != nil {
				t.Error(err)
			}
		}
		dying(m)
	})
	results, err := c.Run(t.Context())
	if !errors.Is(err, os.ErrNotExist) || len(results) != 1 || results[0].Missing != 7 || results[0].Arms[0].Trials != 1 {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestNothingDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newCampaign(t, func(int, *scripttest.Machine) { cancel() })
	if results, err := c.Run(ctx); !errors.Is(err, context.Canceled) || len(results) != 0 {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestWhole(t *testing.T) {
	c := newCampaign(t, func(_ int, m *scripttest.Machine) { dying(m) })
	results, err := c.Run(t.Context())
	if err != nil || len(results) != 1 || results[0].Missing != 0 || results[0].Arms[0].Trials+results[0].Arms[1].Trials != 8 {
		t.Errorf("got %+v, %v", results, err)
	}
}
