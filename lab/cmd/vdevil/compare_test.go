package main

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
)

// TestCompare expects a verdict that changed to decide the exit status, and the night on which the rate did to be named.
func TestCompare(t *testing.T) {
	dirs := own(t)
	if code, _, err := command(t, "compare"); code != misused {
		t.Errorf("an empty store: status %d, %s", code, err)
	}
	for _, name := range []string{"monday", "tuesday", "wednesday"} {
		remember(t, dirs, name, 10, campaign.Shard{})
	}
	contains(t, succeed(t, "compare"), "Tonight is wednesday", "before it 2 nights, the first monday", "Cells with a past to compare with: 2 of 2")
	rememberHits(t, dirs, "thursday", 10, campaign.Shard{}, 0)
	code, out, stderr := command(t, "compare")
	if code != notHeld {
		t.Errorf("status %d", code)
	}
	contains(t, stderr, "1 verdicts changed: blkptr-dva-flip on OpenZFS 2.3.2")
	contains(t, out, "Rates that changed:", "30 of 30", "0 of 10")
	succeed(t, "compare", "monday", "wednesday")

	// A night of an older vdevil, whose scenario this one does not read, is left out; tonight is not.
	db, err := sql.Open("sqlite", filepath.Join(dirs.State, "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	forget := func(name string) {
		if _, err := db.ExecContext(t.Context(), "UPDATE campaigns SET request = replace(request, 'question:', 'riddle:') WHERE name = ?", name); err != nil {
			t.Fatal(err)
		}
	}
	forget("monday")
	_, out, _ = command(t, "compare")
	contains(t, out, "Not compared: campaign monday asks what this vdevil does not read", "riddle", "vdevil rm monday", "before it 2 nights, the first tuesday")
	rememberHits(t, dirs, "friday", 10, campaign.Shard{}, 0)
	forget("friday")
	if code, _, err := command(t, "compare"); code == held || code == notHeld || !strings.Contains(err, "campaign friday asks what") {
		t.Errorf("status %d, %s", code, err)
	}
	succeed(t, "rm", "friday")

	write(t, "known.yaml", `- {scenario: "blkptr-*", verdict: does not reproduce, reason: "it is mended", until: 2999-12-31}`)
	var c report.Comparison
	if err := json.Unmarshal([]byte(succeed(t, "compare", "--known", "known.yaml", "--json")), &c); err != nil || len(c.Questions) != 1 || c.Questions[0].Known != "it is mended" {
		t.Errorf("%+v, %v", c.Questions, err)
	}
	write(t, "bad.yaml", "- {scenario: x, reason: y, until: 2999-12-31}")
	for _, args := range [][]string{{"compare", "--known", "bad.yaml"}, {"compare", "--known", "none.yaml"}, {"compare", "friday"}} {
		if code, _, err := command(t, args...); code != misused || err == "" {
			t.Errorf("%q: status %d, %s", args, code, err)
		}
	}
}
