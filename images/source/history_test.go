package source

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forked is a repository whose branch stable leaves master after its second commit, with three commits on either, named m1... and
// s1...
func forked(t testing.TB) string {
	t.Helper()
	dir := newRepo(t)
	spa := func(branch string, i int) map[string]string {
		return map[string]string{fmt.Sprintf("module/zfs/%s.c", branch): fmt.Sprintf("int %s%d;\n", branch, i)}
	}
	commitIn(t, dir, "m0", nil)
	gitIn(t, dir, "tag", "base")
	for _, branch := range []string{"stable", "master"} {
		gitIn(t, dir, "switch", "-q", "-C", branch, "base")
		for i := range 3 {
			subject := fmt.Sprintf("%c%d", branch[0], i+1)
			commitIn(t, dir, subject, spa(branch, i))
			gitIn(t, dir, "tag", subject)
		}
	}
	return dir
}

func subjects(h History) string {
	all := make([]string, 0, len(h.Commits))
	for _, c := range h.Commits {
		all = append(all, c.Subject)
	}
	return strings.Join(all, " ")
}

func TestBetween(t *testing.T) {
	dir := forked(t)
	r := openRepo(t, dir)
	tests := []struct {
		old, new, want string
		base           int
	}{
		{"base", "m3", "m0 m1 m2 m3", -1},
		{"m1", "m2", "m1 m2", -1},
		{"s2", "m2", "s2 s1 m0 m1 m2", 2},
		{"m3", "s1", "m3 m2 m1 m0 s1", 3},
		{"base~1", "s3", "first m0 s1 s2 s3", -1},
	}
	for _, tt := range tests {
		h, err := r.Between(t.Context(), resolve(t, r, tt.old), resolve(t, r, tt.new))
		must0(t, err)
		if subjects(h) != tt.want || h.Base != tt.base {
			t.Errorf("%s..%s is %s, base %d, want %s, %d", tt.old, tt.new, subjects(h), h.Base, tt.want, tt.base)
		}
		for i, c := range h.Commits {
			one := resolve(t, r, c.Commit)
			if one.Word = c.Word; c.Tree != one {
				t.Errorf("%s is %+v in the history, %+v alone", c.Subject, c.Tree, one)
			}
			if c.Author != "Ann" || c.Date.Unix() != 1700000000 {
				t.Errorf("%s is by %q of %v", c.Subject, c.Author, c.Date)
			}
			parent := i - 1
			if i <= h.Base {
				parent = i + 1
			}
			var want []string
			if parent >= 0 && i != h.Base {
				want = strings.Fields(gitIn(t, dir, "diff-tree", "-r", "--name-only", h.Commits[parent].Commit, c.Commit))
			}
			if !slices.Equal(c.Paths, want) {
				t.Errorf("%s changes %q, want %q", c.Subject, c.Paths, want)
			}
		}
		if h.Commits[0].Word != tt.old || h.Commits[len(h.Commits)-1].Word != tt.new {
			t.Errorf("the ends are called %q and %q", h.Commits[0].Word, h.Commits[len(h.Commits)-1].Word)
		}
	}
}

func TestBetweenEdits(t *testing.T) {
	dir := forked(t)
	r := openRepo(t, dir)
	write(t, dir, map[string]string{"module/zfs/new.c": "x\n"})
	now := edited(t, r)
	for old, want := range map[string]string{"m2": "m2 m3 edits", "m3": "m3 edits", "s1": "s1 m0 m1 m2 m3 edits"} {
		h, err := r.Between(t.Context(), resolve(t, r, old), now)
		must0(t, err)
		if got := strings.ReplaceAll(subjects(h), " that are not committed", ""); got != want {
			t.Errorf("from %s: %s, want %s", old, got, want)
		}
		if last := h.Commits[len(h.Commits)-1]; last.ID != now.ID || last.Commit != "" || !slices.Equal(last.Paths, []string{"module/zfs/new.c"}) {
			t.Errorf("the edits are %+v", last)
		}
	}
	h, err := r.Between(t.Context(), now, resolve(t, r, "s1"))
	must0(t, err)
	if got := subjects(h); !strings.HasSuffix(got, "m3 m2 m1 m0 s1") || h.Commits[h.Base].Subject != "m0" {
		t.Errorf("down from edits: %s, base %d", got, h.Base)
	}
	_, err = r.Between(t.Context(), now, resolve(t, r, "m2"))
	says(t, err, "the new end is an ancestor of the old one: swap them")
}

