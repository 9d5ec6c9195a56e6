package bisect

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/printable"
)

// Table prints a summary for people: what is known, the candidates that were tried, the commits that may be the one, what comes next.
// Words of commits are strangers': nothing of them reaches the terminal that it would act upon.
func Table(w io.Writer, r Summary) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, arm %s: %s\n\n", r.Scenario, r.Arm, r.said())
	b.WriteString(r.candidates())
	if list := r.answers(); list != "" {
		fmt.Fprintf(&b, "\n%s", list)
	}
	if r.Next != nil {
		fmt.Fprintf(&b, "\nNext: %s. %s\n", r.names(r.Next.Candidates), sentence(r.Next.Why))
	}
	fmt.Fprintf(&b, "\n%d trials of %d candidates, of %d.\n", r.Trials, r.Built, len(r.Candidates))
	_, err := io.WriteString(w, b.String())
	return err
}

// candidates are those of which something is known, one in a line.
func (r Summary) candidates() string {
	var b, text strings.Builder
	text.WriteString("  \tversion\tcommits\ttrials\thits\trate\t95 % interval\tother\tprobability\t\n")
	for _, row := range r.Candidates {
		if row.Trials == 0 && row.Untestable == "" && row.Posterior < 0.01 {
			continue
		}
		fmt.Fprintf(&text, "  %s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t\n", row.end(r), row.OpenZFS, len(row.Commits), row.Scored, row.Hits, row.rate(),
			row.interval(), row.others(), row.probability(r))
	}
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(tab, text.String()) // a builder takes all
	_ = tab.Flush()
	return b.String()
}

// said is the state in a sentence.
func (r Summary) said() string {
	switch {
	case r.State == Found:
		return fmt.Sprintf("%s between %s and %s", r.Direction, r.Candidates[r.Neighbours[0]].OpenZFS, r.Candidates[r.Neighbours[1]].OpenZFS)
	case r.Message != "":
		return fmt.Sprintf("%s: %s", r.State, r.Message)
	}
	return string(r.State)
}

// answers are the commits that may be the one.
func (r Summary) answers() string {
	if r.Probability == 0 || len(r.Credible) == 0 || !r.State.Over() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "It is one of these, with probability %.3g or more:\n", r.Confidence)
	for _, i := range r.Credible {
		row := r.Candidates[i]
		for _, c := range row.Commits {
			fmt.Fprintf(&b, "  %.4f  %s  %s  %s\n          %s\n", row.Posterior, short(c.Hash), c.Date.Format("2006-01-02"), printable.Line(c.Author), printable.Line(c.Subject))
			for _, also := range c.Also {
				fmt.Fprintf(&b, "          the same change is %s\n", short(also))
			}
			if len(c.InStack) > 0 {
				fmt.Fprintf(&b, "          it changes %s, in the stack of the panic\n", strings.Join(c.InStack, ", "))
			}
		}
		if row.Untestable != "" {
			fmt.Fprintf(&b, "          it cannot be tried: %s\n", firstLine(row.Untestable))
		}
	}
	fmt.Fprintf(&b, "Before it %s, from it on %s; its neighbours %s and %s, Fisher's p = %.2g.\n", r.Before, r.After,
		r.Candidates[r.Neighbours[0]].side(), r.Candidates[r.Neighbours[1]].side(), r.NeighboursP)
	for _, again := range r.Repeat {
		fmt.Fprintf(&b, "Again: %s\n", again)
	}
	return b.String()
}

// String is hits of trials, and the rate.
func (s Side) String() string {
	return fmt.Sprintf("%d of %d (%.0f to %.0f %%)", s.Hits, s.Scored, 100*s.CI95[0], 100*s.CI95[1])
}

func (row Row) side() Side {
	return Side{Scored: row.Scored, Hits: row.Hits, Rate: row.Rate, CI95: row.CI95}
}

func (row Row) end(r Summary) string {
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

func (row Row) rate() string {
	switch {
	case row.Untestable != "":
		return "cannot be tried"
	case row.Skipped:
		return "skipped"
	case row.Scored == 0:
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*row.Rate)
}

func (row Row) interval() string {
	if row.Scored == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f to %.0f %%", 100*row.CI95[0], 100*row.CI95[1])
}

func (row Row) others() string {
	var list []string
	if row.Other > 0 {
		list = append(list, fmt.Sprintf("other panic %d", row.Other))
	}
	if row.Invalid > 0 && row.Untestable == "" {
		list = append(list, fmt.Sprintf("invalid %d", row.Invalid))
	}
	return strings.Join(list, ", ")
}

func (row Row) probability(r Summary) string {
	if r.Probability == 0 {
		return ""
	}
	return fmt.Sprintf("%.4f %s", row.Posterior, strings.Repeat("#", int(row.Posterior*20+0.5)))
}

// names are some candidates' versions.
func (r Summary) names(of []int) string {
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

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Tell is news in a sentence, empty for what is none.
func Tell(e campaign.Event) string {
	switch e := e.(type) {
	case Begun:
		return fmt.Sprintf("%d candidates, %d commits, at most %d trials of each", e.Candidates, e.Commits, e.Most)
	case Differ:
		return fmt.Sprintf("the ends differ, %s: %s has %s, %s %s", e.Direction, e.Old.OpenZFS, e.Old.side(), e.New.OpenZFS, e.New.side())
	case Halved:
		return fmt.Sprintf("the rate changes between %s and %s", e.First.OpenZFS, e.Last.OpenZFS)
	case Ended:
		return e.Summary.said()
	}
	return ""
}
