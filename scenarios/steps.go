package scenarios

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/ops"
)

// kinds are the steps by their words, each with how it is written and what reads it. A trial itself takes part in those that can stand in
// its workload only.
var kinds []stepKind

type stepKind struct {
	word, form   string
	workloadOnly bool
	// decode reads what stands behind the word, which is nil for a word alone; right is the form.
	decode func(d *decoder, s *Step, arg *node, right string)
}

func init() { // as together and panic hold steps themselves
	kinds = []stepKind{
		{word: "parameter", form: "- parameter: {zfs_recover: 1}", decode: (*decoder).decodeParameter},
		{word: "write", form: "- write: {file: /tank/f1, size: 512KiB, content: first}", decode: func(d *decoder, s *Step, arg *node, right string) { s.Write = d.write(arg, right) }},
		{word: "sync", form: "- sync", decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Sync = true }},
		{word: "snapshot", form: "- snapshot: tank@s1", decode: (*decoder).decodeSnapshot},
		{word: "remove", form: "- remove: [/tank/f1]", decode: (*decoder).decodeRemove},
		{word: "destroy", form: "- destroy: tank@s1", decode: (*decoder).decodeDestroy},
		{word: "create", form: "- create: tank/d", decode: (*decoder).decodeCreate},
		{word: "churn", form: "- churn: {dataset: tank/d, files: 200, for: 20s}", decode: (*decoder).decodeChurn},
		{word: "snapshot-storm", form: "- snapshot-storm: {dataset: tank/d, for: 20s, keep: 5}", decode: (*decoder).decodeStorm},
		{word: "auto-snapshot", form: "- auto-snapshot: {label: frequent, keep: 31, times: 3}", decode: (*decoder).decodeAutoSnapshot},
		{word: "cron", form: "- cron: {for: 48h}", decode: (*decoder).decodeCron},
		{word: "operations", form: `- operations: "create tank/a"`, workloadOnly: true, decode: (*decoder).decodeOperations},
		{word: "generate", form: "- generate: {count: 40, features: [dedup, clone]}", workloadOnly: true, decode: (*decoder).decodeGenerate},
		{word: "together", form: "- together: [scrub, sync]", decode: func(d *decoder, s *Step, arg *node, _ string) { s.Together = d.steps(arg, "together") }},
		{word: "scrub", form: "- scrub", decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Scrub = true }},
		{word: "holds", form: "- holds: {file: /tank/clone/f1, as: /tank/f1}", decode: func(d *decoder, s *Step, arg *node, right string) { s.Holds = d.holds(arg, right) }},
		{word: "verify", form: "- verify", workloadOnly: true, decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Verify = true }},
		{word: "arm", form: "- arm", workloadOnly: true, decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Arm = true }},
		{word: "reboot", form: "- reboot", workloadOnly: true, decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Reboot = true }},
		{word: "import", form: "- import", decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Import = true }},
		{word: "export", form: "- export", decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Export = true }},
		{word: "healthy", form: "- healthy", workloadOnly: true, decode: func(_ *decoder, s *Step, _ *node, _ string) { s.Healthy = true }},
		{word: "panic", form: "- panic: [import]", workloadOnly: true, decode: func(d *decoder, s *Step, arg *node, _ string) { s.Panic = d.steps(arg, "panic") }},
		{word: "must", form: "- must: zpool export tank", workloadOnly: true, decode: func(d *decoder, s *Step, arg *node, right string) { s.Must, _ = d.text(arg, "must", right) }},
		{word: "must-fail", form: "- must-fail: zfs receive tank/d </root/stream", workloadOnly: true, decode: func(d *decoder, s *Step, arg *node, right string) { s.MustFail, _ = d.text(arg, "must-fail", right) }},
		{word: "run", form: "- run: zpool status", decode: func(d *decoder, s *Step, arg *node, right string) { s.Run, _ = d.text(arg, "run", right) }},
	}
}

