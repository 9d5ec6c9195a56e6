// Package minimize looks for the fewest operations, and the plainest pool, that still end in a signature: delta debugging (Zeller and
// Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), for what comes in some of the trials only.
//
// A candidate is kept or given up by a sequential test (Wald) of the rate that the whole program has against a quarter of it, with
// an error of a tenth each. A candidate that is given up wrongly costs a longer answer; of the answer itself the rate is measured.
package minimize

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Search is the search for a minimum. As JSON it is the whole request.
type Search struct {
	Asked campaign.Asked `json:"scenario"`
	Arm   string         `json:"arm"`
	// Step is the number of the step of the workload that has Program, from 0.
	Step    int    `json:"step"`
	Program string `json:"program"`
	// Signature, or one of Outcomes, is what must remain.
	Signature string   `json:"signature,omitempty"`
	Outcomes  []string `json:"outcomes,omitempty"`
	// Ends, if it is set, says in their place whether a trial ended as it is to.
	Ends func(trial.Result) bool `json:"-"`
	// Rate is at what rate at least, Confirm how many trials the answer gets.
	Rate    float64     `json:"rate"`
	Confirm int         `json:"confirm"`
	Image   trial.Image `json:"image"`
	Driver  string      `json:"driver"`
	Accel   string      `json:"accel"`
	Seed    uint64      `json:"seed"`

	scenario *scenarios.Scenario
	program  ops.Program
	extras   []extra
	read     map[string]*scenarios.Scenario // by the key of a candidate
}

// extra is something of the pool that may be left out.
type extra struct {
	name         string
	drop, layout string
}

// candidate is what may do as well: some of the operations, some of the extras left out.
type candidate struct {
	program ops.Program
	without []extra
}

func (c candidate) key() string {
	var b strings.Builder
	for _, e := range c.without {
		b.WriteString(e.name + "\n")
	}
	return b.String() + "--\n" + c.program.String()
}

// Plan reads what is to be minimised. It is to be called once, before the search begins.
func (s *Search) Plan() error {
	read, err := scenarios.Parse(s.Asked.File, []byte(s.Asked.Text))
	if err != nil {
		return err
	}
	resolved, err := read.ForArm(s.Arm)
	if err != nil {
		return err
	}
	if s.program, err = ops.Parse(s.Program); err != nil {
		return err
	}
	s.scenario, s.read = read, map[string]*scenarios.Scenario{}
	if first := resolved.Machine.Names()[0]; len(resolved.Pool.Layout) > 1 {
		s.extras = append(s.extras, extra{name: "layout " + strings.Join(resolved.Pool.Layout, " "), layout: first})
	}
	for _, of := range []struct {
		path string
		has  map[string]string
	}{{"options", resolved.Pool.Options}, {"properties", resolved.Pool.Properties}} {
		names := make([]string, 0, len(of.has))
		for name := range of.has {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			// The names of features have dots in them, too.
			if !strings.Contains(name, ".") {
				s.extras = append(s.extras, extra{name: name + "=" + of.has[name], drop: "pool." + of.path + "." + name})
			}
		}
	}
	return nil
}

// rewriting is a candidate as a scenario.
func (s *Search) rewriting(c candidate, name string) scenarios.Rewriting {
	r := scenarios.Rewriting{
		Name: name, Question: s.scenario.Question, Arm: s.Arm, Step: s.Step, Program: c.program.String(), Trials: s.Confirm,
		Expect: scenarios.Expect{Verdict: scenarios.Reproduces, Rate: s.Rate, Signature: s.Signature, Outcome: s.Outcomes},
	}
	for _, e := range c.without {
		if e.layout != "" {
			r.Layout = e.layout
		} else {
			r.Drop = append(r.Drop, e.drop)
		}
	}
	return r
}

// name is that of the scenarios that are tried.
const name = "minimal"

