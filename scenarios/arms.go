package scenarios

import (
	"maps"
	"strings"
)

// mostArms is how many a matrix may make.
const mostArms = 1000

// matrix makes a fault arm of every choice of one entry from each axis, named by them with a dash in between.
func (d *decoder) matrix(s *Scenario, n *node, trials int) {
	const example = "[{mirror: {}, single: {layout: v0}}, {one: {}, all: {copies: all}}]"
	if n.kind != list || len(n.items) == 0 {
		d.errorf(n.line, "matrix is %s", "write matrix: %s", kindOrEmptyList(n), example)
		return
	}
	made := []Arm{{Trials: trials}}
	for _, axis := range n.items {
		entries := d.entries(axis, "an axis of matrix", example)
		choices := make([]map[string]string, len(entries))
		for i, e := range entries {
			if !slug.MatchString(e.key) {
				d.errorf(e.line, "matrix: %q is not %s", "write for example single", e.key, slugMeans)
			}
			choices[i] = d.overrides(e.val, e.key, s.Vars)
		}
		next := make([]Arm, 0, len(made)*len(choices))
		for _, a := range made {
			for i, e := range entries {
				for _, name := range sortedKeys(choices[i]) {
					if _, twice := a.Vars[name]; twice {
						d.errorf(e.line, "matrix: both %s and %s set %s", "write each var in one axis", a.Name, e.key, name)
					}
				}
				arm := Arm{Name: strings.TrimPrefix(a.Name+"-"+e.key, "-"), Trials: trials}
				if vars := merged(a.Vars, choices[i]); len(vars) > 0 {
					arm.Vars = vars
				}
				next = append(next, arm)
			}
		}
		if made = next; len(made) > mostArms {
			d.errorf(n.line, "matrix makes %d arms", "write a scenario for each part, of at most %d", len(made), mostArms)
			return
		}
	}
	s.Arms = made
}

// arms decodes the arms and gives the line of each.
func (d *decoder) arms(s *Scenario, top fields, trials int) (lines []int) {
	const example = "[{name: fault}, {name: control, control: true, withhold: true}]"
	first := map[string]int{}
	n := &node{kind: empty}
	if top.has("matrix") {
		d.matrix(s, top.vals["matrix"], trials)
	}
	if top.has("arms") || !top.has("matrix") {
		n = top.need("arms", example)
		if n == nil {
			return nil
		}
		if n.kind != list || len(n.items) == 0 {
			d.errorf(n.line, "arms is %s", "write arms: %s", kindOrEmptyList(n), example)
			return nil
		}
	}
	for _, a := range s.Arms {
		first[a.Name], lines = top.vals["matrix"].line, append(lines, top.vals["matrix"].line)
	}
	for _, item := range n.items {
		f := d.fields(item, "arm", "- name: no-fault", "name", "control", "withhold", "vars", "trials")
		a := Arm{Name: f.match("name", slug, slugMeans, "no-fault"), Trials: trials}
		if f.has("control") {
			a.Control = d.boolean(f.vals["control"], f.name("control"))
		}
		if f.has("withhold") {
			a.Withhold = d.boolean(f.vals["withhold"], f.name("withhold"))
		}
		if f.has("vars") {
			a.Vars = d.overrides(f.vals["vars"], a.Name, s.Vars)
		}
		if f.has("trials") {
			a.Trials = f.integer("trials", "5", 1, 1_000_000)
		}
		switch at := first[a.Name]; {
		case a.Name == "": // reported
			continue
		case at > 0:
			d.errorf(item.line, "a second arm %s, the first is in line %d", "write another name", a.Name, at)
			continue
		}
		first[a.Name] = item.line
		s.Arms, lines = append(s.Arms, a), append(lines, item.line)
	}
	return lines
}

func (d *decoder) overrides(n *node, arm string, defaults map[string]string) map[string]string {
	what := "vars of arm " + arm
	vars := d.settings(n, what, "vars: {name: value}")
	for _, name := range sortedKeys(vars) {
		value, defined := defaults[name]
		switch at := n.entry(name).line; {
		case !defined:
			d.errorf(at, "%s: %s is not defined under vars of the scenario", "%s", what, name, instead(name, sortedKeys(defaults)))
		case value == vars[name]:
			d.errorf(at, "%s: %s is %q already", "write another value, or take it out", what, name, value)
		}
	}
	return vars
}

// controls checks what makes a control arm one: it differs from a fault arm in exactly one thing.
func (d *decoder) controls(s *Scenario, top fields, lines []int) {
	if len(s.Arms) == 0 {
		return
	}
	faults, controls := 0, 0
	for i, a := range s.Arms {
		if a.Control {
			controls++
		} else {
			faults++
		}
		switch {
		case a.Withhold && !top.has("fault"):
			d.errorf(lines[i], "arm %s withholds a fault that the scenario does not have", "write fault:, or take withhold out", a.Name)
		case a.Withhold && !a.Control:
			d.errorf(lines[i], "arm %s withholds the fault but is no control arm", "write control: true", a.Name)
		}
		for j, b := range s.Arms[:i] {
			if len(differences(s, a, b)) == 0 {
				d.errorf(lines[i], "arm %s is the same as arm %s of line %d", "write withhold: true, or vars: with the one thing that differs", a.Name, b.Name, lines[j])
			}
		}
	}
	at := lines[0]
	if top.has("arms") {
		at = top.vals["arms"].line
	}
	switch {
	case faults == 0:
		d.errorf(at, "every arm is a control arm", "write one arm without control: true")
		return
	case controls == 0 && !top.has("no_control"):
		d.errorf(at, "there is no control arm", `write one with control: true, or no_control: "why there is nothing to take away"`)
	case controls > 0 && top.has("no_control"):
		d.errorf(top.vals["no_control"].line, "no_control stands beside a control arm", "take one of them out")
	}
	for i, a := range s.Arms {
		if least := leastDifferences(s, a); a.Control && len(least) > 1 {
			d.errorf(lines[i], "control arm %s changes more than one thing (%s)", "write a control arm for each of them", a.Name, strings.Join(least, ", "))
		}
	}
}

// leastDifferences are those from the fault arm that is nearest to a.
func leastDifferences(s *Scenario, a Arm) (least []string) {
	for _, b := range s.Arms {
		if diff := differences(s, a, b); !b.Control && (least == nil || len(diff) < len(least)) {
			least = diff
		}
	}
	return least
}

// differences names the things that two arms differ in.
func differences(s *Scenario, a, b Arm) (names []string) {
	va, vb := merged(s.Vars, a.Vars), merged(s.Vars, b.Vars)
	for _, name := range sortedKeys(merged(va, vb)) {
		if va[name] != vb[name] {
			names = append(names, name)
		}
	}
	if a.Withhold != b.Withhold {
		names = append(names, "withhold")
	}
	return names
}

func merged(defaults, overrides map[string]string) map[string]string {
	out := maps.Clone(defaults)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, overrides)
	return out
}
