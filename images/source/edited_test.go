package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEdited(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(t *testing.T, dir string)
		paths string // what differs from HEAD
	}{
		{name: "nothing", edit: func(*testing.T, string) {}},
		{name: "changed", edit: func(t *testing.T, dir string) { write(t, dir, map[string]string{"module/zfs/spa.c": "int spa = 1;\n"}) },
			paths: "M\tmodule/zfs/spa.c"},
		{name: "changed and as long as before", edit: func(t *testing.T, dir string) {
			write(t, dir, map[string]string{"module/zfs/spa.c": "int spb;\n"})
		}, paths: "M\tmodule/zfs/spa.c"},
		{name: "touched", edit: func(t *testing.T, dir string) { write(t, dir, map[string]string{"module/zfs/spa.c": "int spa;\n"}) }},
		{name: "staged", edit: func(t *testing.T, dir string) {
			write(t, dir, map[string]string{"module/zfs/spa.c": "int spa = 1;\n"})
			gitIn(t, dir, "add", "-A")
		}, paths: "M\tmodule/zfs/spa.c"},
		{name: "deleted", edit: func(t *testing.T, dir string) { write(t, dir, map[string]string{"module/zfs/arc.c": ""}) },
			paths: "D\tmodule/zfs/arc.c"},
		{name: "new", edit: func(t *testing.T, dir string) { write(t, dir, map[string]string{"module/zfs/brt.c": "int brt;\n"}) },
			paths: "A\tmodule/zfs/brt.c"},
		{name: "new, ignored", edit: func(t *testing.T, dir string) { write(t, dir, map[string]string{"module/zfs/brt.o": "elf"}) }},
		{name: "new, ignored here alone", edit: func(t *testing.T, dir string) {
			write(t, dir, map[string]string{"notes": "todo", ".git/info/exclude": "notes\n"})
		}},
		{name: "a file is a directory", edit: func(t *testing.T, dir string) {
			write(t, dir, map[string]string{"autogen.sh": ""})
			write(t, dir, map[string]string{"autogen.sh/run": "x"})
		}, paths: "D\tautogen.sh A\tautogen.sh/run"},
		{name: "executable", edit: func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "autogen.sh"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, paths: "M\tautogen.sh"},
		{name: "modes do not count here", edit: func(t *testing.T, dir string) {
			gitIn(t, dir, "config", "core.fileMode", "false")
			if err := os.Chmod(filepath.Join(dir, "autogen.sh"), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "git is to overlook it", edit: func(t *testing.T, dir string) {
			gitIn(t, dir, "update-index", "--assume-unchanged", "module/zfs/spa.c")
			gitIn(t, dir, "update-index", "--skip-worktree", "module/zfs/arc.c")
			write(t, dir, map[string]string{"module/zfs/spa.c": "int spa = 1;\n", "module/zfs/arc.c": "int arc = 1;\n"})
		}, paths: "M\tmodule/zfs/arc.c M\tmodule/zfs/spa.c"},
		{name: "sparse", edit: func(t *testing.T, dir string) {
			gitIn(t, dir, "sparse-checkout", "set", "--cone", "module", "include")
			if _, err := os.Stat(filepath.Join(dir, "tests")); err == nil {
				t.Fatal("tests/ is there")
			}
			write(t, dir, map[string]string{"module/zfs/spa.c": "int spa = 1;\n"})
		}, paths: "M\tmodule/zfs/spa.c"},
		{name: "split index", edit: func(t *testing.T, dir string) {
			gitIn(t, dir, "update-index", "--split-index")
			write(t, dir, map[string]string{"module/zfs/spa.c": "int spa = 1;\n"})
		}, paths: "M\tmodule/zfs/spa.c"},
		{name: "a worktree inside", edit: func(t *testing.T, dir string) { gitIn(t, dir, "worktree", "add", "-q", "wt", "HEAD") }},
		{name: "a repository without commits inside", edit: func(t *testing.T, dir string) { gitIn(t, dir, "init", "-q", "new") }},
		{name: "to be added", edit: func(t *testing.T, dir string) {
			write(t, dir, map[string]string{"module/zfs/brt.c": "int brt;\n"})
			gitIn(t, dir, "add", "-N", "module/zfs/brt.c")
		}, paths: "A\tmodule/zfs/brt.c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := newRepo(t)
			tt.edit(t, dir)
			before := state(t, dir)
			r := openRepo(t, dir)
			got := edited(t, r)
			untouched(t, dir, before)
			head := resolve(t, r, "HEAD")
			diff, err := r.ours(t.Context(), call{args: []string{"diff-tree", "-r", "--no-renames", "--name-status", head.ID, got.ID}})
			if err != nil {
				t.Fatal(err)
			}
			if s := strings.Join(strings.Split(strings.TrimSpace(string(diff)), "\n"), " "); s != tt.paths {
				t.Errorf("edits are %q, want %q", s, tt.paths)
			}
			switch {
			case tt.paths == "" && (got.Commit != head.Commit || got.Parent != "" || got.Name != "2.3.4-g"+head.Commit[:12]):
				t.Errorf("without edits it is %+v, want the commit %s", got, head.Commit)
			case tt.paths != "" && (got.Commit != "" || got.Parent != head.Commit || got.Name != "2.3.4-t"+got.ID[:12]):
				t.Errorf("with edits it is %+v, want them on %s", got, head.Commit)
			}
			if got.Word != dir {
				t.Errorf("word %q, want %q", got.Word, dir)
			}
		})
	}
}
