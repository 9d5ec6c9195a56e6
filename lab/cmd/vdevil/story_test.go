package main

import (
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bisect"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Stories are the events of short campaigns, one of each kind and with what can happen in it: events and lab.Progress, as they come.

// planned is a scenario of two arms.
func planned(name, arm string) campaign.Planned {
	s := &scenarios.Scenario{
		Name: name, Expect: scenarios.Expect{Verdict: scenarios.Reproduces, Rate: 0.9},
		Arms: []scenarios.Arm{{Name: arm, Trials: 10}, {Name: "no-" + arm, Control: true, Trials: 2}, {Name: "left-out"}},
	}
	return campaign.Planned{
		Scenario: name, OpenZFS: "2.3.2", Asked: s, Plan: verdict.Plan{Trials: map[string]int{arm: 10, "no-" + arm: 2}},
		Arms: []campaign.ArmPlan{{Arm: s.Arms[0], Trials: 10}, {Arm: s.Arms[1], Trials: 2}, {Arm: s.Arms[2]}},
	}
}

// spec is that of a trial of the story of a run.
func spec(arm string, number int) trial.Spec {
	return trial.Spec{Name: "a-scenario", OpenZFS: "2.3.2", Arm: arm, Number: number}
}

// ends is how a trial of 5.25 s went.
func ends(s trial.Spec, r trial.Result) campaign.Ended {
	r.Arm, r.Number, r.Seconds = s.Arm, s.Number, 5.25
	return campaign.Ended{Spec: s, Result: r}
}

func imageStory() []any {
	return []any{
		lab.Progress{What: "waiting for process 7 (vdevil run), which builds it"},
		lab.Progress{What: "installing the guest", Index: 1, Of: 2, Expected: 30 * time.Second},
		lab.Progress{What: "compiling OpenZFS", Index: 2, Of: 2, Expected: 110 * time.Second},
		lab.Progress{What: "installing the guest", Index: 1, Of: 2, Took: 33 * time.Second, Done: true},
		lab.Progress{What: "compiling OpenZFS", Index: 2, Of: 2, Took: 125 * time.Second, Done: true},
	}
}

// added is the signature of the report's panic.
const added = "range-tree-add-overlap@metaslab_free_concrete"

func runStory(console string) []any {
	return append(imageStory(),
		lab.Opened{Name: "tonight", ID: "3f2a", Of: 1},
		planned("a-scenario", "flip"),
		campaign.Skipped{Scenario: "another", OpenZFS: "2.1.11"},
		lab.Progress{What: "prepare a-scenario for 2.3.2"},
		lab.Progress{What: "prepare a-scenario for 2.3.2", Took: 4 * time.Second, Done: true},
		campaign.Started{Spec: spec("flip", 1)},
		campaign.Entered{Spec: spec("flip", 1), Console: console, From: 5},
		campaign.Started{Spec: spec("no-flip", 1)},
		ends(spec("flip", 1), trial.Result{Outcome: trial.Panic, Signature: added}),
		campaign.Started{Spec: spec("flip", 2)},
		ends(spec("no-flip", 1), trial.Result{Outcome: trial.Masked}),
		ends(spec("flip", 2), trial.Result{Outcome: trial.Invalid, Reason: "connect to guest: EOF\nconsole ends:\n[ 1.0] Run /init"}),
		campaign.Started{Spec: spec("flip", 3)},
		campaign.Paused{Lacking: "there are only 100 MiB of memory"},
		campaign.Dropped{Spec: spec("flip", 3)},
		campaign.Paused{},
		campaign.Judged{Summary: verdict.Summary{
			Scenario: "a-scenario", OpenZFS: "2.3.2", Verdict: verdict.Inconclusive, Expected: scenarios.Reproduces, Seconds: 4000,
		}},
	)
}

func atlasStory() []any {
	bit := func(n int) trial.Spec {
		return trial.Spec{Name: "a-scenario", Arm: "flip", Number: 1, OpenZFS: "2.3.2", Strike: &trial.Strike{Bit: n}}
	}
	control := bit(0)
	control.Strike.Withhold = true
	return []any{
		lab.Opened{Name: "map", ID: "77b0", Done: 2, Of: 1},
		atlas.Begun{Type: "dva_t", Size: 128, Trials: 130, DoneAlready: 2, Controls: 2, ControlsAlready: 1},
		campaign.Started{Spec: bit(1)},
		campaign.Started{Spec: control},
		ends(bit(1), trial.Result{Outcome: trial.Panic, Signature: added, Injections: []trial.Injection{{Target: "bp.blk_dva[0] bit 1"}}}),
		ends(control, trial.Result{Outcome: trial.Masked}),
	}
}

func crashStory() []any {
	story := make([]any, 0, 10)
	story = append(story,
		lab.Opened{Name: "cut", ID: "0c0c", Of: 1},
		crash.Begun{Recorded: crash.Recorded{Writes: 900, Flushes: 60, Bytes: 20 << 20, Promised: 5, Seconds: 9}, States: 4},
	)
	for _, r := range studied(false).States {
		s := trial.Spec{Name: "crash-storm", OpenZFS: "2.3.2", Number: r.Number, Cut: &trial.Cut{}}
		story = append(story, campaign.Started{Spec: s}, ends(s, r))
	}
	return story
}

func bisectStory() []any {
	asked := planned("a-scenario", "flip").Asked
	of := func(openzfs string, n int) trial.Spec {
		s := spec("flip", n)
		s.OpenZFS = openzfs
		return s
	}
	return []any{
		lab.Opened{Name: "since", ID: "b15e", Done: 3, Of: 1},
		bisect.Begun{Candidates: 41, Commits: 72, Most: 60, Asked: asked, Text: "adding", Tried: []bisect.Tried{{OpenZFS: "2.3.2", Trials: 3, Scored: 3}}},
		campaign.Started{Spec: of("2.3.4", 1)},
		ends(of("2.3.4", 1), trial.Result{Outcome: trial.Panic, Signature: added, Text: "zfs: adding existent segment"}),
		ends(of("2.3.4", 2), trial.Result{Outcome: trial.Panic, Signature: added, Text: "zfs: another text"}),
		ends(of("2.3.3", 1), trial.Result{Outcome: trial.Invalid, Untestable: "it does not compile"}),
		bisect.Halved{First: report.Candidate{OpenZFS: "2.3.2"}, Last: report.Candidate{OpenZFS: "2.3.4"}},
	}
}

func stories() map[string][]any {
	return map[string][]any{"run": runStory("/nowhere"), "atlas": atlasStory(), "crash": crashStory(), "bisect": bisectStory()}
}

// tell tells an observer of one piece of a story.
func tell(o observer, e any) {
	if p, ok := e.(lab.Progress); ok {
		o.progress(p)
	} else {
		o.event(e)
	}
}

// clocked is a time that passes by 1.5 s a tick.
type clocked struct{ t time.Time }

func (c *clocked) now() time.Time { return c.t }
func (c *clocked) tick()          { c.t = c.t.Add(1500 * time.Millisecond) }

// framed is what a terminal would show of a view.
func framed(view string) string { return "  | " + strings.ReplaceAll(view, "\n", "\n  | ") + "\n" }
