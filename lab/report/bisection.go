package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/printable"
)

// Bisection is what all trials of a bisection say together, and what comes next. As JSON it is what `vdevil bisect --json` prints; keys
// may be added in later versions.
type Bisection struct {
	Scenario string `json:"scenario"`
	Arm      string `json:"arm"`
	State    Stage  `json:"state"`
	// Message says why it ended without an answer.
	Message string `json:"message,omitempty"`
	// Direction is empty as long as the ends are not separated. EndsP is Fisher's p-value of the two.
	Direction  Direction   `json:"direction,omitempty"`
	EndsP      float64     `json:"ends_p"`
	Candidates []Candidate `json:"candidates"`
	// Fork is the index of the merge base, or -1; First and Last are the ends of what is searched: all, or the half in which the
	// rate changes. With Down it is the way from the old end down to the merge base: there later candidates are earlier in history.
	Fork  int  `json:"fork"`
	First int  `json:"first"`
	Last  int  `json:"last"`
	Down  bool `json:"down,omitempty"`
	// Confidence is what the answer must have, Probability what the most probable one has: that the rate changes between the two
	// neighbours, between which are only candidates that cannot be tried. It is 0 before the search.
	Confidence  float64 `json:"confidence"`
	Probability float64 `json:"probability"`
	Neighbours  [2]int  `json:"neighbours"`
	// NeighboursP is Fisher's p-value of the two.
	NeighboursP float64 `json:"neighbours_p"`
	// Before and After are all candidates on either side of the boundary together.
	Before Side `json:"before"`
	After  Side `json:"after"`
	// Credible are the candidates, by index and the most probable first, of which one made the change, with the confidence: those
	// that cannot be tried are among them where no trial tells them from their neighbours.
	Credible []int `json:"credible,omitempty"`
	Next     *Next `json:"next,omitempty"`
	// Repeat are the commands that do a trial of each neighbour again.
	Repeat []string `json:"repeat,omitempty"`
	// Trials and Built are how many trials and candidates are done.
	Trials int `json:"trials"`
	Built  int `json:"built"`
}

// Candidate is a candidate with what its trials showed.
type Candidate struct {
	Index   int      `json:"index"`
	Name    string   `json:"name"`
	OpenZFS string   `json:"openzfs"`
	Commits []Commit `json:"commits,omitempty"` // without the paths
	// Trials are Scored, Other and Invalid ones: Other ended in a panic that was not asked about.
	Trials  int `json:"trials"`
	Scored  int `json:"scored"`
	Hits    int `json:"hits"`
	Other   int `json:"other,omitempty"`
	Invalid int `json:"invalid,omitempty"`
	// Untestable is why it cannot be tried at all, Skipped says that it is not to be.
	Untestable string     `json:"untestable,omitempty"`
	Skipped    bool       `json:"skipped,omitempty"`
	Rate       float64    `json:"rate"`
	CI95       [2]float64 `json:"ci95"`
	// Prior is the weight that the priors give it, Posterior the probability that its commits made the change, New the one that it
	// has the rate of the new end.
	Prior     float64 `json:"prior"`
	Posterior float64 `json:"posterior"`
	New       float64 `json:"new"`
	// Information is how many bits the next trial of it would tell about where the boundary is, Seconds what that costs.
	Information float64 `json:"information"`
	Seconds     float64 `json:"seconds"`
}

// Side is several candidates together.
type Side struct {
	Scored int        `json:"scored"`
	Hits   int        `json:"hits"`
	Rate   float64    `json:"rate"`
	CI95   [2]float64 `json:"ci95"`
}