// asks is the scenario that a candidate is. It is one, or this package wrote it wrongly.
func (s *Search) asks(c candidate) *scenarios.Scenario {
	key := c.key()
	if one := s.read[key]; one != nil {
		return one
	}
	text, err := s.scenario.Rewrite(s.rewriting(c, name))
	if err != nil {
		panic(fmt.Sprintf("rewriting %s: %v", s.Asked.File, err))
	}
	one, err := scenarios.Parse(name+".yaml", []byte(text))
	if err != nil {
		panic(fmt.Sprintf("%v\n%s", err, text))
	}
	s.read[key] = one
	return one
}

// Hit says whether a trial ended as it is to.
func (s *Search) Hit(r trial.Result) bool {
	switch {
	case s.Ends != nil:
		return s.Ends(r)
	case s.Signature != "":
		return r.Signature == s.Signature
	}
	return slices.Contains(s.Outcomes, string(r.Outcome))
}

// Count is how the trials of a candidate ended.
type Count struct {
	Hits    int `json:"hits"`
	Valid   int `json:"valid"`
	Invalid int `json:"invalid,omitempty"`
}

// round is one look at all that is known: the course of the search is gone through again from its beginning.
type round struct {
	*Search
	done  campaign.Results
	want  []campaign.Want
	news  []campaign.Event
	tried map[string]int // trials by the key of a candidate
	// open is set when something had to be guessed: what follows is wanted as well, but not certain.
	open bool
}

// ahead is how many trials are wanted beyond the one that decides, for those who do several at once.
const ahead = 6

// most is after how many invalid trials a candidate is given up.
const most = 3

func (r *round) full() bool { return len(r.want) > ahead }

// count gives how the trials of a candidate ended so far, and its next one.
func (r *round) count(c candidate) (n Count, next campaign.Want) {
	asked := r.asks(c)
	for number := 1; ; number++ {
		w := campaign.Frame{Driver: r.Driver, Accel: r.Accel, Seed: r.Seed}.Want(asked, r.Image, r.Arm, number)
		w.Bundle = w.ID[:12]
		got, ok := r.done[w.ID]
		switch {
		case !ok:
			r.tried[c.key()] = n.Valid + n.Invalid
			return n, w
		case got.Outcome == trial.Invalid:
			n.Invalid++
		default:
			n.Valid++
			if r.Hit(got) {
				n.Hits++
			}
		}
	}
}

// accepts says whether a candidate still does it; known is false while trials are missing, which are wanted then.
func (r *round) accepts(c candidate) (yes, known bool) {
	n, next := r.count(c)
	switch llr, edge := likelihood(n, r.Rate), math.Log(9); {
	case llr >= edge:
		return true, true
	case llr <= -edge || n.Invalid >= most:
		return false, true
	}
	if !r.full() {
		r.want = append(r.want, next)
	}
	r.open = true
	return false, false
}

// likelihood is the logarithm of how much likelier the counts are at a rate than at a quarter of it.
func likelihood(n Count, rate float64) float64 {
	rate = min(rate, 0.95)
	misses := float64(n.Valid - n.Hits)
	return float64(n.Hits)*math.Log(4) + misses*math.Log((1-rate)/(1-rate/4))
}

// Next implements campaign.Search.
func (s *Search) Next(done campaign.Results) ([]campaign.Want, []campaign.Event) {
	r := s.look(done)
	return r.want, r.news
}

// look goes through the course of the search.
func (s *Search) look(done campaign.Results) *round {
	r := &round{Search: s, done: done, tried: map[string]int{}}
	whole := candidate{program: s.program}
	if yes, known := r.accepts(whole); known && !yes {
		r.news = append(r.news, Failed{})
		return r
	} else if !known {
		return r // nothing is worth guessing before that
	}
	least := r.plainer(r.reduced(whole))
	if r.open {
		return r
	}
	n, next := r.count(least)
	if n.Valid < s.Confirm && n.Invalid < most {
		r.want, r.open = append(r.want, next), true
		return r
	}
	r.news = append(r.news, Found{s.answer(least, n)})
	return r
}

