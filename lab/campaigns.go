package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/hunt"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/minimize"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Terms are what holds for any campaign.
type Terms struct {
	// Name is the campaign's, empty for one by the time. A campaign of the same name and request goes on.
	Name string
	// Budget is after what time no more trials begin, 0 for never.
	Budget time.Duration
	// Shard is the part of the trials to do.
	Shard campaign.Shard
	Keep  Keep
	// Observe is told of everything that happens, one call at a time. It may be nil.
	Observe func(campaign.Event)
}

// Keep says of which trials the disks are kept.
type Keep string

// What can be kept.
const (
	KeepFailed Keep = "failed" // those that went against the expectation, and the invalid ones
	KeepAll    Keep = "all"
	KeepNone   Keep = "none"
)

// The kinds of campaigns.
const (
	KindRun   = "run"
	KindAtlas = "atlas"
	KindCrash = "crash"
	// KindBisect is a search for the commit that changed an outcome.
	KindBisect = "bisect"
	// KindMinimize is a search for the fewest operations.
	KindMinimize = "minimize"
	// KindHunt tries programs that nobody wrote.
	KindHunt = "hunt"
)

// OpenStore opens the store of the state directory.
func OpenStore(ctx context.Context, d host.Dirs) (*store.Store, error) {
	return store.Open(ctx, filepath.Join(d.State, "vdevil.db"))
}

// RunsDir is where the bundles of all campaigns lie, a directory for each, named after its beginning in UTC.
func RunsDir(d host.Dirs) string { return filepath.Join(d.State, "runs") }

// Request is what to run.
type Request struct {
	Terms
	Scenarios []*scenarios.Scenario
	// Versions are of OpenZFS, none for the default one.
	Versions []string
	// Trials, Fixed, Only, Seed and Flags are as in campaign.Questions.
	Trials int
	Fixed  bool
	Only   *campaign.Pick
	Seed   uint64
	Flags  string
}

// Run does the trials of all scenarios on all versions. What was done before an error is returned with it, the finished trials
// of the scenario under way included; of that scenario there is no verdict then, unless it is known already.
func (l *Lab) Run(ctx context.Context, r Request) ([]verdict.Summary, error) {
	if len(r.Versions) == 0 {
		r.Versions = []string{""}
	}
	q := &campaign.Questions{
		Asked: campaign.Ask(r.Scenarios), Trials: r.Trials, Fixed: r.Fixed, Only: r.Only, Seed: r.Seed, Flags: r.Flags,
		Driver: l.driver.Name(), Accel: string(l.driver.Accel()),
	}
	for _, v := range r.Versions {
		img, err := l.asked(ctx, v)
		if err != nil {
			return nil, err
		}
		q.Images = append(q.Images, img)
	}
	return l.run(ctx, q, store.NewCampaign(KindRun, l.name(r.Terms), q, q, l.newDir()), r.Terms)
}

// name is that of a campaign to which nobody has given one.
func (l *Lab) name(t Terms) string {
	if t.Name != "" {
		return t.Name
	}
	return time.Now().UTC().Format("20060102-150405.000")
}

func (l *Lab) run(ctx context.Context, q *campaign.Questions, c store.Campaign, t Terms) ([]verdict.Summary, error) {
	if err := q.Plan(); err != nil {
		return nil, err
	}
	done, err := l.campaign(ctx, c, campaign.On{Bench: l.bench}, t, func(campaign.Results) (campaign.Search, error) { return q, nil })
	return q.Summaries(done), err
}

