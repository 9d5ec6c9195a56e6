package campaign

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Questions is the search of a run: scenarios times versions times arms times trials.
type Questions struct {
	Scenarios []*scenarios.Scenario
	// Images are the OpenZFS versions to ask.
	Images []*images.Image
	// Driver and Accel are what the trials are to be done with.
	Driver, Accel string
	// Trials is the number for each fault arm, 0 for what the scenario says. Arms that have fewer trials than the most
	// in their file keep the proportion.
	Trials int
	// Only picks one trial of one arm, for repeating it.
	Only *Pick
	Seed uint64
	// Flags chose the driver, for the command that repeats a trial; empty, or with a blank in front.
	Flags string

	questions []*question
}

// Pick names one trial.
type Pick struct {
	Arm    string
	Number int // from 1
}

// question is a scenario that is asked of one version.
type question struct {
	scenario *scenarios.Scenario
	openzfs  string
	applies  bool
	arms     []ArmPlan
	wants    []Want
}

// Plan lays out the trials. It is to be called once, before the search begins. An arm that does not exist cannot be picked.
func (q *Questions) Plan() error {
	for _, img := range q.Images {
		for _, s := range q.Scenarios {
			arms, err := q.arms(s)
			if err != nil {
				return err
			}
			one := &question{scenario: s, openzfs: img.OpenZFS, applies: s.Applies(img.OpenZFS), arms: arms}
			if one.applies {
				one.wants = q.wants(one, img)
			}
			q.questions = append(q.questions, one)
		}
	}
	return nil
}

// arms says how many trials each arm gets.
func (q *Questions) arms(s *scenarios.Scenario) (plans []ArmPlan, err error) {
	most := 0
	for _, a := range s.Arms {
		most = max(most, a.Trials)
	}
	for _, a := range s.Arms {
		n := a.Trials
		if q.Trials > 0 {
			n = (q.Trials*a.Trials + most - 1) / most
		}
		if q.Only != nil {
			n = 0
			if q.Only.Arm == a.Name {
				n = 1
			}
		}
		plans = append(plans, ArmPlan{a, n})
	}
	if q.Only != nil {
		_, err = s.ForArm(q.Only.Arm) // an unknown name is an error, not an empty run
	}
	return plans, err
}

// wants are all trials of a question, the arms taking turns: what changes on the host while they run changes for all of them.
func (q *Questions) wants(one *question, img *images.Image) (wants []Want) {
	most := 0
	for _, a := range one.arms {
		most = max(most, a.Trials)
	}
	for round := 1; round <= most; round++ {
		for _, a := range one.arms {
			if round <= a.Trials {
				wants = append(wants, q.want(one.scenario, img, a.Arm.Name, q.number(round)))
			}
		}
	}
	return wants
}

func (q *Questions) number(round int) int {
	if q.Only != nil {
		return q.Only.Number
	}
	return round
}

func (q *Questions) want(s *scenarios.Scenario, img *images.Image, arm string, number int) Want {
	w := WantOf(trial.Spec{
		Version: trial.SpecVersion, Name: s.Name, Scenario: s.Source, Arm: arm, Number: number, Seed: seed(q.Seed, s.Name, img.OpenZFS, arm, number),
		Image: img.ID, OpenZFS: img.OpenZFS, Driver: q.Driver, Accel: q.Accel,
	})
	w.Bundle = filepath.Join(s.Name+"-"+img.OpenZFS, fmt.Sprintf("%s-%03d", arm, number))
	w.Repeat = repeat(s, img.OpenZFS, q.Seed, arm, number) + q.Flags
	return w
}

// repeat is the command that does one trial again. A scenario of the user's own is named by its file, which has a slash.
func repeat(s *scenarios.Scenario, version string, seed uint64, arm string, number int) string {
	argument := s.Name
	if strings.Contains(s.File, "/") {
		argument = s.File
	}
	return fmt.Sprintf("vdevil run %s --zfs %s --seed %d --only %s/%d", argument, version, seed, arm, number)
}

// seed gives each trial its own, so that adding a trial or an arm leaves the others as they were.
func seed(campaign uint64, scenario, version, arm string, number int) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s/%s/%s/%d", campaign, scenario, version, arm, number))
	return binary.LittleEndian.Uint64(sum[:])
}

// Next asks one question after the other.
func (q *Questions) Next(done Results) (want []Want, news []Event) {
	for _, one := range q.questions {
		if !one.applies {
			news = append(news, Skipped{one.scenario.Name, one.openzfs})
			continue
		}
		news = append(news, Planned{one.scenario.Name, one.openzfs, one.arms})
		for _, w := range one.wants {
			if _, ok := done[w.ID]; !ok {
				want = append(want, w)
			}
		}
		if len(want) > 0 {
			return want, news
		}
		if q.Only == nil {
			news = append(news, Judged{q.conclude(one, done)})
		}
	}
	return nil, news
}

// Summaries are what the results say, of every question that has some.
func (q *Questions) Summaries(done Results) (all []verdict.Summary) {
	for _, one := range q.questions {
		if s := q.conclude(one, done); one.applies && s.Missing < len(one.wants) {
			all = append(all, s)
		}
	}
	return all
}

// conclude says what the results of a question say together.
func (q *Questions) conclude(one *question, done Results) verdict.Summary {
	var results []trial.Result
	for _, w := range one.wants {
		if r, ok := done[w.ID]; ok {
			results = append(results, r)
		}
	}
	s := verdict.Conclude(one.scenario, results, len(one.wants)-len(results), q.Only == nil)
	s.OpenZFS, s.Seed, s.Seconds = one.openzfs, q.Seed, span(results)
	return s
}

// span is the time from the beginning of the first trial to the end of the last, in seconds.
func span(results []trial.Result) float64 {
	if len(results) == 0 {
		return 0
	}
	first, last := results[0].Started, results[0].Started
	for _, r := range results {
		end := r.Started.Add(time.Duration(r.Seconds * float64(time.Second)))
		if r.Started.Before(first) {
			first = r.Started
		}
		if end.After(last) {
			last = end
		}
	}
	return last.Sub(first).Seconds()
}
