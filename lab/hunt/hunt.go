// Package hunt looks for what nobody has asked for: short programs of operations of a few features each, so that in the end all of them
// have met, each judged like any other trial. What was found is put into groups.
package hunt

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/minimize"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Search asks for one program after the other. As JSON it is the whole request.
type Search struct {
	// Asked is a scenario with a step generate, whose features are used; its arms take turns.
	Asked campaign.Asked `json:"scenario"`
	// Features, if there are some, take the place of the step's; Draw of them are in each program, Count operations beside those that they
	// begin with.
	Features []ops.Feature `json:"features"`
	Draw     int           `json:"draw"`
	Count    int           `json:"count"`
	// Long is how many operations every second program has instead, of half the features: what needs several of them to meet in one
	// order comes more often so (Groce et al., "Swarm Testing", 2012). 0 is for short programs only.
	Long   int `json:"long,omitempty"`
	Trials int `json:"trials"` // on each image
	// Minimize has the fewest operations looked for that do what was found, where the program does it again with another seed.
	Minimize bool `json:"minimize,omitempty"`
	// Follow has a program that came to code to which none had come before followed by another one of the same features, until that brings
	// nothing new. The first programs, which come to code by being the first, are not followed.
	Follow bool          `json:"follow,omitempty"`
	Images []trial.Image `json:"images"`
	Driver string        `json:"driver"`
	Accel  string        `json:"accel"`
	Seed   uint64        `json:"seed"`

	scenario *scenarios.Scenario
	step     int
	plans    [][]plan // each on one image, with those that follow it
	news     []campaign.Event
	least    map[key]*least
}

// key tells findings apart: what happened, on which version.
type key struct{ group, openzfs string }

// least is the search for the fewest operations of a finding, of which so many events were told.
type least struct {
	*minimize.Search
	told int
}

// plan is one program on one image.
type plan struct {
	n        int // the number of the program, from 0, and how many there are before it that it follows
	depth    int
	features []ops.Feature
	image    trial.Image
	want     campaign.Want
	// again are trials of the same program with other seeds, for when it has found something new.
	again [repeats]campaign.Want
}

// repeats is how often what a program was the first to find is tried again.
const repeats = 2

// confirm is how many trials the fewest operations of a finding get, so that they have a rate.
const confirm = 5

// Name is that of the scenarios that are made.
const Name = "hunt"

// Plan lays out the trials. It is to be called once, before the search begins.
func (s *Search) Plan() error {
	read, err := scenarios.Parse(s.Asked.File, []byte(s.Asked.Text))
	if err != nil {
		return err
	}
	s.scenario, s.least = read, map[key]*least{}
	first, err := read.ForArm(read.Arms[0].Name)
	if err != nil {
		return err
	}
	s.step = slices.IndexFunc(first.Workload, func(step scenarios.Step) bool { return step.Generate != nil })
	if s.step < 0 {
		return fmt.Errorf("%s: the workload has no step generate", s.Asked.File)
	}
	if len(s.Features) == 0 {
		s.Features = first.Workload[s.step].Generate.Features
	}
	s.Draw = min(s.Draw, len(s.Features))
	for n, features := range s.groups() {
		// The same program is tried on all versions.
		plans, err := s.program(plan{n: n, features: features}, s.Images)
		if err != nil {
			return err
		}
		for _, p := range plans {
			s.plans = append(s.plans, []plan{p})
		}
	}
	return nil
}