// Resume goes on with a campaign where it was.
func (l *Lab) Resume(ctx context.Context, c store.Campaign, t Terms) (Shown, error) {
	switch c.Kind {
	case KindRun:
		q := &campaign.Questions{}
		if err := json.Unmarshal(c.Request, q); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		if err := l.like(c, q.Driver, q.Accel); err != nil {
			return Shown{}, err
		}
		all, err := l.run(ctx, q, c, t)
		return Shown{Run: all, Scenarios: q.Scenarios(), Only: q.Only}, err
	case KindAtlas:
		a := &atlas.Atlas{}
		if err := json.Unmarshal(c.Request, a); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		t.Name = c.Name
		m, err := l.atlas(ctx, a, false, t)
		return Shown{Atlas: &m}, err
	case KindBisect:
		b := &bisection{}
		if err := json.Unmarshal(c.Request, b); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		if err := errors.Join(l.like(c, b.Driver, b.Accel), l.again(ctx, b)); err != nil {
			return Shown{}, err
		}
		s, err := l.bisect(ctx, b, c, t)
		return Shown{Bisection: &s}, err
	case KindHunt:
		s, err := hunting(c)
		if err != nil {
			return Shown{}, err
		}
		if err := l.like(c, s.Driver, s.Accel); err != nil {
			return Shown{}, err
		}
		found, err := l.hunt(ctx, s, c, t)
		return Shown{Hunt: &found}, err
	case KindMinimize:
		s := &minimize.Search{}
		if err := json.Unmarshal(c.Request, s); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		if err := l.like(c, s.Driver, s.Accel); err != nil {
			return Shown{}, err
		}
		m, err := l.minimize(ctx, s, c, t)
		return Shown{Minimum: &m}, err
	case KindCrash:
		return l.resumeCrash(ctx, c, t)
	}
	return Shown{}, unknown(c)
}

// like says whether this lab does trials as a campaign has had them.
func (l *Lab) like(c store.Campaign, driver, accel string) error {
	if driver == l.driver.Name() && accel == string(l.driver.Accel()) {
		return nil
	}
	return fmt.Errorf("campaign %s was begun with %s and %s, this lab has %s and %s: their rates do not compare",
		c.Name, driver, accel, l.driver.Name(), l.driver.Accel())
}

