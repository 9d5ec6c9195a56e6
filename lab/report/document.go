package report

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
)

// Document is what a run says to a program. Durations are in seconds; keys may be added in later versions.
type Document struct {
	Lab     trial.Environment `json:"lab"`
	Results []verdict.Summary `json:"results"`
	// Error says what ended the run before every scenario was judged, empty when all were.
	Error string `json:"error,omitempty"`
	// MemoryErrors are those that the hosts counted meanwhile, absent when there were none.
	MemoryErrors MemoryErrors `json:"memory_errors,omitzero"`
	// Comparison says what changed since earlier runs; a report has it, where there are any.
	Comparison *Comparison `json:"comparison,omitempty"`
}

// WriteJSON writes the document, indented. Lists and objects are there even when they are empty, never null.
func (d Document) WriteJSON(w io.Writer) error {
	d.Results = append([]verdict.Summary{}, d.Results...)
	for i := range d.Results {
		r := &d.Results[i]
		r.Arms = append([]verdict.Arm{}, r.Arms...)
		for j := range r.Arms {
			r.Arms[j].Outcomes = object(r.Arms[j].Outcomes)
			r.Arms[j].Signatures = object(r.Arms[j].Signatures)
			r.Arms[j].Results = append([]trial.Result{}, r.Arms[j].Results...)
		}
	}
	if d.Comparison != nil {
		c := d.Comparison.listed()
		d.Comparison = &c
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // messages of the kernel are full of "->"
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// object is m, or an empty map where there is none.
func object[K comparable](m map[K]int) map[K]int {
	if m == nil {
		return map[K]int{}
	}
	return m
}

// keys are those of m in order.
func keys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }
