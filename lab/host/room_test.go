package host

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestRoom asks of a file system that has nothing, and of a directory that is not there yet.
func TestRoom(t *testing.T) {
	if got := Room("/proc/sys/a/b", 2); !strings.Contains(got, "0 B are free on the file system of /proc/sys/a/b, what begins may need 6.0 GiB: make room") {
		t.Errorf("got %q", got)
	}
	if got := Room(filepath.Join(t.TempDir(), "a", "b"), 0); got != "" {
		t.Errorf("this computer cannot hold a guest: %s", got)
	}
	if free, ok := memory(); !ok || free < 1<<20 {
		t.Errorf("%d bytes of memory, %t", free, ok)
	}
}
