package scenarios

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Error is one thing wrong with a file.
type Error struct {
	File string
	Line int
	Text string // what is wrong; write this instead
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// decoder turns nodes into typed values and collects what is wrong, without stopping at the first error.
type decoder struct {
	file   string
	kind   string // of the file, for messages
	errs   []*Error
	seen   map[string]bool // errors already reported, by line and text without arm
	vars   map[string]string
	arm    string // whose vars are in force, empty for the defaults
	pool   string // the name that datasets begin with
	armAt  []int  // lines of arm steps met in this pass
	inBody bool   // vars may be used here
}

func newDecoder(file, kind string) *decoder {
	return &decoder{file: file, kind: kind, seen: map[string]bool{}}
}

// errorf reports what is wrong and what to write instead; args are for both formats in turn.
func (d *decoder) errorf(line int, wrong, instead string, args ...any) {
	d.report(line, fmt.Sprintf(wrong+"; "+instead, args...), "")
}

// report drops what was reported before: every arm decodes the same lines.
func (d *decoder) report(line int, text, where string) {
	key := fmt.Sprintf("%d %s", line, text)
	if d.seen[key] {
		return
	}
	d.seen[key] = true
	d.errs = append(d.errs, &Error{File: d.file, Line: line, Text: text + where})
}

// wrong reports a value, and where its vars got theirs.
func (d *decoder) wrong(n *node, wrong, instead string, args ...any) {
	where := ""
	if refs := references(n.text); len(refs) > 0 && d.inBody {
		where = fmt.Sprintf(" (%s by default)", strings.Join(refs, ", "))
		if d.arm != "" {
			where = fmt.Sprintf(" (%s in arm %s)", strings.Join(refs, ", "), d.arm)
		}
	}
	d.report(n.line, fmt.Sprintf(wrong+"; "+instead, args...), where)
}

// err joins everything reported, by line.
func (d *decoder) err() error {
	slices.SortStableFunc(d.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(d.errs))
	for i, e := range d.errs {
		errs[i] = e
	}
	return errors.Join(errs...)
}

var reference = regexp.MustCompile(`\$?\$\{([^}]*)(\}?)`)

// references lists the vars that a text refers to, as written.
func references(text string) (refs []string) {
	for _, m := range reference.FindAllString(text, -1) {
		if !strings.HasPrefix(m, "$$") {
			refs = append(refs, m)
		}
	}
	return refs
}

// uses collects the names of the vars that a value refers to, also where something else is wrong with it.
func (n *node) uses(names map[string]bool) {
	if n == nil {
		return
	}
	for _, ref := range references(n.text) {
		names[reference.FindStringSubmatch(ref)[1]] = true
	}
	for _, item := range n.items {
		item.uses(names)
	}
	for _, e := range n.entries {
		e.val.uses(names)
	}
}

// expand puts vars in place and turns $${ into ${.
func (d *decoder) expand(n *node, text string) (string, bool) {
	ok := true
	out := reference.ReplaceAllStringFunc(text, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		name := m[1]
		value, defined := d.vars[name]
		switch {
		case strings.HasPrefix(ref, "$$"):
			return ref[1:]
		case !d.inBody:
			d.errorf(n.line, "%s stands where vars cannot be used", "write the value; pool, prepare, workload and fault can use vars", ref)
		case m[2] == "":
			d.errorf(n.line, "%q has no closing brace", "write ${name}, or $${ for a plain ${", ref)
		case !defined:
			d.errorf(n.line, "%s is not defined under vars", "%s; write $%s for a plain one", ref, instead(name, sortedKeys(d.vars)), ref)
		default:
			return value
		}
		ok = false
		return ""
	})
	return out, ok
}

// text is the value of a scalar, never empty when ok.
func (d *decoder) text(n *node, what, example string) (string, bool) {
	switch {
	case n == nil: // reported as missing
		return "", false
	case n.kind != scalar && n.kind != empty:
		d.errorf(n.line, "%s is %s", "write %s", what, n.kind, example)
		return "", false
	}
	s, ok := d.expand(n, n.text)
	if s = strings.TrimSpace(s); ok && s == "" {
		d.wrong(n, "%s has no value", "write %s", what, example)
		return "", false
	}
	return s, ok
}

// match is a scalar of a given form.
func (d *decoder) match(n *node, what string, form *regexp.Regexp, means, example string) string {
	s, ok := d.text(n, what, example)
	if ok && !form.MatchString(s) {
		d.wrong(n, "%s: %q is not %s", "write for example %s", what, s, means, example)
		return ""
	}
	return s
}

func (d *decoder) integer(n *node, what, example string, least, most int) int {
	s, ok := d.text(n, what, example)
	if !ok {
		return 0
	}
	i, err := strconv.Atoi(s)
	switch {
	case err != nil:
		d.wrong(n, "%s: %q is no whole number", "write for example %s", what, s, example)
	case i < least || i > most:
		d.wrong(n, "%s: %d is out of range", "write %d to %d", what, i, least, most)
	}
	return i
}

