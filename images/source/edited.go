package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
)

// Edited is the checkout as it is: tracked and changed files, and new ones that are not ignored. Files that git was told to
// overlook count, too, as a build would read them; what a sparse checkout left out is as in HEAD. Without edits it is the tree
// of HEAD, with its commit.
func (r *Repo) Edited(ctx context.Context) (Tree, error) {
	t, err := r.edited(ctx)
	if err != nil {
		return Tree{}, fmt.Errorf("edits in %s: %w", r.Dir, err)
	}
	t.Word = r.Dir
	return t, nil
}

func (r *Repo) edited(ctx context.Context) (Tree, error) {
	if r.top == "" {
		return Tree{}, errors.New("a bare repository has no files to edit: name a revision, or a checkout")
	}
	id, head, err := r.work(ctx)
	if err != nil {
		return Tree{}, err
	}
	o, err := r.reader(ctx)
	if err != nil {
		return Tree{}, err
	}
	defer o.close()
	c, err := o.commit(head)
	if err != nil {
		return Tree{}, err
	}
	if c.tree == id {
		t, _, err := o.committed(head)
		return t, err
	}
	t, err := o.describe(id)
	t.Parent = head
	return t, err
}

// work writes the tree of the checkout's files into our objects, and says which commit is checked out.
func (r *Repo) work(ctx context.Context) (tree, head string, err error) {
	out, err := r.theirs(ctx, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
	if err != nil {
		return "", "", errors.New("no commit is checked out: git switch BRANCH does it")
	}
	head = strings.TrimSpace(string(out))
	dir, err := os.MkdirTemp(r.own, "edited-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an index that stays is in nobody's way
	e := &edit{repo: r, index: filepath.Join(dir, "index")}
	if err := e.begin(ctx, head); err != nil {
		return "", "", err
	}
	if err := e.tracked(ctx); err != nil {
		return "", "", err
	}
	if err := e.add(ctx); err != nil {
		return "", "", err
	}
	// Blobs that did not change are not among our objects.
	if out, err = e.write(ctx, nil, "write-tree", "--missing-ok"); err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(out)), head, nil
}

// edit is an index of ours over the checkout's files.
type edit struct {
	repo     *Repo
	index    string
	settings []string
	links    map[string]bool // paths of submodules
}

// git runs a command that writes no objects, write one that does.
func (e *edit) git(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	return e.run(ctx, nil, stdin, args)
}

func (e *edit) write(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	return e.run(ctx, []string{e.repo.alone()}, stdin, args)
}

func (e *edit) run(ctx context.Context, env []string, stdin []byte, args []string) ([]byte, error) {
	return e.repo.ours(ctx, call{
		dir: e.repo.top, env: append(env, "GIT_WORK_TREE="+e.repo.top, "GIT_INDEX_FILE="+e.index),
		args: append(e.settings[:len(e.settings):len(e.settings)], args...), stdin: bytes.NewReader(stdin),
	})
}

// begin copies the checkout's index, which knows of most files that they are unchanged, and its rules of what is ignored.
func (e *edit) begin(ctx context.Context, head string) error {
	r := e.repo
	// These say how files of this file system are to be compared. None of them names a program.
	for _, key := range []string{"core.fileMode", "core.symlinks", "core.ignoreCase", "core.trustctime", "core.checkStat"} {
		if out, err := r.theirs(ctx, "config", "--get", key); err == nil {
			e.settings = append(e.settings, "-c", key+"="+strings.TrimSpace(string(out)))
		}
	}
	// The user's own settings count for this one. Without it, git takes ~/.config/git/ignore.
	out, err := r.run(ctx, call{
		dir: r.gitDir, env: []string{"GIT_DIR=" + r.gitDir, "GIT_CONFIG_GLOBAL=" + globalConfig(), "GIT_CONFIG_NOSYSTEM=0"},
		args: []string{"config", "--type=path", "--get", "core.excludesFile"},
	})
	if err == nil {
		e.settings = append(e.settings, "-c", "core.excludesFile="+strings.TrimSuffix(string(out), "\n"))
	}
	exclude, err := os.ReadFile(filepath.Join(filepath.Dir(r.objects), "info", "exclude"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := host.WriteFile(filepath.Join(r.own, "info", "exclude"), exclude, 0o644); err != nil {
		return err
	}
	shared, err := filepath.Glob(filepath.Join(escape(r.gitDir), "sharedindex.*"))
	if err != nil {
		return err
	}
	for _, path := range shared { // an index that git has split in two
		if err := copyFile(path, filepath.Join(r.own, filepath.Base(path))); err != nil {
			return err
		}
	}
	err = copyFile(filepath.Join(r.gitDir, "index"), e.index)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = e.git(ctx, nil, "read-tree", head)
		return err
	}
	if err != nil {
		return err
	}
	return e.sparse(ctx)
}

// sparse refuses an index that has directories in place of their files. To read it, git would write their trees into the objects
// where it finds them. The index of an ordinary sparse checkout has all files.
func (e *edit) sparse(ctx context.Context) error {
	out, err := e.repo.theirs(ctx, "config", "--type=bool", "--get", "index.sparse")
	if err != nil || strings.TrimSpace(string(out)) != "true" {
		return nil
	}
	data, err := os.ReadFile(e.index)
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte("sdir\x00\x00\x00\x00")) { // the extension of such an index, which is empty
		return errors.New("it has a sparse index, which cannot be read without writing:" +
			" git sparse-checkout reapply --no-sparse-index makes it a full one")
	}
	return nil
}

// globalConfig is what git reads without GIT_CONFIG_GLOBAL. The older of the two places wins where both are files.
func globalConfig() string {
	if s, ok := os.LookupEnv("GIT_CONFIG_GLOBAL"); ok {
		return s
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return os.DevNull
	}
	old := filepath.Join(home, ".gitconfig")
	if _, err := os.Stat(old); err == nil {
		return old
	}
	config := os.Getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(home, ".config")
	}
	return filepath.Join(config, "git", "config")
}

