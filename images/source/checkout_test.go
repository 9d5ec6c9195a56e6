package source

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// files are the regular files below a directory, by path.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for path := range state(t, dir) {
		if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			must0(t, err)
			rel, err := filepath.Rel(dir, path)
			must0(t, err)
			m[rel] = string(text)
		}
	}
	return m
}

func holds(t testing.TB, dir string, want map[string]string) {
	t.Helper()
	if got := files(t, dir); !maps.Equal(got, want) {
		t.Errorf("%s has %q,\nwant %q", dir, got, want)
	}
}

func TestCheckout(t *testing.T) {
	src := newRepo(t)
	one := openzfs()
	two := openzfs()
	delete(two, "module/zfs/arc.c")
	two["module/zfs/spa.c"], two["module/zfs/brt.c"] = "int spb;\n", "int brt;\n" // one of the same length
	commitIn(t, src, "second", map[string]string{"module/zfs/arc.c": "", "module/zfs/spa.c": "int spb;\n", "module/zfs/brt.c": "int brt;\n"})
	r := openRepo(t, src)
	first, second := resolve(t, r, "HEAD~1"), resolve(t, r, "HEAD")
	dir := filepath.Join(t.TempDir(), "build")
	checkout := func(tree Tree, want map[string]string) {
		t.Helper()
		must0(t, r.Checkout(t.Context(), tree, dir))
		holds(t, dir, want)
		if _, err := os.Stat(dir + ".going"); err == nil {
			t.Error("it says that it is under way")
		}
	}
	checkout(first, one)
	before := state(t, dir)
	checkout(first, one)
	untouched(t, dir, before)

	// A build's own files stay. Of the others, those alone are written that differ.
	write(t, dir, map[string]string{"module/zfs/arc.o": "elf"})
	two["module/zfs/arc.o"], one["module/zfs/arc.o"] = "elf", "elf"
	before = state(t, dir)
	checkout(second, two)
	var changed []string
	for path, s := range state(t, dir) {
		if st, err := os.Stat(path); err == nil && !st.IsDir() && before[path] != s {
			changed = append(changed, filepath.Base(path))
		}
	}
	slices.Sort(changed)
	if want := []string{"brt.c", "spa.c"}; !slices.Equal(changed, want) {
		t.Errorf("%q were written, want %q", changed, want)
	}

	// What a build, or somebody, did to files of the tree is put right.
	write(t, dir, map[string]string{"module/zfs/spa.c": "int xxx;\n", "META": "", "configure.ac": ""})
	write(t, dir, map[string]string{"configure.ac/a": "x"})
	must0(t, os.Chmod(filepath.Join(dir, "autogen.sh"), 0o755))
	checkout(second, two)
	if st, err := os.Stat(filepath.Join(dir, "autogen.sh")); err != nil || st.Mode().Perm()&0o111 != 0 {
		t.Errorf("autogen.sh has mode %v, %v", st.Mode(), err)
	}

	// A file of ours is in the way of one of the tree.
	write(t, dir, map[string]string{"module/zfs/arc.c": "generated\n"})
	checkout(first, one)

	// A git that was killed left its lock.
	must0(t, os.WriteFile(dir+".index.lock", nil, 0o644))
	checkout(second, two)

	// One that was killed half way has written files that neither the index nor the next tree has.
	checkout(first, one)
	must0(t, os.WriteFile(dir+".going", []byte(second.ID+"\n"), 0o644))
	write(t, dir, map[string]string{"module/zfs/brt.c": "int b", "module/zfs/arc.c": ""})
	checkout(first, one)

	edit := map[string]string{"module/zfs/spa.c": "int edited;\n", "module/zfs/new.c": "x\n"}
	write(t, src, edit)
	now := edited(t, r)
	maps.Copy(two, edit)
	checkout(now, two)
}

