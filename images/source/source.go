// Package source reads OpenZFS from a git repository: which tree a word of the user's means, what that tree makes, which
// commits lie between two trees, and the files of a tree, for a build. A Tree is one state of OpenZFS by its content. The
// repository is the user's and is only read: no byte of it is written, not even git's index, and nothing that its settings
// or attributes name is run. What git has to write goes into a git directory of our own that borrows the objects of theirs.
package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
)

// ErrNotRepository is the error of a directory that no git repository holds.
var ErrNotRepository = errors.New("not a git repository")

// ErrUnknown is the error of a word that names no commit.
var ErrUnknown = errors.New("no such revision")

// Repo is a checkout, or a bare repository, of OpenZFS. It is only read. Its methods may be called at the same time.
type Repo struct {
	Dir string // the top of the checkout, or the bare repository

	git     string // the program
	gitDir  string // theirs; that of a linked worktree is below the one it shares objects and most refs with
	objects string // theirs, also of a linked worktree
	top     string // of the checkout; "" for a bare repository
	own     string // a git directory of ours: objects and index files of edited trees; those of theirs are borrowed
	shallow bool

	backports []backport
}

// Open finds the repository that dir is in. cache is a directory of the caller's for objects and index files of edited trees;
// repositories may share it, and so may processes. The error of a directory outside of any repository is ErrNotRepository.
func Open(ctx context.Context, dir, cache string) (*Repo, error) {
	r, err := open(ctx, dir, cache)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", dir, err)
	}
	if _, err := r.theirs(ctx, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err != nil {
		refs, err := r.theirs(ctx, "for-each-ref", "--count=1")
		if err == nil && len(refs) == 0 {
			err = errors.New("the repository has no commits: commit its files (git add -A && git commit), or name another checkout of OpenZFS")
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", dir, err)
		}
		return r, nil // of a mirror whose HEAD names no branch of it
	}
	if _, err := r.Resolve(ctx, "HEAD"); err != nil {
		if outer, _ := filepath.EvalSymlinks(dir); r.top != "" && outer != r.top {
			err = fmt.Errorf("it is in the repository %s: %w", r.top, err)
		}
		return nil, fmt.Errorf("source %s: %w", dir, err)
	}
	return r, nil
}

// open finds a repository of whatever project.
func open(ctx context.Context, dir, cache string) (*Repo, error) {
	program, err := host.Program("git")
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%w but a file: name a checkout of OpenZFS", ErrNotRepository)
	}
	r := &Repo{git: program}
	out, err := r.run(ctx, call{dir: dir, args: []string{
		"rev-parse", "--path-format=absolute", "--absolute-git-dir", "--git-path", "objects", "--is-shallow-repository", "--is-inside-work-tree",
	}})
	if err != nil {
		return nil, notRepository(dir, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != 4 {
		return nil, fmt.Errorf("git rev-parse answered %q: is there an end of line in the repository's path?", out)
	}
	r.gitDir, r.objects, r.shallow = lines[0], lines[1], lines[2] == "true"
	if r.Dir = r.gitDir; lines[3] == "true" {
		out, err := r.run(ctx, call{dir: dir, args: []string{"rev-parse", "--show-toplevel"}})
		if err != nil {
			return nil, err
		}
		r.top = strings.TrimSuffix(string(out), "\n")
		r.Dir = r.top
	}
	return r, r.makeOwn(cache)
}

// Begin makes a directory a checkout with one commit of all that is in it.
func Begin(ctx context.Context, dir, subject string) error {
	git, err := host.Program("git")
	if err != nil {
		return err
	}
	r := &Repo{git: git}
	const who = "vdevil"
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all", "--force"},
		{"-c", "user.name=" + who, "-c", "user.email=" + who + "@localhost", "commit", "--quiet", "-m", subject},
	} {
		if _, err := r.run(ctx, call{dir: dir, env: []string{"GIT_DIR=" + filepath.Join(dir, ".git"), "GIT_WORK_TREE=" + dir}, args: args}); err != nil {
			return err
		}
	}
	return nil
}

func notRepository(dir string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "dubious ownership"):
		return fmt.Errorf("the repository belongs to another user: allow it with git config --global --add safe.directory %s", dir)
	case !strings.Contains(text, "not a git repository"):
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "META")); err == nil {
		return fmt.Errorf("%w, but OpenZFS without its history: name a checkout (git clone https://github.com/openzfs/zfs), or make this one:"+
			" cd %s && git init && git add -A && git commit -m import", ErrNotRepository, dir)
	}
	return fmt.Errorf("%w: name a checkout of OpenZFS; git clone https://github.com/openzfs/zfs makes one", ErrNotRepository)
}

// makeOwn makes, or brings up to date, the git directory of ours that goes with theirs.
func (r *Repo) makeOwn(cache string) error {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return err
	}
	name := sha256.Sum256([]byte(r.gitDir + "\x00" + r.objects + "\x00" + r.top))
	r.own = filepath.Join(cache, hex.EncodeToString(name[:6]))
	for _, dir := range []string{"objects/info", "refs", "info", "edits"} {
		if err := os.MkdirAll(filepath.Join(r.own, dir), 0o755); err != nil {
			return err
		}
	}
	// A clone without its old history says in this file where it ends. It is common to all worktrees, as the objects are.
	shallow, err := os.ReadFile(filepath.Join(filepath.Dir(r.objects), "shallow"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !r.shallow {
		_ = os.Remove(filepath.Join(r.own, "shallow"))
	}
	files := []struct{ name, text string }{
		{"HEAD", "ref: refs/heads/none\n"},
		{"config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"},
		{"objects/info/alternates", filepath.Join(r.own, "edits") + "\n" + r.objects + "\n"},
		{"info/attributes", "* -text -eol -ident -filter -working-tree-encoding\n"}, // files are the bytes that they are
		{"shallow", string(shallow)},
	}
	for _, f := range files {
		if f.text == "" {
			continue
		}
		if err := host.WriteFile(filepath.Join(r.own, f.name), []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
