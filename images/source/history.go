package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// History is the path of commits from one tree to another.
type History struct {
	Commits []Commit // from the old end to the new one, both included; each is a child or, before Base, a parent of its neighbour
	// Base is the index of the commit where history forks: the path goes down to it and up again. It is -1 where history does
	// not fork.
	Base int
}

// Commit is one step of a history.
type Commit struct {
	Tree
	Subject, Author string // as strangers wrote them
	Date            time.Time
	Paths           []string // that it changed, sorted: they differ from its parent in the History; nil for the one whose parent is not in it
}

// Between is the path of commits from one tree to another: the line of descent where old is an ancestor of new, otherwise down
// to their merge base and up to new. Edits are one more commit on their parent.
func (r *Repo) Between(ctx context.Context, old, new Tree) (History, error) {
	h, err := r.between(ctx, old, new)
	if err != nil {
		return History{}, fmt.Errorf("history from %s to %s: %w", name(old), name(new), err)
	}
	return h, nil
}

// name is what the user called a tree.
func name(t Tree) string {
	if t.Word == "" {
		return t.Name
	}
	return t.Word
}

func (r *Repo) between(ctx context.Context, old, new Tree) (History, error) {
	if old.ID == new.ID {
		return History{}, errors.New("both ends are the same files: name two that differ")
	}
	from, to := old.base(), new.base()
	base, err := r.mergeBase(ctx, from, to)
	if err != nil {
		return History{}, err
	}
	down, err := r.descent(ctx, base, from)
	if err != nil {
		return History{}, err
	}
	slices.Reverse(down)
	up, err := r.descent(ctx, base, to)
	if err != nil {
		return History{}, err
	}
	if len(up) == 1 && new.Commit != "" {
		return History{}, errors.New("the new end is an ancestor of the old one: swap them")
	}
	h := History{Base: -1}
	o, err := r.reader(ctx)
	if err != nil {
		return History{}, err
	}
	defer o.close()
	if old.Commit == "" {
		h.Commits = append(h.Commits, edits(old))
	}
	if fork := len(h.Commits) + len(down) - 1; fork > 0 {
		h.Base = fork
	}
	for _, id := range append(down, up[1:]...) {
		t, c, err := o.committed(id)
		if err != nil {
			return History{}, fmt.Errorf("commit %s: %w", short(id), err)
		}
		h.Commits = append(h.Commits, Commit{Tree: t, Subject: c.subject, Author: c.author, Date: time.Unix(c.authored, 0).UTC()})
	}
	if new.Commit == "" {
		h.Commits = append(h.Commits, edits(new))
	}
	h.Commits[0].Word, h.Commits[len(h.Commits)-1].Word = old.Word, new.Word
	for i := range h.Commits[1:] {
		later := i + 1
		if i < h.Base { // on the way down
			later = i
		}
		if h.Commits[later].Paths, err = o.differ(h.Commits[i].ID, h.Commits[i+1].ID); err != nil {
			return History{}, err
		}
	}
	return h, nil
}

// base is the commit that a tree is of, or that its edits were made on.
func (t Tree) base() string {
	if t.Commit != "" {
		return t.Commit
	}
	return t.Parent
}

func edits(t Tree) Commit { return Commit{Tree: t, Subject: "edits that are not committed"} }

// mergeBase is the commit where the histories of two part.
func (r *Repo) mergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := r.ours(ctx, call{args: []string{"merge-base", a, b}})
	switch {
	case err == nil:
		return strings.TrimSpace(string(out)), nil
	case !exited(err, 1):
		return "", err
	case r.shallow:
		return "", fmt.Errorf("the clone is shallow and does not reach back to where the two part:"+
			" git -C %s fetch --unshallow brings all of history", r.Dir)
	}
	return "", errors.New("the two have no commit in common: name revisions of one project's history")
}

// descent is the line from a commit to a descendant, both included. Of a merge it takes the first parent that descends from the
// commit too: OpenZFS's branches have none, but those of its users may.
func (r *Repo) descent(ctx context.Context, from, to string) ([]string, error) {
	line := []string{to}
	if from == to {
		return line, nil
	}
	out, err := r.ours(ctx, call{args: []string{"rev-list", "--parents", "--ancestry-path", from + ".." + to}})
	if err != nil {
		return nil, err
	}
	parents := map[string][]string{from: nil}
	for l := range strings.Lines(string(out)) {
		f := strings.Fields(l)
		parents[f[0]] = f[1:]
	}
	for id := to; id != from; {
		i := slices.IndexFunc(parents[id], func(p string) bool { _, ok := parents[p]; return ok })
		if i < 0 {
			return nil, fmt.Errorf("commit %s is no descendant of %s", short(id), short(from))
		}
		id = parents[id][i]
		line = append(line, id)
	}
	slices.Reverse(line)
	return line, nil
}

// differ are the paths of files that differ between two trees.
func (o *objects) differ(a, b string) ([]string, error) {
	var paths []string
	err := o.walk("", a, b, &paths)
	slices.Sort(paths)
	return slices.Compact(paths), err
}

// walk adds the paths below a prefix that differ between two trees, "" being an empty one.
func (o *objects) walk(prefix, a, b string, paths *[]string) error {
	type pair struct{ a, b entry }
	m := map[string]pair{}
	for i, id := range []string{a, b} {
		if id == "" {
			continue
		}
		entries, err := o.tree(id)
		if err != nil {
			return err
		}
		for _, e := range entries {
			p := m[e.name]
			if i == 0 {
				p.a = e
			} else {
				p.b = e
			}
			m[e.name] = p
		}
	}
	for name, p := range m {
		if p.a == p.b {
			continue
		}
		var below [2]string
		file := false
		for i, e := range []entry{p.a, p.b} {
			if e.isDir() {
				below[i] = e.id
			} else if e.mode != "" {
				file = true
			}
		}
		if file {
			*paths = append(*paths, prefix+name)
		}
		if below != [2]string{} {
			if err := o.walk(prefix+name+"/", below[0], below[1], paths); err != nil {
				return err
			}
		}
	}
	return nil
}