func TestCheckoutRefuses(t *testing.T) {
	src := newRepo(t)
	r := openRepo(t, src)
	head := resolve(t, r, "HEAD")
	before := state(t, src)
	says(t, r.Checkout(t.Context(), head, src), "a checkout of somebody's")
	_ = os.Remove(src + ".lock")
	untouched(t, src, before)
	dir := t.TempDir()
	write(t, dir, map[string]string{"thesis.txt": "x"})
	says(t, r.Checkout(t.Context(), head, dir), "files that are not the lab's, thesis.txt", "name an empty directory")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Checkout(ctx, head, filepath.Join(t.TempDir(), "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
}

// TestCheckoutWaits has two at once in one directory: each is whole when it is done, so that the last one's tree is there.
func TestCheckoutWaits(t *testing.T) {
	src := newRepo(t)
	r := openRepo(t, src)
	head := resolve(t, r, "HEAD")
	dir := filepath.Join(t.TempDir(), "build")
	errs := make(chan error)
	for range 4 {
		go func() { errs <- r.Checkout(t.Context(), head, dir) }()
	}
	for range 4 {
		must0(t, <-errs)
	}
	holds(t, dir, openzfs())
}

func TestCheckoutWithoutRoom(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	src := newRepo(t)
	commitIn(t, src, "large", map[string]string{"module/zfs/large.c": strings.Repeat("int large;\n", 200_000)})
	r := openRepo(t, src)
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal("root that cannot mount cannot build an image either:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	dir := filepath.Join(small, "build")
	err := r.Checkout(t.Context(), resolve(t, r, "HEAD"), dir)
	says(t, err, "no space left on device", "the disk is full: free space")
	must0(t, unix.Mount("", small, "", unix.MS_REMOUNT, "size=8m"))
	must0(t, r.Checkout(t.Context(), resolve(t, r, "HEAD~1"), dir))
	holds(t, dir, openzfs())
}

// TestPartial has a clone whose blobs were left where they came from.
func TestPartial(t *testing.T) {
	src := newRepo(t)
	gitIn(t, src, "config", "uploadpack.allowFilter", "true")
	gitIn(t, src, "config", "uploadpack.allowAnySHA1InWant", "true")
	lacks := func(t *testing.T, path string) *Repo {
		clone := filepath.Join(t.TempDir(), "clone")
		gitIn(t, src, "clone", "-q", "--bare", "--filter=blob:none", "file://"+src, clone)
		for name := range openzfs() { // git fetches what is asked for
			if name != path {
				gitIn(t, clone, "cat-file", "blob", "HEAD:"+name)
			}
		}
		return openRepo(t, clone)
	}
	t.Run("tests", func(t *testing.T) {
		r := lacks(t, "tests/big.gz")
		before := state(t, r.Dir)
		dir := filepath.Join(t.TempDir(), "build")
		must0(t, r.Checkout(t.Context(), resolve(t, r, "HEAD"), dir))
		want := openzfs()
		delete(want, "tests/big.gz")
		holds(t, dir, want)
		untouched(t, r.Dir, before)
	})
	t.Run("module", func(t *testing.T) {
		r := lacks(t, "module/zfs/spa.c")
		before := state(t, r.Dir)
		err := r.Checkout(t.Context(), resolve(t, r, "HEAD"), filepath.Join(t.TempDir(), "build"))
		says(t, err, "module/zfs/spa.c", "if it is a partial clone, git fetch --refetch --no-filter")
		untouched(t, r.Dir, before)
		gitIn(t, r.Dir, "fetch", "-q", "--refetch", "--no-filter", "origin", "HEAD")
		must0(t, r.Checkout(t.Context(), resolve(t, r, "HEAD"), filepath.Join(t.TempDir(), "build")))
	})
}

func TestSubmodule(t *testing.T) {
	other := t.TempDir()
	gitIn(t, other, "init", "-q", "-b", "master")
	commitIn(t, other, "images", map[string]string{"image": "x\n"})
	src := newRepo(t)
	gitIn(t, src, "submodule", "-q", "add", other, "scripts/zfs-images")
	commitIn(t, src, "submodule", nil)
	r := openRepo(t, src)
	if edited(t, r).Commit == "" {
		t.Error("a clean submodule is an edit")
	}
	dir := filepath.Join(t.TempDir(), "build")
	must0(t, r.Checkout(t.Context(), resolve(t, r, "HEAD"), dir))
	if entries, err := os.ReadDir(filepath.Join(dir, "scripts/zfs-images")); err != nil || len(entries) != 0 {
		t.Errorf("the submodule has %v, %v", entries, err)
	}
	sub := filepath.Join(src, "scripts/zfs-images")
	write(t, sub, map[string]string{"image": "y\n"})
	before := state(t, src)
	_, err := r.Edited(t.Context())
	says(t, err, "submodule scripts/zfs-images has edits, which would be left out", "git submodule update --force scripts/zfs-images")
	untouched(t, src, before)
	commitIn(t, sub, "newer", nil)
	_, err = r.Edited(t.Context())
	says(t, err, "submodule scripts/zfs-images has edits")
	gitIn(t, src, "submodule", "-q", "update", "--force", "scripts/zfs-images")
	if edited(t, r).Commit == "" {
		t.Error("the remedy did not help")
	}
}

func TestEditedRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(t *testing.T, dir string)
		want []string
	}{
		{"conflict", func(t *testing.T, dir string) {
			gitIn(t, dir, "switch", "-q", "-c", "other")
			commitIn(t, dir, "theirs", map[string]string{"module/zfs/spa.c": "int theirs;\n"})
			gitIn(t, dir, "switch", "-q", "master")
			commitIn(t, dir, "ours", map[string]string{"module/zfs/spa.c": "int ours;\n"})
			cmd := exec.Command("git", "-c", "user.name=A", "-c", "user.email=a@b", "merge", "other")
			cmd.Dir = dir
			if cmd.Run() == nil {
				t.Fatal("no conflict")
			}
		}, []string{"module/zfs/spa.c is in conflict", "git merge --abort"}},
		{"no META", func(t *testing.T, dir string) { must0(t, os.Remove(filepath.Join(dir, "META"))) }, []string{"not OpenZFS", "no META"}},
		{"no version", func(t *testing.T, dir string) { write(t, dir, map[string]string{"META": "Name: zfs\n"}) }, []string{"META has no Version"}},
		{"sparse index", func(t *testing.T, dir string) {
			gitIn(t, dir, "sparse-checkout", "set", "--cone", "--sparse-index", "module")
		},
			[]string{"sparse index", "git sparse-checkout reapply --no-sparse-index"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := newRepo(t)
			r := openRepo(t, dir)
			tt.edit(t, dir)
			before := state(t, dir)
			_, err := r.Edited(t.Context())
			says(t, err, append(tt.want, "edits in "+dir)...)
			untouched(t, dir, before)
		})
	}
}

// TestIgnoredByUser has a file that the user's own settings ignore everywhere.
func TestIgnoredByUser(t *testing.T) {
	dir, home := newRepo(t), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	write(t, dir, map[string]string{"spa.c.swp": "x"})
	r := openRepo(t, dir)
	if edited(t, r).Commit != "" {
		t.Error("the file is no edit")
	}
	write(t, home, map[string]string{".config/git/ignore": "*.swp\n"})
	if edited(t, r).Commit == "" {
		t.Error("~/.config/git/ignore does not count")
	}
	write(t, home, map[string]string{".config/git/ignore": "", ".gitconfig": "[core]\n\texcludesFile = ~/ignored\n", "ignored": "*.swp\n"})
	if edited(t, r).Commit == "" {
		t.Error("core.excludesFile does not count")
	}
	// The file was edited in the very moment of the index: its time says nothing.
	path := filepath.Join(dir, "module/zfs/spa.c")
	st, err := os.Stat(filepath.Join(dir, ".git/index"))
	must0(t, err)
	must0(t, os.WriteFile(path, []byte("int xyz;\n"), 0o644))
	must0(t, os.Chtimes(path, time.Now(), st.ModTime()))
	if edited(t, r).Commit != "" {
		t.Error("an edit in the moment of the index was overlooked")
	}
}
