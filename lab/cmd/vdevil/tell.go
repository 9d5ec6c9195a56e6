package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bisect"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/hunt"
	"github.com/vdevil/vdevil/lab/minimize"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

// teller puts the events of a campaign, of whatever kind, into sentences.
type teller struct {
	now func() time.Time

	kind       string // one of lab's, as far as the events have shown it
	todo, done int    // trials
	bad        int    // states with complaints
	start      time.Time
	counted    time.Time // the states were
	last       string    // news of a bisection
}

// countEvery is how often the states of a study are counted aloud.
const countEvery = 5 * time.Second

// tell gives the sentence for an event, empty for none, and whether it is worth to be left behind by a view that shows how far
// the trials have come.
func (t *teller) tell(e campaign.Event) (text string, stays bool) {
	switch e := e.(type) {
	case lab.Opened:
		return opened(e), true
	case campaign.Paused:
		return paused(e), true
	case campaign.Skipped:
		return skipped(e), true
	case campaign.Judged:
		return judged(e.Summary), true
	case campaign.Planned:
		t.kind = lab.KindRun
		return fmt.Sprintf("%s: %s", title(e.Scenario, e.OpenZFS), arms(e)), false
	case atlas.Begun:
		t.kind, t.done, t.todo = lab.KindAtlas, e.DoneAlready, e.Trials
		return mapped(e), true
	case crash.Begun:
		t.kind, t.start, t.counted, t.todo = lab.KindCrash, t.now(), t.now(), e.States-len(e.Done)
		return recorded(e), true
	case campaign.Started:
		if t.kind == lab.KindRun {
			return fmt.Sprintf("%s/%d: started", e.Spec.Arm, e.Spec.Number), false
		}
	case campaign.Dropped:
		if t.kind == lab.KindRun {
			return dropped(e), false
		}
	case campaign.Ended:
		t.done++
		return t.ended(e)
	default:
		if text := hunt.Tell(e); text != "" {
			t.kind = lab.KindHunt
			return text, true
		}
		if text := minimize.Tell(e); text != "" {
			t.kind = lab.KindMinimize
			return text, true
		}
		if text := bisect.Tell(e); text != "" && text != t.last {
			t.kind, t.last = lab.KindBisect, text
			return text, true
		}
	}
	return "", false
}

func (t *teller) ended(e campaign.Ended) (text string, stays bool) {
	switch t.kind {
	case lab.KindAtlas:
		return fmt.Sprintf("%d of %d: %s: %s %s", t.done, t.todo, struck(e), e.Result.Outcome, e.Result.Signature), true
	case lab.KindBisect:
		return tried(e), true
	case lab.KindCrash:
		return t.state(e.Result)
	}
	return ended(e.Result), e.Result.Outcome == trial.Invalid
}

// state tells of a state that was judged only if something is wrong with it, and now and then how many were judged.
func (t *teller) state(r trial.Result) (text string, stays bool) {
	switch {
	case r.Outcome == trial.Invalid:
		text = fmt.Sprintf("state %d: not judged: %s", r.Number, report.FirstLine(r.Reason))
	case report.Lost(r):
		t.bad++
		text = fmt.Sprintf("state %d (%s at %d): %s", r.Number, r.State.Kind, r.State.At, strings.Join(complaints(r), "; "))
	}
	now := t.now()
	if now.Sub(t.counted) < countEvery && t.done < t.todo {
		return text, text != ""
	}
	t.counted = now
	each := now.Sub(t.start) / time.Duration(t.done)
	count := fmt.Sprintf("%d of %d states, %d with complaints, %s left", t.done, t.todo, t.bad, report.Clock(each*time.Duration(t.todo-t.done)))
	if text == "" {
		return count, false
	}
	return text + "\n" + count, true
}

func title(scenario, version string) string {
	return fmt.Sprintf("%s on OpenZFS %s", scenario, version)
}

func opened(e lab.Opened) string {
	text := fmt.Sprintf("campaign %s (%s)", e.Name, e.ID)
	if e.Done > 0 {
		text += fmt.Sprintf(", %d trials done before", e.Done)
	}
	return text
}