func (d *decoder) boolean(n *node, what string) bool {
	s, ok := d.text(n, what, "true or false")
	if ok && s != "true" && s != "false" {
		d.wrong(n, "%s: %q is neither true nor false", "write true or false", what, s)
		return true // who writes the key most likely means it, and other rules need not complain too
	}
	return s == "true"
}

func (d *decoder) oneOf(n *node, what string, words ...string) string {
	s, ok := d.text(n, what, words[0])
	if ok && !slices.Contains(words, s) {
		d.wrong(n, "%s: %q is unknown", "%s", what, s, instead(s, words))
		return ""
	}
	return s
}

func (d *decoder) size(n *node, what, example string) int64 {
	s, ok := d.text(n, what, example)
	if !ok {
		return 0
	}
	size, hint := parseSize(s)
	if hint != "" {
		d.wrong(n, "%s: %q is no size in KiB, MiB or GiB", "write %s", what, s, cmp.Or(strings.TrimPrefix(hint, "?"), example))
	}
	return size
}

func (d *decoder) duration(n *node, what, example string) time.Duration {
	s, ok := d.text(n, what, example)
	if !ok {
		return 0
	}
	t, hint := parseDuration(s)
	if hint != "" {
		d.wrong(n, "%s: %q is no duration", "write %s", what, s, cmp.Or(strings.TrimPrefix(hint, "?"), example))
	}
	return t
}

// words is a list of single values; one value of words parted by commas will do, so that a var can hold it.
func (d *decoder) words(n *node, what, example string) (out []string) {
	if n == nil {
		return nil
	}
	items := n.items
	if n.kind != list {
		items = []*node{n}
	}
	for _, item := range items {
		s, ok := d.text(item, what, example)
		if !ok {
			continue
		}
		for w := range strings.SplitSeq(s, ",") {
			if w = strings.TrimSpace(w); w != "" {
				out = append(out, w)
			}
		}
	}
	if n.kind == list && len(items) == 0 {
		d.errorf(n.line, "%s is an empty list", "write %s", what, example)
	}
	return out
}

// settings is a mapping of names to single values.
func (d *decoder) settings(n *node, what, example string) map[string]string {
	out := map[string]string{}
	for _, e := range d.entries(n, what, example) {
		if len(references(e.key)) > 0 {
			d.errorf(e.line, "%s: the name %q uses a var", "write vars in values only", what, e.key)
			continue
		}
		if s, ok := d.text(e.val, e.key+" of "+what, e.key+": value"); ok {
			out[e.key] = s
		}
	}
	return out
}

// entries are those of a mapping, without those whose key stood before.
func (d *decoder) entries(n *node, what, example string) []entry {
	if n == nil {
		return nil
	}
	if n.kind != mapping {
		d.errorf(n.line, "%s is %s", "write %s", what, n.kind, example)
		return nil
	}
	at := map[string]int{}
	var out []entry
	for _, e := range n.entries {
		if first := at[e.key]; first > 0 {
			d.errorf(e.line, "%s has %s twice, first in line %d", "write it once", what, e.key, first)
			continue
		}
		at[e.key] = e.line
		out = append(out, e)
	}
	return out
}

// fields reads a mapping of known keys.
type fields struct {
	d    *decoder
	n    *node  // nil when it is no mapping, which was reported
	what string // empty for the file itself
	vals map[string]*node
	// guessed are keys that an unknown one was taken for: they are not reported as missing too.
	guessed map[string]bool
}

func (d *decoder) fields(n *node, what, example string, known ...string) fields {
	f := fields{d: d, what: what, vals: map[string]*node{}, guessed: map[string]bool{}}
	if n == nil {
		return f
	}
	if n.kind == mapping {
		f.n = n
	}
	for _, e := range d.entries(n, cmp.Or(what, "the file"), example) {
		if !slices.Contains(known, e.key) {
			hint := instead(e.key, known)
			f.guessed[strings.TrimPrefix(hint, "write ")] = true
			d.errorf(e.line, "%s has no key %q", "%s", cmp.Or(what, "a scenario"), e.key, hint)
			continue
		}
		f.vals[e.key] = e.val
	}
	return f
}

func (f fields) has(key string) bool { return f.vals[key] != nil }

// name is how messages call a key.
func (f fields) name(key string) string {
	if f.what == "" {
		return key
	}
	return key + " of " + f.what
}

// need is a key that must be there.
func (f fields) need(key, example string) *node {
	v := f.vals[key]
	if v == nil && f.n != nil && !f.guessed[key] {
		f.d.errorf(f.n.line, "%s has no %s", "write %s: %s", cmp.Or(f.what, "the scenario"), key, key, example)
	}
	return v
}

func (f fields) text(key, example string) string {
	s, _ := f.d.text(f.need(key, example), f.name(key), key+": "+example)
	return s
}

func (f fields) match(key string, form *regexp.Regexp, means, example string) string {
	return f.d.match(f.need(key, example), f.name(key), form, means, example)
}

func (f fields) integer(key, example string, least, most int) int {
	return f.d.integer(f.need(key, example), f.name(key), example, least, most)
}

func (f fields) size(key, example string) int64 {
	return f.d.size(f.need(key, example), f.name(key), example)
}

func (f fields) duration(key, example string) time.Duration {
	return f.d.duration(f.need(key, example), f.name(key), example)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
