package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestClaimBesideCollector: whoever looks for what dead labs have left meets directories that are just being claimed.
func TestClaimBesideCollector(t *testing.T) {
	parent := t.TempDir()
	claimed := make(chan error)
	go func() {
		dir := filepath.Join(parent, "machine")
		for range 1000 {
			if err := errors.Join(Claim(dir), Release(dir)); err != nil {
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

func TestClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machines", "one")
	if err := Claim(dir); err != nil {
		t.Fatal(err)
	}
	if err := Claim(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("claimed twice: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it lie %v, %v", entries, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Release(dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestAbandoned has directories in every state in which a killed process may leave one, and those that are somebody's.
func TestAbandoned(t *testing.T) {
	parent := t.TempDir()
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * unowned)
	want := map[string]bool{}
	for name, c := range map[string]struct {
		owner string
		old   bool
		gone  bool
	}{
		"0000000a":         {owner: "1-1", gone: true},
		"0000000b":         {owner: self.String()},
		"0000000c":         {}, // its owner is cleaning up
		"0000000d":         {old: true, gone: true},
		"of-somebody-else": {old: true},
		".claim-1-1-12345": {gone: true},
		".claim-" + self.String() + "-1234567890": {},
	} {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if c.owner != "" {
			if err := os.WriteFile(filepath.Join(dir, owner), []byte(c.owner+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.old {
			if err := os.Chtimes(dir, long, long); err != nil {
				t.Fatal(err)
			}
		}
		if c.gone {
			want[dir] = true
		}
	}
	got, err := Abandoned(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range got {
		if !want[dir] {
			t.Errorf("%s is abandoned", dir)
		}
		delete(want, dir)
	}
	for dir := range want {
		t.Errorf("%s is not abandoned", dir)
	}
}
