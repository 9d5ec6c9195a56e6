package source

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// picked is what git cherry-pick -x writes below a message.
var picked = regexp.MustCompile(`(?m)^\(cherry picked from commit ([0-9a-f]{7,40})\)`)

// SameFix are the commits that make the same change as c, on either side of where the histories of two trees part: releases of
// OpenZFS are picked from its main branch, so that one fix has several hashes. Two are the same when one says that it was picked from
// the other, or both from a third; when subject and author are equal; or when they change the files of c equally, tests apart,
// by git patch-id. The newest comes first.
func (r *Repo) SameFix(ctx context.Context, c Commit, old, new Tree) ([]string, error) {
	if c.Commit == "" {
		return nil, nil // edits are nowhere else
	}
	ids, err := r.sameFix(ctx, c, old.base()+"..."+new.base())
	if err != nil {
		return nil, fmt.Errorf("commits that are the same change as %s: %w", short(c.Commit), err)
	}
	return ids, nil
}

func (r *Repo) sameFix(ctx context.Context, c Commit, span string) ([]string, error) {
	out, err := r.ours(ctx, call{args: []string{"rev-list", span, "--"}})
	if err != nil {
		return nil, err
	}
	same, err := r.samePatch(ctx, c, span)
	if err != nil {
		return nil, err
	}
	o, err := r.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer o.close()
	self, err := o.commit(c.Commit)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, id := range strings.Fields(string(out)) {
		d, err := o.commit(id)
		if err != nil {
			return nil, err
		}
		if id != c.Commit && (same[id] || d.subject == self.subject && d.author == self.author || related(self, d)) {
			found = append(found, id)
		}
	}
	return found, nil
}

// related says whether one commit was picked from the other, or both from a third.
func related(a, b commit) bool {
	origins := func(c commit) []string {
		found := picked.FindAllStringSubmatch(c.body, -1)
		all := append(make([]string, 0, len(found)+1), c.id)
		for _, m := range found {
			all = append(all, m[1])
		}
		return all
	}
	for _, x := range origins(a) {
		if slices.ContainsFunc(origins(b), func(y string) bool { return strings.HasPrefix(x, y) || strings.HasPrefix(y, x) }) {
			return true
		}
	}
	return false
}

// most is how many files a change may have to be compared by its text: more are an import or a merge, which nobody picks.
const most = 200

// samePatch are the commits that change the files of c as it does. Tests are left out, as a mirror may lack their blobs and a
// branch the tests.
func (r *Repo) samePatch(ctx context.Context, c Commit, span string) (map[string]bool, error) {
	self, err := r.ours(ctx, call{args: []string{"rev-list", "--parents", "-1", c.Commit}})
	if err != nil {
		return nil, err
	}
	parents := strings.Fields(string(self))[1:]
	if len(parents) != 1 {
		return nil, nil // a merge, or the first of all, is picked by nobody
	}
	out, err := r.ours(ctx, call{args: []string{"diff-tree", "-r", "--no-renames", "--name-only", "-z", parents[0], c.Commit}})
	if err != nil {
		return nil, err
	}
	paths := slices.DeleteFunc(strings.Split(string(out), "\x00"), func(p string) bool { return p == "" || strings.HasPrefix(p, "tests/") })
	if len(paths) == 0 || len(paths) > most {
		return nil, nil
	}
	// One log each of the commit and of the span, which may not have it.
	patches := func(revisions ...string) (map[string]string, error) {
		args := slices.Concat([]string{
			"log", "-p", "--no-merges", "--no-renames", "--no-textconv", "--no-ext-diff", "--text", "--full-index",
		}, revisions, []string{"--"}, paths)
		text, err := r.ours(ctx, call{args: args})
		if err != nil {
			return nil, err
		}
		out, err := r.ours(ctx, call{args: []string{"patch-id", "--stable"}, stdin: strings.NewReader(string(text))})
		if err != nil {
			return nil, err
		}
		m := map[string]string{} // commit -> patch
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) == 2 {
				m[f[1]] = f[0]
			}
		}
		return m, nil
	}
	own, err := patches("--max-count=1", c.Commit)
	if err != nil {
		return nil, err
	}
	all, err := patches(span)
	if err != nil {
		return nil, err
	}
	same := map[string]bool{}
	for id, patch := range all {
		same[id] = patch == own[c.Commit] && patch != ""
	}
	return same, nil
}
