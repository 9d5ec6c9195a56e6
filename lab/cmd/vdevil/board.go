package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bisect"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

// board is what is known of work under way: how far its trials have come, which of them run, and what takes long besides. It is
// told of events and keys, and knows no terminal: view gives the text.
type board struct {
	colour bool
	keys   bool // are read
	ending bool

	opened  *lab.Opened
	groups  []*group // that have no verdict yet, in order
	running []*started
	work    []work // oldest first
	pace    pace
	done    int // trials that came to their end
	chosen  *row
	panel   panel
}

// group is what trials are counted for together: a scenario on a version, an atlas, a study, a bisection.
type group struct {
	title string
	begun bool
	rows  []*row
	left  int // trials that may be needed yet
	// most is how many trials a candidate of a bisection may have. Nobody knows how many are needed.
	most int
	// Of a scenario all is concluded from the results.
	planned *campaign.Planned
	results []trial.Result
	stale   bool
	// score says whether a trial hits, and counts. Nil where trials do not hit or miss.
	score func(trial.Result) (hit, counts bool)
}

// row is an arm, or what has its place in another search. What it shows is named as in a verdict.
type row struct {
	verdict.Arm
	rated bool // trials hit or miss
	last  *trial.Result
}

// started is a trial that runs.
type started struct {
	id, name string
	group    *group
	begun    time.Time
	console  string // the file, empty as long as there is none
	from     int64
	said     string // the last line in it
}

type work struct {
	lab.Progress
	begun time.Time
}

// progress notes what takes long, and gives the line to leave behind when it is done.
func (b *board) progress(g lab.Progress, now time.Time) (text string) {
	b.work = slices.DeleteFunc(b.work, func(w work) bool { return w.What == g.What })
	if g.Done {
		return fmt.Sprintf("  %s: done in %s", step(g), report.Clock(g.Took))
	}
	b.work = append(b.work, work{g, now.Add(-g.Took)})
	return ""
}

func (b *board) event(e campaign.Event, now time.Time) {
	switch e := e.(type) {
	case lab.Opened:
		b.opened = &e
	case campaign.Planned:
		b.plan(e)
	case campaign.Judged:
		b.leave(title(e.Summary.Scenario, e.Summary.OpenZFS))
	case atlas.Begun:
		b.mapped(e)
	case crash.Begun:
		b.study(e)
	case bisect.Begun:
		b.search(e)
	case campaign.Started:
		b.start(e.Spec, now)
	case campaign.Entered:
		if s := b.find(e.Spec); s != nil {
			s.console, s.from, s.said = e.Console, e.From, ""
		}
	case campaign.Ended:
		b.end(e)
	case campaign.Dropped:
		b.drop(e.Spec)
	}
}

// add opens a group. Work that waits for another's image ends without notice.
func (b *board) add(g *group) {
	b.work = nil
	b.groups = append(b.groups, g)
}

func (b *board) plan(e campaign.Planned) {
	g := &group{title: title(e.Scenario, e.OpenZFS), planned: &e, results: slices.Clone(e.Done), stale: true, begun: len(e.Done) > 0}
	for _, a := range e.Arms {
		if a.Trials > 0 {
			g.rows = append(g.rows, &row{Arm: verdict.Arm{Name: a.Arm.Name, Control: a.Arm.Control, Planned: a.Trials}, rated: true})
			g.left += a.Trials
		}
	}
	b.add(g)
}

func (b *board) mapped(e atlas.Begun) {
	count := func(name string, control bool, planned, done int) *row {
		return &row{Arm: verdict.Arm{Name: name, Control: control, Planned: planned, Trials: done, Outcomes: map[trial.Outcome]int{}, Signatures: map[string]int{}}}
	}
	b.add(&group{
		title: fmt.Sprintf("%s, %d bits", e.Type, e.Size), begun: true, left: e.Trials - e.DoneAlready,
		rows: []*row{
			count("bits", false, e.Trials-e.Controls, e.DoneAlready-e.ControlsAlready),
			count("controls", true, e.Controls, e.ControlsAlready),
		},
	})
}

func (b *board) study(e crash.Begun) {
	g := &group{
		title: "states that a power cut could have left", begun: true, left: e.States,
		rows:  []*row{{Arm: verdict.Arm{Name: "states", Planned: e.States, Outcomes: map[trial.Outcome]int{}, Signatures: map[string]int{}}}},
		score: func(r trial.Result) (hit, counts bool) { return report.Lost(r), r.Outcome != trial.Invalid },
	}
	for i := range e.Done {
		g.count(g.rows[0], &e.Done[i])
	}
	b.add(g)
}

func (b *board) search(e bisect.Begun) {
	g := &group{
		title: fmt.Sprintf("%d candidates", e.Candidates), begun: true, most: e.Most,
		score: func(r trial.Result) (hit, counts bool) { return bisect.Score(e.Asked, e.Text, r) },
	}
	for _, c := range e.Tried {
		one := g.candidate(c.OpenZFS)
		one.Trials, one.Valid, one.Hits = c.Trials, c.Scored, c.Hits
		one.rate95()
	}
	b.add(g)
}

// candidate is the row of one, which begins with its first trial.
func (g *group) candidate(openzfs string) *row {
	for _, one := range g.rows {
		if one.Name == openzfs {
			return one
		}
	}
	one := &row{Arm: verdict.Arm{Name: openzfs, Planned: g.most, Outcomes: map[trial.Outcome]int{}, Signatures: map[string]int{}}, rated: true}
	g.rows = append(g.rows, one)
	return one
}

// of is the group of a trial; one that was never planned is shown nowhere.
func (b *board) of(s trial.Spec) *group {
	for _, g := range b.groups {
		if g.planned == nil || g.title == title(s.Name, s.OpenZFS) {
			return g
		}
	}
	return &group{}
}

