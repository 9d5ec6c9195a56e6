package scenarios

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// outcomes are the classes that a valid trial can end in.
var outcomes = []string{"panic", "oops", "hang", "corrupt", "broken", "latent", "warned", "detected", "healed", "masked"}

// Parse checks the text of a scenario file; name is the file's, for messages and for the rule that the scenario has the
// name of its file. The error joins one *Error for each thing that is wrong, by line.
func Parse(name string, data []byte) (*Scenario, error) {
	d := newDecoder(name, scenarioKind)
	root := d.parseNode(data)
	if root == nil {
		return nil, d.err()
	}
	s := &Scenario{File: name, Source: string(data)}
	top := d.fields(root, "", "name: value lines", "name", "question", "claim", "cause", "cost", "zfs", "default", "machine", "files", "vars", "pool",
		"prepare", "workload", "fault", "matrix", "arms", "no_control", "trials", "limit", "expect")
	d.head(s, top)
	s.Machine = d.machine(top.need("machine", "{cpus: 2, memory: 1GiB, disks: {v0: 512MiB}}"))
	if top.has("files") {
		s.Files = d.brought(top.vals["files"])
	}
	if top.has("vars") {
		s.Vars = d.varNames(top.vals["vars"])
	}
	trials := top.integer("trials", "10", 1, 1_000_000)
	s.Limit = top.duration("limit", "60s")
	lines := d.arms(s, top, trials)
	d.controls(s, top, lines)
	d.expectations(top.need("expect", "{verdict: reproduces, rate: 0.5}"), s)
	d.resolve(s, top)
	if err := d.err(); err != nil {
		return nil, err
	}
	return s, nil
}

var versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)

// head decodes what a scenario says about itself.
func (d *decoder) head(s *Scenario, top fields) {
	s.Name = top.match("name", slug, slugMeans, "legacy-dedup-gang")
	if base := strings.TrimSuffix(filepath.Base(d.file), ".yaml"); s.Name != "" && s.Name != base {
		d.wrong(top.vals["name"], "name: %q is not the name of the file", "write name: %s, or call the file %s.yaml", s.Name, base, s.Name)
	}
	s.Question = top.text("question", "Does ... reproduce the panic?")
	if top.has("claim") {
		s.Claim = top.text("claim", "the sentence of the article that this settles")
	}
	s.Cause = Cause(d.oneOf(top.need("cause", "software"), "cause", string(Software), string(Memory), string(Disk)))
	s.Cost = Cost(d.oneOf(top.need("cost", "fast"), "cost", string(Fast), string(Nightly)))
	if top.has("zfs") {
		d.versions(top.vals["zfs"], s)
	}
	if top.has("default") {
		s.Default = d.boolean(top.vals["default"], "default")
	}
	if top.has("no_control") {
		s.NoControl = top.text("no_control", "why there is nothing to take away")
	}
}

// versions decodes of which versions of OpenZFS the question can be asked.
func (d *decoder) versions(n *node, s *Scenario) {
	if n.kind != mapping {
		for i, v := range d.words(n, "zfs", "[2.3.2, 2.3.9], or {since: 2.3.0}") {
			d.version(n.at(i), v)
			s.ZFS = append(s.ZFS, v)
		}
		return
	}
	f := d.fields(n, "zfs", "zfs: {since: 2.3.0, until: 2.3.5}", "since", "until")
	for name, into := range map[string]*string{"since": &s.Since, "until": &s.Until} {
		if f.has(name) {
			*into = f.text(name, "2.3.0")
			d.version(f.vals[name], *into)
		}
	}
	if s.Since != "" && s.Until != "" && CompareVersions(s.Until, s.Since) < 0 {
		d.wrong(n, "zfs: %s is before %s", "write the older version as since", s.Until, s.Since)
	}
}

func (d *decoder) version(n *node, v string) {
	if !versionForm.MatchString(v) {
		d.wrong(n, "zfs: %q is not a version of OpenZFS", "write for example 2.3.2", v)
	}
}

// countedDisks is how many data disks can be memory. QEMU 7.2 tells the guest of its pieces in no order, and with more than these the root
// disk is not the first.
const countedDisks = 4