// escape makes a path a pattern that matches it alone.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// copyFile copies an index with its time: git takes a file that is not older than the index for one that may have changed.
func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	data := make([]byte, st.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return err
	}
	if err := host.WriteFile(to, data, 0o644); err != nil {
		return err
	}
	return os.Chtimes(to, st.ModTime(), st.ModTime())
}

// tracked looks at what the index says: what is in conflict or in a changed submodule is refused, and what is marked to be
// overlooked, but there, is looked at again.
func (e *edit) tracked(ctx context.Context) error {
	out, err := e.git(ctx, nil, "ls-files", "-z", "-s", "-v")
	if err != nil {
		return err
	}
	e.links = map[string]bool{}
	var assumed, skipped []byte
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		head, path, _ := strings.Cut(line, "\t") // "H 100644 HASH STAGE"
		f := strings.Fields(head)
		if len(f) != 4 {
			continue // of an empty index
		}
		flag, mode, id, stage := f[0], f[1], f[2], f[3]
		if stage != "0" {
			return fmt.Errorf("%s is in conflict, as a merge is under way: resolve it and git add it, or git merge --abort", path)
		}
		if mode == "160000" {
			e.links[path] = true
			if err := e.submodule(ctx, path, id); err != nil {
				return err
			}
			continue
		}
		if strings.ToLower(flag) == flag {
			assumed = append(append(assumed, path...), 0)
		}
		if flag == "S" || flag == "s" {
			if _, err := os.Lstat(filepath.Join(e.repo.top, path)); err == nil {
				skipped = append(append(skipped, path...), 0)
			}
		}
	}
	for flag, paths := range map[string][]byte{"--no-assume-unchanged": assumed, "--no-skip-worktree": skipped} {
		if len(paths) == 0 {
			continue
		}
		if _, err := e.git(ctx, paths, "update-index", flag, "-z", "--stdin"); err != nil {
			return err
		}
	}
	return nil
}

// submodule refuses one that is not at the commit that the index names, or has edits: they would not get into the tree.
func (e *edit) submodule(ctx context.Context, path, id string) error {
	dir := filepath.Join(e.repo.top, path)
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err != nil {
		return nil // not checked out, as usual
	}
	sub, err := open(ctx, dir, filepath.Dir(e.repo.own))
	if err != nil {
		return fmt.Errorf("submodule %s: %w", path, err)
	}
	tree, head, err := sub.work(ctx)
	if err != nil {
		return fmt.Errorf("submodule %s: %w", path, err)
	}
	o, err := sub.reader(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	c, err := o.commit(head)
	if err != nil {
		return fmt.Errorf("submodule %s: %w", path, err)
	}
	if head != id || tree != c.tree {
		return fmt.Errorf("the submodule %s has edits, which would be left out: commit them, or git submodule update --force %s", path, path)
	}
	return nil
}

// add puts into the index what is new, changed or deleted.
func (e *edit) add(ctx context.Context) error {
	out, err := e.git(ctx, nil, "ls-files", "-z", "--others", "--modified", "--deleted", "--deduplicate", "--exclude-standard")
	if err != nil {
		return err
	}
	var paths, gone []byte
	for path := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		// A path with a slash at its end is a repository in the checkout, as a worktree of it may be.
		if path == "" || strings.HasSuffix(path, "/") || e.links[path] {
			continue
		}
		if st, err := os.Lstat(filepath.Join(e.repo.top, path)); err == nil && st.IsDir() {
			gone = append(append(gone, path...), 0) // a directory in place of a file, which update-index --remove refuses
			continue
		}
		paths = append(append(paths, path...), 0)
	}
	if len(gone) > 0 {
		if _, err := e.write(ctx, gone, "update-index", "--force-remove", "-z", "--stdin"); err != nil {
			return err
		}
	}
	if len(paths) > 0 {
		_, err = e.write(ctx, paths, "update-index", "--add", "--remove", "--replace", "-z", "--stdin")
	}
	return err
}
