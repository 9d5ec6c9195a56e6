package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// patchOf is a commit as a patch, and takes it back.
func patchOf(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	before := gitIn(t, dir, "rev-parse", "HEAD")
	commitIn(t, dir, "patch", files)
	text := gitIn(t, dir, "format-patch", "-1", "--stdout", "--no-renames")
	gitIn(t, dir, "reset", "-q", "--hard", before)
	return text + "\n"
}

func TestBackports(t *testing.T) {
	dir := newRepo(t)
	gitIn(t, dir, "tag", "old")
	mended := patchOf(t, dir, map[string]string{"module/zfs/spa.c": "long spa;\n", "module/zfs/arc.c": "", "module/zfs/new.c": "int new;\n"})
	other := patchOf(t, dir, map[string]string{"cmd/zpool/main.c": "long main;\n"})
	commitIn(t, dir, "second", map[string]string{"module/zcommon/prop.c": "int second;\n"})
	gitIn(t, dir, "tag", "mid")
	commitIn(t, dir, "third", map[string]string{"module/zfs/spa.c": "long spa;\n"})
	r := openRepo(t, dir)
	lists := t.TempDir()
	write(t, lists, map[string]string{"a.patch": mended, "b.patch": other, "list": "# why\n..mid a.patch # and this\n\nmid b.patch\n"})
	before := state(t, dir)
	must0(t, r.Backport(t.Context(), filepath.Join(lists, "list")))
	tests := []struct{ word, spa, main string }{
		{"old", "long spa;\n", "int main;\n"}, {"mid", "long spa;\n", "long main;\n"}, {"master", "long spa;\n", "int main;\n"},
	}
	for _, tt := range tests {
		plain := resolve(t, r, tt.word)
		got := must(t)(r.Patched(t.Context(), plain))
		to := filepath.Join(t.TempDir(), "src")
		if err := r.Checkout(t.Context(), got, to); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"module/zfs/spa.c": tt.spa, "cmd/zpool/main.c": tt.main} {
			if text, _ := os.ReadFile(filepath.Join(to, name)); string(text) != want {
				t.Errorf("%s: %s is %q, want %q", tt.word, name, text, want)
			}
		}
		_, err := os.Stat(filepath.Join(to, "module/zfs/arc.c"))
		_, none := os.Stat(filepath.Join(to, "module/zfs/new.c"))
		if patched := tt.word != "master"; (err != nil) != patched || (none == nil) != patched {
			t.Errorf("%s: patched %v, arc.c: %v, new.c: %v", tt.word, patched, err, none)
		}
		if changed := strings.HasPrefix(got.Name, plain.Name+"-p"); got.Commit != plain.Commit || got.Word != tt.word || changed != (tt.word != "master") {
			t.Errorf("%s: %+v", tt.word, got)
		}
	}
	untouched(t, dir, before)
}

func TestBadBackports(t *testing.T) {
	dir := newRepo(t)
	gitIn(t, dir, "tag", "old")
	patch := patchOf(t, dir, map[string]string{"module/zfs/spa.c": "long spa;\n"})
	commitIn(t, dir, "second", map[string]string{"module/zfs/spa.c": "char spa;\n"})
	tests := map[string]struct {
		list string
		want []string
	}{
		"fields":   {"\nold\n", []string{"list:2: want a range and a patch"}},
		"no patch": {"old none.patch\n", []string{"list:1: ", "none.patch"}},
		"revision": {"older..master a.patch\n", []string{`list:1: revision "older"`, "similar ones are old"}},
		"swapped":  {"master..old a.patch\n", []string{"list:1: the range master..old is empty: its older end comes first"}},
		"conflict": {"old..master a.patch\n", []string{"list:1: a.patch does not apply to 2.3.4-g", "module/zfs/spa.c"}},
		"no diff":  {"master text\n", []string{"list:1: text does not apply to 2.3.4-g", "No valid patches"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			lists := t.TempDir()
			write(t, lists, map[string]string{"a.patch": patch, "text": "no patch\n", "list": tt.list})
			r := openRepo(t, dir)
			err := r.Backport(t.Context(), filepath.Join(lists, "list"))
			if err == nil {
				_, err = r.Patched(t.Context(), resolve(t, r, "master"))
			}
			says(t, err, tt.want...)
		})
	}
	says(t, openRepo(t, dir).Backport(t.Context(), filepath.Join(dir, "none")), "backports: ", "none: no such file")
}
