package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/oracle"
)

func TestVerify(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	dir := t.TempDir()
	var o oracle.Oracle
	if findings, err := g.Verify(t.Context(), &o); err != nil || len(findings) > 0 {
		t.Errorf("an oracle that knows nothing: %v %v", findings, err)
	}
	for _, name := range []string{"a", "b b", "c\nc", `d\d`, "e'ü", "-f", "wrong", "short", "missing 1", "missing\n2", "unreadable"} {
		data := oracle.Content(1, name, 5000)
		path := filepath.Join(dir, name)
		o.Record(path, data)
		switch {
		case name == "wrong":
			data[4999] ^= 1
		case name == "short":
			data = data[:4999]
		case strings.HasPrefix(name, "missing"):
			continue
		case name == "unreadable":
			if err := os.Mkdir(path, 0o755); err != nil { // unreadable for root, too
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	findings, err := g.Verify(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	for result, want := range map[oracle.Result][]string{
		oracle.Intact:     {"-f", "a", "b b", "c\nc", `d\d`, "e'ü"},
		oracle.Wrong:      {"short", "wrong"},
		oracle.Missing:    {"missing\n2", "missing 1"},
		oracle.Unreadable: {"unreadable"},
	} {
		got := make([]string, 0, len(want))
		for _, path := range findings.Of(result) {
			got = append(got, filepath.Base(path))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", result, got, want)
		}
	}
	if len(findings) != len(o.Files()) {
		t.Errorf("%d findings for %d files", len(findings), len(o.Files()))
	}
}
