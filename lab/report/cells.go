package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Report is what campaigns say together, and what changed since earlier ones: the page, JUnit and Markdown tell it.
type Report struct {
	// Title names it, for example the campaign's name; Made is when it was written.
	Title string
	Made  time.Time
	Runs  []Run
	// Asked are the scenarios of the results. One that is missing has no question and no expectation in the report.
	Asked []*scenarios.Scenario
	// Past says what Changes were looked for in, for example "30 nights since 2026-10-29"; empty when nothing was compared.
	Past    string
	Changes []Change
	// Known says why a verdict may be another one than expected, by what the user's list has.
	Known map[Where]string
	// Tonight is the run that Past, Changes and Known are about, empty for all.
	Tonight string
	// Error says what ended a campaign before every scenario was judged, empty when all were.
	Error string
}

// Run is a campaign: what it found, and where. Its trials have one driver and one accelerator. One that asks for no verdict, an atlas,
// has no results here.
type Run struct {
	Name        string
	Environment trial.Environment
	Results     []verdict.Summary
	// Wanted is how many trials may be needed yet, also of questions that have none.
	Wanted int
	// Error says what ended it before that, empty for nothing.
	Error string
	// Memory are the errors of the host's memory meanwhile.
	Memory MemoryErrors
}

// MemoryErrors are those that hosts have counted while a campaign was done.
type MemoryErrors struct {
	Corrected   int64 `json:"corrected"`
	Uncorrected int64 `json:"uncorrected"`
}

// String is what they mean for the results, empty without any.
func (m MemoryErrors) String() string {
	if m == (MemoryErrors{}) {
		return ""
	}
	return fmt.Sprintf("the host's memory had errors meanwhile, %d corrected and %d not: they may have done what is taken for the guest's", m.Corrected, m.Uncorrected)
}

// Add adds those of another run.
func (m *MemoryErrors) Add(more MemoryErrors) {
	m.Corrected += more.Corrected
	m.Uncorrected += more.Uncorrected
}

// Alarms are the memory errors of all runs, in words.
func (r Report) Alarms() (list []string) {
	for _, run := range r.Runs {
		if text := run.Memory.String(); text != "" {
			list = append(list, run.Name+": "+text)
		}
	}
	return list
}

// Change is one thing that is not as it was in earlier nights.
type Change struct {
	// Scenario and OpenZFS name the cell; Arm, Driver and Accel are empty where they do not matter.
	Scenario, OpenZFS, Arm, Driver, Accel string
	// Since says when it began, for people; Before and After how it was and is, for example "10/10" and "reproduces".
	Since, Before, After string
	// Text says more, for example how sure it is.
	Text string
	// Verdict says that the verdict is another one: for that a night fails, for the rest it does not.
	Verdict bool
	// Over says that it was so for a while and has gone again.
	Over bool
}

// State is what a reader wants to know of a cell first.
type State string

// The states, the worst first.
const (
	Changed    State = "changed"
	Unexpected State = "not as expected"
	Trouble    State = "lab trouble"
	Unsure     State = "undecided"
	AsKnown    State = "as known"
	Expected   State = "as expected"
)

// States are all of them, the worst first.
func States() []State { return []State{Changed, Unexpected, Trouble, Unsure, AsKnown, Expected} }

// Cell is one scenario on one version of OpenZFS with one driver: what a verdict is about.
type Cell struct {
	Summary     verdict.Summary
	Scenario    *scenarios.Scenario
	Run         string
	Environment trial.Environment
	State       State
	Changes     []Change // of this cell
	Known       string   // why its verdict may be another one than expected
	Error       string   // what ended the run before all of its trials were done
	// Column is what tells it from the other cells of its scenario: the version, and where they are not all alike the driver, the
	// accelerator and the run.
	Column string
}

// Cells are all results in the order of Asked, then of the runs.
func (r Report) Cells() []Cell {
	var cells []Cell
	for _, run := range r.Runs {
		for _, s := range run.Results {
			c := Cell{Summary: s, Scenario: find(r.Asked, s), Run: run.Name, Environment: run.Environment}
			if s.Missing > 0 {
				c.Error = run.Error
			}
			cells = append(cells, c)
		}
	}
	rank := map[string]int{}
	for i, s := range r.Asked {
		if _, seen := rank[s.Name]; !seen {
			rank[s.Name] = i
		}
	}
	place := func(c Cell) int {
		if i, ok := rank[c.Summary.Scenario]; ok {
			return i
		}
		return len(r.Asked)
	}
	slices.SortStableFunc(cells, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.Summary.Scenario, b.Summary.Scenario))
	})
	columns(cells)
	changes := map[[2]string][]Change{}
	for _, change := range r.Changes {
		of := [2]string{change.Scenario, change.OpenZFS}
		changes[of] = append(changes[of], change)
	}
	for i := range cells {
		c := &cells[i]
		if r.Tonight == "" || c.Run == r.Tonight {
			for _, change := range changes[[2]string{c.Summary.Scenario, c.Summary.OpenZFS}] {
				if change.under(c.Environment) {
					c.Changes = append(c.Changes, change)
				}
			}
			c.Known = r.Known[Where{c.Summary.Scenario, c.Summary.OpenZFS, c.Environment.Driver, c.Environment.Accel}]
		}
		c.State = c.state()
	}
	return cells
}

