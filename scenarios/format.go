package scenarios

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Format writes the text of a scenario anew: the same keys and values in the same order, indented alike, without its comments. What
// it writes parses to the same scenario.
func Format(name string, data []byte) ([]byte, error) {
	d := newDecoder(name, scenarioKind)
	root := d.parseNode(data)
	if err := d.err(); err != nil {
		return nil, err
	}
	return root.write(), nil
}

// write gives a file's text.
func (n *node) write() []byte {
	var b strings.Builder
	n.block(&b, "")
	return []byte(b.String())
}

// widest is how long a line may get that has a mapping or a list in it.
const widest = 120

// block writes a mapping or a list in lines of their own.
func (n *node) block(b *strings.Builder, indent string) {
	for _, e := range n.entries {
		b.WriteString(indent + word(e.key) + ":")
		e.val.value(b, indent+"  ", len(indent)+len(e.key))
	}
	for _, item := range n.items {
		b.WriteString(indent + "-")
		if item.kind == mapping && len(item.entries) > 0 && (len(item.entries) > 1 || !item.short(len(indent))) {
			var inner strings.Builder
			item.block(&inner, indent+"  ")
			b.WriteString(" " + strings.TrimPrefix(inner.String(), indent+"  "))
			continue
		}
		if item.kind == mapping && len(item.entries) == 1 { // a step of one word and what it takes
			e := item.entries[0]
			b.WriteString(" " + word(e.key) + ":")
			e.val.value(b, indent+"    ", len(indent)+len(e.key))
			continue
		}
		item.value(b, indent+"  ", len(indent))
	}
}

// value writes what stands behind a key or a dash, and ends the line. So many columns of it are taken.
func (n *node) value(b *strings.Builder, indent string, taken int) {
	switch {
	case n.kind == scalar && strings.Contains(strings.TrimSpace(n.text), "\n"):
		b.WriteString(" |\n")
		for line := range strings.Lines(strings.Trim(n.text, "\n") + "\n") {
			if line != "\n" {
				line = indent + line
			}
			b.WriteString(line)
		}
	case n.short(taken):
		if text := n.flow(); text != "" {
			b.WriteString(" " + text)
		}
		b.WriteString("\n")
	default:
		b.WriteString("\n")
		n.block(b, indent)
	}
}

// short says whether a value fits into the rest of a line: one, a list of single values, or a mapping of some.
func (n *node) short(taken int) bool {
	if n.kind == scalar || n.kind == empty {
		return true
	}
	if len(n.items)+len(n.entries) == 0 {
		return true
	}
	return !n.deep(2) && taken+len(n.flow()) < widest
}

// deep says whether a value has others in it for more levels than so many, or text of several lines.
func (n *node) deep(levels int) bool {
	if n.kind == scalar {
		return strings.Contains(strings.TrimSpace(n.text), "\n")
	}
	if levels < 0 {
		return true
	}
	for _, item := range n.items {
		if item.deep(levels-1) || item.kind == mapping && len(n.items) > 1 {
			return true
		}
	}
	for _, e := range n.entries {
		if e.val.deep(levels - 1) {
			return true
		}
	}
	return false
}

