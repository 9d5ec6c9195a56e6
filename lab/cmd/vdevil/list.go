package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vdevil/vdevil/scenarios"
)

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [SCENARIO...]",
		Short: "List scenarios and their questions",
		Long: `List shows the lab's own scenarios, each in a line: what it costs, what is expected, what it asks. Of those that are named it
shows more: which of the suspects is put on trial, what is expected and of which versions something else, the arms with their trials.`,
		Example: `  vdevil list
  vdevil list blkptr-dva-flip
  vdevil list --json
  vdevil list ./my-scenario.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := scenarios.Embedded()
			if len(args) > 0 {
				all, err = find(args)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, entries(all))
			}
			if len(args) == 0 {
				return table(a.out, all)
			}
			return writeList(a.out, all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// entry is a scenario in the JSON list.
type entry struct {
	Name     string           `json:"name"`
	File     string           `json:"file"`
	Question string           `json:"question"`
	Claim    string           `json:"claim,omitempty"`
	Cause    scenarios.Cause  `json:"cause"`
	Cost     scenarios.Cost   `json:"cost"`
	Default  bool             `json:"default"`
	Arms     []scenarios.Arm  `json:"arms"`
	Expect   scenarios.Expect `json:"expect"`

	Elsewhere []scenarios.Elsewhere `json:"elsewhere,omitempty"`
}

func entries(all []*scenarios.Scenario) []entry {
	list := make([]entry, len(all))
	for i, s := range all {
		list[i] = entry{s.Name, s.File, s.Question, s.Claim, s.Cause, s.Cost, s.Default, s.Arms, s.Expect, s.Elsewhere}
	}
	return list
}

// table writes a line a scenario.
func table(w io.Writer, all []*scenarios.Scenario) error {
	var b strings.Builder
	b.WriteString("SCENARIO\tCOST\tEXPECTED\tQUESTION\n")
	for _, s := range all {
		cost := string(s.Cost)
		if s.Default {
			cost += ", default"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", s.Name, cost, s.Expect.Verdict, s.Question)
	}
	return columns(w, b.String())
}

// writeList writes a paragraph a scenario: questions are too long for a table.
func writeList(w io.Writer, all []*scenarios.Scenario) error {
	for i, s := range all {
		var head, b strings.Builder
		if i > 0 {
			head.WriteString("\n")
		}
		head.WriteString(s.Name)
		if s.Default {
			head.WriteString(" (default)")
		}
		if _, err := fmt.Fprintf(w, "%s\n  %s\n", head.String(), s.Question); err != nil {
			return err
		}
		fmt.Fprintf(&b, "  cause\t%s\n  cost\t%s\n  expected\t%s\n", s.Cause, s.Cost, expectation(s.Expect))
		for _, e := range s.Elsewhere {
			fmt.Fprintf(&b, "  on %s\t%s\n", e, expectation(e.Expect))
		}
		for k, arm := range s.Arms {
			title := ""
			if k == 0 {
				title = "arms"
			}
			fmt.Fprintf(&b, "  %s\t%s\n", title, describe(arm))
		}
		if err := columns(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

func expectation(e scenarios.Expect) string {
	s := string(e.Verdict)
	if e.Signature != "" {
		s += " " + e.Signature
	}
	return s
}

func describe(a scenarios.Arm) string {
	words := []string{fmt.Sprintf("%s, %d trials", a.Name, a.Trials)}
	if a.Control {
		words = append(words, "control")
	}
	return strings.Join(words, ", ")
}