func (d *decoder) machine(n *node) (m Machine) {
	const disks = "{v0: 512MiB, v1: 512MiB}"
	f := d.fields(n, "machine", "machine: {cpus: 2, memory: 1GiB, disks: {v0: 512MiB}}", "cpus", "memory", "disks", "clock")
	m.CPUs = f.integer("cpus", "2", 1, 64)
	if f.has("clock") {
		m.Clock = Clock(d.oneOf(f.vals["clock"], "clock of machine", string(Counted)))
		if m.CPUs > 1 {
			d.errorf(f.vals["clock"].line, "clock of machine: a guest that counts its time has one CPU", "write cpus: 1")
		}
	}
	m.Memory = f.size("memory", "1GiB")
	if m.Memory&(1<<20-1) != 0 {
		d.wrong(f.vals["memory"], "memory of machine: %s is not a whole number of MiB", "write %s",
			formatSize(m.Memory), formatSize(m.Memory&^(1<<20-1)+1<<20))
	}
	for _, e := range d.entries(f.need("disks", disks), "disks of machine", "disks: "+disks) {
		if !diskName.MatchString(e.key) {
			d.errorf(e.line, "disks of machine: %q is not a name of at most 20 lower-case letters, digits and dashes", "write for example v0", e.key)
		}
		size := d.size(e.val, e.key+" of disks", "512MiB")
		if size > 0 && size < 64<<20 {
			d.errorf(e.line, "disks of machine: %s is below what zpool create takes", "write at least 64MiB", formatSize(size))
		}
		if m.Clock == Counted && size%(2<<20) != 0 {
			d.errorf(e.line, "disks of machine: %s is not a whole number of pages of 2MiB, as memory is", "write %s", formatSize(size), formatSize(size+2<<20-size%(2<<20)))
		}
		if m.Clock == Counted && len(m.Disks) == countedDisks {
			d.errorf(e.line, "disks of machine: a guest that counts its time has at most %d", "write fewer", countedDisks)
		}
		m.Disks = append(m.Disks, DataDisk{Name: e.key, Size: size})
	}
	if len(m.Disks) == 0 && f.has("disks") && f.vals["disks"].kind == mapping {
		d.errorf(f.vals["disks"].line, "the machine has no disk", "write disks: %s", disks)
	}
	return m
}

var varName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (d *decoder) varNames(n *node) map[string]string {
	vars := d.settings(n, "vars", "vars: {name: value}")
	for _, name := range sortedKeys(vars) {
		if !varName.MatchString(name) {
			d.errorf(n.entry(name).line, "%q is no name for a var", "write lower-case letters, digits and _", name)
		}
	}
	return vars
}

// entry is the one of that key, or the node's own place.
func (n *node) entry(key string) entry {
	for _, e := range n.entries {
		if e.key == key {
			return e
		}
	}
	return entry{line: n.line, val: n}
}

var signatureForm = regexp.MustCompile(`^\S+$`)

// expectations decodes what is expected, and of which versions something else is.
func (d *decoder) expectations(n *node, s *Scenario) {
	const example = "expect: {verdict: reproduces, rate: 0.5}"
	f := d.fields(n, "expect", example, append([]string{"versions"}, expectKeys...)...)
	s.Expect = d.expect(f, s, 0)
	for _, e := range d.entries(f.vals["versions"], "versions of expect", "versions: {2.3.9: does not reproduce, 2.4.2..: does not reproduce}") {
		at := Elsewhere{}
		m := versionsForm.FindStringSubmatch(e.key)
		switch {
		case m == nil:
			d.errorf(e.line, "versions of expect: %q is neither a version nor a range", "write 2.3.9, 2.3.3..2.3.6, 2.4.2.. or ..2.3.2", e.key)
			continue
		case m[1] != "":
			at.Since, at.Until = m[1], m[1]
		default:
			at.Since, at.Until = m[2], cmp.Or(m[3], m[4])
		}
		if at.Since != "" && at.Until != "" && CompareVersions(at.Until, at.Since) < 0 {
			d.errorf(e.line, "versions of expect: %s is before %s", "write the older version first", at.Until, at.Since)
		}
		if e.val.kind == mapping {
			f := d.fields(e.val, "expect of "+e.key, e.key+": {verdict: reproduces, outcome: hang}", expectKeys...)
			at.Expect = d.expect(f, s, s.Expect.Rate)
		} else { // a hit is the same there, and what becomes of the arms is left open
			at.Expect = s.Expect
			at.Expect.Outcomes = nil
			at.Expect.Verdict = d.verdict(e.val, "verdict of "+e.key)
		}
		s.Elsewhere = append(s.Elsewhere, at)
	}
}