// Next is what is tried next, and why.
type Next struct {
	Candidates []int  `json:"candidates"`
	Why        string `json:"why"`
	// Information, in bits, and Seconds are of one trial; 0 where trials are not chosen by them.
	Information float64 `json:"information,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
}

// Commit is one of OpenZFS.
type Commit struct {
	Hash    string    `json:"hash"`
	Subject string    `json:"subject"`
	Author  string    `json:"author"`
	Date    time.Time `json:"date"`
	Paths   []string  `json:"paths,omitempty"` // that it touches
	// Also are hashes of other commits that are the same change, InStack functions that it changes and that stand in the stack of a
	// hit. They are found when the answer is.
	Also    []string `json:"also,omitempty"`
	InStack []string `json:"in_stack,omitempty"`
}

// Short is how a hash is shown.
func (c Commit) Short() string { return c.Hash[:min(len(c.Hash), 10)] }

// Stage is how far a bisection has come.
type Stage string

// The stages. The last four end a bisection.
const (
	StageEnds       Stage = "ends"       // whether the ends differ, and on which side of the merge base, is not known yet
	StageSearching  Stage = "searching"  // between them
	StageConfirming Stage = "confirming" // both neighbours of the boundary are tried again
	StageFound      Stage = "found"
	StageNotVisible Stage = "not visible"       // the trials that an end may have do not separate the ends
	StageOut        Stage = "out of candidates" // nothing is left to ask, and more than one answer possible
	StageTrouble    Stage = "too much trouble"  // the lab's own, or an end cannot be tried
)

// Over says whether it is one of the last.
func (s Stage) Over() bool {
	return s == StageFound || s == StageNotVisible || s == StageOut || s == StageTrouble
}

// Direction is which way the rate changes from the old end to the new one.
type Direction string

// The directions.
const (
	Introduced Direction = "introduced" // the new end has the higher rate
	Mended     Direction = "mended"     // the old end has
)

// FindCandidate gives the index of the one candidate that a word names: a hash of one of its commits or the beginning of it, or its version.
func FindCandidate(all []Candidate, word string) (int, error) {
	at := -1
	for i, c := range all {
		named := func(k Commit) bool { return strings.HasPrefix(k.Hash, word) }
		if word == "" || c.OpenZFS != word && !slices.ContainsFunc(c.Commits, named) {
			continue
		}
		if at >= 0 {
			return -1, fmt.Errorf("it may be candidate %s or %s: give more of the hash", all[at].Name, c.Name)
		}
		at = i
	}
	if at < 0 {
		return -1, errors.New("it is in none of the candidates")
	}
	return at, nil
}

// Table prints it for people: what is known, the candidates that were tried, the commits that may be the one, what comes next.
// Words of commits are strangers': nothing of them reaches the terminal that it would act upon.
func (r Bisection) Table(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, arm %s: %s\n\n", r.Scenario, r.Arm, r.Said())
	r.candidates(&b)
	r.answers(&b)
	if r.Next != nil {
		fmt.Fprintf(&b, "\nNext: %s. %s\n", r.names(r.Next.Candidates), sentence(r.Next.Why))
	}
	fmt.Fprintf(&b, "\n%d trials of %d candidates, of %d.\n", r.Trials, r.Built, len(r.Candidates))
	_, err := b.WriteTo(w)
	return err
}

// candidates are those of which something is known, one in a line.
func (r Bisection) candidates(b *bytes.Buffer) {
	rows := [][]string{{"", "VERSION", "COMMITS", "TRIALS", "HITS", "RATE %", "95 % INTERVAL", "OTHER", "PROBABILITY"}}
	weighed := slices.ContainsFunc(r.Candidates, func(c Candidate) bool { return c.Prior != 1 })
	if weighed {
		rows[0] = append(rows[0], "PRIOR WEIGHT")
	}
	for _, c := range r.Candidates {
		if c.Trials > 0 || c.Untestable != "" || c.Posterior >= 0.01 {
			row := []string{
				c.end(r), c.OpenZFS, strconv.Itoa(len(c.Commits)), strconv.Itoa(c.Scored), strconv.Itoa(c.Hits), c.rate(), c.interval(), c.others(),
				c.probability(r),
			}
			if weighed {
				row = append(row, strconv.FormatFloat(c.Prior, 'g', -1, 64))
			}
			rows = append(rows, row)
		}
	}
	align(b, rows)
}

// Said is the state in a sentence.
func (r Bisection) Said() string {
	switch {
	case r.State == StageFound:
		return fmt.Sprintf("%s between %s and %s", r.Direction, r.Candidates[r.Neighbours[0]].OpenZFS, r.Candidates[r.Neighbours[1]].OpenZFS)
	case r.Message != "":
		return fmt.Sprintf("%s: %s", r.State, r.Message)
	}
	return string(r.State)
}

// answers are the commits that may be the one.
func (r Bisection) answers(b *bytes.Buffer) {
	if r.Probability == 0 || len(r.Credible) == 0 || !r.State.Over() {
		return
	}
	fmt.Fprintf(b, "\nIt is one of these, with probability %.3g or more:\n", r.Confidence)
	for _, i := range r.Credible {
		row := r.Candidates[i]
		for _, c := range row.Commits {
			fmt.Fprintf(b, "  %.4f  %s  %s  %s\n          %s\n", row.Posterior, c.Short(), c.Date.Format("2006-01-02"), printable.Line(c.Author), printable.Line(c.Subject))
			for _, also := range c.Also {
				fmt.Fprintf(b, "          the same change is %s\n", also[:min(len(also), 10)])
			}
			if len(c.InStack) > 0 {
				fmt.Fprintf(b, "          it changes %s, in the stack of the panic\n", strings.Join(c.InStack, ", "))
			}
		}
		if row.Untestable != "" {
			fmt.Fprintf(b, "          it cannot be tried: %s\n", printable.Line(FirstLine(row.Untestable)))
		}
	}
	fmt.Fprintf(b, "Before it %s, from it on %s; its neighbours %s and %s, Fisher's p = %s.\n", r.Before, r.After,
		r.Candidates[r.Neighbours[0]].Side(), r.Candidates[r.Neighbours[1]].Side(), probability(r.NeighboursP))
	for _, again := range r.Repeat {
		fmt.Fprintf(b, "Again: %s\n", again)
	}
}

// String is hits of trials, and the rate.
func (s Side) String() string {
	return fmt.Sprintf("%d of %d (%.0f to %.0f %%)", s.Hits, s.Scored, 100*s.CI95[0], 100*s.CI95[1])
}

// Side is a candidate alone.
func (row Candidate) Side() Side {
	return Side{Scored: row.Scored, Hits: row.Hits, Rate: row.Rate, CI95: row.CI95}
}

func (row Candidate) end(r Bisection) string {
	switch row.Index {
	case 0:
		return "old"
	case len(r.Candidates) - 1:
		return "new"
	case r.Fork:
		return "base"
	}
	return ""
}

func (row Candidate) rate() string {
	switch {
	case row.Untestable != "":
		return "cannot be tried"
	case row.Skipped:
		return "skipped"
	case row.Scored == 0:
		return ""
	}
	return fmt.Sprintf("%.0f", 100*row.Rate)
}

func (row Candidate) interval() string {
	if row.Scored == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f to %.0f", 100*row.CI95[0], 100*row.CI95[1])
}

func (row Candidate) others() string {
	var list []string
	if row.Other > 0 {
		list = append(list, fmt.Sprintf("other panic %d", row.Other))
	}
	if row.Invalid > 0 && row.Untestable == "" {
		list = append(list, fmt.Sprintf("invalid %d", row.Invalid))
	}
	return strings.Join(list, ", ")
}

func (row Candidate) probability(r Bisection) string {
	if r.Probability == 0 {
		return ""
	}
	return fmt.Sprintf("%.4f %s", row.Posterior, strings.Repeat("#", int(row.Posterior*20+0.5)))
}

// names are some candidates' versions.
func (r Bisection) names(of []int) string {
	list := make([]string, len(of))
	for n, i := range of {
		list[n] = r.Candidates[i].OpenZFS
	}
	return strings.Join(list, " and ")
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