// program makes one, for some images. Its number gives its seed.
func (s *Search) program(p plan, images []trial.Image) (plans []plan, err error) {
	turn, count := p.n, s.Count
	if s.Long > 0 { // a short one and a long one of each
		turn /= 2
	}
	if s.long(p.n) {
		count = s.Long
	}
	arm := s.scenario.Arms[turn%len(s.scenario.Arms)].Name
	r, err := s.scenario.ForArm(arm)
	if err != nil {
		return nil, err
	}
	number := p.n + p.depth*(1+repeats)*s.Trials
	program, err := drive.Program(scenarios.Step{Generate: &scenarios.Generate{Count: count, Features: p.features}},
		r.Pool.Name, r.Machine.Names(), r.Pool.Layout, s.Seed+uint64(number))
	if err != nil {
		return nil, err
	}
	text, err := s.scenario.Rewrite(scenarios.Rewriting{
		Name: Name, Question: s.scenario.Question, Arm: arm, Step: s.step, Program: program.String(), Trials: 1, Expect: s.scenario.Expect,
	})
	if err != nil {
		return nil, err
	}
	one, err := scenarios.Parse(Name+".yaml", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	for _, img := range images {
		frame := campaign.Frame{Driver: s.Driver, Accel: s.Accel, Seed: s.Seed}
		want := func(number int) campaign.Want {
			w := frame.Want(one, img, arm, number)
			w.Bundle = filepath.Join(Name+"-"+img.OpenZFS, campaign.BundleOf(arm, number))
			return w
		}
		p.image, p.want = img, want(number+1)
		for i := range p.again {
			p.again[i] = want(number + 1 + (i+1)*s.Trials)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// programs are all that are to be tried, those that follow others included, as far as that is known.
func (s *Search) programs(done campaign.Results) (all []plan) {
	for i, chain := range s.plans {
		n := 1
		for s.followed(chain[n-1], done) {
			if n == len(chain) {
				next := chain[n-1]
				next.depth++
				plans, err := s.program(next, []trial.Image{next.image})
				if err != nil {
					panic(fmt.Sprintf("a program like that of %s, which Plan wrote: %v", next.want.Spec.Title(), err))
				}
				chain = append(chain, plans...)
				s.plans[i] = chain
			}
			n++
		}
		all = append(all, chain[:n]...)
	}
	return all
}

// followed says whether a program is to be followed by another one. In the first ones each feature has its turn.
func (s *Search) followed(p plan, done campaign.Results) bool {
	r, ok := done[p.want.ID]
	return ok && s.Follow && p.n >= len(s.Features) && r.Code != nil && len(r.Code.First) > 0
}

// Note implements campaign.Noter: of the functions that a program came to it leaves those to which none before came on that version.
// Trials that repeat a program, or a part of one, have none.
func (s *Search) Note(done campaign.Results, w campaign.Want, r *trial.Result) {
	if r.Code == nil {
		return
	}
	first := r.Code.First
	r.Code.First = nil
	seen := map[string]bool{}
	own := false
	for _, p := range s.programs(done) {
		if p.want.Spec.OpenZFS != w.Spec.OpenZFS {
			continue
		}
		own = own || p.want.ID == w.ID
		if other, ok := done[p.want.ID]; ok && other.Code != nil {
			for _, name := range other.Code.First {
				seen[name] = true
			}
		}
	}
	if own {
		r.Code.First = slices.DeleteFunc(first, func(name string) bool { return seen[name] })
	}
}

// long says whether a program is a long one.
func (s *Search) long(n int) bool { return s.Long > 0 && n%2 == 1 }

// groups are sets of features: one round has every feature about as often as the others, and pairs that have met seldom come first.
func (s *Search) groups() (all [][]ops.Feature) {
	r := rand.New(rand.NewPCG(s.Seed, 2))
	met := map[[2]ops.Feature]int{}
	used := map[ops.Feature]int{}
	for n := range s.Trials {
		draw := s.Draw
		if s.long(n) {
			draw = (len(s.Features) + 1) / 2
		}
		var group []ops.Feature
		for len(group) < draw {
			best, least := ops.Feature(""), 0
			for _, i := range r.Perm(len(s.Features)) {
				f := s.Features[i]
				if slices.Contains(group, f) {
					continue
				}
				cost := used[f]
				for _, g := range group {
					cost += 100 * met[pair(f, g)]
				}
				if best == "" || cost < least {
					best, least = f, cost
				}
			}
			group = append(group, best)
		}
		for i, f := range group {
			used[f]++
			for _, g := range group[:i] {
				met[pair(f, g)]++
			}
		}
		all = append(all, group)
	}
	return all
}

func pair(a, b ops.Feature) [2]ops.Feature { return [2]ops.Feature{min(a, b), max(a, b)} }

// Next implements campaign.Search: what was found is tried again, and then comes all that was not done yet, in order. Trials that look for
// the fewest operations of something, and programs that follow others, take turns with the rest.
func (s *Search) Next(done campaign.Results) (want []campaign.Want, news []campaign.Event) {
	var fewer, following, programs []campaign.Want
	for _, f := range s.first(done) {
		for _, w := range f.again {
			if _, ok := done[w.ID]; !ok {
				want = append(want, w)
			}
		}
		if !slices.ContainsFunc(s.news, func(e campaign.Event) bool { n, ok := e.(New); return ok && n.Group == f.group }) { // on whatever version
			s.news = append(s.news, New{f.group, done[f.want.ID]})
		}
		if m := s.minimizing(f, done); m != nil {
			w, events := m.Next(done)
			for ; m.told < len(events); m.told++ {
				s.news = append(s.news, Fewer{f.group, events[m.told]})
			}
			fewer = append(fewer, w...)
		}
	}
	for _, p := range s.programs(done) {
		_, ok := done[p.want.ID]
		switch {
		case ok:
		case p.depth > 0:
			following = append(following, p.want)
		default:
			programs = append(programs, p.want)
		}
	}
	return slices.Concat(want, inTurns(len(done), fewer, following, programs)), s.news
}

// inTurns takes one of each list, as long as it has some. Which list is the first one changes with each turn: where one trial runs at a
// time, it is always the first that is wanted.
func inTurns(turn int, lists ...[]campaign.Want) (all []campaign.Want) {
	lists = slices.DeleteFunc(lists, func(list []campaign.Want) bool { return len(list) == 0 })
	for i, some := 0, true; some; i++ {
		some = false
		for n := range lists {
			if list := lists[(turn+n)%len(lists)]; i < len(list) {
				all, some = append(all, list[i]), true
			}
		}
	}
	return all
}

// minimizing is the search for the fewest operations of a finding, nil if there is to be none, or not yet.
func (s *Search) minimizing(f found, done campaign.Results) *least {
	again := f.tried(done)
	at := key{f.group, f.want.Spec.OpenZFS}
	if m := s.least[at]; m != nil || !s.Minimize || again.Trials < repeats || again.Hits == 0 {
		return m
	}
	read, resolved, err := f.want.Spec.Resolve()
	if err != nil {
		panic(fmt.Sprintf("%s, which Plan wrote: %v", f.want.Spec.Title(), err))
	}
	first := done[f.want.ID]
	m := &minimize.Search{
		Asked: campaign.Ask([]*scenarios.Scenario{read})[0], Arm: f.want.Spec.Arm, Step: s.step, Program: resolved.Workload[s.step].Operations,
		Signature: first.Signature, Ends: func(r trial.Result) bool { return Group(r) == f.group },
		// What came in each of few trials need not come in each.
		Rate: 0.9 * float64(1+again.Hits) / float64(1+again.Trials), Confirm: confirm,
		Image: trial.Image{ID: f.want.Spec.Image, OpenZFS: f.want.Spec.OpenZFS}, Driver: s.Driver, Accel: s.Accel, Seed: s.Seed,
	}
	if m.Signature == "" {
		m.Outcomes = []string{string(first.Outcome)}
	}
	if err := m.Plan(); err != nil {
		panic(fmt.Sprintf("%s, which Plan wrote: %v", f.want.Spec.Title(), err))
	}
	s.least[at] = &least{Search: m}
	return s.least[at]
}

// found is the program that was the first to find something on a version.
type found struct {
	plan
	group string
}

// tried is how the trials with other seeds ended.
func (f found) tried(done campaign.Results) (n Again) {
	for _, w := range f.again {
		if r, ok := done[w.ID]; ok && r.Outcome != trial.Invalid {
			n.Trials++
			if Group(r) == f.group {
				n.Hits++
			}
		}
	}
	return n
}

// first gives them in the order of their trials' ends.
func (s *Search) first(done campaign.Results) (all []found) {
	ended := slices.DeleteFunc(s.programs(done), func(p plan) bool {
		_, ok := done[p.want.ID]
		return !ok
	})
	end := func(p plan) int64 {
		r := done[p.want.ID]
		return r.Started.UnixNano() + int64(r.Seconds*1e9)
	}
	slices.SortStableFunc(ended, func(a, b plan) int { return cmp.Compare(end(a), end(b)) })
	told := map[key]bool{}
	for _, p := range ended {
		group := Group(done[p.want.ID])
		if at := (key{group, p.want.Spec.OpenZFS}); group != "" && !told[at] {
			told[at] = true
			all = append(all, found{p, group})
		}
	}
	return all
}

// New says that something was found that was not found before.
type New struct {
	Group  string
	Result trial.Result
}

// Fewer says what is new of the search for the fewest operations of a finding.
type Fewer struct {
	Group string
	Event campaign.Event
}

// Group names what a trial has found, empty for nothing: the signature, the kinds of what the audit found, the operation that went otherwise.
func Group(r trial.Result) string {
	switch {
	case r.Outcome == trial.Invalid, r.Outcome == trial.Masked:
		return ""
	case r.Signature != "":
		return r.Signature
	case r.Outcome == trial.Latent:
		var kinds []string
		for _, line := range r.Audit {
			kind, _, _ := strings.Cut(line, ":")
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
		slices.Sort(kinds)
		return strings.TrimSuffix("latent "+strings.Join(kinds, " "), " ")
	case r.Outcome == trial.Broken:
		word, _, _ := strings.Cut(strings.TrimPrefix(r.Reason, `"`), " ")
		return "broken " + word
	}
	return string(r.Outcome)
}

// Tell is news in a sentence, empty for what is none.
func Tell(e campaign.Event) string {
	switch e := e.(type) {
	case New:
		return fmt.Sprintf("new: %s, in %s/%d", e.Group, e.Result.Arm, e.Result.Number)
	case Fewer:
		return e.Group + ": " + minimize.Tell(e.Event)
	}
	return ""
}