// columns gives each cell the shortest name that no other cell of its scenario has.
func columns(cells []Cell) {
	alike := true
	for _, c := range cells {
		e, first := c.Environment, cells[0].Environment
		alike = alike && e.Driver == first.Driver && e.Accel == first.Accel
	}
	seen := map[[2]string]int{}
	for i := range cells {
		c := &cells[i]
		c.Column = c.Summary.OpenZFS
		if !alike {
			c.Column += " " + strings.TrimSpace(c.Environment.Driver+" "+c.Environment.Accel)
		}
		seen[[2]string{c.Summary.Scenario, c.Column}]++
	}
	taken := map[[2]string]bool{}
	for i := range cells {
		c := &cells[i]
		if seen[[2]string{c.Summary.Scenario, c.Column}] > 1 && c.Run != "" {
			c.Column += " " + c.Run
		}
		column := c.Column
		for n := 2; taken[[2]string{c.Summary.Scenario, c.Column}]; n++ {
			c.Column = fmt.Sprintf("%s #%d", column, n)
		}
		taken[[2]string{c.Summary.Scenario, c.Column}] = true
	}
}

// Columns are those of the cells: versions in their order, the latest last.
func Columns(cells []Cell) []string {
	var list []string
	version, seen := map[string]string{}, map[string]bool{}
	for _, c := range cells {
		if !seen[c.Column] {
			seen[c.Column] = true
			list = append(list, c.Column)
			version[c.Column] = c.Summary.OpenZFS
		}
	}
	slices.SortStableFunc(list, func(a, b string) int {
		return cmp.Or(scenarios.CompareVersions(version[a], version[b]), cmp.Compare(a, b))
	})
	return list
}

// under says whether a change is one of cells with such a driver and accelerator.
func (c Change) under(e trial.Environment) bool {
	return (c.Driver == "" || c.Driver == e.Driver) && (c.Accel == "" || c.Accel == e.Accel)
}

// state says how a cell is to be read: whether the verdict is another one than before comes first, then whether it is the expected one.
func (c Cell) state() State {
	s := c.Summary
	for _, change := range c.Changes {
		if change.Verdict && !change.Over {
			return Changed
		}
	}
	own := 0 // of what went against the expectation is only that there is no verdict, or no trial to have one by
	trouble := false
	for _, a := range s.Arms {
		if a.Trials > 0 && a.Valid == 0 {
			trouble = true
			own++
		}
		trouble = trouble || s.Verdict == verdict.Inconclusive && a.Troubled()
	}
	trouble = trouble || s.Verdict == verdict.Inconclusive && c.Error != ""
	other := slices.Contains(s.Against, fmt.Sprintf("the verdict is %q, expected was %q", s.Verdict, s.Expected))
	known := other && c.Known != ""
	if other && (s.Verdict == verdict.Inconclusive || known) {
		own++
	}
	switch {
	case len(s.Against) > own:
		return Unexpected
	case trouble:
		return Trouble
	case s.Verdict == verdict.Inconclusive:
		return Unsure
	case known:
		return AsKnown
	}
	return Expected
}

// Lead is the fault arm that a cell is told by in one line: the one that shows the verdict with the highest rate. It is nil where no
// fault arm has a trial.
func (c Cell) Lead() *verdict.Arm {
	var lead *verdict.Arm
	better := func(a, b *verdict.Arm) bool {
		if shows, other := a.Verdict == c.Summary.Verdict, b.Verdict == c.Summary.Verdict; shows != other {
			return shows
		}
		return a.Rate > b.Rate
	}
	for i := range c.Summary.Arms {
		a := &c.Summary.Arms[i]
		if !a.Control && a.Trials > 0 && (lead == nil || better(a, lead)) {
			lead = a
		}
	}
	return lead
}

// Rate is an arm's rate and its interval in words, or "no valid trial".
func Rate(a verdict.Arm) string {
	if a.Valid == 0 {
		return "no valid trial"
	}
	return fmt.Sprintf("%d/%d, %s %% (%s to %s)", a.Hits, a.Valid, percent(a.Rate), percent(a.CI95[0]), percent(a.CI95[1]))
}

// Count says in a line how many cells are in which state, and of how many trials.
func Count(cells []Cell) string {
	n := map[State]int{}
	trials := 0
	for _, c := range cells {
		n[c.State]++
		for _, a := range c.Summary.Arms {
			trials += a.Trials
		}
	}
	var list []string
	for _, s := range States() {
		if n[s] > 0 {
			list = append(list, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	if list == nil {
		return "no verdicts"
	}
	return fmt.Sprintf("%s; %d trials", strings.Join(list, ", "), trials)
}
