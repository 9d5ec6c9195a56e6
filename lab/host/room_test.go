package host

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestRoom asks of a file system that has nothing, and of a directory that is not there yet.
func TestRoom(t *testing.T) {
	if got := Room("/proc/sys/a/b"); !strings.Contains(got, "0 B are free on the file system of /proc/sys/a/b, a guest may need 2.0 GiB: make room") {
		t.Errorf("got %q", got)
	}
	if got := Room(filepath.Join(t.TempDir(), "a", "b")); got != "" {
		t.Errorf("this computer cannot hold a guest: %s", got)
	}
	if free, ok := memory(); !ok || free < 1<<20 {
		t.Errorf("%d bytes of memory, %t", free, ok)
	}
}
