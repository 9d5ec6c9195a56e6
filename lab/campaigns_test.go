package lab

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/hunt"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// TestAlone expects one lab at a time to do the same trials, and the other one to be told who does.
func TestAlone(t *testing.T) {
	l := &Lab{opts: Options{Dirs: host.Dirs{State: t.TempDir()}}}
	c := store.Campaign{ID: "3f2a", Name: "to night", Dir: filepath.Join(RunsDir(l.opts.Dirs), "20261129-100000.000")}
	leave, err := l.alone(c, campaign.Shard{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.alone(c, campaign.Shard{Part: 1, Of: 1}); err == nil || !strings.Contains(err.Error(), "by this process") || !strings.Contains(err.Error(), "vdevil show 'to night'") {
		t.Errorf("got %v", err)
	}
	leave()
	for part := 1; part <= 2; part++ {
		leave, err := l.alone(c, campaign.Shard{Part: part, Of: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	c.Dir = "/of/another/computer"
	if leave, err = l.alone(c, campaign.Shard{}); err != nil {
		t.Fatal(err)
	}
	leave()
	if _, err := os.Stat(filepath.Join(RunsDir(l.opts.Dirs), c.ID)); err != nil {
		t.Error(err)
	}
}

// TestNote expects the store to know at any time which trials run, and of none when the lab has ended.
func TestNote(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Begin(t.Context(), store.NewCampaign(KindRun, "tonight", "what", nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{}, store.Errors{})
	if err != nil {
		t.Fatal(err)
	}
	one, two := trial.Spec{Name: "storm", Arm: "a", Number: 1}, trial.Spec{Name: "storm", Arm: "a", Number: 2}
	for _, step := range []struct {
		event   campaign.Event
		running int
	}{
		{campaign.Started{Spec: one}, 1}, {campaign.Started{Spec: two}, 2}, {campaign.Entered{Spec: one, Console: "/console", From: 7}, 2},
		{campaign.Skipped{}, 2}, {campaign.Ended{Spec: two}, 1}, {campaign.Dropped{Spec: one}, 0}, {campaign.Started{Spec: two}, 1},
	} {
		if err := note(t.Context(), session, step.event); err != nil {
			t.Fatal(err)
		}
		labs, err := s.Labs(t.Context(), c.ID)
		if err != nil || len(labs) != 1 || !labs[0].AtWork() || len(labs[0].Running) != step.running {
			t.Fatalf("after %T: %+v, %v", step.event, labs, err)
		}
		if _, ok := step.event.(campaign.Entered); ok {
			if r := labs[0].Running[0]; r.Title != one.Title() || r.Console != "/console" || r.From != 7 {
				t.Errorf("%+v", r)
			}
		}
	}
	if err := session.End(t.Context(), store.Errors{}, nil); err != nil {
		t.Fatal(err)
	}
	if labs, err := s.Labs(t.Context(), ""); err != nil || len(labs) != 1 || labs[0].AtWork() || len(labs[0].Running) > 0 {
		t.Errorf("after the end: %+v, %v", labs, err)
	}
}

// TestShowHunt expects a stored hunt to be shown as it was found: two trials of an arm that are latent in two ways are two findings.
func TestShowHunt(t *testing.T) {
	found, err := scenarios.Find([]string{"random-operations"})
	if err != nil {
		t.Fatal(err)
	}
	h := &hunt.Search{
		Asked: campaign.Ask(found)[0], Draw: 2, Count: 5, Trials: 9, Driver: "qemu", Accel: "tcg", Images: []trial.Image{{ID: "a", OpenZFS: "2.3.2"}},
	}
	if err := h.Plan(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Begin(t.Context(), store.NewCampaign(KindHunt, "night", h, h, ""))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{}, store.Errors{})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := h.Next(nil)
	for i, kind := range map[int]string{0: "leaked", 4: "ddt-count"} {
		r := trial.Result{
			Arm: want[i].Spec.Arm, Number: want[i].Spec.Number, Outcome: trial.Latent, Audit: []string{kind + ": x"},
			Code: &trial.Code{Functions: 9, Reached: 2, First: []string{"f" + kind}},
		}
		if err := session.Put(t.Context(), want[i].ID, want[i].Spec, r); err != nil {
			t.Fatal(err)
		}
	}
	shown, err := Show(t.Context(), s, c, false)
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]int{}
	for _, f := range shown.Hunt.Findings {
		groups[f.Group] = f.Trials
	}
	if !maps.Equal(groups, map[string]int{"latent leaked": 1, "latent ddt-count": 1}) || want[0].Spec.Arm != want[4].Spec.Arm || shown.Hunt.Code[0].Reached != 2 {
		t.Errorf("found %v, came to %v", groups, shown.Hunt.Code)
	}
}
