package page

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/bitmap"
	"github.com/vdevil/vdevil/lab/trial"
)

// signatureView is what trials of many arms did in the same way.
type signatureView struct {
	Name, Text, Stack, From string
	Count                   int
	List                    template.URL
	Outcomes                []outcomeView
	Where                   []whereView
	first                   trial.Result
	place                   Place
}

type whereView struct {
	Scenario, Column, Arm string
	Control               bool
	Count, Valid          int
	List                  template.URL
}

// signatures groups all trials by signature, the most frequent first.
func (v *view) signatures(cells []report.Cell) error {
	at := map[string]int{}
	outcomes := map[string]map[trial.Outcome]int{}
	for _, c := range cells {
		for _, a := range c.Summary.Arms {
			seen := map[string]int{} // place of the arm in the list of a signature
			for _, r := range a.Results {
				if r.Signature == "" {
					continue
				}
				i, ok := at[r.Signature]
				if !ok {
					i = len(v.Signatures)
					at[r.Signature] = i
					outcomes[r.Signature] = map[trial.Outcome]int{}
					v.Signatures = append(v.Signatures, signatureView{
						Name: r.Signature, List: list("signature", r.Signature), first: r, place: Place{c.Run, c.Summary.Scenario, c.Summary.OpenZFS},
						From: fmt.Sprintf("%s on %s, %s/%d", c.Summary.Scenario, c.Column, a.Name, r.Number),
					})
				}
				s := &v.Signatures[i]
				s.Count++
				outcomes[r.Signature][r.Outcome]++
				if len(s.first.Events) == 0 && len(r.Events) > 0 {
					s.first = r
					s.From = fmt.Sprintf("%s on %s, %s/%d", c.Summary.Scenario, c.Column, a.Name, r.Number)
				}
				w, ok := seen[r.Signature]
				if !ok {
					w = len(s.Where)
					seen[r.Signature] = w
					s.Where = append(s.Where, whereView{
						Scenario: c.Summary.Scenario, Column: c.Column, Arm: a.Name, Control: a.Control, Valid: a.Valid,
						List: list("scenario", c.Summary.Scenario, "version", c.Column, "arm", a.Name, "signature", r.Signature),
					})
				}
				s.Where[w].Count++
			}
		}
	}
	for i := range v.Signatures {
		s := &v.Signatures[i]
		for _, o := range trial.Outcomes() {
			if n := outcomes[s.Name][o]; n > 0 {
				s.Outcomes = append(s.Outcomes, outcome(o, n, ""))
			}
		}
		r := s.first
		if len(r.Events) == 0 && v.Whole != nil {
			var err error
			if r, _, err = v.Whole(s.place, r); err != nil {
				return fmt.Errorf("an example of %s: %w", s.Name, err)
			}
		}
		s.Text = cut(r.Text)
		if e, ok := report.Decisive(r); ok {
			s.Stack = report.Stack(e)
		}
	}
	slices.SortStableFunc(v.Signatures, func(a, b signatureView) int { return b.Count - a.Count })
	return nil
}

// bisectionView is a bisection as a table.
type bisectionView struct {
	Title, Said, Sides, Next, Done string
	Rows                           []candidateView
	Answers                        []answerView
	Repeat                         []string
}

type candidateView struct {
	End, Version, Note, Rate, Interval string
	Commits, Hits, Scored              int
	Plot                               *interval
	Probability, Bar                   string
}

type answerView struct {
	Probability, Hash, Date, Author, Subject, More string
}

func newBisection(b report.Bisection) bisectionView {
	v := bisectionView{
		Title: fmt.Sprintf("%s, arm %s", b.Scenario, b.Arm), Said: b.Said(), Repeat: b.Repeat,
		Done: fmt.Sprintf("%d trials of %d candidates, of %d", b.Trials, b.Built, len(b.Candidates)),
	}
	if b.Next != nil {
		v.Next = b.Next.Why
	}
	for i, c := range b.Candidates {
		if c.Trials == 0 && c.Untestable == "" && c.Posterior < 0.01 {
			continue
		}
		row := candidateView{Version: c.OpenZFS, Commits: len(c.Commits), Hits: c.Hits, Scored: c.Scored}
		switch i {
		case 0:
			row.End = "old"
		case len(b.Candidates) - 1:
			row.End = "new"
		case b.Fork:
			row.End = "base"
		}
		switch {
		case c.Untestable != "":
			row.Note = "cannot be tried: " + line(c.Untestable, 200)
		case c.Skipped:
			row.Note = "skipped"
		}
		if c.Scored > 0 {
			row.Rate = percent(c.Rate) + " %"
			row.Interval = fmt.Sprintf("%s to %s %%", percent(c.CI95[0]), percent(c.CI95[1]))
			at := func(rate float64) string { return decimal(4 + rate*(plotWidth-8)) }
			row.Plot = &interval{
				Low: at(c.CI95[0]), High: at(c.CI95[1]), Rate: at(c.Rate), Width: decimal(max(1, (c.CI95[1]-c.CI95[0])*(plotWidth-8))),
				Text: "rate " + row.Rate + ", 95 % interval " + row.Interval,
			}
		}
		if b.Probability > 0 {
			row.Probability, row.Bar = fmt.Sprintf("%.4f", c.Posterior), decimal(c.Posterior*plotWidth/2)
		}
		v.Rows = append(v.Rows, row)
	}
	if !b.State.Over() || b.Probability == 0 {
		return v
	}
	v.Sides = fmt.Sprintf("Before the change %s, from it on %s.", b.Before, b.After)
	for _, i := range b.Credible {
		for _, c := range b.Candidates[i].Commits {
			more := ""
			if len(c.InStack) > 0 {
				more = "it changes " + strings.Join(c.InStack, ", ") + ", in the stack of the panic"
			}
			v.Answers = append(v.Answers, answerView{
				fmt.Sprintf("%.4f", b.Candidates[i].Posterior), c.Short(), c.Date.Format("2006-01-02"), line(c.Author, 200), line(c.Subject, 300), more,
			})
		}
	}
	return v
}

// studyView is a study of power cuts as a table.
type studyView struct {
	Said, Missing string
	Titles        []string
	Rows          [][]string
	List          template.URL
}

func newStudy(s report.Study) studyView {
	rows := s.Rows()
	v := studyView{Said: s.Said(), Titles: rows[0], Rows: rows[1:], List: list("scenario", s.Scenario, "version", s.OpenZFS+" power cut")}
	if n := s.Planned - len(s.States); n > 0 {
		v.Missing = fmt.Sprintf("The study ended early: %d of %d states were not judged.", n, s.Planned)
	}
	return v
}

// mapView is an atlas: its drawing as an image, in which nothing can be executed, and the same in letters.
type mapView struct {
	Title string
	Image template.URL
	Text  string
}

func newMap(m bitmap.Map) (mapView, error) {
	var svg, text bytes.Buffer
	if err := bitmap.SVG(&svg, m); err != nil {
		return mapView{}, fmt.Errorf("drawing the atlas: %w", err)
	}
	if err := bitmap.Text(&text, m); err != nil {
		return mapView{}, fmt.Errorf("drawing the atlas: %w", err)
	}
	return mapView{
		Title: fmt.Sprintf("%s at %s, OpenZFS %s", m.Target, m.Trigger, m.OpenZFS),
		Image: template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg.Bytes())), Text: text.String(),
	}, nil
}
