package crash

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Request says which workload is cut short, how, and how many of its states are judged. As JSON it is the whole of it.
type Request struct {
	Asked campaign.Asked `json:"scenario"`
	Arm   string         `json:"arm"`
	Image trial.Image    `json:"image"`
	// Driver and Accel are what the guests run on.
	Driver string `json:"driver"`
	Accel  string `json:"accel"`
	Seed   uint64 `json:"seed"`
	Flush  Flush  `json:"flush"`
	States int    `json:"states"`
	// Promises is for how long files are written with fsync beside the workload, by the guest's clock.
	Promises time.Duration `json:"promises_ns"`
	// Recorded is what the workload did.
	Recorded Recorded `json:"recorded"`
}

// Name is the scenario's: a file is called after it.
func (r Request) Name() string {
	return strings.TrimSuffix(filepath.Base(r.Asked.File), filepath.Ext(r.Asked.File))
}

// Recorded says what a workload did to its disks.
type Recorded struct {
	// ID tells records apart.
	ID string `json:"id"`
	// Writes, Flushes and Bytes are what the workload did to the disks, Promised how many files it wrote with fsync.
	Writes   int     `json:"writes"`
	Flushes  int     `json:"flushes"`
	Bytes    int64   `json:"bytes"`
	Promised int     `json:"promised"`
	Seconds  float64 `json:"seconds"`
}

// Study is the search of a workload whose every moment may be its last, and the bench that does its trials.
type Study struct {
	Request
	OnImage     *images.Image
	Machines    machine.Driver
	Checkpoints *checkpoint.Cache
	// Dir is for disks and the log, on the file system of the checkpoints. Sockets is for sockets; its name has at most 60 bytes.
	Dir, Sockets string

	scenario *scenarios.Scenario
	resolved scenarios.Resolved
	booted   *machine.Checkpoint
	record   *record
	states   []*State
	wants    []campaign.Want

	mu        sync.Mutex
	importers []*importer // that nobody uses
	made      int
}

// Record runs the workload, once, and chooses the states. It, or Recall, is to be called first; Close lets go of what it has made.
func (s *Study) Record(ctx context.Context) (err error) {
	if err := s.begin(ctx); err != nil {
		return err
	}
	start := time.Now()
	if s.record, err = s.run(ctx); err != nil {
		return err
	}
	log := s.record.log
	states, flushes := s.plan()
	s.Recorded = Recorded{
		ID: rand.Text(), Writes: log.Len() - flushes, Flushes: flushes, Bytes: log.size, Promised: len(s.record.promises),
		Seconds: time.Since(start).Seconds(),
	}
	s.choose(states)
	return nil
}

// begin reads the scenario and boots the guest that states are judged in.
func (s *Study) begin(ctx context.Context) (err error) {
	if s.scenario, err = scenarios.Parse(s.Asked.File, []byte(s.Asked.Text)); err != nil {
		return err
	}
	if s.resolved, err = s.scenario.ForArm(s.Arm); err != nil {
		return err
	}
	// States are judged one by one, each by commands that wait for one another: more CPUs would wait too.
	judges := s.resolved.Machine
	judges.CPUs = 1
	s.booted, err = s.Checkpoints.Booted(ctx, s.OnImage, judges)
	return err
}

// plan chooses the states: the same ones of the same record.
func (s *Study) plan() (states []*State, flushes int) {
	return s.record.log.Plan(s.States, s.Flush, mathrand.New(mathrand.NewPCG(s.Seed, 2)))
}

// choose wants the states judged.
func (s *Study) choose(states []*State) {
	s.states = states
	for _, m := range states {
		w := campaign.WantOf(s.spec(m.Number))
		w.Bundle = fmt.Sprintf("state-%04d", m.Number)
		s.wants = append(s.wants, w)
	}
}

// Close ends the guests and drops the record.
func (s *Study) Close() (err error) {
	for _, im := range s.importers {
		err = errors.Join(err, im.close())
	}
	if s.record != nil {
		err = errors.Join(err, s.record.close())
	}
	return err
}

func (s *Study) spec(number int) trial.Spec {
	return trial.Spec{
		Version: trial.SpecVersion, Name: s.scenario.Name, Scenario: s.scenario.Source, Arm: s.Arm, Number: number, Seed: s.Seed,
		Image: s.Image.ID, OpenZFS: s.Image.OpenZFS, Driver: s.Driver, Accel: s.Accel,
		Cut: &trial.Cut{States: s.States, Lying: s.Flush.Lying, Cache: s.Flush.Cache, Promises: s.Promises, Record: s.Recorded.ID},
	}
}

// Begun says that the workload was recorded and how many states will be judged. Done were judged before.
type Begun struct {
	Recorded Recorded
	States   int
	Done     []trial.Result
}

// Next wants every state judged.
func (s *Study) Next(done campaign.Results) (want []campaign.Want, news []campaign.Event) {
	for _, w := range s.wants {
		if _, ok := done[w.ID]; !ok {
			want = append(want, w)
		}
	}
	return want, []campaign.Event{Begun{s.Recorded, len(s.wants), s.Results(done)}}
}

// Results are those of the states that were judged, in order.
func (s *Study) Results(done campaign.Results) (all []trial.Result) {
	for _, w := range s.wants {
		if r, ok := done[w.ID]; ok {
			all = append(all, r)
		}
	}
	return all
}

// Group is one for all states: they share the record.
func (s *Study) Group(trial.Spec) string { return s.Recorded.ID }

// Release has nothing to let go of before Close.
func (s *Study) Release(string) error { return nil }

// Prepare finds the state in the record.
func (s *Study) Prepare(_ context.Context, spec trial.Spec) (campaign.Trial, error) {
	if spec.Cut == nil || spec.Cut.Record != s.Recorded.ID || spec.Number < 1 || spec.Number > len(s.states) {
		return nil, errors.New("the record of this power cut is gone")
	}
	return &unit{s, s.states[spec.Number-1]}, nil
}

// unit is a state that is to be judged.
type unit struct {
	study *Study
	state *State
}

// Do judges the state in a guest that others were judged in, where there is one.
func (u *unit) Do(ctx context.Context, o bench.Options) (trial.Result, error) {
	im, err := u.study.take(ctx)
	if err != nil {
		return trial.Result{}, err
	}
	im.entered = o.Entered
	r, err := im.judge(ctx, u.state)
	u.study.give(im)
	r.Arm, r.Seed, r.Repeat = u.study.Arm, u.study.Seed, o.Repeat
	return r, err
}

func (s *Study) take(ctx context.Context) (*importer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.importers) - 1; last >= 0 {
		im := s.importers[last]
		s.importers = s.importers[:last]
		return im, nil
	}
	s.made++
	return s.newImporter(ctx, s.made)
}

func (s *Study) give(im *importer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.importers = append(s.importers, im)
}
