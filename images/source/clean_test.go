package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestClean expects what a killed command left to go, and all of a repository that nobody opens any more, but nothing of others.
func TestClean(t *testing.T) {
	cache := t.TempDir()
	own := make([]string, 2)
	for i := range own {
		r, err := Open(t.Context(), newRepo(t), cache)
		if err != nil {
			t.Fatal(err)
		}
		own[i] = r.own
	}
	left, used := filepath.Join(own[0], "edited-left"), filepath.Join(own[0], "edited-used")
	aged := func(path string, age time.Duration) error {
		then := time.Now().Add(-age)
		return os.Chtimes(path, then, then)
	}
	if err := errors.Join(os.Mkdir(left, 0o755), os.Mkdir(used, 0o755), aged(left, 2*abandoned),
		aged(filepath.Join(own[1], "objects", "info", "alternates"), 2*unused)); err != nil {
		t.Fatal(err)
	}
	removed, err := Clean(cache)
	want := []string{left, own[1]}
	slices.Sort(want)
	slices.Sort(removed)
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	if _, err := os.Stat(used); err != nil {
		t.Error(err)
	}
}

// TestFunctions expects the names of the functions in C that a commit changes.
func TestFunctions(t *testing.T) {
	dir := newRepo(t)
	const c = "int\nspa_load(void)\n{\n\tint a = 1;\n\n\treturn (a);\n}\n\nstatic void\nspa_sync(int txg)\n{\n\ttxg++;\n\n\t(void) txg;\n}\n"
	commitIn(t, dir, "before", map[string]string{"module/zfs/spa.c": c, "README": "load(x)\n"})
	changed := commitIn(t, dir, "after", map[string]string{
		"module/zfs/spa.c": c[:len(c)-len("\t(void) txg;\n}\n")] + "\t(void) (txg + 1);\n}\n", "README": "load(y)\n",
	})
	got, err := openRepo(t, dir).Functions(t.Context(), changed)
	if err != nil || !slices.Equal(got, []string{"spa_sync"}) {
		t.Errorf("got %q, %v", got, err)
	}
}