// reduced is ddmin over the operations.
func (r *round) reduced(c candidate) candidate {
	for chunks := 2; len(c.program) > 1 && !r.full(); {
		smaller := false
		size := (len(c.program) + chunks - 1) / chunks
		for at := 0; at < len(c.program) && !r.full(); at += size {
			rest := slices.Concat(c.program[:at], c.program[min(at+size, len(c.program)):])
			next := candidate{r.sensible(rest, c.program), c.without}
			if len(next.program) == 0 {
				continue
			}
			if yes, _ := r.accepts(next); yes && !r.open { // what comes after a guess is only guessed
				r.step(&c, next)
				smaller = true
				break
			}
		}
		switch {
		case smaller:
			chunks = max(2, chunks-1)
		case size == 1:
			return c
		default:
			chunks = min(2*chunks, len(c.program))
		}
	}
	return c
}

// step takes a step, and tells of it.
func (r *round) step(c *candidate, next candidate) {
	n, _ := r.count(next)
	r.news = append(r.news, Reduced{r.answer(next, n)})
	*c = next
}

// plainer leaves out what it can of the pool.
func (r *round) plainer(c candidate) candidate {
	for _, e := range r.extras {
		if r.full() {
			break
		}
		next := candidate{c.program, append(slices.Clone(c.without), e)}
		if yes, _ := r.accepts(next); yes && !r.open {
			r.step(&c, next)
		}
	}
	return c
}

// sensible leaves out what must be refused now that other operations are gone, and was not before.
func (r *round) sensible(rest, whole ops.Program) ops.Program {
	could := map[string]bool{}
	for _, o := range doable(whole, nil) {
		could[o.String()] = true
	}
	return doable(rest, could)
}

// doable are the operations that need not be refused, and, with some given, those that are not among them.
func doable(p ops.Program, could map[string]bool) (out ops.Program) {
	m := ops.NewModel(ops.Place{Pool: "tank"})
	for _, o := range p {
		fate, _ := m.Foretell(o)
		if fate == ops.Refused {
			if could != nil && !could[o.String()] {
				out = append(out, o) // it was refused before, too
			}
			continue
		}
		m.Note(o, true)
		out = append(out, o)
	}
	return out
}

func names(all []extra) (out []string) {
	for _, e := range all {
		out = append(out, e.name)
	}
	return out
}

// Answer is the fewest operations that are known to do it, and the plainest pool.
type Answer struct {
	Program string `json:"program"`
	// Without is what the pool does not have of the scenario's.
	Without []string `json:"without,omitempty"`
	Count
	Rate float64    `json:"rate"`
	CI95 [2]float64 `json:"ci95"`

	least candidate
}

func (s *Search) answer(c candidate, n Count) Answer {
	a := Answer{Program: c.program.String(), Without: names(c.without), Count: n, least: c}
	if n.Valid > 0 {
		a.Rate = float64(n.Hits) / float64(n.Valid)
	}
	a.CI95[0], a.CI95[1] = stats.ClopperPearson(n.Hits, n.Valid, 0.95)
	return a
}

// Minimum is what is known so far: as JSON it is what vdevil minimize prints.
type Minimum struct {
	OpenZFS string `json:"openzfs"`
	// What is the signature, or the outcomes.
	What string `json:"what"`
	// From is how many operations there were, Operations how many are left; Trials were done of the candidates on the way.
	From       int `json:"from"`
	Operations int `json:"operations"`
	Trials     int `json:"trials"`
	// Over says that it is the least that was found; Failed that the whole does not do it at the rate.
	Over   bool `json:"over"`
	Failed bool `json:"failed,omitempty"`
	Answer
	// Scenario is the text of a file with a control arm for each operation, which lacks it; Script does it in a shell.
	Scenario string `json:"scenario"`
	Script   string `json:"script"`

	search *Search
}

// Minimum is what the trials so far have shown.
func (s *Search) Minimum(done campaign.Results) (Minimum, error) {
	r := s.look(done)
	m := Minimum{
		OpenZFS: s.Image.OpenZFS, What: s.what(), From: len(s.program), Answer: s.answer(candidate{program: s.program}, Count{}), search: s,
	}
	for _, e := range r.news {
		switch e := e.(type) {
		case Reduced:
			m.Answer = e.Answer
		case Found:
			m.Over, m.Answer = true, e.Answer
		case Failed:
			m.Failed = true
		}
	}
	for _, n := range r.tried {
		m.Trials += n
	}
	m.Operations = len(m.least.program)
	var err error
	if m.Scenario, err = s.Scenario(m.Answer, name); err == nil {
		m.Script, err = s.Script(m.Answer)
	}
	return m, err
}

// Named is the scenario under another name.
func (m Minimum) Named(name string) (string, error) { return m.search.Scenario(m.Answer, name) }

func (s *Search) what() string { return cmp.Or(s.Signature, strings.Join(s.Outcomes, " or ")) }

// Write writes it for people.
func (m Minimum) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on OpenZFS %s: %d of %d operations, %d trials\n", m.What, m.OpenZFS, m.Operations, m.From, m.Trials)
	switch {
	case m.Failed:
		b.WriteString("the whole program does not do it at the rate that was asked for\n")
	case !m.Over:
		b.WriteString("not at the end yet: vdevil resume goes on\n")
	}
	if m.Valid > 0 {
		fmt.Fprintf(&b, "%d of %d trials hit: %.1f %% (95 %%: %.1f to %.1f %%)\n", m.Hits, m.Valid, 100*m.Rate, 100*m.CI95[0], 100*m.CI95[1])
	}
	if len(m.Without) > 0 {
		fmt.Fprintf(&b, "without %s\n", strings.Join(m.Without, ", "))
	}
	b.WriteString("\n" + m.Script)
	_, err := io.WriteString(w, b.String())
	return err
}

// Scenario is the text of a file of that name, with a control arm for each operation, which lacks it.
func (s *Search) Scenario(a Answer, name string) (string, error) {
	r := s.rewriting(a.least, name)
	r.Without = map[string]string{}
	for i, o := range a.least.program {
		if len(a.least.program) == 1 {
			break
		}
		arm := fmt.Sprintf("without-%d-%s", i+1, o.Word)
		r.Names = append(r.Names, arm)
		r.Without[arm] = slices.Concat(a.least.program[:i], a.least.program[i+1:]).String()
	}
	return s.scenario.Rewrite(r)
}

// Script does the same by hand, as root in a shell whose variables of the disks' names are their paths.
func (s *Search) Script(a Answer) (string, error) {
	r, err := s.asks(a.least).ForArm(s.Arm)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# OpenZFS %s; %s\n", s.Image.OpenZFS, s.what())
	words := []string{"zpool create -f"}
	for _, name := range slices.Sorted(maps.Keys(r.Pool.Options)) {
		words = append(words, "-o "+shellescape.Quote(name+"="+r.Pool.Options[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Pool.Properties)) {
		words = append(words, "-O "+shellescape.Quote(name+"="+r.Pool.Properties[name]))
	}
	words = append(words, r.Pool.Name)
	for _, w := range r.Pool.Layout {
		if slices.Contains(r.Machine.Names(), w) {
			w = "$" + strings.ReplaceAll(w, "-", "_")
		}
		words = append(words, w)
	}
	b.WriteString(strings.Join(words, " ") + "\n")
	place := ops.Place{Pool: r.Pool.Name, Disk: func(name string) string { return "$" + strings.ReplaceAll(name, "-", "_") }}
	for _, o := range a.least.program {
		b.WriteString(o.Shell(place) + "\n")
	}
	return b.String(), nil
}

// Reduced tells of a step: less does it, too.
type Reduced struct{ Answer }

// Found ends the search.
type Found struct{ Answer }

// Failed ends it at its beginning: the whole does not do it at the rate.
type Failed struct{}

// Tell is news in a sentence, empty for what is none.
func Tell(e campaign.Event) string {
	switch e := e.(type) {
	case Reduced:
		text := fmt.Sprintf("%d operations do it", len(e.least.program))
		if len(e.Without) > 0 {
			text += ", without " + strings.Join(e.Without, ", ")
		}
		return text
	case Found:
		return fmt.Sprintf("the least are %d operations, %d of %d trials hit", len(e.least.program), e.Hits, e.Valid)
	case Failed:
		return "the whole program does not do it at the rate that was asked for"
	}
	return ""
}
