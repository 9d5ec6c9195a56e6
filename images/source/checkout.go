package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/host"
)

// Checkout makes dir hold the tree. It writes only files that differ from what it wrote there before, so that make sees what
// changed. Files that no tree had, as a build's objects, stay; files of the tree that a build changed are put right. Beside dir
// are its index, its lock and, while it is under way, the name of the tree it goes to: one that was killed, or found no room, goes
// on when it is called again, for whichever tree. Attributes and settings of git are of no effect: files are the bytes that the
// tree has. Submodules are empty directories. What a mirror lacks of tests is left out; all else must be there.
func (r *Repo) Checkout(ctx context.Context, t Tree, dir string) error {
	if err := r.checkout(ctx, t, dir); err != nil {
		return fmt.Errorf("checking out %s in %s: %w", t.Name, dir, err)
	}
	return nil
}

func (r *Repo) checkout(ctx context.Context, t Tree, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	unlock, err := host.Lock(ctx, dir+".lock", nil)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.mayWrite(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// We have the lock, so that this one is of a git that was killed.
	if err := os.Remove(dir + ".index.lock"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id, err := r.present(ctx, t.ID)
	if err != nil {
		return err
	}
	// Files of a tree that was left half written are in no index. They get there when it is written to its end.
	half, err := os.ReadFile(dir + ".going")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if before := strings.TrimSpace(string(half)); before != "" && before != id {
		if err := r.readTree(ctx, before, dir); err != nil {
			return fmt.Errorf("completing an earlier one that was interrupted: %w; rm -r %s* begins anew", err, dir)
		}
	}
	if err := host.WriteFile(dir+".going", []byte(id+"\n"), 0o644); err != nil {
		return err
	}
	if err := r.readTree(ctx, id, dir); err != nil {
		return err
	}
	return os.Remove(dir + ".going")
}

// mayWrite refuses directories that are not a Checkout's: files in it would be overwritten.
func (r *Repo) mayWrite(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
		return errors.New("it is a checkout of somebody's: name a directory for the lab alone")
	}
	for _, beside := range []string{".index", ".going"} {
		if _, err := os.Stat(dir + beside); err == nil {
			return nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("it has files that are not the lab's, %s for one: name an empty directory", entries[0].Name())
	}
	return nil
}

func (r *Repo) readTree(ctx context.Context, id, dir string) error {
	_, err := r.ours(ctx, call{
		dir: dir, env: []string{"GIT_WORK_TREE=" + dir, "GIT_INDEX_FILE=" + dir + ".index"}, args: []string{"read-tree", "-u", "--reset", id},
	})
	var g *Error
	if errors.As(err, &g) && strings.Contains(g.Stderr, "unable to") {
		return errors.Join(err, room(dir))
	}
	return err
}

// room says why nothing can be written in a directory: git says only that it cannot.
func room(dir string) error {
	f, err := os.CreateTemp(dir, ".room-")
	if err != nil {
		return full(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // empty, at worst
	defer f.Close()
	_, err = f.Write(make([]byte, 1<<20))
	return full(err)
}

func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %s", err, roomRemedy)
	}
	return err
}

// present is the tree without the files of tests that the repository lacks: mirrors leave out large ones, which no build reads.
func (r *Repo) present(ctx context.Context, id string) (string, error) {
	out, err := r.ours(ctx, call{args: []string{"ls-tree", "-r", "-z", id}})
	if err != nil {
		return "", err
	}
	paths := map[string][]string{}
	var ids strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		head, path, _ := strings.Cut(line, "\t") // "100644 blob HASH"
		if f := strings.Fields(head); len(f) == 3 && f[1] == "blob" {
			paths[f[2]] = append(paths[f[2]], path)
			fmt.Fprintln(&ids, f[2])
		}
	}
	out, err = r.ours(ctx, call{args: []string{"cat-file", "--batch-check"}, stdin: strings.NewReader(ids.String())})
	if err != nil {
		return "", err
	}
	var absent strings.Builder
	for line := range strings.Lines(string(out)) {
		blob, ok := strings.CutSuffix(strings.TrimSpace(line), " missing")
		if !ok {
			continue
		}
		for _, path := range paths[blob] {
			if !strings.HasPrefix(path, "tests/") {
				return "", fmt.Errorf("%s: %w", path, &absentError{blob})
			}
			fmt.Fprintf(&absent, "%s\x00", path)
		}
	}
	if absent.Len() == 0 {
		return id, nil
	}
	return r.without(ctx, id, absent.String())
}

// without writes a tree that lacks some paths, which end with NUL.
func (r *Repo) without(ctx context.Context, id, paths string) (string, error) {
	dir, err := os.MkdirTemp(r.own, "without-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an index that stays is in nobody's way
	env := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index"), "GIT_WORK_TREE=" + dir}
	if _, err := r.ours(ctx, call{env: env, args: []string{"read-tree", id}}); err != nil {
		return "", err
	}
	remove := call{env: env, args: []string{"update-index", "--force-remove", "-z", "--stdin"}, stdin: strings.NewReader(paths)}
	if _, err := r.ours(ctx, remove); err != nil {
		return "", err
	}
	out, err := r.ours(ctx, call{env: append(env, r.alone()), args: []string{"write-tree", "--missing-ok"}})
	return strings.TrimSpace(string(out)), err
}
