package main

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

func TestForgeUsage(t *testing.T) {
	own(t)
	for _, c := range []struct {
		args string
		says string
	}{
		{"forge", "--list shows the names"},
		{"forge spacemap-header", "the images of a pool"},
		{"forge nosuch a", `no forgery is named "nosuch"; there are none, spacemap-duplicate-free,`},
		{"forge birth a --in-place --output d", "--in-place and --output contradict each other"},
		{"forge birth a --file /f", "--file needs --dataset"},
		{"forge birth a --metaslab 17", "such as 0:17"},
		{"forge birth a --metaslab 0:17:1", "such as 0:17"},
		{"forge --list a", "--list takes no arguments"},
	} {
		code, out, says := command(t, strings.Fields(c.args)...)
		if code != misused || out != "" || !strings.Contains(says, c.says) {
			t.Errorf("%s: exit %d, %q, %q", c.args, code, out, says)
		}
	}
	code, out, _ := command(t, "forge", "--list")
	for _, f := range forge.All() {
		if code != held || !strings.Contains(out, f.Name) {
			t.Errorf("exit %d, %s is not in %q", code, f.Name, out)
		}
	}
}

// Copies are forged and audited; the originals stay, and copies that are there are not written over.
func TestForge(t *testing.T) {
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "live"))
	images := make([]string, 0, len(devices))
	before := map[string][32]byte{}
	for _, d := range devices {
		images = append(images, d.Name)
		before[d.Name] = sumOf(t, d.Name)
	}
	dir := t.TempDir()
	args := append([]string{"forge", "spacemap-duplicate-free", "--seed", "5", "--json", "--output", dir}, images...)
	code, out, says := command(t, args...)
	if code != held {
		t.Fatalf("exit %d: %s", code, says)
	}
	var made struct {
		Forgery, Pool, Effect string
		Changes               []struct{ Before, After string }
		Written               []string
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if made.Forgery != "spacemap-duplicate-free" || made.Pool != "live" || len(made.Changes) != 2 || len(made.Written) != len(images) {
		t.Errorf("%+v", made)
	}
	for _, path := range images {
		if sumOf(t, path) != before[path] {
			t.Errorf("%s has changed", path)
		}
		if sumOf(t, filepath.Join(dir, filepath.Base(path))) == before[path] {
			t.Errorf("the copy of %s has not", path)
		}
	}
	if code, out, says := command(t, append([]string{"audit"}, made.Written...)...); code != 1 || !strings.Contains(out, "freed-twice-in-space-map") {
		t.Errorf("audit: exit %d\n%s%s", code, out, says)
	}
	if code, _, says := command(t, args...); code != trouble || !strings.Contains(says, "is there already") {
		t.Errorf("exit %d, %q", code, says)
	}
	// The pool was never exported: a copy of its disk after a power cut looks the same.
	code, _, says = command(t, append([]string{"forge", "spacemap-header", "--in-place"}, made.Written...)...)
	if code != trouble || !strings.Contains(says, "was not exported") {
		t.Errorf("exit %d, %q", code, says)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(images) {
		t.Errorf("%v, %v", entries, err)
	}
}

func sumOf(t *testing.T, path string) [32]byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(p)
}
