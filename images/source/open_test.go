package source

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenErrors(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, dir string)
		want []string
	}{
		{"no directory", func(t *testing.T, dir string) { must0(t, os.Remove(dir)) }, []string{"no such file"}},
		{"empty", func(*testing.T, string) {}, []string{"not a git repository", "git clone https://github.com/openzfs/zfs"}},
		{"tarball", func(t *testing.T, dir string) { write(t, dir, openzfs()) }, []string{"without its history", "git init && git add -A && git commit"}},
		{"no commits", func(t *testing.T, dir string) { gitIn(t, dir, "init", "-q") }, []string{"no commits", "git add -A && git commit"}},
		{"another project", func(t *testing.T, dir string) {
			gitIn(t, dir, "init", "-q")
			commitIn(t, dir, "linux", map[string]string{"Kconfig": "x\n"})
		}, []string{"not OpenZFS", "no META or no module directory", "openzfs/zfs"}},
		{"no version", func(t *testing.T, dir string) {
			gitIn(t, dir, "init", "-q")
			commitIn(t, dir, "zfs", map[string]string{"META": "Name: zfs\n", "module/a.c": "x\n"})
		}, []string{"META has no Version", "git checkout META"}},
		{"a version that is a path", func(t *testing.T, dir string) {
			gitIn(t, dir, "init", "-q")
			commitIn(t, dir, "zfs", map[string]string{"META": "Version: ../../x\n", "module/a.c": "x\n"})
		}, []string{`Version "../../x"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, dir)
			_, err := Open(t.Context(), dir, t.TempDir())
			says(t, err, append(tt.want, "source "+dir)...)
		})
	}
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "zfs.tar")
		must0(t, os.WriteFile(path, nil, 0o644))
		_, err := Open(t.Context(), path, t.TempDir())
		if !errors.Is(err, ErrNotRepository) {
			t.Errorf("error %v, want ErrNotRepository", err)
		}
	})
	t.Run("files in another repository", func(t *testing.T) {
		home := t.TempDir()
		gitIn(t, home, "init", "-q")
		commitIn(t, home, "dot files", map[string]string{".profile": "x\n"})
		write(t, filepath.Join(home, "zfs"), openzfs())
		_, err := Open(t.Context(), filepath.Join(home, "zfs"), t.TempDir())
		says(t, err, "it is in the repository "+home, "not OpenZFS")
	})
	t.Run("no git", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := Open(t.Context(), t.TempDir(), t.TempDir())
		if !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("error %v, want exec.ErrNotFound", err)
		}
		says(t, err, "git, which reads checkouts of OpenZFS: install package git")
	})
}

func must0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpen finds the same commit in all that a repository may look like.
func TestOpen(t *testing.T) {
	dir := newRepo(t)
	want := gitIn(t, dir, "rev-parse", "HEAD")
	bare, linked := filepath.Join(t.TempDir(), "bare.git"), filepath.Join(t.TempDir(), "linked")
	gitIn(t, dir, "clone", "-q", "--bare", dir, bare)
	gitIn(t, dir, "worktree", "add", "-q", linked)
	borrowed := filepath.Join(t.TempDir(), "borrowed: \"1\"")
	gitIn(t, dir, "clone", "-q", "--shared", dir, borrowed)
	for _, d := range []string{dir, filepath.Join(dir, "module/zfs"), bare, linked, borrowed, filepath.Join(dir, ".git")} {
		before := state(t, d)
		r := openRepo(t, d)
		tree := resolve(t, r, "HEAD")
		if tree.Commit != want {
			t.Errorf("%s: HEAD is %s, want %s", d, tree.Commit, want)
		}
		if tree.Version != "2.3.4" || tree.Linux != (Window{"4.18", "6.14"}) || tree.Name != "2.3.4-g"+want[:12] || tree.Word != "HEAD" {
			t.Errorf("%s: %+v", d, tree)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := r.Checkout(t.Context(), tree, out); err != nil {
			t.Errorf("%s: %v", d, err)
		}
		_, err := r.Edited(t.Context())
		if d == bare || d == filepath.Join(dir, ".git") {
			says(t, err, "a bare repository has no files to edit")
		} else if err != nil {
			t.Errorf("%s: %v", d, err)
		}
		untouched(t, d, before)
	}
	t.Run("edits of a linked worktree", func(t *testing.T) {
		write(t, linked, map[string]string{"module/zfs/spa.c": "int spa = 2;\n"})
		if r := openRepo(t, linked); edited(t, r).Commit != "" {
			t.Error("the worktree has no edits")
		}
		if r := openRepo(t, dir); edited(t, r).Commit != want {
			t.Error("edits of a worktree are in another one")
		}
	})
}

// TestNothingRuns has a checkout that names programs wherever git would run one.
func TestNothingRuns(t *testing.T) {
	dir := newRepo(t)
	ran := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(t.TempDir(), "script")
	must0(t, os.WriteFile(script, []byte("#!/bin/sh\ntouch "+ran+"\ncat\n"), 0o755))
	for _, hook := range []string{"post-index-change", "post-checkout", "reference-transaction"} {
		must0(t, os.MkdirAll(filepath.Join(dir, ".git/hooks"), 0o755))
		must0(t, os.Symlink(script, filepath.Join(dir, ".git/hooks", hook)))
	}
	commitIn(t, dir, "filters", map[string]string{".gitattributes": "*.c filter=evil diff=evil eol=crlf\n"})
	for _, key := range []string{
		"core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.command",
		"diff.evil.textconv", "diff.external", "core.pager", "core.alternateRefsCommand", "uploadpack.packObjectsHook", "alias.rev-parse",
	} {
		gitIn(t, dir, "config", key, script)
	}
	write(t, dir, map[string]string{"module/zfs/spa.c": "int spa = 1;\r\n"})
	_ = os.Remove(ran)
	r := openRepo(t, dir)
	head, now := resolve(t, r, "HEAD"), edited(t, r)
	if now.Commit != "" {
		t.Error("the edit was overlooked")
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, tree := range []Tree{head, now} {
		must0(t, r.Checkout(t.Context(), tree, out))
	}
	h, err := r.Between(t.Context(), head, now)
	must0(t, err)
	_, err = r.SameFix(t.Context(), h.Commits[0], head, now)
	must0(t, err)
	if _, err := os.Stat(ran); err == nil {
		t.Error("a program that the checkout names was run")
	}
	if text, err := os.ReadFile(filepath.Join(out, "module/zfs/spa.c")); err != nil || string(text) != "int spa = 1;\r\n" {
		t.Errorf("the file checked out is %q, %v: want the bytes of the edit", text, err)
	}
}

// TestEnvironment has GIT_ variables that lead elsewhere, as a hook of git has them.
func TestEnvironment(t *testing.T) {
	dir := newRepo(t)
	want := gitIn(t, dir, "rev-parse", "HEAD")
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE"} {
		t.Setenv(name, "/nowhere")
	}
	t.Setenv("GIT_LITERAL_PATHSPECS", "0")
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	r := openRepo(t, dir)
	if got := edited(t, r); got.Commit != want {
		t.Errorf("commit %q, want %q", got.Commit, want)
	}
	_, err := r.Resolve(t.Context(), strings.Repeat("0", 39)+"1")
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
}

// TestBegin makes a checkout of files that somebody has without a history, ignored ones too.
func TestBegin(t *testing.T) {
	gitIn(t, t.TempDir(), "version") // installs git where it is missing
	dir := t.TempDir()
	files := openzfs()
	files["module/zfs/spa.o"] = "ignored\n"
	write(t, dir, files)
	must0(t, Begin(t.Context(), dir, "all of it"))
	if out := gitIn(t, dir, "log", "--format=%s by %an"); out != "all of it by vdevil" {
		t.Errorf("history is %q", out)
	}
	if out := gitIn(t, dir, "ls-files", "module/zfs/spa.o"); out == "" {
		t.Error("an ignored file was left out")
	}
	if tree := edited(t, openRepo(t, dir)); tree.Commit == "" || tree.Version != "2.3.4" {
		t.Errorf("got %+v", tree)
	}
}