// kindOf is the step of a word, nil for a word that is none.
func kindOf(word string) *stepKind {
	i := slices.IndexFunc(kinds, func(k stepKind) bool { return k.word == word })
	if i < 0 {
		return nil
	}
	return &kinds[i]
}

func stepWords() []string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = k.word
	}
	return words
}

// steps decodes a list of steps; where is prepare, workload or together.
func (d *decoder) steps(n *node, where string) (out []Step) {
	if n == nil {
		return nil
	}
	if n.kind != list || len(n.items) == 0 {
		d.errorf(n.line, "%s is %s", "write a list of steps, for example - sync", where, kindOrEmptyList(n))
		return nil
	}
	for _, item := range n.items {
		s, ok := d.step(item, where)
		if !ok {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Panic != nil && !s.Reboot {
			d.errorf(item.line, "a machine that has panicked does no step %s", "write - reboot before it", s.Kind())
		}
		out = append(out, s)
	}
	return out
}

func kindOrEmptyList(n *node) string {
	if n.kind == list {
		return "an empty list"
	}
	return string(n.kind)
}

// step decodes one item: a bare word, or a word with what it takes.
func (d *decoder) step(n *node, where string) (Step, bool) {
	word, arg := n.text, (*node)(nil)
	switch {
	case n.kind == mapping && len(n.entries) == 1:
		word, arg = n.entries[0].key, n.entries[0].val
	case n.kind == mapping:
		keys := make([]string, len(n.entries))
		for i, e := range n.entries {
			keys[i] = e.key
		}
		d.errorf(n.line, "a step of %s has %d keys (%s)", "write one key a step, each after its own dash", where, len(keys), strings.Join(keys, ", "))
		return Step{}, false
	case n.kind != scalar:
		d.errorf(n.line, "a step of %s is %s", "write for example - sync", where, n.kind)
		return Step{}, false
	}
	kind := kindOf(word)
	if kind == nil {
		d.errorf(n.line, "%q is no step", "%s", word, instead(word, stepWords()))
		return Step{}, false
	}
	switch bare := kind.form == "- "+word; {
	case bare != (arg == nil):
		d.errorf(n.line, "%s is written in another way", "write %s", word, kind.form)
		return Step{}, false
	case kind.workloadOnly && where != "workload":
		d.errorf(n.line, "%s cannot stand in %s", "write it in the list of workload itself", word, where)
		return Step{}, false
	case word == "together" && where == "together":
		d.errorf(n.line, "together stands in together", "write all steps in one list")
		return Step{}, false
	}
	var s Step
	kind.decode(d, &s, arg, kind.form)
	if s.Arm {
		d.armAt = append(d.armAt, n.line)
	}
	return s, true
}

func (d *decoder) decodeParameter(s *Step, arg *node, right string) {
	s.Parameter = d.settings(arg, "parameter", right)
	for _, name := range sortedKeys(s.Parameter) {
		if !identity.MatchString(name) {
			d.errorf(arg.line, "%q is not the name of a module parameter", "write for example %s", name, right)
		}
	}
}

func (d *decoder) decodeRemove(s *Step, arg *node, right string) {
	s.Remove = d.words(arg, "remove", right)
	for i, path := range s.Remove {
		d.path(arg.at(i), "remove", path)
	}
}

// inside says whether a name is that of a dataset, or of a snapshot of one, that is not the pool itself.
func inside(name string) bool { return strings.Contains(name, "/") }

func isSnapshot(name string) bool { return strings.Contains(name, "@") }

func (d *decoder) decodeSnapshot(s *Step, arg *node, right string) {
	s.Snapshot = d.dataset(arg, "snapshot", right)
	if s.Snapshot != "" && !isSnapshot(s.Snapshot) {
		d.wrong(arg, "snapshot: %q names no snapshot", "write %s@name", s.Snapshot, s.Snapshot)
	}
}

func (d *decoder) decodeDestroy(s *Step, arg *node, right string) {
	s.Destroy = d.dataset(arg, "destroy", right)
	if s.Destroy != "" && !isSnapshot(s.Destroy) && !inside(s.Destroy) {
		d.wrong(arg, "destroy: %q is the whole pool", "write the name of a snapshot, or of a dataset inside it", s.Destroy)
	}
}

func (d *decoder) decodeCreate(s *Step, arg *node, right string) {
	s.Create = d.dataset(arg, "create", right)
	if s.Create != "" && (isSnapshot(s.Create) || !inside(s.Create)) {
		d.wrong(arg, "create: %q is not the name of a dataset inside the pool", "write %s", s.Create, right)
	}
}

func (d *decoder) decodeChurn(s *Step, arg *node, right string) {
	f := d.fields(arg, "churn", right, "dataset", "files", "for", "writes")
	s.Churn = &Churn{
		Dataset: d.dataset(f.need("dataset", "tank/d"), f.name("dataset"), "tank/d"),
		Files:   f.integer("files", "200", 1, 1_000_000),
	}
	s.Churn.For, s.Churn.Writes = d.lasting(f, "writes")
}

func (d *decoder) decodeStorm(s *Step, arg *node, right string) {
	f := d.fields(arg, "snapshot-storm", right, "dataset", "for", "snapshots", "keep")
	s.SnapshotStorm = &SnapshotStorm{
		Dataset: d.dataset(f.need("dataset", "tank/d"), f.name("dataset"), "tank/d"),
		Keep:    f.integer("keep", "5", 0, 100_000),
	}
	s.SnapshotStorm.For, s.SnapshotStorm.Snapshots = d.lasting(f, "snapshots")
}

// lasting decodes how long something goes on: a time, or so many of something.
func (d *decoder) lasting(f fields, count string) (time.Duration, int) {
	switch {
	case f.has(count) && f.has("for"):
		d.errorf(f.vals[count].line, "%s: it goes on for a time or for so many", "write for or "+count, count)
		return 0, 0
	case f.has(count):
		return 0, f.integer(count, "1000", 1, 100_000_000)
	}
	return f.duration("for", "20s"), 0
}

func (d *decoder) decodeAutoSnapshot(s *Step, arg *node, right string) {
	f := d.fields(arg, "auto-snapshot", right, "label", "keep", "times")
	s.AutoSnapshot = &AutoSnapshot{
		Label: f.match("label", slug, slugMeans, "frequent"),
		Keep:  f.integer("keep", "31", 1, 100_000),
		Times: f.integer("times", "3", 1, 100_000),
	}
}

// schedule is the first five fields of a crontab.
var schedule = regexp.MustCompile(`^([*0-9][-*0-9,/]*\s+){4}[*0-9][-*0-9,/]*$`)

func (d *decoder) decodeCron(s *Step, arg *node, right string) {
	f := d.fields(arg, "cron", right, "for", "jobs")
	s.Cron = &Cron{For: f.duration("for", "48h")}
	if s.Cron.For%time.Second != 0 {
		d.wrong(f.vals["for"], "for of cron: %s is no whole number of seconds", "write %s", s.Cron.For, s.Cron.For.Truncate(time.Second)+time.Second)
	}
	if f.has("jobs") {
		const example = `{"*/10 * * * *": sh /root/life}`
		s.Cron.Jobs = d.settings(f.vals["jobs"], f.name("jobs"), "jobs: "+example)
		for _, when := range sortedKeys(s.Cron.Jobs) {
			if !schedule.MatchString(when) || strings.Contains(s.Cron.Jobs[when], "\n") {
				d.errorf(f.vals["jobs"].line, "jobs of cron: %q with %q is no line of a crontab", "write for example %s", when, s.Cron.Jobs[when], example)
			}
		}
	}
}

func (d *decoder) decodeOperations(s *Step, arg *node, right string) {
	text, ok := d.text(arg, "operations", right)
	if !ok {
		return
	}
	s.Operations = text
	switch program, err := ops.Parse(text); {
	case err != nil:
		d.wrong(arg, "operations: %s", "write the lines as lab/ops/README.md has them", strings.ReplaceAll(err.Error(), "\n", "; "))
	case len(program) == 0:
		d.wrong(arg, "operations: there is none", "write %s", right)
	}
}

func (d *decoder) decodeGenerate(s *Step, arg *node, right string) {
	f := d.fields(arg, "generate", right, "count", "features", "draw")
	s.Generate = &Generate{Count: f.integer("count", "40", 1, 10_000)}
	known := ops.Features()
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	for i, w := range d.words(f.need("features", "[dedup, clone]"), f.name("features"), "[dedup, clone]") {
		if !slices.Contains(words, w) {
			d.wrong(f.vals["features"].at(i), "features of generate: %q is unknown", "%s", w, instead(w, words))
		}
		s.Generate.Features = append(s.Generate.Features, ops.Feature(w))
	}
	if f.has("draw") {
		s.Generate.Draw = f.integer("draw", "2", 1, max(1, len(s.Generate.Features)))
	}
}

func (d *decoder) write(n *node, right string) *Write {
	f := d.fields(n, "write", right, "file", "size", "content", "count")
	w := &Write{File: f.text("file", "/tank/f1"), Size: f.size("size", "512KiB"), Content: f.text("content", "first")}
	if f.has("count") {
		w.Count = f.integer("count", "16", 1, 100_000)
	}
	f.pattern("file", w.File, w.Count)
	return w
}

func (d *decoder) holds(n *node, right string) *Holds {
	f := d.fields(n, "holds", right, "file", "as", "count")
	h := &Holds{File: f.text("file", "/tank/clone/f1"), As: f.text("as", "/tank/f1")}
	if f.has("count") {
		h.Count = f.integer("count", "16", 1, 100_000)
	}
	f.pattern("file", h.File, h.Count)
	f.pattern("as", h.As, h.Count)
	return h
}

// pattern checks the path of a file, or of as many as count says.
func (f fields) pattern(key, path string, count int) {
	if path == "" { // reported
		return
	}
	d, n, what := f.d, f.vals[key], f.name(key)
	d.path(n, what, path)
	switch verbs := len(numbering.FindAllString(path, -1)); {
	case strings.Count(path, "%") != verbs || verbs > 1:
		d.wrong(n, "%s: %q has another %% than one %%d or %%02d", "write for example /tank/f%%02d", what, path)
	case f.has("count") && verbs == 0:
		d.wrong(n, "%s: %q gives all %d files one name", "write for example %s%%02d", what, path, count, path)
	case !f.has("count") && verbs == 1:
		d.wrong(n, "%s: %q is a pattern but %s has no count", "write count: 16, or a name without %%", what, path, f.what)
	}
}

// path checks the path of a file in the pool.
func (d *decoder) path(n *node, what, path string) {
	inside := d.pool == "" || strings.HasPrefix(path, "/"+d.pool+"/")
	dots := slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return part == "." || part == ".." })
	if !absolute.MatchString(path) || dots || !inside {
		d.wrong(n, "%s: %q is not the path of a file in the pool", "write for example /%s/f1", what, path, d.pool)
	}
}

// dataset is the name of a dataset or snapshot in the pool.
func (d *decoder) dataset(n *node, what, example string) string {
	s := d.match(n, what, dataset, datasetMeans, example)
	if pool, _, _ := strings.Cut(strings.ReplaceAll(s, "@", "/"), "/"); s != "" && d.pool != "" && pool != d.pool {
		d.wrong(n, "%s: %q is not in the pool", "write %s%s", what, s, d.pool, strings.TrimPrefix(s, pool))
	}
	return s
}