// Show tells what is stored of a campaign. With whole unset all is there that a table shows, and of thousands of trials that ended
// alike one is there whole.
func Show(ctx context.Context, s *store.Store, c store.Campaign, whole bool) (Shown, error) {
	read := s.Outline
	if whole || c.Kind == KindCrash || c.Kind == KindHunt { // what they show has something of every trial
		read = s.Results
	}
	done, err := read(ctx, c.ID)
	if err != nil {
		return Shown{}, err
	}
	switch c.Kind {
	case KindRun:
		q, err := questions(c)
		if err != nil {
			return Shown{}, err
		}
		all, wanted := q.Standing(done)
		return Shown{Run: all, Wanted: wanted, Scenarios: q.Scenarios(), Only: q.Only}, nil
	case KindAtlas:
		a := &atlas.Atlas{}
		if err := errors.Join(json.Unmarshal(c.Request, a), a.Read()); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		m := a.Map(done)
		shown := Shown{Atlas: &m}
		if a.Structure.Size > 0 { // it was read
			if _, err := a.Plan(a.Structure, done, false); err != nil {
				return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
			}
			want, _ := a.Next(done)
			shown.Wanted = len(want)
		}
		return shown, nil
	case KindBisect:
		b := &bisection{}
		if err := json.Unmarshal(c.Request, b); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		if err := b.Plan(); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		s := b.Summary(done)
		return Shown{Bisection: &s}, nil
	case KindHunt:
		found, err := showHunt(c, done)
		return Shown{Hunt: &found, Wanted: found.Planned - found.Trials}, err
	case KindMinimize:
		m := &minimize.Search{}
		if err := errors.Join(json.Unmarshal(c.Request, m), m.Plan()); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		least, err := m.Minimum(done)
		return Shown{Minimum: &least}, err
	case KindCrash:
		var r crash.Request
		if err := json.Unmarshal(c.Request, &r); err != nil {
			return Shown{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		s := studied(r, done)
		return Shown{Study: &s, Wanted: s.Planned - len(s.States)}, nil
	}
	return Shown{}, unknown(c)
}

func showHunt(c store.Campaign, done campaign.Results) (hunt.Summary, error) {
	s, err := hunting(c)
	if err == nil {
		err = s.Plan()
	}
	if err != nil {
		return hunt.Summary{}, err
	}
	return hunted(s, done, nil)
}

func unknown(c store.Campaign) error {
	return fmt.Errorf("campaign %s is of a kind that this vdevil does not know: %q", c.Name, c.Kind)
}

// Merge adds what another store has, see store.Merge, and notes which campaigns have all that they want now.
func Merge(ctx context.Context, s *store.Store, file string) (store.Merged, error) {
	m, err := s.Merge(ctx, file)
	if err != nil {
		return m, err
	}
	all, err := s.List(ctx)
	if err != nil {
		return m, err
	}
	for _, c := range all {
		if c.Kind != KindRun || c.Over {
			continue
		}
		q, err := questions(c)
		if err != nil {
			continue // whoever asks for it is told
		}
		done, err := s.Outline(ctx, c.ID)
		if err != nil {
			return m, err
		}
		if want, _ := q.Next(done); len(want) == 0 {
			if err := s.Over(ctx, c.ID, true); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

// Remove forgets a campaign with its trials and its bundles.
func Remove(ctx context.Context, d host.Dirs, s *store.Store, c store.Campaign) error {
	if filepath.Dir(c.Dir) == RunsDir(d) { // those of another host are not here
		if err := os.RemoveAll(c.Dir); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(filepath.Join(RunsDir(d), c.ID)), s.Remove(ctx, c.ID))
}

// Repeat does a trial again. It is not stored; its evidence is in the bundle that the result names.
func (l *Lab) Repeat(ctx context.Context, spec trial.Spec) (trial.Result, error) {
	if spec.Cut != nil {
		return l.repeatCut(ctx, spec)
	}
	t, err := l.bench.Prepare(ctx, spec)
	if err != nil {
		return trial.Result{}, err
	}
	bundle := filepath.Join(l.newDir(), fmt.Sprintf("%s-%03d", spec.Arm, spec.Number))
	return t.Do(ctx, bench.Options{Bundle: bundle, Repeat: repeatBundle(bundle)})
}

// repeatBundle is the command that does a trial again which no run of a scenario names.
func repeatBundle(bundle string) string { return "vdevil repeat " + shellescape.Quote(bundle) }

// Shown is what a campaign shows: a run, an atlas, a bisection, a minimum, a hunt or a study of power cuts.
type Shown struct {
	Run       []verdict.Summary
	Wanted    int // trials that may be needed yet; of a bisection and a minimum nobody knows
	Scenarios []*scenarios.Scenario
	Only      *campaign.Pick
	Atlas     *bitmap.Map
	Bisection *report.Bisection
	Minimum   *minimize.Minimum
	Hunt      *hunt.Summary
	Study     *report.Study
}

// Opened begins the events of a campaign.
type Opened struct {
	Name, ID string
	Done     int // trials that are stored already
	// Until is when no more trials begin, zero for never; Of is in how many parts the trials are, of which this lab does one.
	Until time.Time
	Of    int
}

// campaign does what a search asks for, and stores it. plan gives the search when it is known what was done before; it is returned
// with what was done since, also with an error.
func (l *Lab) campaign(ctx context.Context, c store.Campaign, on campaign.Bench, t Terms, plan func(campaign.Results) (campaign.Search, error)) (done campaign.Results, err error) {
	// The store outlives the context: what was done is noted when the user has had enough.
	always := context.WithoutCancel(ctx)
	if c, err = l.store.Begin(always, c); err != nil {
		return nil, err
	}
	alone, err := l.alone(c, t.Shard)
	if err != nil {
		return nil, err
	}
	defer alone()
	known, err := l.store.Results(always, c.ID)
	if err != nil {
		return nil, err
	}
	done = known
	search, err := plan(done)
	if err != nil {
		return done, err
	}
	session, err := l.store.Session(always, c.ID, l.Environment(), errorsOfHost())
	if err != nil {
		return done, err
	}
	stream, told := &campaign.Stream{}, make(chan struct{})
	opened := Opened{Name: c.Name, ID: c.ID, Done: len(done), Of: max(1, t.Shard.Of)}
	if t.Budget > 0 {
		opened.Until = time.Now().Add(t.Budget)
	}
	stream.Publish(opened)
	var noted error
	go func() {
		defer close(told)
		for e := range stream.Follow(always) {
			if noted == nil {
				noted = note(always, session, e)
			}
			if t.Observe != nil {
				t.Observe(e)
			}
		}
	}()
	runner := &campaign.Runner{
		Search: search, Bench: on, Jobs: l.opts.Jobs, Shard: t.Shard, Store: session, Stream: stream, Options: l.options(c, t.Keep),
		Room: func(begun int) string { return host.Room(l.driver.Dir(), begun) }, Until: opened.Until,
	}
	if l.more {
		runner.Spare = new(host.CPUs).Spare
	}
	over, err := runner.Run(ctx, done)
	stream.Close()
	<-told
	err = errors.Join(err, noted)
	if !over { // together with what other labs have done meanwhile it may be
		if all, failed := l.store.Outline(always, c.ID); failed == nil {
			want, _ := search.Next(all)
			over = len(want) == 0
		}
	}
	return done, errors.Join(err, session.End(always, errorsOfHost(), err), l.store.Over(always, c.ID, over))
}

// alone keeps two labs from doing the same trials at once, whose bundles would be each other's.
func (l *Lab) alone(c store.Campaign, part campaign.Shard) (unlock func(), err error) {
	name := ".lock"
	if part.Of > 1 {
		name = fmt.Sprintf(".lock-%d-of-%d", part.Part, part.Of)
	}
	unlock, err = host.TryLock(filepath.Join(l.bundles(c), name))
	if locked := (*host.LockedError)(nil); errors.As(err, &locked) {
		return nil, fmt.Errorf("campaign %s is worked on by %s: vdevil show %s tells how far it is", c.Name, locked.Holder, shellescape.Quote(c.Name))
	}
	return unlock, err
}

// note keeps in the store what runs, for those who look on from outside.
func note(ctx context.Context, s *store.Session, e campaign.Event) error {
	switch e := e.(type) {
	case campaign.Started:
		return s.Began(ctx, e.Spec)
	case campaign.Entered:
		return s.Entered(ctx, e.Spec, e.Console, e.From)
	case campaign.Ended:
		return s.Left(ctx, e.Spec)
	case campaign.Dropped:
		return s.Left(ctx, e.Spec)
	}
	return nil
}

// bundles is the directory of a campaign's bundles. One that was begun by another host has them here under its ID.
func (l *Lab) bundles(c store.Campaign) string {
	here := RunsDir(l.opts.Dirs)
	if !strings.HasPrefix(c.Dir, here+string(filepath.Separator)) {
		return filepath.Join(here, c.ID)
	}
	return c.Dir
}

// options are those of a campaign's trials.
func (l *Lab) options(c store.Campaign, keep Keep) func(campaign.Want) bench.Options {
	dir := l.bundles(c)
	code := c.Kind == KindHunt && l.driver.Can(machine.TracesCode)
	return func(w campaign.Want) bench.Options {
		bundle := filepath.Join(dir, w.Bundle)
		return bench.Options{Bundle: bundle, Repeat: repeatBundle(bundle), Code: code, Keep: func(s *scenarios.Scenario, r trial.Result) bool {
			return keep == KeepAll || keep == KeepFailed && !verdict.AsExpected(s, r)
		}}
	}
}

func errorsOfHost() store.Errors {
	corrected, uncorrected := host.MemoryErrors()
	return store.Errors{Corrected: corrected, Uncorrected: uncorrected}
}

// newDir is for the bundles of a campaign that begins now.
func (l *Lab) newDir() string {
	return filepath.Join(RunsDir(l.opts.Dirs), time.Now().UTC().Format("20060102-150405.000"))
}
