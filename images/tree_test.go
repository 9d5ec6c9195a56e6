package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images/source"
)

// treeOf is a tree for Linux 4.18 to 6.14 whose modules are made of what kernel stands for.
func treeOf(name, kernel string) source.Tree {
	return source.Tree{
		ID: name, Name: name, Version: "2.3.2", Kernel: kernel, Userland: "programs", Setup: "setup", Linux: source.Window{Min: "4.18", Max: "6.14"},
	}
}

// newTrees is a store with the default image and a builder that is there already. It counts what is compiled.
func newTrees(t *testing.T) (s *Store, base *Image, compiled *[]string) {
	t.Helper()
	s = newStore(t)
	compiled = new([]string)
	base, err := s.On(t.Context(), treeOf("any", "any"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if base.OpenZFS != "linux6.1" || !base.Bare {
		t.Fatalf("put on %s", base.OpenZFS)
	}
	if err := os.MkdirAll(s.builder(base).path(systemDir), 0o755); err != nil {
		t.Fatal(err)
	}
	s.compile = func(_ context.Context, _ *builder, _ *source.Repo, tree source.Tree, at string, _ *logFile, _ *progress) error {
		*compiled = append(*compiled, tree.Name)
		err := errors.Join(os.MkdirAll(filepath.Join(at, "out"), 0o755),
			os.WriteFile(filepath.Join(at, "configured"), []byte(tree.Setup+" x"), 0o644))
		for _, name := range []string{"zfs.ko", "spl.ko", "layer.cpio"} {
			err = errors.Join(err, os.WriteFile(filepath.Join(at, "out", name), []byte(name+" of "+tree.Kernel), 0o644))
		}
		return err
	}
	return s, base, compiled
}

// TestTrees expects trees that make the same modules and programs to share an image, on the kernel and the root disk of the base.
func TestTrees(t *testing.T) {
	s, base, compiled := newTrees(t)
	img, err := s.EnsureTree(t.Context(), nil, base, treeOf("2.3.2-gfirst", "a"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if img.OpenZFS != "2.3.2-gfirst" || img.Kernel != base.Kernel || img.Root != base.Root || img.Release != base.Release || !img.Current || img.Tree == nil {
		t.Errorf("got %+v", img)
	}
	below, err := os.ReadFile(base.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(img.Initrd); err != nil || string(text) != string(below)+"layer.cpio of a" {
		t.Errorf("initrd is %q, %v", text, err)
	}
	if err := img.Verify(); err != nil {
		t.Error(err)
	}
	same, err := s.EnsureTree(t.Context(), nil, base, treeOf("2.3.2-gsecond", "a"), Options{})
	if err != nil || same.ID != img.ID {
		t.Errorf("another commit with the same modules has %+v, %v", same, err)
	}
	other, err := s.EnsureTree(t.Context(), nil, base, treeOf("2.3.2-gthird", "b"), Options{})
	if err != nil || other.ID == img.ID {
		t.Errorf("other modules have %+v, %v", other, err)
	}
	if want := []string{"2.3.2-gfirst", "2.3.2-gthird"}; !slices.Equal(*compiled, want) {
		t.Errorf("compiled %q, want %q", *compiled, want)
	}
	if all, err := s.List(); err != nil || len(all) != 3 {
		t.Errorf("the list has %d images, %v", len(all), err)
	}
	if err := s.Remove("2.3.2-gfirst"); err != nil {
		t.Error(err)
	}
	// One that is damaged is called by its ID.
	if err := os.Remove(filepath.Join(other.Dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(); err == nil || !strings.Contains(err.Error(), "vdevil image rm "+other.ID) {
		t.Errorf("listing a damaged one: %v", err)
	}
	if err := s.Remove(other.ID); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"./zfs", "", other.ID} {
		if err := s.Remove(name); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "vdevil image list") {
			t.Errorf("removing %q: %v", name, err)
		}
	}
	if err := s.Remove("linux6.1"); err != nil { // and what is put on it
		t.Error(err)
	}
	if left := content(t, s); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestTreeFails expects the compiler's message, and no second try until it is forgotten.
func TestTreeFails(t *testing.T) {
	s, base, compiled := newTrees(t)
	s.compile = func(_ context.Context, _ *builder, _ *source.Repo, tree source.Tree, _ string, log *logFile, _ *progress) error {
		*compiled = append(*compiled, tree.Name)
		log.write("compile", "  CC [M]  /build/src/module/zfs/spa.o")
		log.write("compile", "/build/src/module/zfs/spa.c:12:3: error: expected ';' before 'return'")
		log.write("compile", "make: *** [Makefile:1: modules] Error 2")
		return exec.Command("false").Run()
	}
	broken := treeOf("2.3.2-tbroken", "broken")
	for try := range 2 {
		_, err := s.EnsureTree(t.Context(), nil, base, broken, Options{})
		if said := strings.Contains(fmt.Sprint(err), "vdevil image rm 2.3.2-tbroken forgets it"); said != (try == 1) {
			t.Errorf("try %d: %v", try, err)
		}
		var built *BuildError
		if !errors.As(err, &built) || built.Remedy != "" || len(built.Tail) != 1 || !strings.Contains(err.Error(), "spa.c:12:3: error: expected ';'") {
			t.Fatalf("got %v", err)
		}
		if text, err := os.ReadFile(built.Log); err != nil || !strings.Contains(string(text), "Error 2") {
			t.Errorf("the log has %q, %v", text, err)
		}
	}
	if len(*compiled) != 1 {
		t.Errorf("tried %d times", len(*compiled))
	}
	if err := s.Remove(broken.Name); err != nil {
		t.Error(err)
	}
	if _, err := s.EnsureTree(t.Context(), nil, base, broken, Options{}); err == nil || len(*compiled) != 2 {
		t.Errorf("after it was forgotten tried %d times, %v", len(*compiled), err)
	}
	// What no compiler said, and what memory or disk did to one, is not the tree's.
	for line, remedy := range map[string]string{
		"mount: permission denied": "counts as trouble of this computer",
		"x86_64-linux-gnu-gcc: fatal error: Killed signal terminated program cc1": "Memory ran out",
		"spa.c:1:2: fatal error: error writing to spa.s: No space left on device": "The disk is full",
	} {
		*compiled = nil
		s.compile = func(_ context.Context, _ *builder, _ *source.Repo, tree source.Tree, _ string, log *logFile, _ *progress) error {
			*compiled = append(*compiled, tree.Name)
			log.write("compile", line)
			return exec.Command("false").Run()
		}
		for range 2 {
			_, err := s.EnsureTree(t.Context(), nil, base, treeOf("2.3.2-tsound", "sound"), Options{})
			var built *BuildError
			if !errors.As(err, &built) || !strings.Contains(built.Remedy, remedy) || !strings.Contains(err.Error(), line) {
				t.Errorf("%q: %v", line, err)
			}
		}
		if len(*compiled) != 2 {
			t.Errorf("%q: tried %d times", line, len(*compiled))
		}
	}
	s.compile = func(context.Context, *builder, *source.Repo, source.Tree, string, *logFile, *progress) error {
		return errors.New("no space left on device")
	}
	full := treeOf("2.3.2-tfull", "full")
	if _, err := s.EnsureTree(t.Context(), nil, base, full, Options{}); err == nil || errors.As(err, new(*BuildError)) {
		t.Errorf("what is wrong with this computer is told as %v", err)
	}
	if err := s.builder(base).failed(TreeID(base, full)); err != nil {
		t.Errorf("and is remembered: %v", err)
	}
}

// TestUnder expects the kernel that META asks for, and a tree that none fits to be refused by name.
func TestUnder(t *testing.T) {
	s := newStore(t)
	for _, c := range []struct{ min, max, want string }{
		{"4.18", "6.14", "2.3.2"},
		{"3.10", "6.1", "2.3.2"},
		{"", "", "2.3.2"},
		{"6.2", "6.14", "2.3.9"},
		{"6.12", "7.2", "2.3.9"},
		{"3.10", "5.19", ""},
		{"6.13", "7.2", ""},
	} {
		tree := treeOf("2.1.0-gold", "a")
		tree.Linux = source.Window{Min: c.min, Max: c.max}
		r, err := s.under(tree)
		if r.OpenZFS != c.want || (err == nil) == (c.want == "") {
			t.Errorf("Linux %s to %s is put on %q, %v", c.min, c.max, r.OpenZFS, err)
		}
		if err != nil && !strings.Contains(err.Error(), "2.1.0-gold") {
			t.Errorf("%v names no tree", err)
		}
	}
}

// TestSlots expects a tree to be compiled where one configured alike was, then where none was, then where one was longest ago, and
// nothing to be left there of one that was configured otherwise.
func TestSlots(t *testing.T) {
	s, base, _ := newTrees(t)
	b := s.builder(base)
	take := func(setup string) string {
		at, err := b.slot(setup)
		if err != nil {
			t.Fatal(err)
		}
		left, _ := os.ReadFile(filepath.Join(at, "Makefile"))
		if len(left) > 0 && string(left) != setup {
			t.Errorf("%s has the Makefile of %s", setup, left)
		}
		if err := errors.Join(os.WriteFile(filepath.Join(at, "configured"), []byte(setup+" all\n"), 0o644),
			os.WriteFile(filepath.Join(at, "Makefile"), []byte(setup), 0o644)); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(at)
	}
	all := []string{take("a"), take("b"), take("c"), take("d")}
	if len(slices.Compact(slices.Sorted(slices.Values(all)))) != maxTrees {
		t.Errorf("four configurations have %q", all)
	}
	if again := take("b"); again != all[1] {
		t.Errorf("the same configuration has %s, not %s", again, all[1])
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(b.path("trees", all[2]), past, past); err != nil {
		t.Fatal(err)
	}
	if fifth := take("e"); fifth != all[2] {
		t.Errorf("%s gives way, not %s which was used longest ago", fifth, all[2])
	}
	if err := os.Remove(b.path("trees", all[0], "configured")); err != nil { // killed as it configured
		t.Fatal(err)
	}
	if sixth := take("f"); sixth != all[0] {
		t.Errorf("%s gives way, not %s where nothing is configured", sixth, all[0])
	}
}

// TestTooManyTrees expects images of trees to be removed that were used longest ago, but none of the last hour.
func TestTooManyTrees(t *testing.T) {
	s := newStore(t)
	for name, used := range map[string]time.Duration{"tree-new": time.Minute, "tree-old": 2 * time.Hour, "tree-older": 3 * time.Hour} {
		dir := filepath.Join(s.dirs.Cache, "images", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "zfs.ko")
		if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 4<<30)); err != nil { // sparse
			t.Fatal(err)
		}
		then := time.Now().Add(-used)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := s.Clean()
	if err != nil || len(removed) != 1 || filepath.Base(removed[0]) != "tree-older" {
		t.Errorf("removed %q, %v", removed, err)
	}
}

// TestAdopt expects the system that was made beside a base to become the builder of its kernel, with the kernel's own modules, and to be
// dropped where its headers are another kernel's or a builder is there.
func TestAdopt(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err := errors.Join(err, os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	of := modulesOf("6.1.0")
	disk := filepath.Join(dir, rootFile)
	write(filepath.Join(dir, "disk", of, "kernel", "x.ko"), "module")
	write(filepath.Join(dir, "disk", of, "build", "Makefile"), "of the guest")
	if err := runProgram(t.Context(), "mkfs.ext4", "-q", "-d", filepath.Join(dir, "disk"), disk, "4M"); err != nil {
		t.Fatal(err)
	}
	adopt := func(release, made string) *builder {
		t.Helper()
		write(filepath.Join(dir, systemDir, of, "build", "Makefile"), made)
		b := s.builder(&Image{Release: release, Root: disk})
		if err := b.adopt(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if exists(filepath.Join(dir, systemDir)) {
			t.Errorf("%s of %s is left", made, release)
		}
		return b
	}
	if b := adopt("6.12.0", "newer"); exists(b.path(systemDir)) {
		t.Error("headers of another kernel became a builder")
	}
	for _, made := range []string{"first", "second"} {
		b := adopt("6.1.0", made)
		for path, want := range map[string]string{"kernel/x.ko": "module", "build/Makefile": "first"} {
			if text, err := os.ReadFile(filepath.Join(b.path(systemDir), of, path)); err != nil || string(text) != want {
				t.Errorf("after the %s: %s is %q, %v", made, path, text, err)
			}
		}
	}
}
