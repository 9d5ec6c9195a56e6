package page

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// view is what the template draws.
type view struct {
	Page
	Frame        frame
	Count, Made  string
	Environments []string
	Nav          []link
	Columns      []string
	Rows         []matrixRow
	States       []stateView
	Answers      []scenarioView
	Signatures   []signatureView
	Boundaries   []bisectionView
	Cuts         []studyView
	Maps         []mapView
	Outcomes     []outcomeView
	Shown        string

	trials *trials
}

type link struct {
	Href template.URL
	Text string
}

type matrixRow struct {
	Scenario string
	Cells    []*cellView // by column, nil where the question was not asked
}

type stateView struct {
	State        report.State
	Glyph, Class string
	Count        int
}

type scenarioView struct {
	ID, Name, Question, Claim, Hit string
	Cells                          []*cellView
}

// cellView is a cell of the matrix, and the answer that it leads to.
type cellView struct {
	report.Cell
	ID                             string
	Href, List                     template.URL
	Verdict, VerdictClass, Glyph   string
	StateClass, StateGlyph         string
	Sentence, Needed, Rate, Lead   string
	Interval, Control, Environment string
	Arms                           []armView
	Stops                          []string
	Curves                         *curves
	Facts                          string
}

type armView struct {
	verdict.Arm
	ID                      string
	List                    template.URL
	Kind, Percent, Interval string
	P                       string
	Plot                    *interval
	Stack                   []segment
	StackText               string
	Outcomes                []outcomeView
	Signatures              []signatureCount
}

type outcomeView struct {
	Name         trial.Outcome
	Glyph, Means string
	Count        int
	List         template.URL
}

type signatureCount struct {
	Name  string
	Count int
	List  template.URL
}

// stateLooks are the glyph and the class of each state.
var stateLooks = map[report.State][2]string{
	report.Changed: {"Δ", "s-changed"}, report.Unexpected: {"✗", "s-bad"}, report.Trouble: {"!", "s-lab"}, report.Unsure: {"…", "s-open"}, report.AsKnown: {"≈", "s-good"}, report.Expected: {"✓", "s-good"},
}

// verdictLooks are those of the verdicts.
var verdictLooks = map[scenarios.Verdict][2]string{
	scenarios.Reproduces: {"●", "v-yes"}, scenarios.DoesNotReproduce: {"○", "v-no"}, verdict.Inconclusive: {"◐", "v-open"},
}

// newView draws all of a page but its trials.
func newView(p Page, cells []report.Cell) (*view, error) {
	v := &view{Page: p, Count: report.Count(cells), Made: day(p.Made), Columns: report.Columns(cells)}
	for _, run := range p.Runs {
		text := place(run.Environment)
		if run.Name != "" && run.Name != p.Title {
			text = run.Name + ": " + text
		}
		if !slices.Contains(v.Environments, text) {
			v.Environments = append(v.Environments, text)
		}
	}
	v.cells(cells)
	if err := v.signatures(cells); err != nil {
		return nil, err
	}
	for _, b := range p.Bisections {
		v.Boundaries = append(v.Boundaries, newBisection(b))
	}
	for _, s := range p.Studies {
		v.Cuts = append(v.Cuts, newStudy(s))
	}
	for _, m := range p.Atlases {
		drawn, err := newMap(m)
		if err != nil {
			return nil, err
		}
		v.Maps = append(v.Maps, drawn)
	}
	v.nav()
	return v, nil
}

// withTrials adds the trials.
func (v *view) withTrials(cells []report.Cell) {
	v.trials = newTrials(&v.Page, cells)
	v.Shown = v.trials.shown.said()
	v.outcomes()
	if v.trials.shown.all > 0 {
		v.Nav = append(v.Nav, link{"#trials", "Trials"})
	}
}

// nav lists the sections that are there.
func (v *view) nav() {
	for _, s := range []struct {
		is       bool
		id, text string
	}{
		{true, "matrix", "Verdicts"}, {v.Past != "" || len(v.Changes) > 0, "changes", "Changes"}, {len(v.Answers) > 0, "answers", "Scenarios"},
		{len(v.Signatures) > 0, "signatures", "Signatures"}, {len(v.Boundaries) > 0, "bisection", "Bisection"}, {len(v.Maps) > 0, "atlas", "Atlas"},
		{len(v.Cuts) > 0, "study", "Power cuts"},
	} {
		if s.is {
			v.Nav = append(v.Nav, link{template.URL("#" + s.id), s.text})
		}
	}
}

// cells makes the matrix and the answers below it.
func (v *view) cells(cells []report.Cell) {
	column := map[string]int{}
	for i, name := range v.Columns {
		column[name] = i
	}
	states := map[report.State]int{}
	for _, c := range cells {
		states[c.State]++
		name := c.Summary.Scenario
		if n := len(v.Rows); n == 0 || v.Rows[n-1].Scenario != name {
			v.Rows = append(v.Rows, matrixRow{name, make([]*cellView, len(v.Columns))})
			v.Answers = append(v.Answers, scenarioView{
				ID: id(name) + "/", Name: name, Question: c.Scenario.Question, Claim: c.Scenario.Claim, Hit: report.HitMeans(c.Scenario),
			})
		}
		one := newCell(c)
		v.Rows[len(v.Rows)-1].Cells[column[c.Column]] = one
		last := &v.Answers[len(v.Answers)-1]
		last.Cells = append(last.Cells, one)
	}
	for _, s := range report.States() {
		if states[s] > 0 {
			v.States = append(v.States, stateView{s, stateLooks[s][0], stateLooks[s][1], states[s]})
		}
	}
}

