package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestClaimBesideCollector: whoever looks for what dead labs have left meets directories that are just being claimed.
func TestClaimBesideCollector(t *testing.T) {
	parent := t.TempDir()
	claimed := make(chan error)
	go func() {
		dir := filepath.Join(parent, "machine")
		for range 1000 {
			if err := errors.Join(Claim(dir), os.RemoveAll(dir)); err != nil {
				claimed <- err
				return
			}
		}
		close(claimed)
	}()
	for {
		dirs, err := Abandoned(parent)
		if err != nil || len(dirs) > 0 {
			t.Fatalf("abandoned: %q, error %v", dirs, err)
		}
		select {
		case err := <-claimed:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
