package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// story is a short run with everything that can happen in it. tick is called after each event.
func story(o observer, tick func()) {
	steps := []any{
		lab.Progress{What: "waiting for process 7 (vdevil run), which builds it"},
		lab.Progress{What: "installing the guest", Index: 1, Of: 2, Expected: 30 * time.Second},
		lab.Progress{What: "compiling OpenZFS", Index: 2, Of: 2, Expected: 110 * time.Second},
		lab.Progress{What: "installing the guest", Index: 1, Of: 2, Took: 33 * time.Second, Done: true},
		lab.Progress{What: "compiling OpenZFS", Index: 2, Of: 2, Took: 125 * time.Second, Done: true},
		campaign.Planned{Scenario: "a-scenario", OpenZFS: "2.3.2", Arms: []campaign.ArmPlan{
			{Arm: scenarios.Arm{Name: "flip"}, Trials: 10}, {Arm: scenarios.Arm{Name: "no-flip", Control: true}, Trials: 2},
			{Arm: scenarios.Arm{Name: "left-out"}},
		}},
		lab.Progress{What: "prepare a-scenario for 2.3.2"},
		lab.Progress{What: "prepare a-scenario for 2.3.2", Took: 4 * time.Second, Done: true},
		campaign.Started{Spec: trial.Spec{Name: "a-scenario", OpenZFS: "2.3.2", Arm: "flip", Number: 1}},
		campaign.Started{Spec: trial.Spec{Name: "a-scenario", OpenZFS: "2.3.2", Arm: "no-flip", Number: 1}},
		ends("flip", 1, trial.Result{Outcome: trial.Panic, Signature: "range-tree-add-overlap@metaslab_free_concrete"}),
		campaign.Started{Spec: trial.Spec{Name: "a-scenario", OpenZFS: "2.3.2", Arm: "flip", Number: 2}},
		ends("no-flip", 1, trial.Result{Outcome: trial.Masked}),
		ends("flip", 2, trial.Result{Outcome: trial.Invalid, Reason: "connect to guest: EOF\nconsole ends:\n[ 1.0] Run /init"}),
		campaign.Judged{Summary: verdict.Summary{
			Scenario: "a-scenario", OpenZFS: "2.3.2", Verdict: verdict.Inconclusive, Expected: scenarios.Reproduces, Seconds: 4000,
		}},
	}
	for _, s := range steps {
		if p, ok := s.(lab.Progress); ok {
			o.progress(p)
		} else {
			o.event(s)
		}
		tick()
	}
	o.note("ending: once more to end at once")
	o.close()
}

func ends(arm string, number int, r trial.Result) campaign.Ended {
	r.Arm, r.Number, r.Seconds = arm, number, 5.25
	return campaign.Ended{Spec: trial.Spec{Name: "a-scenario", OpenZFS: "2.3.2", Arm: arm, Number: number}, Result: r}
}

// clocked is a time that passes by 1.5 s a tick.
type clocked struct{ t time.Time }

func (c *clocked) now() time.Time { return c.t }
func (c *clocked) tick()          { c.t = c.t.Add(1500 * time.Millisecond) }

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	c := &clocked{time.Unix(0, 0)}
	story(newPlain(&b, c.now), c.tick)
	golden.Assert(t, b.String(), "plain.txt")
}

// What a terminal of 64 columns shows after each event of the story, and what it has written in the end.
func TestLive(t *testing.T) {
	var pictures strings.Builder
	c := &clocked{time.Unix(0, 0)}
	screen := &screen{}
	l := newLive(screen, func() (int, int) { return 64, 8 }, c.now)
	story(l, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		fmt.Fprintf(&pictures, "--- %s\n%s", clock(time.Duration(c.t.UnixNano())), screen.text())
		c.tick()
	})
	fmt.Fprintf(&pictures, "--- the end\n%s", screen.text())
	golden.Assert(t, pictures.String(), "live.txt")
}

// screen is a terminal that knows what live uses: lines, and erasing some of the last ones.
type screen struct{ lines []string }

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	var up int
	if n, _ := fmt.Sscanf(text, "\r\x1b[%dA\x1b[J", &up); n == 1 {
		s.lines = s.lines[:len(s.lines)-up]
		text = text[strings.Index(text, "J")+1:]
	}
	for line := range strings.Lines(text) {
		if strings.ContainsRune(line, '\x1b') || !strings.HasSuffix(line, "\n") {
			return 0, fmt.Errorf("%q is not understood", line)
		}
		s.lines = append(s.lines, line)
	}
	return len(p), nil
}

func (s *screen) text() string { return strings.Join(s.lines, "") }

// A view that is larger than the terminal shows its end, and lines that would wrap are cut.
func TestLiveFits(t *testing.T) {
	q := &question{title: strings.Repeat("ä", 50), begun: true}
	l := &live{now: time.Now, asked: []*question{q}}
	for i := range 30 {
		q.arms = append(q.arms, &armView{name: fmt.Sprintf("arm-%d", i), trials: 5})
	}
	lines := l.view(20, 10)
	if len(lines) != 9 || !strings.HasPrefix(lines[8], "  arm-29") {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	for _, line := range append(lines, l.view(20, 100)[0]) {
		if n := len([]rune(line)); n >= 20 {
			t.Errorf("%d columns in %q", n, line)
		}
	}
	if lines := l.view(0, 0); len(lines) != 1 {
		t.Errorf("%d lines on a terminal without any", len(lines))
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                        "0.0s",
		350 * time.Millisecond:   "0.3s",
		59990 * time.Millisecond: "59.9s",
		61 * time.Second:         "1m01s",
		3600 * time.Second:       "1h00m",
		90 * time.Hour:           "90h00m",
	} {
		if got := clock(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