// TestBetweenMerges has an old end that is not on the line of first parents.
func TestBetweenMerges(t *testing.T) {
	dir := forked(t)
	gitIn(t, dir, "merge", "-q", "-m", "merge", "s2")
	commitIn(t, dir, "m4", map[string]string{"module/zfs/m4.c": "x\n"})
	r := openRepo(t, dir)
	for old, want := range map[string]string{"s1": "s1 s2 merge m4", "m2": "m2 m3 merge m4", "base": "m0 m1 m2 m3 merge m4"} {
		h, err := r.Between(t.Context(), resolve(t, r, old), resolve(t, r, "HEAD"))
		must0(t, err)
		if subjects(h) != want || h.Base != -1 {
			t.Errorf("from %s: %s, base %d, want %s", old, subjects(h), h.Base, want)
		}
	}
}

func TestBetweenErrors(t *testing.T) {
	dir := forked(t)
	r := openRepo(t, dir)
	between := func(r *Repo, old, new string) error {
		_, err := r.Between(t.Context(), resolve(t, r, old), resolve(t, r, new))
		return err
	}
	says(t, between(r, "m1", "m1"), "history from m1 to m1", "both ends are the same files")
	says(t, between(r, "m3", "m1"), "the new end is an ancestor of the old one: swap them")
	gitIn(t, dir, "switch", "-q", "--orphan", "other")
	commitIn(t, dir, "other", openzfs())
	says(t, between(r, "other", "m1"), "no commit in common")
	commitIn(t, dir, "another project", map[string]string{"META": ""})
	commitIn(t, dir, "OpenZFS again", map[string]string{"META": meta, "new": "x\n"})
	says(t, between(r, "other~2", "other"), "not OpenZFS", "commit ")

	clone := filepath.Join(t.TempDir(), "clone")
	gitIn(t, dir, "clone", "-q", "--depth=2", "--branch=m3", "file://"+dir, clone)
	gitIn(t, clone, "fetch", "-q", "--depth=2", "origin", "tag", "s3")
	before := state(t, clone)
	shallow := openRepo(t, clone)
	must0(t, between(shallow, "m3~1", "m3"))
	says(t, between(shallow, "s3", "m3"), "the clone is shallow", "git -C "+clone+" fetch --unshallow")
	untouched(t, clone, before)
	gitIn(t, clone, "fetch", "-q", "--unshallow")
	must0(t, between(openRepo(t, clone), "s3", "m3"))
}

func TestSameFix(t *testing.T) {
	dir := forked(t)
	fix := func(subject string, files map[string]string) string { return commitIn(t, dir, subject, files) }
	// The bodies differ, so that subject and author alone are no match where the patch is meant to be.
	plain := fix("fix the arc", map[string]string{"module/zfs/arc.c": "int fixed;\n", "tests/new.ksh": "x\n"})
	spa := fix("fix the spa", map[string]string{"module/zfs/spa.c": "int fixed;\n"})
	other := fix("fix the pool", map[string]string{"lib/libzfs/pool.c": "int fixed;\n"})
	fix("unlike any", map[string]string{"cmd/zpool/main.c": "int fixed;\n"})
	gitIn(t, dir, "switch", "-q", "stable")
	samePatch := fix("an arc that is fixed", map[string]string{"module/zfs/arc.c": "int fixed;\n"}) // without its test
	named := fix("spa: repaired\n\n(cherry picked from commit "+spa+")", map[string]string{"module/zfs/spa.c": "int adapted;\n"})
	sameSubject := fix("fix the pool", map[string]string{"lib/libzfs/pool.c": "int adapted;\n"})
	r := openRepo(t, dir)
	old, new := resolve(t, r, "stable"), resolve(t, r, "master")
	h, err := r.Between(t.Context(), old, new)
	must0(t, err)
	want := map[string]string{plain: samePatch, samePatch: plain, spa: named, named: spa, other: sameSubject, sameSubject: other}
	for _, c := range h.Commits {
		got, err := r.SameFix(t.Context(), c, old, new)
		must0(t, err)
		if strings.Join(got, " ") != want[c.Commit] {
			t.Errorf("%s is the same as %q, want %q", c.Subject, got, want[c.Commit])
		}
	}
	again, err := r.SameFix(t.Context(), Commit{}, old, new)
	if err != nil || len(again) != 0 {
		t.Errorf("edits are the same as %q, %v", again, err)
	}
}
