package kernel_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/labtest"
)

func TestCache(t *testing.T) {
	img, err := labtest.Open(t).Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	spl := filepath.Join(img.Modules, "spl.ko") // the smaller one
	dir := filepath.Join(t.TempDir(), "cache")
	check := func() {
		t.Helper()
		types, err := kernel.LoadTypes(t.Context(), dir, spl)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := types.Func("spl_kmem_cache_alloc"); err != nil || f.Params[0].Type.String() != "spl_kmem_cache_t *" {
			t.Errorf("%+v, %v", f, err)
		}
	}
	check()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the cache holds %q, %v", files, err)
	}
	file := files[0]
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, damaged := range map[string][]byte{
		"whole": nil, "flipped": flipped, "truncated": good[:len(good)/2], "empty": {}, "another format": append([]byte("older"), good...),
	} {
		if damaged != nil {
			if err := os.WriteFile(file, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		check()
		after, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if damaged == nil && !os.SameFile(before, after) {
			t.Errorf("a cache that is %s was made again", name)
		}
		again, err := os.ReadFile(file)
		if err != nil || damaged != nil && (os.SameFile(before, after) || len(again) != len(good)) {
			t.Errorf("a cache that was %s is now of %d bytes instead of %d, %v", name, len(again), len(good), err)
		}
	}
	if files, err = filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 1 {
		t.Errorf("the cache holds %q, %v", files, err)
	}
	if _, err := kernel.LoadTypes(t.Context(), dir, filepath.Join(dir, "zfs.ko")); err == nil {
		t.Error("a module that does not exist was read")
	}
	if _, err := kernel.LoadTypes(t.Context(), dir, file); err == nil {
		t.Error("a file that is no module was read")
	}
}

// BenchmarkLoadTypes reads both modules of the default OpenZFS, from their debug information and from the cache.
func BenchmarkLoadTypes(b *testing.B) {
	img, err := labtest.Open(b).Image(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	read := func(b *testing.B, dir string) {
		b.Helper()
		if _, err := kernel.LoadTypes(b.Context(), dir, modules(img)...); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			read(b, b.TempDir())
		}
	})
	b.Run("cached", func(b *testing.B) {
		dir := b.TempDir()
		read(b, dir)
		for b.Loop() {
			read(b, dir)
		}
	})
}
