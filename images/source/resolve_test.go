package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	dir := newRepo(t)
	first := gitIn(t, dir, "rev-parse", "HEAD")
	second := commitIn(t, dir, "second", map[string]string{"module/zfs/spa.c": "int spa = 1;\n"})
	gitIn(t, dir, "tag", "-a", "-m", "tag", "zfs-2.3.4", first)
	gitIn(t, dir, "tag", "zfs-2.3.5", second)
	gitIn(t, dir, "branch", "zfs-2.3-release", first)
	gitIn(t, dir, "update-ref", "refs/pull/18852/head", first)
	gitIn(t, dir, "update-ref", "refs/remotes/upstream/pr/77", first)
	r := openRepo(t, dir)
	for word, want := range map[string]string{
		"HEAD": second, "HEAD~1": first, "master": second, "zfs-2.3.4": first, "zfs-2.3.5": second, "zfs-2.3-release": first,
		first: first, first[:9]: first, "refs/tags/zfs-2.3.4": first, "pull/18852/head": first, "pull/18852": first, "pull/77/head": first,
	} {
		if got := resolve(t, r, word); got.Commit != want || got.Word != word {
			t.Errorf("%s is %s by the word %q, want %s", word, got.Commit, got.Word, want)
		}
	}
	for word, want := range map[string][]string{
		"2.3.4":        {"no such revision", "similar ones are zfs-2.3.4"},
		"zfs-2.3.6":    {"similar ones are zfs-2.3.4, zfs-2.3.5"},
		"nonsense":     {"no such revision: want a tag, branch or hash", "fetch --tags"},
		"-h":           {"no such revision"},
		"":             {"no such revision"},
		"HEAD:META":    {"no such revision"},
		"a..b":         {"no such revision"},
		"pull/99/head": {"does not have the pull request", "git -C " + dir + " fetch https://github.com/openzfs/zfs pull/99/head:refs/pull/99/head"},
	} {
		_, err := r.Resolve(t.Context(), word)
		says(t, err, append(want, fmt.Sprintf("revision %q", word))...)
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: error %v, want ErrUnknown", word, err)
		}
	}
	t.Run("the remote that is OpenZFS", func(t *testing.T) {
		gitIn(t, dir, "remote", "add", "origin", "git@github.com:me/zfs.git")
		gitIn(t, dir, "remote", "add", "up.stream", "git@github.com:openzfs/zfs.git")
		_, err := r.Resolve(t.Context(), "pull/99/head")
		says(t, err, "fetch up.stream pull/99/head:")
	})
	t.Run("an ambiguous hash", func(t *testing.T) {
		var stream strings.Builder
		for i := range 1000 { // of as many, two begin with the same four digits
			fmt.Fprintf(&stream, "commit refs/heads/many\ncommitter A <a> %d +0000\ndata 0\n", i)
		}
		cmd := r.command(t.Context(), call{dir: dir, args: []string{"fast-import", "--quiet"}})
		cmd.Stdin = strings.NewReader(stream.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		ids := strings.Fields(gitIn(t, dir, "rev-list", "many"))
		slices.Sort(ids)
		i := slices.IndexFunc(ids[1:], func(id string) bool { i, _ := slices.BinarySearch(ids, id); return ids[i-1][:4] == id[:4] })
		_, err := r.Resolve(t.Context(), ids[i][:4])
		says(t, err, "several objects have a hash that begins so: give more of it", ids[i][:7], ids[i+1][:7])
	})
	t.Run("shallow", func(t *testing.T) {
		clone := filepath.Join(t.TempDir(), "clone")
		gitIn(t, dir, "clone", "-q", "--depth=1", "file://"+dir, clone)
		r := openRepo(t, clone)
		resolve(t, r, "HEAD")
		_, err := r.Resolve(t.Context(), first)
		says(t, err, "no such revision in this shallow clone", "fetch --unshallow")
	})
}

// TestHashes changes one file at a time and says which hashes must change with it.
func TestHashes(t *testing.T) {
	tests := []struct{ path, want string }{ // want has the initial letters of Kernel, Userland, Configure and Setup
		{"module/zfs/spa.c", "K"},
		{"module/zcommon/prop.c", "KU"},
		{"module/os/linux/zfs/zpl_file.c", "K"},
		{"module/os/freebsd/zfs/zfs_vfsops.c", ""},
		{"module/Kbuild.in", "KCS"},
		{"module/zfs/new.c", "K"},
		{"include/sys/spa.h", "KU"},
		{"include/os/linux/zfs/sys/trace.h", "KU"},
		{"include/os/linux/spl/sys/mutex.h", "K"},
		{"include/os/linux/kernel/linux/simd.h", "K"},
		{"include/os/freebsd/zfs/sys/vdev_os.h", ""},
		{"include/Makefile.am", "KUCS"},
		{"config/kernel.m4", "KUCS"},
		{"config/kernel-bio.m4", "KCS"},
		{"configure.ac", "KUCS"},
		{"META", "KUCS"},
		{"autogen.sh", "UCS"},
		{"Makefile.am", "UCS"},
		{"cmd/zpool/main.c", "U"},
		{"cmd/zpool/os/freebsd/vdev.c", ""},
		{"lib/libzfs/pool.c", "U"},
		{"lib/libspl/include/os/linux/sys/stat.h", "U"},
		{"lib/libspl/include/os/freebsd/sys/stat.h", ""},
		{"lib/libzfs/Makefile.am", "UC"},
		{"tests/Makefile.am", "C"},
		{"tests/big.gz", ""},
		{"README.md", ""},
	}
	dir := newRepo(t)
	r := openRepo(t, dir)
	first := resolve(t, r, "HEAD")
	for _, tt := range tests {
		text := "changed\n"
		if tt.path == "META" {
			text = meta + "Author: Ann\n"
		}
		commitIn(t, dir, tt.path, map[string]string{tt.path: text})
		now, got := resolve(t, r, "HEAD"), ""
		for _, h := range []struct{ letter, a, b string }{
			{"K", first.Kernel, now.Kernel}, {"U", first.Userland, now.Userland}, {"C", first.Configure, now.Configure}, {"S", first.Setup, now.Setup},
		} {
			if h.a != h.b {
				got += h.letter
			}
			if h.b == "" {
				t.Errorf("%s: no hash %s", tt.path, h.letter)
			}
		}
		if got != tt.want {
			t.Errorf("%s changes %q, want %q", tt.path, got, tt.want)
		}
		gitIn(t, dir, "reset", "-q", "--hard", first.Commit)
	}
}