func mapped(e atlas.Begun) string {
	text := fmt.Sprintf("%s has %d bits; %d trials, controls included", e.Type, e.Size, e.Trials)
	if e.DoneAlready > 0 {
		text += fmt.Sprintf(", %d of them done before", e.DoneAlready)
	}
	return text
}

func recorded(e crash.Begun) string {
	r := e.Recorded
	text := fmt.Sprintf("recorded %d writes of %d MiB and %d flushes, %d files promised, in %s; now %d states",
		r.Writes, r.Bytes>>20, r.Flushes, r.Promised, report.Clock(report.Seconds(r.Seconds)), e.States)
	if n := len(e.Done); n > 0 {
		text += fmt.Sprintf(", %d of them judged before", n)
	}
	return text
}

func paused(e campaign.Paused) string {
	if e.Lacking == "" {
		return "going on"
	}
	return "waiting with more trials: " + e.Lacking
}

func dropped(e campaign.Dropped) string {
	return fmt.Sprintf("%s/%d: broken off", e.Spec.Arm, e.Spec.Number)
}

func skipped(e campaign.Skipped) string {
	return title(e.Scenario, e.OpenZFS) + ": cannot be asked of this version, its file says"
}

func arms(e campaign.Planned) string {
	var list []string
	for _, a := range e.Arms {
		if a.Trials > 0 {
			list = append(list, fmt.Sprintf("%s %d", a.Arm.Name, a.Trials))
		}
	}
	return "trials: at most " + strings.Join(list, ", ")
}

func ended(r trial.Result) string {
	text := fmt.Sprintf("%s/%d: %s", r.Arm, r.Number, r.Outcome)
	switch {
	case r.Signature != "":
		text += " " + r.Signature
	case r.Outcome == trial.Invalid:
		text += ": " + report.FirstLine(r.Reason) // the console's tail is in the bundle and in the report
	}
	return fmt.Sprintf("%s, %s", text, report.Clock(report.Seconds(r.Seconds)))
}

// struck says which bit a trial flipped.
func struck(e campaign.Ended) string {
	if e.Spec.Strike.Withhold {
		return "control"
	}
	for _, i := range e.Result.Injections {
		return i.Target
	}
	return fmt.Sprintf("bit %d", e.Spec.Strike.Bit)
}

// tried says what a trial of a candidate showed.
func tried(e campaign.Ended) string {
	if e.Result.Untestable != "" {
		return fmt.Sprintf("%s cannot be tried: %s", e.Spec.OpenZFS, e.Result.Untestable)
	}
	return fmt.Sprintf("%s %d: %s %s", e.Spec.OpenZFS, e.Spec.Number, e.Result.Outcome, e.Result.Signature)
}

// complaints are what is wrong with a state, in a few words each.
func complaints(r trial.Result) (all []string) {
	add := func(what, why string) {
		if why != "" {
			all = append(all, what+report.FirstLine(why))
		}
	}
	v := r.State
	if r.Outcome.Crash() || r.Signature != "" {
		add(string(r.Outcome)+": ", cmp.Or(r.Signature, r.Reason))
	}
	add("cannot be audited: ", v.Unreadable)
	add("read-only import: ", v.ReadOnly)
	add("import: ", v.ReadWrite)
	for _, list := range []struct {
		what  string
		found []string
	}{{"audit: ", r.Audit}, {"audit after the import: ", v.After}, {"damaged: ", v.Damaged}} {
		if n := len(list.found); n > 0 {
			add(list.what, fmt.Sprintf("%d, first %s", n, list.found[0]))
		}
	}
	if n := len(v.Broken); n > 0 {
		all = append(all, fmt.Sprintf("%d of %d promises broken, first %s %s", n, v.Promises, v.Broken[0].Path, v.Broken[0].Result))
	}
	return all
}

func judged(r verdict.Summary) string {
	return fmt.Sprintf("%s: %s, %s", title(r.Scenario, r.OpenZFS), report.Verdict(r), report.Clock(report.Seconds(r.Seconds)))
}

func step(g lab.Progress) string {
	if g.Of > 0 {
		return fmt.Sprintf("step %d of %d: %s", g.Index, g.Of, g.What)
	}
	return g.What
}

func expected(g lab.Progress) string {
	if g.Expected == 0 {
		return ""
	}
	return fmt.Sprintf(", takes about %s", report.Clock(g.Expected))
}
