package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

// remember stores a campaign of blkptr-dva-flip whose first trials of each arm are done, those of one part if asked for.
func remember(t *testing.T, d host.Dirs, name string, trials int, part campaign.Shard) {
	t.Helper()
	rememberHits(t, d, name, trials, part, trials)
}

// rememberHits has only the first so many trials of the fault arm hit.
func rememberHits(t *testing.T, d host.Dirs, name string, trials int, part campaign.Shard, hits int) {
	t.Helper()
	s, err := lab.OpenStore(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := scenarios.Find([]string{"blkptr-dva-flip"})
	if err != nil {
		t.Fatal(err)
	}
	q := &campaign.Questions{
		Asked: campaign.Ask(found), Images: []trial.Image{{ID: "image", OpenZFS: "2.3.2"}}, Driver: "qemu", Accel: "tcg", Seed: 7,
		Trials: trials, Fixed: true,
	}
	if err := q.Plan(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(lab.RunsDir(d), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := s.Begin(t.Context(), store.NewCampaign(lab.KindRun, name, q, q, dir))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{Version: "0.1.0", Driver: "qemu", Accel: "tcg", Host: "here"}, store.Errors{})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := q.Next(nil)
	for i, w := range want {
		if part.Of > 0 && i%part.Of != part.Part-1 {
			continue
		}
		r := trial.Result{Arm: w.Spec.Arm, Number: w.Spec.Number, Seed: w.Spec.Seed, Started: time.Now().UTC(), Seconds: 5, Outcome: trial.Masked, Repeat: w.Repeat}
		if r.Control = w.Spec.Arm == "no-flip"; !r.Control && w.Spec.Number <= hits {
			r.Outcome, r.Signature, r.Text = trial.Panic, "range-tree-add-overlap@metaslab_free_concrete", "PANIC: zfs: adding existent segment"
			r.Events = []panics.Event{{
				Class: panics.Panic, Condition: "range-tree-add-overlap", Caller: "metaslab_free_concrete", Text: r.Text, Thread: "txg_sync", PID: 182,
			}}
		}
		if err := session.Put(t.Context(), w.ID, w.Spec, r); err != nil {
			t.Fatal(err)
		}
	}
}

// succeed runs vdevil and gives what it prints.
func succeed(t *testing.T, args ...string) string {
	t.Helper()
	code, out, err := command(t, args...)
	if code != held {
		t.Fatalf("vdevil %v: status %d, %s", args, code, err)
	}
	return out
}

func contains(t *testing.T, text string, pieces ...string) {
	t.Helper()
	for _, p := range pieces {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in\n%s", p, text)
		}
	}
}

// TestCampaigns lists, shows, and forgets what was stored, without a lab.
func TestCampaigns(t *testing.T) {
	dirs := own(t)
	remember(t, dirs, "tonight", 6, campaign.Shard{})
	contains(t, succeed(t, "runs"), "NAME", "tonight", "12 ", "1m00s", "to resume")
	contains(t, succeed(t, "show"), "blkptr-dva-flip on OpenZFS 2.3.2: reproduces, as expected", "6/6", "thread txg_sync, PID 182", "seed 7")
	contains(t, succeed(t, "show", "tonight/blkptr-dva-flip/flip/2"), "blkptr-dva-flip on OpenZFS 2.3.2, flip/2: panic", "thread txg_sync", "image image, here")
	var d report.Document
	if err := json.Unmarshal([]byte(succeed(t, "show", "tonight", "--json")), &d); err != nil || len(d.Results) != 1 || len(d.Results[0].Arms[0].Results) != 6 || d.Lab.Host != "here" {
		t.Errorf("%+v, %v", d, err)
	}
	var list []store.Campaign
	if err := json.Unmarshal([]byte(succeed(t, "runs", "--json")), &list); err != nil || len(list) != 1 || list[0].Trials != 12 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, c := range []struct{ args, says string }{
		{"show tonight/nothing", "campaign tonight has no trials of scenario nothing"},
		{"show tonight/blkptr-dva-flip/flip/99", "campaign tonight has no trial blkptr-dva-flip/flip/99"},
		{"repeat tonight", "names no trial"},
		{"rm ", "the name of the campaign is empty"},
		{"resume ", "the name of the campaign is empty"},
	} {
		if code, _, err := command(t, strings.Split(c.args, " ")...); code != misused || !strings.Contains(err, c.says) {
			t.Errorf("vdevil %s: status %d, %s", c.args, code, err)
		}
	}
	var one struct {
		Spec   trial.Spec     `json:"spec"`
		Result trial.Result   `json:"result"`
		Events []panics.Event `json:"events"`
	}
	if err := json.Unmarshal([]byte(succeed(t, "show", "tonight/blkptr-dva-flip/flip/2", "--json")), &one); err != nil || one.Spec.Number != 2 ||
		one.Result.Outcome != trial.Panic || len(one.Events) != 1 || one.Events[0].Thread != "txg_sync" {
		t.Errorf("%+v, %v", one, err)
	}
	if err := json.Unmarshal([]byte(succeed(t, "rm", "tonight", "--json")), &list); err != nil || len(list) != 1 || list[0].Name != "tonight" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(lab.RunsDir(dirs), "tonight")); !os.IsNotExist(err) {
		t.Errorf("its bundles are left: %v", err)
	}
	contains(t, succeed(t, "runs", "--json"), "[]")
}

// TestMergeCommand puts two parts of a campaign together, which then has all that it wants.
func TestMergeCommand(t *testing.T) {
	var files []string
	for part := 1; part <= 2; part++ {
		dirs := own(t)
		remember(t, dirs, "tonight", 6, campaign.Shard{Part: part, Of: 2})
		files = append(files, filepath.Join(dirs.State, "vdevil.db"))
	}
	own(t)
	contains(t, succeed(t, "merge", files[0]), "1 campaigns and 6 trials added")
	contains(t, succeed(t, "runs"), "to resume")
	contains(t, succeed(t, "merge", files[0], files[1]), "0 campaigns and 0 trials added", "0 campaigns and 6 trials added")
	contains(t, succeed(t, "runs"), "12 ", "done")
	contains(t, succeed(t, "show", "tonight"), "reproduces, as expected", "6/6")
	saved := filepath.Join(t.TempDir(), "all.db.zst")
	succeed(t, "save", saved)
	succeed(t, "save", saved) // replaces the first
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(saved), "*")); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
	own(t)
	contains(t, succeed(t, "merge", saved), "1 campaigns and 12 trials added")
	write(t, "broken.db.zst", "no store")
	if code, _, err := command(t, "merge", "broken.db.zst"); code != trouble || !strings.Contains(err, "unpack broken.db.zst") {
		t.Errorf("status %d, %s", code, err)
	}
	if code, _, err := command(t, "merge", "/nosuch.db"); code != misused || !strings.Contains(err, "/nosuch.db: no such file") {
		t.Errorf("status %d, %s", code, err)
	}
}

// TestStatusOfParts expects what was left for another part not to be held against this one.
func TestStatusOfParts(t *testing.T) {
	dirs := own(t)
	remember(t, dirs, "tonight", 6, campaign.Shard{Part: 1, Of: 2})
	contains(t, succeed(t, "show", "tonight"), "no verdict, as trials are missing yet")
	if err := expectations([]verdict.Summary{{Missing: 3, Verdict: verdict.Inconclusive}}); err != nil {
		t.Error(err)
	}
	if err := expectations([]verdict.Summary{{Missing: 3, Against: []string{"flip/1: another outcome"}}}); err == nil {
		t.Error("what was found is not told")
	}
}
