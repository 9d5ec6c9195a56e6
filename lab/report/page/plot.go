package page

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

// All plots are drawn with attributes and classes: the page's policy allows no styles in elements. Lengths are in the units of their
// view boxes.

// plotWidth is how wide the plots of rates and outcomes are: 2 units a percent.
const plotWidth = 200

// interval is a rate with its interval, on a line from 0 to 100 %.
type interval struct {
	Low, High, Rate string // places
	Width           string
	Control         bool
	Text            string
}

func newInterval(a verdict.Arm, text string) *interval {
	if a.Valid == 0 {
		return nil
	}
	at := func(rate float64) string { return decimal(4 + rate*(plotWidth-8)) }
	return &interval{
		Low: at(a.CI95[0]), High: at(a.CI95[1]), Rate: at(a.Rate), Width: decimal(max(1, (a.CI95[1]-a.CI95[0])*(plotWidth-8))), Control: a.Control, Text: text,
	}
}

// segment is the part of a stack that an outcome has.
type segment struct {
	Outcome       trial.Outcome
	Glyph         string
	X, Width, Mid string
	Wide          bool // enough for the glyph
}

// stack is how the trials of an arm ended, worst first, as parts of a bar.
func stack(n map[trial.Outcome]int) (list []segment) {
	total := 0
	for _, v := range n {
		total += v
	}
	done := 0
	for _, o := range trial.Outcomes() {
		if n[o] == 0 {
			continue
		}
		x := float64(done) / float64(total) * plotWidth
		width := float64(n[o]) / float64(total) * plotWidth
		done += n[o]
		list = append(list, segment{
			Outcome: o, Glyph: bitmap.LookOf(o).Glyph, X: decimal(x), Width: decimal(max(0.5, width-0.5)), Mid: decimal(x + width/2), Wide: width >= 10,
		})
	}
	return list
}

// curves is the time to a panic of the arms of a cell, by Kaplan and Meier.
type curves struct {
	Curves   []curve
	Ticks    []tick // of the time
	Title    string
	Measured string // what the time is
	Left     int    // arms without a place
	Text     string // for those who do not see the drawing
}

type curve struct {
	Name, Kind       string
	Class            string
	Path             string // of the line
	Marks            string // where trials ended without a panic
	labelX, labelY   int
	Trials, Events   int
	Censored         int
	Half             string // when half of the trials had panicked, if they did
	Survived, Letter string
}

type tick struct{ X, Text string }

// The curves' view box, and where in it the plot lies.
const (
	curvesLeft, curvesRight = 44, 560
	curvesTop, curvesBottom = 10, 160
	curvesMost              = 6 // arms
)

// newCurves gives nil where no trial of a cell ended in a panic, an oops or a hang.
func newCurves(arms []verdict.Arm) *curves {
	c := &curves{Measured: "seconds of the workload"}
	if !slices.ContainsFunc(arms, crashed) {
		return nil
	}
	span := whole(arms)
	if !span {
		c.Measured = "seconds of the trial"
	}
	last := 0.0
	var of [][]stats.Lasted
	for _, a := range arms {
		var all []stats.Lasted
		for _, r := range a.Results {
			if r.Outcome != trial.Invalid {
				all = append(all, stats.Lasted{Time: lasted(r, span), Event: r.Outcome.Crash()})
				last = max(last, all[len(all)-1].Time)
			}
		}
		of = append(of, all)
	}
	unit := step(last)
	end := math.Max(unit, math.Ceil(last/unit)*unit)
	x := func(t float64) int { return curvesLeft + int(math.Round(t/end*(curvesRight-curvesLeft))) }
	for t := 0.0; t <= end+unit/2; t += unit {
		c.Ticks = append(c.Ticks, tick{fmt.Sprint(x(t)), fmt.Sprintf("%g", math.Round(t*1000)/1000)})
	}
	var said []string
	for i, a := range arms {
		switch {
		case len(of[i]) == 0:
			continue
		case len(c.Curves) == curvesMost:
			c.Left++
			continue
		}
		one := newCurve(a, of[i], x)
		one.Class = fmt.Sprintf("k%d", len(c.Curves)+1)
		one.Letter = string(rune('a' + len(c.Curves)))
		for slices.ContainsFunc(c.Curves, func(other curve) bool { return near(one, other) }) {
			one.labelX += 9
		}
		c.Curves = append(c.Curves, one)
		said = append(said, fmt.Sprintf("%s: %d of %d crashed, %s %% were left", a.Name, one.Events, one.Trials, one.Survived))
	}
	c.Text = "Share of trials that have not crashed, over " + c.Measured + ". " + strings.Join(said, "; ") + "."
	return c
}

