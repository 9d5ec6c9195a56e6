package checkpoint

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFitting expects those used last to fit, and holes in files to take nothing.
func TestFitting(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for i, name := range []string{"new", "middle", "old"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "ram"), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(at, "ram"), 1<<30); err != nil {
			t.Fatal(err)
		}
		used := now.Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(at, used, used); err != nil {
			t.Fatal(err)
		}
	}
	for size, want := range map[int64]map[string]bool{
		0:       {"new": false, "middle": false, "old": false},
		3 << 19: {"new": true, "middle": false, "old": false},
		5 << 19: {"new": true, "middle": true, "old": false},
		9 << 19: {"new": true, "middle": true, "old": true},
	} {
		if got, err := Fitting(dir, size); err != nil || !maps.Equal(got, want) {
			t.Errorf("%d bytes: %v, %v", size, got, err)
		}
	}
	if got, err := Fitting(filepath.Join(dir, "none"), 1); err != nil || len(got) > 0 {
		t.Errorf("no directory: %v, %v", got, err)
	}
}
