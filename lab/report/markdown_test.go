package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab/verdict"
)

func markdownOf(t *testing.T, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdown(t *testing.T) { golden.Assert(t, markdownOf(t, night()), "night.md") }

func TestMarkdownHostile(t *testing.T) {
	r := night()
	plain := strings.Count(markdownOf(t, r), "\n")
	bars := regexp.MustCompile(`(?m)\|.*$`).FindAllString(markdownOf(t, r), -1)
	r.Title, r.Past = r.Title+evil, r.Past+evil
	for i := range r.Runs {
		for j := range r.Runs[i].Results {
			s := &r.Runs[i].Results[j]
			s.Scenario += evil
			for k, text := range s.Against {
				if !strings.HasPrefix(text, "the verdict is ") {
					s.Against[k] = evil
				}
			}
		}
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		c.Scenario += evil
		c.Since, c.After, c.Text = evil, evil, evil
	}
	text := markdownOf(t, r)
	if n := strings.Count(text, "\n"); n != plain {
		t.Errorf("%d lines, %d without hostile names", n, plain)
	}
	for i, row := range regexp.MustCompile(`(?m)\|.*$`).FindAllString(text, -1) {
		if strings.Count(row, "|") != strings.Count(bars[i], "|") {
			t.Errorf("a row has other columns: %s", row)
		}
	}
	own := strings.NewReplacer("<br>", "", "<code>", "", "</code>", "", "**Ended early**", "", "**the verdict changed.**", "")
	for line := range strings.Lines(own.Replace(text)) {
		line = strings.TrimRight(line, "\n")
		for _, lead := range []string{"### ", "## ", "  - ", "- "} {
			line = strings.TrimPrefix(line, lead)
		}
		if strings.HasPrefix(line, "|") {
			line = strings.ReplaceAll(line, "|", "")
		}
		line = regexp.MustCompile(`&#\d+;`).ReplaceAllString(line, "")
		if bad := regexp.MustCompile("[\\\\`*_\\[\\]<>#|&@()!]|https?:|\\x1b|\u202e").FindString(strings.ReplaceAll(line, "%"+" (", "")); bad != "" && !rates.MatchString(line) {
			t.Errorf("%q stands in %s", bad, line)
		}
	}
}

// rates are what stands in the cells of the matrix beside the names of strangers.
var rates = regexp.MustCompile(`\d+/\d+, \d+\.\d %`)

func TestMarkdownSize(t *testing.T) {
	r := Report{Title: strings.Repeat("x", 5000)}
	run := Run{Environment: environment("qemu")}
	for i := range 1_500 {
		s := doesNotReproduce()
		s.Scenario, s.Held, s.Against = fmt.Sprintf("%d%s", i, strings.Repeat("<", 400)), false, []string{strings.Repeat("<", 400)}
		s.Arms[0].Results = nil
		run.Results = append(run.Results, s)
		r.Changes = append(r.Changes, Change{Scenario: "none", Text: strings.Repeat("|", 400)})
	}
	r.Runs = []Run{run}
	text := markdownOf(t, r)
	if len(text) >= 1<<20 || len(text) < 500_000 {
		t.Errorf("%d bytes", len(text))
	}
	if !strings.Contains(text, "more lines have no room here") {
		t.Error("it does not say what is left out")
	}
}

func TestMarkdownEmpty(t *testing.T) {
	if text := markdownOf(t, Report{Title: "nothing", Runs: []Run{{Results: []verdict.Summary{}}}}); text != "## nothing\n\nno verdicts\n" {
		t.Errorf("%q", text)
	}
}
