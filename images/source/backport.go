package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// backport is a patch that some commits need to be compiled: they are older than the compiler or the kernel.
type backport struct {
	commits map[string]bool
	patch   []byte
	where   string // "FILE:LINE: PATCH"
}

// Backport reads a list of patches for Patched: a range of revisions and the name of a patch in each line, and remarks after a #.
// The range is as git has it, after A and up to B for A..B, or one revision. Names are relative to the list.
func (r *Repo) Backport(ctx context.Context, list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("backports: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		at := fmt.Sprintf("%s:%d", list, n)
		if len(f) != 2 {
			return fmt.Errorf("%s: want a range and a patch, as in zfs-2.1.0..zfs-2.1.5 objtool.patch", at)
		}
		b := backport{where: at + ": " + f[1]}
		name := f[1]
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(list), name)
		}
		if b.patch, err = os.ReadFile(name); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if b.commits, err = r.within(ctx, f[0]); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		r.backports = append(r.backports, b)
	}
	return nil
}

// within are the commits of a range.
func (r *Repo) within(ctx context.Context, words string) (map[string]bool, error) {
	from, to, isRange := strings.Cut(words, "..")
	if !isRange {
		to = words
	}
	last, err := r.commitOf(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("revision %q: %w", to, err)
	}
	if !isRange {
		return map[string]bool{last: true}, nil
	}
	args := []string{"rev-list", last}
	if from != "" {
		first, err := r.commitOf(ctx, from)
		if err != nil {
			return nil, fmt.Errorf("revision %q: %w", from, err)
		}
		args = append(args, "^"+first)
	}
	out, err := r.ours(ctx, call{args: args})
	if err != nil {
		return nil, err
	}
	commits := map[string]bool{}
	for _, id := range strings.Fields(string(out)) {
		commits[id] = true
	}
	if len(commits) == 0 {
		return nil, fmt.Errorf("the range %s is empty: its older end comes first", words)
	}
	return commits, nil
}

// Patched is a tree with the patches that Backport read for its commit, in their order; edits need those of the commit that they were made on.
// The name says that it is patched. A tree that needs none is what it was.
func (r *Repo) Patched(ctx context.Context, t Tree) (Tree, error) {
	id, sum := t.ID, sha256.New()
	for _, b := range r.backports {
		if !b.commits[t.base()] {
			continue
		}
		var err error
		if id, err = r.patch(ctx, id, b.patch); err != nil {
			return Tree{}, fmt.Errorf("%s does not apply to %s: %w", b.where, t.Name, err)
		}
		sum.Write(b.patch)
	}
	if id == t.ID {
		return t, nil
	}
	o, err := r.reader(ctx)
	if err != nil {
		return Tree{}, err
	}
	defer o.close()
	p, err := o.describe(id)
	if err != nil {
		return Tree{}, fmt.Errorf("%s with its backports: %w", t.Name, err)
	}
	p.Commit, p.Parent, p.Word = t.Commit, t.Parent, t.Word
	p.Name = t.Name + "-p" + hex.EncodeToString(sum.Sum(nil))[:6]
	return p, nil
}

// patch writes a tree that a patch makes of another one. git applies it to files outside of any repository: in one it would write
// objects where it finds others, see alone.
func (r *Repo) patch(ctx context.Context, id string, patch []byte) (string, error) {
	dir, err := os.MkdirTemp(r.own, "patched-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // files that stay are in nobody's way
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", err
	}
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index"), "GIT_WORK_TREE=" + work}
	outside := func(args ...string) ([]byte, error) {
		return r.run(ctx, call{dir: work, env: []string{"GIT_CEILING_DIRECTORIES=" + dir}, args: args, stdin: bytes.NewReader(patch)})
	}
	out, err := outside("apply", "--numstat", "-z")
	if err != nil {
		return "", err
	}
	var paths []string
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		f := strings.SplitN(entry, "\t", 3) // added, deleted, path
		if len(f) != 3 || f[2] == "" {
			return "", errors.New("it renames files: make it with git format-patch --no-renames")
		}
		paths = append(paths, f[2])
	}
	if _, err := r.ours(ctx, call{env: env, args: []string{"read-tree", id}}); err != nil {
		return "", err
	}
	list := func() *strings.Reader { return strings.NewReader(strings.Join(paths, "\x00") + "\x00") }
	if _, err := r.ours(ctx, call{dir: work, env: env, args: []string{"checkout-index", "--quiet", "-z", "--stdin"}, stdin: list()}); err != nil {
		var g *Error
		if !errors.As(err, &g) || strings.TrimSpace(g.Stderr) != "" { // it says no, quietly, of files that the patch makes
			return "", err
		}
	}
	if _, err := outside("apply"); err != nil {
		return "", err
	}
	add := []string{"update-index", "--add", "--remove", "-z", "--stdin"}
	if _, err := r.ours(ctx, call{dir: work, env: append(env, r.alone()), args: add, stdin: list()}); err != nil {
		return "", err
	}
	out, err = r.ours(ctx, call{env: append(env, r.alone()), args: []string{"write-tree", "--missing-ok"}})
	return strings.TrimSpace(string(out)), err
}