func (b *board) start(s trial.Spec, now time.Time) {
	g := b.of(s)
	g.begun = true
	b.running = append(b.running, &started{id: s.ID(), name: called(s, g), group: g, begun: now})
	b.pace.start(now)
}

// called is how a trial that runs is named.
func called(s trial.Spec, g *group) string {
	switch {
	case s.Strike != nil && s.Strike.Withhold:
		return fmt.Sprintf("control %d", s.Number)
	case s.Strike != nil:
		return fmt.Sprintf("bit %d", s.Strike.Bit)
	case s.Cut != nil:
		return fmt.Sprintf("state %d", s.Number)
	case g.planned == nil:
		return fmt.Sprintf("%s %d", s.OpenZFS, s.Number)
	}
	return fmt.Sprintf("%s/%d", s.Arm, s.Number)
}

func (b *board) find(s trial.Spec) *started {
	id := s.ID()
	for _, one := range b.running {
		if one.id == id {
			return one
		}
	}
	return nil
}

// drop takes a trial away from those that run.
func (b *board) drop(s trial.Spec) {
	id := s.ID()
	b.running = slices.DeleteFunc(b.running, func(one *started) bool { return one.id == id })
}

func (b *board) end(e campaign.Ended) {
	b.drop(e.Spec)
	b.done++
	g, r := b.of(e.Spec), e.Result
	b.pace.end(g, report.Seconds(r.Seconds))
	r.Events, r.Evidence, r.Injections = nil, nil, nil // nothing of them is shown
	switch {
	case g.planned != nil:
		g.results, g.stale = append(g.results, r), true
		for _, one := range g.rows {
			if one.Name == r.Arm {
				one.last = &r
			}
		}
	case g.most > 0:
		g.count(g.candidate(e.Spec.OpenZFS), &r)
	case len(g.rows) == 0: // it was never planned
	case e.Spec.Strike != nil && e.Spec.Strike.Withhold:
		g.count(g.rows[1], &r)
	default:
		g.count(g.rows[0], &r)
	}
}

// count counts a trial of a search that has no verdict.
func (g *group) count(one *row, r *trial.Result) {
	one.last = r
	one.Trials++
	one.Outcomes[r.Outcome]++
	if r.Signature != "" {
		one.Signatures[r.Signature]++
	}
	g.left--
	hit, counts := false, r.Outcome != trial.Invalid
	if g.score != nil {
		hit, counts = g.score(*r)
	}
	if hit {
		one.Hits++
	}
	if counts {
		one.Valid++
	}
	if one.rated {
		one.rate95()
	}
}

// rate95 gives the row the interval that tables have.
func (one *row) rate95() { one.CI95[0], one.CI95[1] = stats.Anytime(one.Hits, one.Valid, 0.95) }

// conclude says where a scenario stands, as its verdict would.
func (g *group) conclude() {
	if !g.stale {
		return
	}
	g.stale = false
	s := verdict.Conclude(g.planned.Asked, g.results, g.planned.Plan)
	g.left = s.Missing
	for i := range s.Arms {
		for _, one := range g.rows {
			if one.Name == s.Arms[i].Name {
				one.Arm = s.Arms[i]
			}
		}
	}
}

// leave takes a scenario out of the view.
func (b *board) leave(title string) {
	b.groups = slices.DeleteFunc(b.groups, func(g *group) bool { return g.title == title })
}

// pace is how long trials take, and how many of them run side by side.
type pace struct {
	begun time.Time // the first one
	of    map[*group]share
	all   share
}

type share struct {
	n    int
	took time.Duration
}

func (s share) and(took time.Duration) share { return share{s.n + 1, s.took + took} }

func (s share) mean() time.Duration { return s.took / time.Duration(max(1, s.n)) }

func (p *pace) start(now time.Time) {
	if p.begun.IsZero() {
		p.begun = now
	}
}

func (p *pace) end(g *group, took time.Duration) {
	if p.of == nil {
		p.of = map[*group]share{}
	}
	p.of[g], p.all = p.of[g].and(took), p.all.and(took)
}

// mean is how long a trial of a group takes; of one that has none yet, what others take.
func (p *pace) mean(g *group) time.Duration {
	if of := p.of[g]; of.n > 0 {
		return of.mean()
	}
	return p.all.mean()
}

// left is how long all trials take that may be needed yet, should they take what those took that are done. It is not known before one
// is, nor where nobody knows how many are needed.
func (b *board) left(now time.Time) (left time.Duration, trials int, known bool) {
	var work, running time.Duration
	known = b.pace.all.n > 0
	for _, g := range b.groups {
		if g.planned != nil {
			g.conclude()
		}
		known = known && g.most == 0
		trials += g.left
		work += time.Duration(g.left) * b.pace.mean(g)
	}
	parts := 1
	if b.opened != nil {
		parts = max(1, b.opened.Of)
	}
	trials, work = (trials+parts-1)/parts, work/time.Duration(parts)
	if !known {
		return 0, trials, false
	}
	for _, one := range b.running {
		elapsed := now.Sub(one.begun)
		running += elapsed
		work -= min(elapsed, b.pace.mean(one.group))
	}
	wide := 1.0
	if wall := now.Sub(b.pace.begun); wall > 0 {
		wide = max(wide, float64(b.pace.all.took+running)/float64(wall))
	}
	left = max(0, time.Duration(float64(work)/wide))
	if b.opened != nil && !b.opened.Until.IsZero() { // what has begun by then comes to its end
		left = min(left, max(0, b.opened.Until.Sub(now))+b.pace.all.mean())
	}
	return left, trials, true
}
