package campaign

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Questions is the search of a run: scenarios times versions times arms times trials. As JSON it is the whole request: what is
// read back goes on where it was.
type Questions struct {
	Asked []Asked `json:"scenarios"`
	// Images are the OpenZFS versions to ask.
	Images []trial.Image `json:"images"`
	// Driver and Accel are what the trials are to be done with.
	Driver string `json:"driver"`
	Accel  string `json:"accel"`
	// Trials is the number for each fault arm, 0 for what the scenario says. Arms that have fewer trials than the most
	// in their file keep the proportion.
	Trials int `json:"trials,omitempty"`
	// Fixed has all of them done. Otherwise an arm has no more than it takes to know.
	Fixed bool `json:"fixed,omitempty"`
	// Only picks one trial of one arm, for repeating it.
	Only *Pick  `json:"only,omitempty"`
	Seed uint64 `json:"seed"`
	// Flags chose the driver, for the command that repeats a trial; empty, or with a blank in front.
	Flags string `json:"flags,omitempty"`

	questions []*question
	scenarios []*scenarios.Scenario
}

// Asked is a scenario by its text.
type Asked struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// Ask takes scenarios.
func Ask(all []*scenarios.Scenario) (asked []Asked) {
	for _, s := range all {
		asked = append(asked, Asked{s.File, s.Source})
	}
	return asked
}

// Pick names one trial.
type Pick struct {
	Arm    string `json:"arm"`
	Number int    `json:"number"` // from 1
}

// question is a scenario that is asked of one version.
type question struct {
	scenario *scenarios.Scenario
	openzfs  string
	applies  bool
	arms     []ArmPlan
	plan     verdict.Plan
	wants    map[string][]Want // by arm, in the order of their numbers
}

// Plan lays out the trials. It is to be called once, before the search begins. An arm that does not exist cannot be picked.
func (q *Questions) Plan() error {
	var all []*scenarios.Scenario
	for _, a := range q.Asked {
		s, err := scenarios.Parse(a.File, []byte(a.Text))
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	q.scenarios = all
	for _, img := range q.Images {
		for _, s := range all {
			arms, err := q.arms(s)
			if err != nil {
				return err
			}
			one := &question{
				scenario: s.On(img.OpenZFS), openzfs: img.OpenZFS, applies: s.Applies(img.OpenZFS), arms: arms, wants: map[string][]Want{},
				plan: verdict.Plan{Trials: map[string]int{}, Fixed: q.Fixed, Picked: q.Only != nil},
			}
			for _, a := range arms {
				one.plan.Trials[a.Arm.Name] = a.Trials
				if one.applies {
					one.wants[a.Arm.Name] = make([]Want, 0, a.Trials)
				}
				for round := 1; round <= a.Trials && one.applies; round++ {
					one.wants[a.Arm.Name] = append(one.wants[a.Arm.Name], q.want(s, img, a.Arm.Name, q.number(round)))
				}
			}
			q.questions = append(q.questions, one)
		}
	}
	return nil
}

// Scenarios are those that are asked, as their files have them: see scenarios.Scenario.On.
func (q *Questions) Scenarios() []*scenarios.Scenario { return q.scenarios }

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

func (q *Questions) number(round int) int {
	if q.Only != nil {
		return q.Only.Number
	}
	return round
}

func (q *Questions) want(s *scenarios.Scenario, img trial.Image, arm string, number int) Want {
	w := Frame{Driver: q.Driver, Accel: q.Accel, Seed: q.Seed}.Want(s, img, arm, number)
	w.Bundle = filepath.Join(s.Name+"-"+img.OpenZFS, BundleOf(arm, number))
	w.Repeat = Repeat(s, img.OpenZFS, q.Seed, arm, number) + q.Flags
	return w
}

// Frame is what all trials of a campaign have in common.
type Frame struct {
	Driver, Accel string
	Seed          uint64 // those of the trials come from it
}

// Want is the trial of that number of an arm, in an image. Its ID is the same whichever search asks for it.
func (f Frame) Want(s *scenarios.Scenario, img trial.Image, arm string, number int) Want {
	return WantOf(trial.Spec{
		Version: trial.SpecVersion, Name: s.Name, Scenario: s.Source, Arm: arm, Number: number, Seed: seed(f.Seed, s.Name, img.OpenZFS, arm, number),
		Image: img.ID, OpenZFS: img.OpenZFS, Driver: f.Driver, Accel: f.Accel,
	})
}

// BundleOf names the directory of a trial among those of its version.
func BundleOf(arm string, number int) string { return fmt.Sprintf("%s-%03d", arm, number) }

// Repeat is the command that does one trial again; version is what its --zfs says. A scenario of the user's own is named by its file, which has a slash.
func Repeat(s *scenarios.Scenario, version string, seed uint64, arm string, number int) string {
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

// Next asks one question after the other, and the next one as soon as there is room.
func (q *Questions) Next(done Results) (want []Want, news []Event) {
	results := make([][]trial.Result, len(q.questions))
	for i, one := range q.questions {
		if one.applies {
			results[i] = one.results(done)
			news = append(news, Planned{one.scenario.Name, one.openzfs, one.arms, one.scenario, one.plan, results[i]})
		} else {
			news = append(news, Skipped{one.scenario.Name, one.openzfs})
		}
	}
	for i, one := range q.questions {
		if !one.applies {
			continue
		}
		s := q.conclude(one, results[i])
		want = append(want, one.wanted(s, done)...)
		if len(want) == 0 && q.Only == nil {
			news = append(news, Judged{s})
		}
	}
	return want, news
}

// wanted are the trials that may be needed yet, the arms taking turns: what changes on the host while they run changes for all of
// them.
func (one *question) wanted(s verdict.Summary, done Results) (want []Want) {
	var open [][]Want
	most := 0
	for _, a := range s.Arms {
		if a.Wanted > 0 {
			open = append(open, one.wants[a.Name])
			most = max(most, len(one.wants[a.Name]))
		}
	}
	for round := range most {
		for _, wants := range open {
			if round >= len(wants) {
				continue
			}
			if _, ok := done[wants[round].ID]; !ok {
				want = append(want, wants[round])
			}
		}
	}
	return want
}

// Summaries are what the results say, of every question that has some.
func (q *Questions) Summaries(done Results) (all []verdict.Summary) {
	all, _ = q.Standing(done)
	return all
}

// Standing is that, and how many trials may be needed yet, those of questions that have none included.
func (q *Questions) Standing(done Results) (all []verdict.Summary, wanted int) {
	for _, one := range q.questions {
		if !one.applies {
			continue
		}
		s := q.conclude(one, one.results(done))
		wanted += s.Missing
		if slices.ContainsFunc(s.Arms, func(a verdict.Arm) bool { return a.Trials > 0 }) {
			all = append(all, s)
		}
	}
	return all, wanted
}

// conclude says what the results of a question say together.
func (q *Questions) conclude(one *question, results []trial.Result) verdict.Summary {
	s := verdict.Conclude(one.scenario, results, one.plan)
	s.OpenZFS, s.Seed, s.Seconds = one.openzfs, q.Seed, span(results)
	return s
}

// results are those of a question.
func (one *question) results(done Results) (results []trial.Result) {
	n := 0
	for _, wants := range one.wants {
		n += len(wants)
	}
	results = make([]trial.Result, 0, min(n, len(done)))
	for _, a := range one.arms {
		for _, w := range one.wants[a.Arm.Name] {
			if r, ok := done[w.ID]; ok {
				results = append(results, r)
			}
		}
	}
	return results
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
