package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// told is a board with a story, as it stands at its end.
func told(b *board, story []any, after func(now time.Time)) time.Time {
	c := &clocked{time.Unix(0, 0)}
	for _, e := range story {
		if p, ok := e.(lab.Progress); ok {
			b.progress(p, c.t)
		} else {
			b.event(e, c.t)
		}
		after(c.t)
		c.tick()
	}
	return c.t
}

// TestBoard shows what a view of 80 columns has after every piece of every story.
func TestBoard(t *testing.T) {
	var pictures strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(stories())) {
		fmt.Fprintf(&pictures, "=== %s\n", kind)
		b := &board{}
		told(b, stories()[kind], func(now time.Time) {
			fmt.Fprintf(&pictures, "--- %s\n%s", report.Clock(time.Duration(now.UnixNano())), framed(b.view(80, 24, now)))
		})
	}
	golden.Assert(t, pictures.String(), "board.txt")
}

// until is the story of a run up to the second trial of an arm.
func until() []any { return runStory("/nowhere")[:15] }

// TestBoardFits has views of all sizes: no line is too long, there are not too many, and what matters most is there.
func TestBoardFits(t *testing.T) {
	for _, keys := range []string{"", "?", "d"} {
		for width := 1; width < 140; width += 3 {
			for height := 1; height < 40; height++ {
				b := &board{keys: true, colour: true}
				now := told(b, until(), func(time.Time) {})
				for i := range 30 {
					b.event(campaign.Started{Spec: spec("flip", 10+i)}, now)
				}
				b.press(keys)
				lines := strings.Split(b.view(width, height, now), "\n")
				if len(lines) > max(1, height-2) {
					t.Fatalf("%d lines for a terminal of %d", len(lines), height)
				}
				for _, l := range lines {
					if w := ansi.StringWidth(l); w > max(0, width-1) {
						t.Fatalf("%d columns in %q for a terminal of %d", w, l, width)
					}
				}
				if width >= 20 && !strings.Contains(lines[0], "campaign tonight") {
					t.Fatalf("the campaign is not on top of %q", lines)
				}
			}
		}
	}
}

// TestBoardSmall shows 20 columns, 5 rows, and both.
func TestBoardSmall(t *testing.T) {
	var pictures strings.Builder
	for _, size := range [][2]int{{20, 24}, {80, 5}, {20, 5}, {44, 12}} {
		b := &board{keys: true}
		now := told(b, until(), func(time.Time) {})
		b.running[0].said = "[   12.3] BUG: unable to handle page fault"
		fmt.Fprintf(&pictures, "--- %d columns, %d rows\n%s", size[0], size[1], framed(b.view(size[0], size[1], now)))
	}
	golden.Assert(t, pictures.String(), "board-small.txt")
}

// TestKeys presses keys, one after the other.
func TestKeys(t *testing.T) {
	b := &board{keys: true}
	if b.press("j"); strings.Contains(b.view(80, 24, time.Unix(0, 0)), ">") {
		t.Error("an arm is chosen before there is one")
	}
	if b.press("d"); !strings.Contains(b.view(80, 24, time.Unix(0, 0)), "nothing has begun") {
		t.Error("there are details of nothing")
	}
	b.press("esc")
	now := told(b, until(), func(time.Time) {})
	var pictures strings.Builder
	for _, key := range []string{"", "j", "d", "j", "j", "k", "?", "?", "d", "esc"} {
		if b.press(key) {
			t.Errorf("%q quits", key)
		}
		fmt.Fprintf(&pictures, "--- %q\n%s", key, framed(b.view(80, 24, now)))
	}
	golden.Assert(t, pictures.String(), "keys.txt")
	if !b.press("q") {
		t.Error("q does not quit")
	}
}

// TestKeysOf parts what a terminal sends.
func TestKeysOf(t *testing.T) {
	for sent, want := range map[string][]string{
		"dq": {"d", "q"}, "\x1b[A\x1bOBj": {"up", "down", "j"}, "\x1b": {"esc"}, "\t\r": {"tab", "enter"},
		"\x1b[1;5A?": {"?"}, "\x1b[200~": nil, "ä\x00": nil, "\x1b[": nil, "": nil, "j\x1aq": {"j", stopKey, "q"},
	} {
		if got := keysOf(sent, 0x1a); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", sent, got, want)
		}
	}
}

// TestLeft expects the time left of trials that take 10 s, two side by side.
func TestLeft(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	begin := func(o lab.Opened) *board {
		b := &board{}
		b.event(o, at(0))
		b.event(planned("a-scenario", "flip"), at(0))
		for _, s := range []trial.Spec{spec("flip", 1), spec("no-flip", 1)} {
			b.event(campaign.Started{Spec: s}, at(0))
		}
		return b
	}
	b := begin(lab.Opened{Name: "tonight"})
	if _, trials, known := b.left(at(5)); known || trials != 12 {
		t.Errorf("before a trial is done: %v, %d trials", known, trials)
	}
	one := func(b *board) time.Duration {
		e := ends(spec("flip", 1), trial.Result{Outcome: trial.Panic})
		e.Result.Seconds = 10
		b.event(e, at(10))
		left, _, known := b.left(at(10))
		if !known {
			t.Error("it is not known")
		}
		return left
	}
	// Eleven trials may be needed; one of them has run for as long as one takes.
	if left := one(b); left != 50*time.Second {
		t.Errorf("%v left", left)
	}
	if left := one(begin(lab.Opened{Until: at(20)})); left != 20*time.Second {
		t.Errorf("%v left of a budget of 10 s, and of what runs then", left)
	}
	if left := one(begin(lab.Opened{Of: 2})); left > 30*time.Second {
		t.Errorf("%v left of half of the trials", left)
	}
}
