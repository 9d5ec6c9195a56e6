package checkpoint

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
)

// A checkpoint that is taken from the cache is in use: Clean is told so.
func TestCachedIsInUse(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Progress: func(string, time.Duration) {}, Open: func(dir string) (*machine.Checkpoint, error) {
		return &machine.Checkpoint{Dir: dir}, nil
	}}
	dir := filepath.Join(c.Dir, "key")
	long := time.Now().AddDate(-1, 0, 0)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(dir, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := c.cached(t.Context(), "key", "make it", nil); err != nil {
		t.Fatal(err)
	}
	var used time.Time
	if _, err := Clean(c.Dir, func(_ string, at time.Time) bool { used = at; return true }); err != nil {
		t.Fatal(err)
	}
	if time.Since(used) > time.Hour {
		t.Errorf("used %v, it is said", used)
	}
}