// flow is a value in one line.
func (n *node) flow() string {
	var parts []string
	switch n.kind {
	case list:
		for _, item := range n.items {
			parts = append(parts, item.flow())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case mapping:
		for _, e := range n.entries {
			parts = append(parts, strings.TrimRight(word(e.key)+": "+e.val.flow(), " "))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case scalar:
		return word(strings.TrimSpace(n.text))
	default:
		return ""
	}
}

// plain is what needs no quotes anywhere in a file.
var plain = regexp.MustCompile(`^[A-Za-z0-9/.][A-Za-z0-9_./@%+-]*( [A-Za-z0-9/.@+-][A-Za-z0-9_./@%+-]*)*$`)

// word is a single value as a file has it.
func word(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// Rewriting is what becomes of a scenario that is to ask of one thing alone.
type Rewriting struct {
	Name, Question string
	// Arm is the one whose vars are put in place; the others go.
	Arm string
	// Step is the number of the step of the workload that Program takes the place of, from 0.
	Step    int
	Program string
	// Without are control arms by name, each with the program that takes Program's place there, in the order of Names.
	Without map[string]string
	Names   []string
	// Drop are paths of what goes: pool.options.ashift, pool.properties.
	Drop []string
	// Layout is another layout of the pool, empty for the one that is there.
	Layout string
	Trials int
	Expect Expect
}

// program is the var that a rewritten scenario has its operations in.
const program = "program"

// Rewrite gives the text of a scenario that asks of one arm of s.
func (s *Scenario) Rewrite(r Rewriting) (string, error) {
	d := newDecoder(s.File, scenarioKind)
	root := d.parseNode([]byte(s.Source))
	if err := d.err(); err != nil {
		return "", err
	}
	resolved, err := s.ForArm(r.Arm)
	if err != nil {
		return "", err
	}
	d.vars, d.inBody = merged(s.Vars, resolved.Arm.Vars), true
	for _, key := range []string{"pool", "prepare", "workload", "fault"} {
		if e := root.entry(key); e.key != "" {
			d.place(e.val)
		}
	}
	for _, key := range []string{"claim", "default", "matrix", "arms", "no_control", "trials", "vars"} {
		root.drop(key)
	}
	for _, path := range r.Drop {
		root.drop(strings.Split(path, ".")...)
	}
	root.set("name", leaf(r.Name))
	root.set("question", leaf(r.Question))
	root.set("cost", leaf(string(Nightly)))
	if r.Layout != "" {
		root.entry("pool").val.set("layout", leaf(r.Layout))
	}
	workload := root.entry("workload").val
	if r.Step < 0 || r.Step >= len(workload.items) {
		return "", fmt.Errorf("%s: the workload has no step %d", s.File, r.Step)
	}
	workload.items[r.Step] = pairs("operations", leaf("${"+program+"}"))
	root.set("vars", pairs(program, leaf(r.Program)))
	arms := &node{kind: list, items: []*node{pairs("name", leaf(r.Arm))}}
	if resolved.Arm.Withhold {
		return "", fmt.Errorf("%s: arm %s withholds the fault", s.File, r.Arm)
	}
	for _, name := range r.Names {
		arms.items = append(arms.items, pairs("name", leaf(name), "control", leaf("true"), "vars", pairs(program, leaf(r.Without[name]))))
	}
	root.set("arms", arms)
	if len(r.Names) == 0 {
		root.set("no_control", leaf("the operations are the condition"))
	}
	root.set("trials", leaf(strconv.Itoa(r.Trials)))
	expect := pairs("verdict", leaf(string(r.Expect.Verdict)), "rate", leaf(strconv.FormatFloat(r.Expect.Rate, 'f', -1, 64)))
	if r.Expect.Signature != "" {
		expect.set("signature", leaf(r.Expect.Signature))
	}
	if len(r.Expect.Outcome) > 0 {
		expect.set("outcome", leaf(strings.Join(r.Expect.Outcome, ", ")))
	}
	root.drop("expect")
	root.set("expect", expect)
	return string(root.write()), d.err()
}

// CountingTime gives the scenario with a machine whose time counts instructions, on one CPU, so that its trials repeat to the byte. Its pool
// has blocks of the size that it has on other disks, where it says none: persistent memory has larger ones.
func (s *Scenario) CountingTime() (*Scenario, error) {
	d := newDecoder(s.File, scenarioKind)
	root := d.parseNode([]byte(s.Source))
	if err := d.err(); err != nil {
		return nil, err
	}
	m := root.entry("machine").val
	m.set("cpus", leaf("1"))
	m.set("clock", leaf(string(Counted)))
	pool := root.entry("pool").val
	if pool.entry("options").key == "" {
		pool.set("options", pairs())
	}
	if options := pool.entry("options").val; options.entry("ashift").key == "" {
		options.set("ashift", leaf("9"))
	}
	return Parse(s.File, root.write())
}

// place puts vars in place. What is then to be plain is escaped again.
func (d *decoder) place(n *node) {
	n.text, _ = d.expand(n, n.text)
	n.text = strings.ReplaceAll(n.text, "${", "$${")
	for _, item := range n.items {
		d.place(item)
	}
	for _, e := range n.entries {
		d.place(e.val)
	}
}

func leaf(text string) *node { return &node{kind: scalar, text: text} }

// pairs is a mapping of keys and values in turn.
func pairs(all ...any) *node {
	n := &node{kind: mapping}
	for i := 0; i < len(all); i += 2 {
		n.entries = append(n.entries, entry{key: all[i].(string), val: all[i+1].(*node)})
	}
	return n
}

// set gives a key of a mapping another value, at its place or at the end.
func (n *node) set(key string, val *node) {
	for i := range n.entries {
		if n.entries[i].key == key {
			n.entries[i].val = val
			return
		}
	}
	n.entries = append(n.entries, entry{key: key, val: val})
}

// drop takes the entry at a path of keys out, if there is one.
func (n *node) drop(path ...string) {
	for i, e := range n.entries {
		switch {
		case e.key != path[0]:
		case len(path) > 1:
			e.val.drop(path[1:]...)
			return
		default:
			n.entries = append(n.entries[:i], n.entries[i+1:]...)
			return
		}
	}
}