func newCell(c report.Cell) *cellView {
	s := c.Summary
	look, ok := verdictLooks[s.Verdict]
	if !ok {
		look = verdictLooks[verdict.Inconclusive]
	}
	v := &cellView{
		Cell: c, ID: id(s.Scenario, c.Column), Verdict: string(s.Verdict), Glyph: look[0], VerdictClass: look[1],
		StateGlyph: stateLooks[c.State][0], StateClass: stateLooks[c.State][1], Sentence: report.Verdict(s), Environment: place(c.Environment),
		List: list("scenario", s.Scenario, "version", c.Column), Curves: newCurves(s.Arms), Facts: fmt.Sprintf("seed %d, %.0f s", s.Seed, s.Seconds),
	}
	v.Href = template.URL("#" + v.ID)
	if s.Verdict == verdict.Inconclusive {
		v.Needed = report.Needed(s)
	}
	if lead := c.Lead(); lead != nil {
		v.Lead = lead.Name
		v.Rate, v.Interval = "no valid trial", ""
		if lead.Valid > 0 {
			v.Rate = fmt.Sprintf("%d/%d, %s %%", lead.Hits, lead.Valid, percent(lead.Rate))
			v.Interval = fmt.Sprintf("%s to %s %%", percent(lead.CI95[0]), percent(lead.CI95[1]))
		}
	}
	hits, valid := 0, 0
	stops := map[string][]string{} // arms by why they have no more trials
	var order []string
	for _, a := range s.Arms {
		if a.Control {
			hits, valid = hits+a.Hits, valid+a.Valid
		}
		v.Arms = append(v.Arms, newArm(c, a))
		if a.Stopped != "" && a.Trials > 0 {
			if stops[a.Stopped] == nil {
				order = append(order, a.Stopped)
			}
			stops[a.Stopped] = append(stops[a.Stopped], a.Name)
		}
	}
	for _, why := range order {
		v.Stops = append(v.Stops, strings.Join(stops[why], ", ")+": "+why)
	}
	if valid > 0 {
		v.Control = fmt.Sprintf("%d/%d", hits, valid)
	}
	return v
}

func newArm(c report.Cell, a verdict.Arm) armView {
	s := c.Summary.Scenario
	v := armView{Arm: a, ID: id(s, c.Column, a.Name), Kind: "fault", Stack: stack(a.Outcomes), List: list("scenario", s, "version", c.Column, "arm", a.Name)}
	if a.Control {
		v.Kind = "control"
	}
	if a.Valid > 0 {
		v.Percent = percent(a.Rate) + " %"
		v.Interval = fmt.Sprintf("%s to %s %%", percent(a.CI95[0]), percent(a.CI95[1]))
	}
	v.Plot = newInterval(a, fmt.Sprintf("rate %s, 95 %% interval %s", v.Percent, v.Interval))
	v.StackText = "outcomes: " + report.Outcomes(a.Outcomes)
	if a.P != nil {
		v.P = fmt.Sprintf("%.2g", *a.P)
	}
	for _, o := range trial.Outcomes() {
		if n := a.Outcomes[o]; n > 0 {
			v.Outcomes = append(v.Outcomes, outcome(o, n, list("scenario", s, "version", c.Column, "arm", a.Name, "outcome", string(o))))
		}
	}
	for _, name := range frequent(a.Signatures) {
		v.Signatures = append(v.Signatures, signatureCount{name, a.Signatures[name],
			list("scenario", s, "version", c.Column, "arm", a.Name, "signature", name)})
	}
	return v
}

func outcome(o trial.Outcome, n int, href template.URL) outcomeView {
	l := bitmap.LookOf(o)
	return outcomeView{o, l.Glyph, l.Means, n, href}
}

// outcomes counts those of all trials, for the filter.
func (v *view) outcomes() {
	n := map[trial.Outcome]int{}
	for g, group := range v.trials.groups {
		for a, arm := range group.arms {
			for i, r := range arm.results {
				if v.trials.shown.keep[g][a][i] {
					n[r.Outcome]++
				}
			}
		}
	}
	for _, o := range trial.Outcomes() {
		if n[o] > 0 {
			v.Outcomes = append(v.Outcomes, outcome(o, n[o], ""))
		}
	}
}

// signatureMost is how many bytes of a name the script has to compare.
const signatureMost = 300

// list leads to the trials that a filter leaves. Words come in pairs, a name and a value.
func list(words ...string) template.URL {
	var b strings.Builder
	for i := 0; i+1 < len(words); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(words[i] + "=" + url.QueryEscape(line(words[i+1], signatureMost)))
	}
	return template.URL("#trials?" + b.String())
}

// frequent are names by how often they came.
func frequent(n map[string]int) []string {
	names := make([]string, 0, len(n))
	for name := range n {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return strings.Compare(a, b)
	})
	return names
}

func percent(rate float64) string { return fmt.Sprintf("%.1f", 100*rate) }
