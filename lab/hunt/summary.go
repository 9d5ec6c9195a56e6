package hunt

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/minimize"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// Summary is what a hunt has found: as JSON it is what vdevil hunt prints.
type Summary struct {
	Trials  int `json:"trials"`
	Planned int `json:"planned"`
	Invalid int `json:"invalid"`
	// Findings are in the order of how often they came.
	Findings []Finding `json:"findings"`
	// Pairs are how often two features were in a program, the rarest first.
	Pairs []Pair `json:"pairs"`
	// Code is how much of each version's code the programs came to; nil where the machines could not tell.
	Code []Code `json:"code,omitempty"`
}

// Code is to how many functions of a version's modules some program came.
type Code struct {
	OpenZFS   string `json:"openzfs"`
	Functions int    `json:"functions"`
	Reached   int    `json:"reached"`
	// Followed is how many programs there were because the one before came to code first.
	Followed int `json:"followed"`
}

// Finding is a group of trials that ended alike.
type Finding struct {
	Group   string        `json:"group"`
	Outcome trial.Outcome `json:"outcome"`
	OpenZFS string        `json:"openzfs"`
	Trials  int           `json:"trials"`
	// Features are those that all of them have, First is the first of them.
	Features []ops.Feature `json:"features"`
	First    trial.Result  `json:"first"`
	// Again is how the trials of the first one's program with other seeds ended so.
	Again Again `json:"again"`
	// Minimum are the fewest operations that are known to do it, nil where none were looked for.
	Minimum *minimize.Minimum `json:"minimum,omitempty"`
	// Known are scenarios that expect such an end.
	Known []string `json:"known,omitempty"`
}

// Again counts trials and, of them, hits.
type Again struct {
	Hits   int `json:"hits"`
	Trials int `json:"trials"`
}

// Pair is how often two features have met.
type Pair struct {
	A     ops.Feature `json:"a"`
	B     ops.Feature `json:"b"`
	Times int         `json:"times"`
}

// Summary tells what the trials so far have found. Track is the record of what is known.
func (s *Search) Summary(done campaign.Results, track []*scenarios.Scenario) (Summary, error) {
	programs := s.programs(done)
	sum := Summary{Planned: len(programs), Findings: []Finding{}, Code: s.code(programs, done)}
	index := map[key]int{}
	met := map[[2]ops.Feature]int{}
	for i, a := range s.Features {
		for _, b := range s.Features[:i] {
			met[pair(a, b)] = 0
		}
	}
	for _, p := range programs {
		r, ok := done[p.want.ID]
		if !ok {
			continue
		}
		sum.Trials++
		if r.Outcome == trial.Invalid {
			sum.Invalid++
			continue
		}
		for i, a := range p.features {
			for _, b := range p.features[:i] {
				met[pair(a, b)]++
			}
		}
		group := Group(r)
		if group == "" {
			continue
		}
		at := key{group, p.want.Spec.OpenZFS}
		if _, known := index[at]; !known {
			index[at] = len(sum.Findings)
			sum.Findings = append(sum.Findings, Finding{
				Group: group, Outcome: r.Outcome, OpenZFS: p.want.Spec.OpenZFS, Features: slices.Clone(p.features), Known: knownTo(r, track),
			})
		}
		f := &sum.Findings[index[at]]
		f.Trials++
		f.Features = slices.DeleteFunc(f.Features, func(one ops.Feature) bool { return !slices.Contains(p.features, one) })
	}
	for _, first := range s.first(done) {
		f := &sum.Findings[index[key{first.group, first.want.Spec.OpenZFS}]]
		f.First, f.Again = done[first.want.ID], first.tried(done)
		if m := s.minimizing(first, done); m != nil {
			least, err := m.Minimum(done)
			if err != nil {
				return sum, err
			}
			f.Minimum = &least
		}
	}
	slices.SortStableFunc(sum.Findings, func(a, b Finding) int { return cmp.Compare(b.Trials, a.Trials) })
	for p, n := range met {
		sum.Pairs = append(sum.Pairs, Pair{p[0], p[1], n})
	}
	slices.SortFunc(sum.Pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(a.Times, b.Times), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
	})
	return sum, nil
}

// code is how much of each version's code the programs came to.
func (s *Search) code(programs []plan, done campaign.Results) (all []Code) {
	for _, img := range s.Images {
		c := Code{OpenZFS: img.OpenZFS}
		for _, p := range programs {
			if r, ok := done[p.want.ID]; ok && p.image == img && r.Code != nil {
				c.Functions = r.Code.Functions
				c.Reached += len(r.Code.First)
				c.Followed += min(p.depth, 1)
			}
		}
		if c.Functions > 0 {
			all = append(all, c)
		}
	}
	return all
}

// knownTo are the scenarios of the record that expect a trial to end so, by its signature.
func knownTo(r trial.Result, track []*scenarios.Scenario) (names []string) {
	for _, s := range track {
		if r.Signature != "" && s.Expect.Signature == r.Signature {
			names = append(names, s.Name)
		}
	}
	return names
}

// Write writes it for people.
func (s Summary) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d programs, %d invalid, %d findings\n", s.Trials, s.Planned, s.Invalid, len(s.Findings))
	for _, f := range s.Findings {
		fmt.Fprintf(&b, "\n%s on OpenZFS %s: %d trials", f.Group, f.OpenZFS, f.Trials)
		if len(f.Features) > 0 {
			words := make([]string, len(f.Features))
			for i, name := range f.Features {
				words[i] = string(name)
			}
			fmt.Fprintf(&b, ", all with %s", strings.Join(words, ", "))
		}
		if len(f.Known) > 0 {
			fmt.Fprintf(&b, "; known from %s", strings.Join(f.Known, ", "))
		}
		if f.Again.Trials > 0 {
			fmt.Fprintf(&b, "; the first one again with other seeds: %d of %d", f.Again.Hits, f.Again.Trials)
		}
		fmt.Fprintf(&b, "\n  first in %s/%d: %s\n", f.First.Arm, f.First.Number, firstLine(cmp.Or(f.First.Text, f.First.Reason, strings.Join(f.First.Audit, "; "))))
		if m := f.Minimum; m != nil && m.Valid > 0 { // there is a smaller one
			fmt.Fprintf(&b, "  %d of its %d operations do it, %d of %d trials:\n", m.Operations, m.From, m.Hits, m.Valid)
			for line := range strings.Lines(m.Script) {
				b.WriteString("    " + line)
			}
		}
	}
	if n := len(s.Pairs); n > 0 {
		fmt.Fprintf(&b, "\n%d pairs of features have met %d to %d times\n", n, s.Pairs[0].Times, s.Pairs[n-1].Times)
	}
	for _, c := range s.Code {
		fmt.Fprintf(&b, "%d of %d functions of OpenZFS %s were come to; %d programs followed one that was the first at some\n", c.Reached, c.Functions, c.OpenZFS, c.Followed)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
