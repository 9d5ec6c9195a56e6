// Package nights compares campaigns that ask the same again, night after night: it says of every cell whether its rate changed, since
// when, and what became of that. It is pure: nights go in, a report.Comparison comes out. It knows no store and no campaign.
//
// A cell is what a reader calls the same thing over the nights: an arm of a scenario, with one OpenZFS on one accelerator. Its key says
// how its trials are done: nights of equal keys are pooled, others never.
package nights

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Night is what one campaign has shown. Add and Judge fill it; one that was filled by hand does as well.
type Night struct {
	Name    string
	Began   time.Time
	Cells   []*Cell
	Answers []Answer

	cells map[name]*Cell
	read  map[asked]*meaning
}

// name is that of a cell, asked the text of a scenario with one of its arms.
type (
	name struct {
		report.Where
		arm string
	}
	asked struct{ scenario, text, arm, openzfs string }
)

// Cell is a cell in one night.
type Cell struct {
	report.Where
	Arm     string
	Control bool
	Key     Key
	Tallies []Tally
}

// Key is how the trials of a cell are done. Driver and accelerator are in its name.
type Key struct {
	// Trial is a hash of what the scenario's text means for the arm. The expectation is not in it, nor is what is said for people, how
	// many trials there are, or another arm: a text in which only such things were changed has the same trials.
	Trial string
	// Hit is what counts as one.
	Hit   string
	Image string
}

// edits are what differs, in words.
func (k Key) edits(old Key) (what []string) {
	for _, part := range []struct{ was, is, word string }{
		{old.Trial, k.Trial, "the scenario's text"}, {old.Hit, k.Hit, "what counts as a hit"}, {old.Image, k.Image, "the image"},
	} {
		if part.was != part.is {
			what = append(what, part.word)
		}
	}
	return what
}

// Tally is what a cell's trials on one host showed, done by one version of the lab.
type Tally struct {
	Host, Lab string
	// Valid are the trials that count, Hits those of them that hit.
	Valid, Hits, Invalid int
	// HitSeconds and OtherSeconds are how long the valid trials took that hit, and those that did not. They may be left out.
	HitSeconds, OtherSeconds []float64
}

// Answer is the verdict of a scenario, with one OpenZFS on one accelerator.
type Answer struct {
	report.Where
	// Key is that of all arms together.
	Key               Key
	Verdict, Expected scenarios.Verdict
	// Rate is the stated one, which decides the verdict with the trials.
	Rate float64
	// Text is the scenario's, as far as it is read by machines: its lines without remarks.
	Text []string
}

// meaning is what a text says for an arm.
type meaning struct {
	scenario *scenarios.Scenario
	control  bool
	key      Key
}

// Add takes a trial of a run. Those of an atlas, and of states that a power cut left, have no rate over nights: they are an error.
func (n *Night) Add(s trial.Spec, r trial.Result, e trial.Environment) error {
	if s.Strike != nil || s.Cut != nil {
		return fmt.Errorf("compare nights: %s is a trial of an atlas or of a power cut: only those of runs have a rate over nights", s.Title())
	}
	m, err := n.meaning(s)
	if err != nil {
		return fmt.Errorf("compare nights: %s: %w", s.Title(), err)
	}
	c := n.cell(name{report.Where{Scenario: s.Name, OpenZFS: s.OpenZFS, Driver: s.Driver, Accel: s.Accel}, s.Arm})
	c.Control, c.Key = m.control, m.key
	c.Key.Image = s.Image
	i := slices.IndexFunc(c.Tallies, func(t Tally) bool { return t.Host == e.Host && t.Lab == e.Version })
	if i < 0 {
		i = len(c.Tallies)
		c.Tallies = append(c.Tallies, Tally{Host: e.Host, Lab: e.Version})
	}
	t := &c.Tallies[i]
	switch {
	case r.Outcome == trial.Invalid:
		t.Invalid++
	case verdict.Hit(m.scenario, r):
		t.Valid, t.Hits, t.HitSeconds = t.Valid+1, t.Hits+1, append(t.HitSeconds, r.Lasted())
	default:
		t.Valid, t.OtherSeconds = t.Valid+1, append(t.OtherSeconds, r.Lasted())
	}
	return nil
}

// Judge takes the verdict of a scenario, with the image, the driver and the accelerator that its trials had.
func (n *Night) Judge(s *scenarios.Scenario, v verdict.Summary, image, driver, accel string) {
	key := Key{Hit: hit(s), Image: image}
	all := sha256.New()
	for _, a := range s.Arms {
		_, _ = fmt.Fprintln(all, a.Name, a.Control, meant(s, a.Name)) // a hash takes everything
	}
	key.Trial = hex.EncodeToString(all.Sum(nil)[:16])
	n.Answers = append(n.Answers, Answer{
		Where: report.Where{Scenario: v.Scenario, OpenZFS: v.OpenZFS, Driver: driver, Accel: accel}, Key: key,
		Verdict: v.Verdict, Expected: v.Expected, Rate: s.Expect.Rate, Text: lines(s.Source),
	})
}

// lines are those of a text without remarks, empty ones, and the mark of an item.
func lines(text string) (list []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(" "+strings.TrimSpace(line), " #")
		if line = strings.TrimPrefix(strings.TrimSpace(line), "- "); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// differing are the lines that only one of two texts has, those of the old one first, as diff marks them.
func differing(old, now []string) (list []string) {
	only := func(mark string, of, beside []string) {
		beside = slices.Clone(beside)
		for _, line := range of {
			if i := slices.Index(beside, line); i >= 0 {
				beside = slices.Delete(beside, i, i+1)
			} else {
				list = append(list, mark+line)
			}
		}
	}
	only("- ", old, now)
	only("+ ", now, old)
	return list
}

func (n *Night) cell(of name) *Cell {
	c := n.cells[of]
	if c == nil {
		c = &Cell{Where: of.Where, Arm: of.arm}
		if n.cells == nil {
			n.cells = map[name]*Cell{}
		}
		n.cells[of] = c
		n.Cells = append(n.Cells, c)
	}
	return c
}

// meaning reads a text once for all its trials.
func (n *Night) meaning(s trial.Spec) (*meaning, error) {
	at := asked{s.Name, s.Scenario, s.Arm, s.OpenZFS}
	if m := n.read[at]; m != nil {
		return m, nil
	}
	read, arm, err := s.Resolve()
	if err != nil {
		return nil, err
	}
	m := &meaning{scenario: read, control: arm.Arm.Control, key: Key{Trial: meant(read, s.Arm), Hit: hit(read)}}
	if n.read == nil {
		n.read = map[asked]*meaning{}
	}
	n.read[at] = m
	return m, nil
}

// meant is the hash of what decides an arm's trials.
func meant(s *scenarios.Scenario, arm string) string {
	r, err := s.ForArm(arm)
	if err != nil {
		panic(err) // the arm is the scenario's own
	}
	// Vars are in their places, and the number of trials decides none of them.
	r.Arm = scenarios.Arm{Name: r.Arm.Name, Withhold: r.Arm.Withhold}
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// hit is what counts as one, see verdict.Hit. A step that must end in a panic looks for the signature, too.
func hit(s *scenarios.Scenario) string {
	return s.Expect.Signature + " " + strings.Join(s.Expect.Outcome, ",")
}
