package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCloneFile(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	// Data at both ends, and holes between and behind it.
	const size = 64 << 20
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 4096, size - 1<<20} {
		if _, err := f.WriteAt(bytes.Repeat([]byte{byte(at>>12) | 1}, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := CloneFile(t.Context(), dst, src); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs (%v)", err)
	}
	info, err := os.Stat(dst)
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
		t.Errorf("the copy takes %d bytes for 12 KiB of data", used)
	}
	if err := CloneFile(t.Context(), dst, src); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that exists was overwritten: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	broken := filepath.Join(dir, "broken")
	if err := CloneFile(ctx, broken, src); err != nil { // a file system with reflinks is done before it looks
		if _, err := os.Stat(broken); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("half a copy was left: %v", err)
		}
	}
}
