package scenarios

import (
	"slices"
	"strings"
)

// forms shows how each step is written.
var forms = []struct{ word, form string }{
	{"parameter", "- parameter: {zfs_recover: 1}"},
	{"write", "- write: {file: /tank/f1, size: 512KiB, content: first}"},
	{"sync", "- sync"},
	{"snapshot", "- snapshot: tank@s1"},
	{"remove", "- remove: [/tank/f1]"},
	{"destroy", "- destroy: tank@s1"},
	{"create", "- create: tank/d"},
	{"churn", "- churn: {dataset: tank/d, files: 200, for: 20s}"},
	{"snapshot-storm", "- snapshot-storm: {dataset: tank/d, for: 20s, keep: 5}"},
	{"auto-snapshot", "- auto-snapshot: {label: frequent, keep: 31, times: 3}"},
	{"together", "- together: [scrub, sync]"},
	{"scrub", "- scrub"},
	{"holds", "- holds: {file: /tank/clone/f1, as: /tank/f1}"},
	{"verify", "- verify"},
	{"arm", "- arm"},
	{"reboot", "- reboot"},
	{"import", "- import"},
	{"export", "- export"},
	{"healthy", "- healthy"},
	{"panic", "- panic: [import]"},
	{"must", "- must: zpool export tank"},
	{"must-fail", "- must-fail: zfs receive tank/d </root/stream"},
	{"run", "- run: zpool status"},
}

// form is how a step is written, empty for a word that is no step.
func form(word string) string {
	for _, f := range forms {
		if f.word == word {
			return f.form
		}
	}
	return ""
}

func stepWords() []string {
	words := make([]string, len(forms))
	for i, f := range forms {
		words[i] = f.word
	}
	return words
}

// workloadOnly are the steps that a trial itself takes part in.
var workloadOnly = []string{"arm", "verify", "reboot", "healthy", "panic", "must", "must-fail"}

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
	right := form(word)
	switch bare := right == "- "+word; {
	case right == "":
		d.errorf(n.line, "%q is no step", "%s", word, instead(word, stepWords()))
		return Step{}, false
	case bare != (arg == nil):
		d.errorf(n.line, "%s is written in another way", "write %s", word, right)
		return Step{}, false
	case slices.Contains(workloadOnly, word) && where != "workload":
		d.errorf(n.line, "%s cannot stand in %s", "write it in the list of workload itself", word, where)
		return Step{}, false
	case word == "together" && where == "together":
		d.errorf(n.line, "together stands in together", "write all steps in one list")
		return Step{}, false
	}
	return d.decodeStep(word, right, n, arg), true
}

func (d *decoder) decodeStep(word, right string, n, arg *node) (s Step) {
	switch word {
	case "parameter":
		s.Parameter = d.settings(arg, word, right)
		for _, name := range sortedKeys(s.Parameter) {
			if !identity.MatchString(name) {
				d.errorf(arg.line, "%q is not the name of a module parameter", "write for example %s", name, right)
			}
		}
	case "write":
		s.Write = d.write(arg, right)
	case "holds":
		s.Holds = d.holds(arg, right)
	case "sync", "scrub", "verify", "reboot", "import", "export", "healthy":
		s.setBare(word)
	case "snapshot", "destroy", "create":
		d.decodeNamed(&s, word, right, arg)
	case "remove":
		s.Remove = d.words(arg, word, right)
		for i, path := range s.Remove {
			d.path(arg.at(i), word, path)
		}
	case "together":
		s.Together = d.steps(arg, word)
	case "panic":
		s.Panic = d.steps(arg, word)
	case "arm":
		s.Arm = true
		d.armAt = append(d.armAt, n.line)
	case "must":
		s.Must, _ = d.text(arg, word, right)
	case "must-fail":
		s.MustFail, _ = d.text(arg, word, right)
	case "run":
		s.Run, _ = d.text(arg, word, right)
	default:
		d.decodeLoad(&s, word, right, arg)
	}
	return s
}

// setBare sets a step that is a word alone.
func (s *Step) setBare(word string) {
	*map[string]*bool{
		"sync": &s.Sync, "scrub": &s.Scrub, "verify": &s.Verify, "reboot": &s.Reboot,
		"import": &s.Import, "export": &s.Export, "healthy": &s.Healthy,
	}[word] = true
}

// decodeNamed decodes the steps that take the name of a dataset or snapshot.
func (d *decoder) decodeNamed(s *Step, word, right string, arg *node) {
	name := d.dataset(arg, word, right)
	isSnapshot, inside := strings.Contains(name, "@"), strings.Contains(name, "/")
	switch word {
	case "snapshot":
		s.Snapshot = name
		if name != "" && !isSnapshot {
			d.wrong(arg, "snapshot: %q names no snapshot", "write %s@name", name, name)
		}
	case "destroy":
		s.Destroy = name
		if name != "" && !isSnapshot && !inside {
			d.wrong(arg, "destroy: %q is the whole pool", "write the name of a snapshot, or of a dataset inside it", name)
		}
	case "create":
		s.Create = name
		if name != "" && (isSnapshot || !inside) {
			d.wrong(arg, "create: %q is not the name of a dataset inside the pool", "write %s", name, right)
		}
	}
}

// decodeLoad decodes the steps that put a pool to work for a while.
func (d *decoder) decodeLoad(s *Step, word, right string, arg *node) {
	switch word {
	case "churn":
		f := d.fields(arg, word, right, "dataset", "files", "for")
		s.Churn = &Churn{
			Dataset: d.dataset(f.need("dataset", "tank/d"), f.name("dataset"), "tank/d"),
			Files:   f.integer("files", "200", 1, 1_000_000),
			For:     f.duration("for", "20s"),
		}
	case "snapshot-storm":
		f := d.fields(arg, word, right, "dataset", "for", "keep")
		s.SnapshotStorm = &SnapshotStorm{
			Dataset: d.dataset(f.need("dataset", "tank/d"), f.name("dataset"), "tank/d"),
			For:     f.duration("for", "20s"),
			Keep:    f.integer("keep", "5", 0, 100_000),
		}
	case "auto-snapshot":
		f := d.fields(arg, word, right, "label", "keep", "times")
		s.AutoSnapshot = &AutoSnapshot{
			Label: f.match("label", slug, slugMeans, "frequent"),
			Keep:  f.integer("keep", "31", 1, 100_000),
			Times: f.integer("times", "3", 1, 100_000),
		}
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