var versionsForm = regexp.MustCompile(`^(?:([0-9]+\.[0-9]+\.[0-9]+)|([0-9]+\.[0-9]+\.[0-9]+)\.\.([0-9]+\.[0-9]+\.[0-9]+)?|\.\.([0-9]+\.[0-9]+\.[0-9]+))$`)

// expectKeys are those of an expectation.
var expectKeys = []string{"verdict", "signature", "outcome", "text", "rate", "outcomes"}

func (d *decoder) verdict(n *node, what string) Verdict {
	return Verdict(d.oneOf(n, what, string(Reproduces), string(DoesNotReproduce)))
}

// expect decodes one expectation. Without a rate it has that of the others, which is 0 where there are none.
func (d *decoder) expect(f fields, s *Scenario, rate float64) (e Expect) {
	e.Verdict = d.verdict(f.need("verdict", "reproduces"), f.name("verdict"))
	if f.has("signature") {
		e.Signature = f.match("signature", signatureForm, "one word", "range-tree-add-overlap@metaslab_free_concrete")
	}
	if f.has("outcome") {
		e.Outcome = d.words(f.vals["outcome"], f.name("outcome"), "[broken, panic]")
		for i, o := range e.Outcome {
			if !slices.Contains(outcomes, o) {
				d.wrong(f.vals["outcome"].at(i), "%s: %q is unknown", "%s", f.name("outcome"), o, instead(o, outcomes))
			}
		}
		if f.has("signature") {
			d.errorf(f.vals["outcome"].line, f.what+" has both signature and outcome", "write the one that makes a trial a hit; outcomes can hold the other")
		}
	}
	if f.has("text") {
		e.Text = f.text("text", "size=200")
	}
	if e.Rate = rate; rate == 0 || f.has("rate") {
		e.Rate = d.rate(f.need("rate", "0.5"), f.name("rate"))
	}
	if !f.has("outcomes") {
		return e
	}
	names := make([]string, len(s.Arms))
	for i, a := range s.Arms {
		names[i] = a.Name
	}
	e.Outcomes = map[string]string{}
	for _, o := range d.entries(f.vals["outcomes"], f.name("outcomes"), "outcomes: {arm: healed}") {
		if !slices.Contains(names, o.key) {
			d.errorf(o.line, f.name("outcomes")+": there is no arm %q", "%s", o.key, instead(o.key, names))
			continue
		}
		e.Outcomes[o.key] = d.oneOf(o.val, "outcome of "+o.key, outcomes...)
	}
	return e
}

func (d *decoder) rate(n *node, what string) float64 {
	s, ok := d.text(n, what, "rate: 0.5")
	if !ok {
		return 0
	}
	var rate float64
	if _, err := fmt.Sscanf(s, "%g", &rate); err != nil || rate <= 0 || rate > 1 || !rateForm.MatchString(s) {
		d.wrong(n, "%s: %q is not above 0 and at most 1", "write for example 0.5", what, s)
		return 0
	}
	return rate
}

var rateForm = regexp.MustCompile(`^[01](\.[0-9]+)?$`)

// resolve decodes the body once with the defaults, so that a file without usable arms is checked too, and once for every
// arm.
func (d *decoder) resolve(s *Scenario, top fields) {
	if top.n == nil {
		return
	}
	d.vars = s.Vars
	d.body(top, s.Machine)
	for _, a := range s.Arms {
		d.arm, d.vars = a.Name, merged(s.Vars, a.Vars)
		r := d.body(top, s.Machine)
		r.Scenario, r.Arm, r.Limit, r.Files = s.Name, a, s.Limit, s.Files
		s.resolved = append(s.resolved, r)
		d.limit(r, top)
	}
	d.arm = ""
	used := map[string]bool{}
	for _, key := range []string{"pool", "prepare", "workload", "fault"} {
		top.vals[key].uses(used)
	}
	for _, name := range sortedKeys(s.Vars) {
		if !used[name] {
			d.errorf(top.vals["vars"].entry(name).line, "var %s is never used", "write ${%s} where it belongs, or take it out", name, name)
		}
	}
}

// limit refuses a limit that every trial would run into.
func (d *decoder) limit(r Resolved, top fields) {
	if need := lasts(r.Workload); r.Limit > 0 && need >= r.Limit {
		d.errorf(top.vals["limit"].line, "limit: %s is not above the %s that the workload's steps last", "write at least %s",
			short(r.Limit), short(need), short(2*need))
	}
}

// short writes a duration without the zero minutes and seconds of Duration.String.
func short(t time.Duration) string {
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
