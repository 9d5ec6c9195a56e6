package source

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/host/hosttest"
)

const meta = "Meta:          1\nName:          zfs\nVersion:       2.3.4\nRelease:       rc1\nLinux-Maximum: 6.14\nLinux-Minimum: 4.18\n"

// openzfs are the files of the smallest repository that is OpenZFS.
func openzfs() map[string]string {
	return map[string]string{
		"META": meta, "configure.ac": "AC_INIT\n", "autogen.sh": "#!/bin/sh\n", "Makefile.am": "SUBDIRS = include module\n", ".gitignore": "*.o\n",
		"module/zfs/spa.c": "int spa;\n", "module/zfs/arc.c": "int arc;\n", "module/Kbuild.in": "obj-m\n", "module/zcommon/prop.c": "int prop;\n",
		"include/sys/spa.h": "extern int spa;\n", "config/kernel.m4": "AC_DEFUN\n", "cmd/zpool/main.c": "int main;\n", "lib/libzfs/pool.c": "int pool;\n",
		"tests/Makefile.am": "tests\n", "tests/big.gz": "large\n",
	}
}

// gitIn runs the user's git, with a time of its own for every commit.
func gitIn(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(hosttest.Program(t, "makes the repositories of tests", "git"), append([]string{
		"-c", "protocol.file.allow=always", "-c", "maintenance.auto=false", "-c", "gc.auto=0",
		"-c", "user.name=Ann", "-c", "user.email=ann@example.org",
	}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(environment(), "GIT_ALLOW_PROTOCOL=file", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000",
		"GIT_NO_LAZY_FETCH=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write writes files, and removes those whose text is "".
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && text == "" {
			err = os.Remove(path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// commitIn commits files with a subject, and returns the hash.
func commitIn(t testing.TB, dir, subject string, files map[string]string) string {
	t.Helper()
	write(t, dir, files)
	gitIn(t, dir, "add", "-A")
	gitIn(t, dir, "commit", "-q", "--allow-empty", "-m", subject)
	return gitIn(t, dir, "rev-parse", "HEAD")
}

// newRepo is a repository of one commit, on the branch master.
func newRepo(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "zfs")
	write(t, dir, openzfs())
	gitIn(t, dir, "init", "-q", "-b", "master")
	commitIn(t, dir, "first", nil)
	return dir
}

func openRepo(t testing.TB, dir string) *Repo {
	t.Helper()
	r, err := Open(t.Context(), dir, filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resolve(t testing.TB, r *Repo, word string) Tree {
	t.Helper()
	return must(t)(r.Resolve(t.Context(), word))
}

func edited(t testing.TB, r *Repo) Tree {
	t.Helper()
	return must(t)(r.Edited(t.Context()))
}

func must(t testing.TB) func(Tree, error) Tree {
	return func(tree Tree, err error) Tree {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
}

// says fails unless an error has all words.
func says(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// state is all that can be seen of the files below a directory.
func state(t testing.TB, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		var sum [32]byte
		if st.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(data)
		}
		m[path] = fmt.Sprintf("%s %d %s %x", st.Mode(), st.Size(), st.ModTime().Format(time.RFC3339Nano), sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// untouched fails when files below a directory are not as they were.
func untouched(t testing.TB, dir string, before map[string]string) {
	t.Helper()
	after := state(t, dir)
	for path, s := range after {
		if before[path] != s {
			t.Errorf("%s is %q, was %q", path, s, before[path])
		}
	}
	for path := range before {
		if after[path] == "" {
			t.Errorf("%s is gone", path)
		}
	}
}
