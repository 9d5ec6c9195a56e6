package report

import (
	"fmt"
	"slices"
	"strings"
)

// Log is the bisection as a git bisect log, which git bisect replay reads. Of the candidates that were tried it marks those of which the
// side is known with the confidence. Old and new are those of git, earlier and later in history: where the change is on the way
// down from the old end to the merge base, git's old commits are those like the new end.
func (r Bisection) Log() string {
	l := &bisectLog{summary: r}
	l.line("# %s, arm %s: %s", r.Scenario, r.Arm, r.State)
	if r.Message != "" {
		l.line("# %s", r.Message)
	}
	l.line("git bisect start --term-old=old --term-new=new")
	if r.Direction == "" {
		return l.String()
	}
	l.line("# %s: Fisher's p of the two ends is %s", r.Direction, probability(r.EndsP))
	if r.Down {
		l.line("# the rate changes between the old end and the merge base: old is the merge base here, new the old end")
	}
	if r.Probability == 0 {
		return l.String()
	}
	l.marks(slices.Clone(r.Candidates[r.First : r.Last+1]))
	if r.State == StageFound {
		for _, i := range r.Credible {
			row := r.Candidates[i]
			word := "possible first new commit"
			if len(r.Credible) == 1 {
				word = "first new commit"
			}
			if len(row.Commits) > 0 {
				l.line("# %s: %s (probability %.4f)", word, title(row.Commits[0]), row.Posterior)
			}
		}
	}
	return l.String()
}

type bisectLog struct {
	strings.Builder
	summary Bisection
}

func (l *bisectLog) line(format string, of ...any) { l.WriteString(fmt.Sprintf(format, of...) + "\n") }

// marks names the old ones in the order of history, then the new ones from the last to the first: git forgets a new one when it is
// told another.
func (l *bisectLog) marks(rows []Candidate) {
	if l.summary.Down {
		slices.Reverse(rows)
	}
	var late []Candidate
	for _, row := range rows {
		if (row.New < 0.5) == l.summary.Down {
			late = append(late, row)
			continue
		}
		l.mark(row)
	}
	slices.Reverse(late)
	for _, row := range late {
		l.mark(row)
	}
}

// mark says on which side a candidate is, by the commit of it that tells git most.
func (l *bisectLog) mark(row Candidate) {
	if row.Untestable != "" || row.Skipped {
		for _, k := range row.Commits {
			l.line("# skip: %s", title(k))
			l.line("git bisect skip %s", k.Hash)
		}
		return
	}
	sure := max(row.New, 1-row.New)
	if row.Scored == 0 || sure < l.summary.Confidence {
		return
	}
	said := fmt.Sprintf("(%d/%d hits, probability %.4f)", row.Hits, row.Scored, sure)
	if len(row.Commits) == 0 {
		l.line("# %s is a package, which git does not know %s", row.OpenZFS, said)
		return
	}
	// All commits of a candidate are alike: when it is new its first one is, and when it is old its last one is.
	word, k := "new", row.Commits[0]
	if (row.New < 0.5) != l.summary.Down {
		word, k = "old", row.Commits[len(row.Commits)-1]
	}
	l.line("# %s: %s %s", word, title(k), said)
	l.line("git bisect %s %s", word, k.Hash)
}

// title is a commit as git writes it.
func title(c Commit) string { return fmt.Sprintf("[%s] %s", c.Hash, c.Subject) }