// LabelX and LabelY are where a curve's letter stands.
func (c curve) LabelX() int { return c.labelX }

// LabelY is as LabelX.
func (c curve) LabelY() int { return c.labelY }

// near says that the letters of two curves would stand over each other.
func near(a, b curve) bool {
	return max(a.labelX-b.labelX, b.labelX-a.labelX) < 9 && max(a.labelY-b.labelY, b.labelY-a.labelY) < 12
}

func crashed(a verdict.Arm) bool {
	return a.Outcomes[trial.Panic]+a.Outcomes[trial.Oops]+a.Outcomes[trial.Hang] > 0
}

// whole says whether all trials tell how long their workload was: else the times of whole trials are compared.
func whole(arms []verdict.Arm) bool {
	for _, a := range arms {
		for _, r := range a.Results {
			if r.Outcome != trial.Invalid && !slices.ContainsFunc(r.Spans, isWorkload) {
				return false
			}
		}
	}
	return true
}

func isWorkload(s trial.Span) bool { return s.Name == trial.Workload }

func lasted(r trial.Result, span bool) float64 {
	if span {
		return r.Lasted()
	}
	return r.Seconds
}

func newCurve(a verdict.Arm, all []stats.Lasted, x func(float64) int) curve {
	c := curve{Name: a.Name, Kind: "fault arm", Trials: len(all)}
	if a.Control {
		c.Kind = "control arm"
	}
	y := func(s float64) int { return curvesTop + int(math.Round((1-s)*(curvesBottom-curvesTop))) }
	steps := stats.KaplanMeier(all)
	end, atX, atY := 0.0, curvesLeft, curvesTop
	var path strings.Builder
	fmt.Fprintf(&path, "M%d %d", curvesLeft, curvesTop)
	for _, s := range steps {
		c.Events += s.Events
		if c.Half == "" && s.Survival <= 0.5 {
			c.Half = fmt.Sprintf("%.1f s", s.Time)
		}
		if nx, ny := x(s.Time), y(s.Survival); ny != atY { // a step that is not to be seen is left to the next one
			fmt.Fprintf(&path, "H%dV%d", nx, ny)
			atX, atY = nx, ny
		}
	}
	var marks strings.Builder
	seen := map[int]bool{}
	for _, l := range all {
		end = max(end, l.Time)
		if at := x(l.Time); !l.Event && !seen[at] {
			seen[at] = true
			fmt.Fprintf(&marks, "M%d %dv8", at, y(left(steps, l.Time))-4)
		}
	}
	if to := x(end); to > atX {
		fmt.Fprintf(&path, "H%d", to)
		atX = to
	}
	c.Path, c.Marks, c.Censored = path.String(), marks.String(), c.Trials-c.Events
	c.labelX, c.labelY = atX+5, atY+4
	c.Survived = fmt.Sprintf("%.0f", 100*left(steps, end))
	return c
}

// left is the share that a curve has at a time.
func left(steps []stats.Survival, at float64) float64 {
	share := 1.0
	for _, s := range steps {
		if s.Time > at {
			break
		}
		share = s.Survival
	}
	return share
}

// step is a round number of seconds of which four to ten make the whole.
func step(whole float64) float64 {
	if whole <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(whole/4)))
	for _, n := range []float64{1, 2, 5} {
		if whole/(n*unit) <= 10 {
			return n * unit
		}
	}
	return 10 * unit
}

// decimal is a length with one decimal at most.
func decimal(x float64) string { return fmt.Sprintf("%g", math.Round(10*x)/10) }
