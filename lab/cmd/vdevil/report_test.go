package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// TestReport expects what changed in every form, and the console of a trial from its bundle.
func TestReport(t *testing.T) {
	dirs := own(t)
	if code, _, err := command(t, "report"); code != misused {
		t.Errorf("an empty store: status %d, %s", code, err)
	}
	for _, name := range []string{"monday", "tuesday"} {
		remember(t, dirs, name, 10, campaign.Shard{})
	}
	contains(t, succeed(t, "report"), "## tuesday", "Compared with 1 run since", "Nothing changed", "| blkptr-dva-flip | ")
	rememberHits(t, dirs, "wednesday", 10, campaign.Shard{}, 0)
	to := t.TempDir()
	file := func(name string) string { return filepath.Join(to, name) }
	succeed(t, "report", "--html", file("page.html"), "--junit", file("junit.xml"), "--markdown", file("summary.md"), "--json", file("all.json"))
	for name, want := range map[string][]string{
		"page.html":  {"<title>wednesday", "since", "does not reproduce"},
		"junit.xml":  {"<failure", `classname="vdevil.blkptr-dva-flip"`},
		"summary.md": {"## wednesday", "blkptr-dva-flip", "reproduces", "wednesday"},
	} {
		text, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		contains(t, string(text), want...)
	}
	var d report.Document
	if text, err := os.ReadFile(file("all.json")); err != nil || json.Unmarshal(text, &d) != nil || len(d.Results) != 1 || d.Comparison == nil || !d.Comparison.Questions[0].Changed {
		t.Errorf("%+v, %v", d, err)
	}
	for _, a := range d.Results[0].Arms {
		for _, r := range a.Results {
			if r.Seed == 0 || r.Repeat == "" {
				t.Errorf("%s/%d is not whole: %+v", a.Name, r.Number, r)
			}
		}
	}
	contains(t, succeed(t, "report", "tuesday"), "Nothing changed")
	// What changed is told of wednesday, also beside another day.
	out := succeed(t, "report", "monday", "wednesday")
	contains(t, out, "🔺 does not reproduce, changed", "✅ reproduces, as expected")
	for _, c := range []struct{ args, says string }{
		{"wednesday --against wednesday", "no other run"},
		{"tuesday --against wednesday", "vdevil report wednesday --against tuesday"},
		{"--known none.yaml", "--known"},
	} {
		if code, _, err := command(t, append([]string{"report"}, strings.Fields(c.args)...)...); code != misused || !strings.Contains(err, c.says) {
			t.Errorf("report %s: status %d, %s", c.args, code, err)
		}
	}
	if code, _, err := command(t, "report", "--html", file("none/page.html")); code != trouble || !strings.Contains(err, file("none/page.html")) || strings.Contains(err, "vdevil-report") {
		t.Errorf("status %d, %s", code, err)
	}
	if left, _ := filepath.Glob(file(".*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestReportConsole reads the bundles of this computer's runs, and no other file.
func TestReportConsole(t *testing.T) {
	dirs := own(t)
	remember(t, dirs, "tonight", 2, campaign.Shard{})
	const said = "PANIC: zfs: from the console"
	outside := filepath.Join(t.TempDir(), "outside")
	inside := filepath.Join(lab.RunsDir(dirs), "tonight", "flip-001")
	for _, dir := range []string{outside, inside} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "console.log"), []byte(said+" of "+filepath.Base(dir)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(lab.RunsDir(dirs), "tonight", "flip-002")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	for bundle, want := range map[string]string{inside: said + " of flip-001\n", outside: "", link: ""} {
		p, err := lab.Page(t.Context(), dirs, nil, nil, report.Comparison{})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(p.Console(trialOf(bundle))); got != want {
			t.Errorf("%s: %q, want %q", bundle, got, want)
		}
	}
}

func trialOf(bundle string) trial.Result { return trial.Result{Bundle: bundle} }
