// Package report writes down what trials have shown, for a person as a table or for a program as a JSON document. For a
// person every number comes with what it rests on: the interval, one message with its stack, the bits that did it, and
// the command that shows it again. The package judges nothing and reads no files.
package report

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// Table writes each result with its arms, an example of everything found, and what went against the expectation; more
// than one result ends in a summary. asked are the scenarios of the results: their questions are shown, too.
func Table(w io.Writer, results []verdict.Summary, asked []*scenarios.Scenario) error {
	var b bytes.Buffer
	for _, r := range results {
		section(&b, r, find(asked, r))
		b.WriteByte('\n')
	}
	if len(results) > 1 {
		summary(&b, results)
	}
	_, err := b.WriteTo(w)
	return err
}

// Trials writes every trial of the results by itself, without a verdict: what a run of one picked trial is about.
func Trials(w io.Writer, results []verdict.Summary) error {
	var b bytes.Buffer
	for _, r := range results {
		fmt.Fprintf(&b, "%s on OpenZFS %s, seed %d\n", r.Scenario, r.OpenZFS, r.Seed)
		for _, a := range r.Arms {
			for _, t := range a.Results {
				fmt.Fprintf(&b, "\n  %s%s\n", mark(a), ended(t))
				details(&b, t, injectionsShown)
			}
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func mark(a verdict.Arm) string {
	if a.Control {
		return "control arm "
	}
	return "fault arm "
}

// find is the scenario of a result, as it was asked of its OpenZFS: one without a question if it was not asked.
func find(asked []*scenarios.Scenario, r verdict.Summary) *scenarios.Scenario {
	for _, s := range asked {
		if s.Name == r.Scenario {
			return s.On(r.OpenZFS)
		}
	}
	return &scenarios.Scenario{Name: r.Scenario, File: r.Scenario}
}

func section(b *bytes.Buffer, r verdict.Summary, s *scenarios.Scenario) {
	fmt.Fprintf(b, "%s on OpenZFS %s: %s\n", r.Scenario, r.OpenZFS, Verdict(r))
	if s.Question != "" {
		fmt.Fprintf(b, "%s\nA hit is %s.\n", s.Question, HitMeans(s))
	}
	b.WriteByte('\n')
	arms(b, r)
	days(b, r)
	stops(b, r)
	if r.Verdict == verdict.Inconclusive {
		fmt.Fprintf(b, "\n  %s\n", Needed(r))
	}
	for _, e := range examples(r) {
		fmt.Fprintf(b, "\n  %s\n", e.title())
		details(b, e.trial, injectionsShown)
	}
	lost(b, r)
	unaudited(b, r)
	bullets(b, "against the expectation", r.Against)
	fmt.Fprintf(b, "\n  seed %d, %.0f s", r.Seed, r.Seconds)
	if dir := bundles(r); dir != "" {
		fmt.Fprintf(b, ", bundles in %s", dir)
	}
	b.WriteByte('\n')
}

// HitMeans says what the trials are counted for.
func HitMeans(s *scenarios.Scenario) string {
	switch {
	case s.Expect.Signature != "":
		return s.Expect.Signature
	case len(s.Expect.Outcome) > 0:
		return "a trial that ends as " + strings.Join(s.Expect.Outcome, " or ")
	}
	return "any panic, oops or hang"
}

// Verdict is the verdict of a result in words, beside what was expected.
func Verdict(r verdict.Summary) string {
	switch {
	case r.Missing > 0 && r.Verdict == verdict.Inconclusive:
		return fmt.Sprintf("no verdict, as trials are missing yet; expected: %s", r.Expected)
	case r.Held:
		return fmt.Sprintf("%s, as expected", r.Verdict)
	case r.Verdict == r.Expected:
		return fmt.Sprintf("%s, as expected, but not in every point", r.Verdict)
	}
	return fmt.Sprintf("%s, expected: %s", r.Verdict, r.Expected)
}

func arms(b *bytes.Buffer, r verdict.Summary) {
	rows := [][]string{{"  arm", "", "valid", "hits", "rate", "95 % interval", "p", "outcomes", "signatures"}}
	for _, a := range r.Arms {
		if a.Trials == 0 {
			continue
		}
		kind, p := "", ""
		if a.Control {
			kind = "control"
		}
		if a.P != nil {
			p = probability(*a.P)
		}
		rate, interval := "-", "-"
		if a.Valid > 0 {
			rate = percent(a.Rate) + " %"
			interval = fmt.Sprintf("%s to %s %%", percent(a.CI95[0]), percent(a.CI95[1]))
		}
		rows = append(rows, []string{"  " + a.Name, kind, fmt.Sprintf("%d/%d", a.Valid, a.Trials), fmt.Sprint(a.Hits), rate,
			interval, p, Outcomes(a.Outcomes), signatures(a.Signatures)})
	}
	align(b, rows)
}

// days says how often hits came in the time of the guests, of arms where that is known.
func days(b *bytes.Buffer, r verdict.Summary) {
	rows := [][]string{{"  arm", "hits", "guest days", "a day", "95 % interval"}}
	for _, a := range r.Arms {
		if d := a.Daily; d != nil {
			rows = append(rows, []string{
				"  " + a.Name, fmt.Sprint(a.Hits), fmt.Sprintf("%.2f", d.Days), fmt.Sprintf("%.2f", d.Rate), fmt.Sprintf("%.2f to %.2f", d.CI95[0], d.CI95[1]),
			})
		}
	}
	if len(rows) > 1 {
		b.WriteByte('\n')
		align(b, rows)
	}
}

// stops says why the arms have no more trials, those together that stopped for the same reason.
func stops(b *bytes.Buffer, r verdict.Summary) {
	var order []string
	names := map[string][]string{}
	for _, a := range r.Arms {
		if a.Stopped == "" || a.Trials == 0 {
			continue
		}
		if names[a.Stopped] == nil {
			order = append(order, a.Stopped)
		}
		names[a.Stopped] = append(names[a.Stopped], a.Name)
	}
	if len(order) > 0 {
		b.WriteByte('\n')
	}
	for _, why := range order {
		fmt.Fprintf(b, "  %s: %s\n", some(names[why]), why)
	}
}

// align writes rows in columns.
func align(b *bytes.Buffer, rows [][]string) {
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = io.WriteString(t, strings.Join(row, "\t")+"\n") // a bytes.Buffer takes everything
	}
	_ = t.Flush()
	for line := range strings.Lines(text.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n") // cells are padded, empty ones at the end too
	}
}

// percent of a rate with one decimal.
func percent(rate float64) string { return fmt.Sprintf("%.1f", 100*rate) }

func probability(p float64) string {
	if p < 0.001 {
		return fmt.Sprintf("%.1e", p)
	}
	return fmt.Sprintf("%.3f", p)
}

// Outcomes lists how often each outcome came, worst first.
func Outcomes(n map[trial.Outcome]int) string {
	var list []string
	for _, o := range trial.Outcomes() {
		if n[o] > 0 {
			list = append(list, fmt.Sprintf("%s %d", o, n[o]))
		}
	}
	return strings.Join(list, ", ")
}

// signatures lists how often each came, the most frequent first.
func signatures(n map[string]int) string {
	list := keys(n)
	slices.SortStableFunc(list, func(a, b string) int { return n[b] - n[a] })
	for i, s := range list {
		list[i] = fmt.Sprintf("%s %d", s, n[s])
	}
	return strings.Join(list, ", ")
}

// Needed says what an inconclusive verdict lacks.
func Needed(r verdict.Summary) string {
	if r.Missing > 0 {
		return fmt.Sprintf("%d trials were not done yet", r.Missing)
	}
	for _, a := range r.Arms {
		if a.Valid == 0 && a.Trials > 0 {
			return "inconclusive: an arm without a valid trial has no rate"
		}
	}
	if r.Needed == 0 {
		return "inconclusive: should the rates stay as they are, no number of trials settles it"
	}
	return fmt.Sprintf("inconclusive: should the rates stay as they are, %d more trials of each arm settle it", r.Needed)
}

// lost lists why trials were invalid: they are part of no rate, and always reported.
func lost(b *bytes.Buffer, r verdict.Summary) {
	bullets(b, "invalid, part of no rate", trouble(r, func(t *trial.Result) string {
		if t.Outcome != trial.Invalid {
			return ""
		}
		return t.Reason
	}))
}

// unaudited lists the trials whose disks nobody but zdb has judged, and what that says.
func unaudited(b *bytes.Buffer, r verdict.Summary) {
	bullets(b, "disks that were not audited", trouble(r, func(t *trial.Result) string {
		if t.NotAudited == "" {
			return ""
		}
		if len(t.ZDB) == 0 {
			return t.NotAudited + "; zdb finds nothing"
		}
		return t.NotAudited + "; zdb: " + strings.Join(t.ZDB, "; ")
	}))
}

// trouble lists what trials had, and which. Messages that begin alike are one trouble, whatever the console said then.
func trouble(r verdict.Summary, of func(*trial.Result) string) []string {
	var order []string
	first, trials := map[string]string{}, map[string][]string{}
	for _, a := range r.Arms {
		for i := range a.Results {
			text := of(&a.Results[i])
			if text == "" {
				continue
			}
			trouble, _, _ := strings.Cut(text, "\n")
			if trials[trouble] == nil {
				order = append(order, trouble)
				first[trouble] = text
			}
			trials[trouble] = append(trials[trouble], name(a.Results[i]))
		}
	}
	list := make([]string, len(order))
	for i, trouble := range order {
		list[i] = some(trials[trouble]) + ": " + first[trouble]
	}
	return list
}

func bullets(b *bytes.Buffer, title string, list []string) {
	const most = 10
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n  %s:\n", title)
	for i, text := range list {
		if i == most {
			fmt.Fprintf(b, "  - and %d more\n", len(list)-most)
			return
		}
		fmt.Fprintf(b, "  - %s\n", indent(brief(text), "    "))
	}
}

// brief keeps the beginning and the end of a long text: the message and what the console said last.
func brief(text string) string {
	const head, tail = 4, 6
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) <= head+tail {
		return strings.Join(lines, "\n")
	}
	left := fmt.Sprintf("... %d lines, see the bundle", len(lines)-head-tail)
	return strings.Join(slices.Concat(lines[:head], []string{left}, lines[len(lines)-tail:]), "\n")
}

// some names the first few.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// bundles is the directory that the trials' bundles lie in.
func bundles(r verdict.Summary) string {
	for _, a := range r.Arms {
		for _, t := range a.Results {
			if t.Bundle != "" {
				return filepath.Dir(t.Bundle)
			}
		}
	}
	return ""
}

func summary(b *bytes.Buffer, results []verdict.Summary) {
	rows := make([][]string, 1, 1+len(results))
	rows[0] = []string{"scenario", "OpenZFS", "verdict"}
	for _, r := range results {
		rows = append(rows, []string{r.Scenario, r.OpenZFS, Verdict(r)})
	}
	align(b, rows)
}

// indent puts a prefix before every line of a text but the first.
func indent(text, prefix string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+prefix)
}
