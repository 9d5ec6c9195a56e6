package images

import (
	"strings"
	"testing"
)

func TestRecipes(t *testing.T) {
	rows, err := Recipes()
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]Recipe{
		"":       {OpenZFS: "2.3.2", Suite: "bookworm-backports", Base: "bookworm", Default: true, Kernel: "6.1"},
		"2.3.2":  {OpenZFS: "2.3.2", Suite: "bookworm-backports", Base: "bookworm", Default: true, Kernel: "6.1"},
		"2.1.11": {OpenZFS: "2.1.11", Suite: "bookworm", Base: "bookworm"},
		"2.3.9":  {OpenZFS: "2.3.9", Suite: "trixie", Base: "trixie", Kernel: "6.12"},
		"2.4.4":  {OpenZFS: "2.4.4", Suite: "trixie-backports", Base: "trixie"},
	} {
		if got, err := find(rows, version); err != nil || got != want {
			t.Errorf("version %q: %+v, %v; want %+v", version, got, err, want)
		}
	}
	if _, err := find(rows, "9.9.9"); err == nil || !strings.Contains(err.Error(), "2.1.11, 2.3.2") {
		t.Errorf("an unknown version: %v; want the known ones", err)
	}
}

func TestBadRecipes(t *testing.T) {
	const good = "- {openzfs: 2.3.2, suite: bookworm, default: true}\n"
	if _, err := parseRecipes([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ text, says string }{
		"unknown key":  {"- {openzfs: 2.3.2, suit: bookworm, default: true}", `unknown field "suit"`},
		"key twice":    {"- {openzfs: 2.3.2, suite: a, suite: b, default: true}", "suite"},
		"no version":   {"- {suite: bookworm, default: true}", "row 1: openzfs"},
		"odd version":  {good + "- {openzfs: v2.3, suite: bookworm}", "row 2: openzfs"},
		"row twice":    {good + good, "has a row already"},
		"no suite":     {"- {openzfs: 2.3.2, default: true}", "suite"},
		"a host":       {"- {openzfs: 2.3.2, suite: 'http://mirror/debian', default: true}", "want a Debian suite"},
		"odd base":     {"- {openzfs: 2.3.2, suite: a, base: 'b c', default: true}", "base"},
		"no default":   {"- {openzfs: 2.3.2, suite: bookworm}", "0 rows are the default"},
		"two defaults": {good + "- {openzfs: 2.3.3, suite: bookworm, default: true}", "2 rows are the default"},
		"empty":        {"", "0 rows"},
		"not a list":   {"openzfs: 2.3.2", "recipes"},
	} {
		if _, err := parseRecipes([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, tt.says)
		}
	}
}
