package lab

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/atlas"
	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/crash"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// TestPageOfAtlas expects an atlas that is half done to say where it is done, how many bits are left, and that the host's memory is bad.
func TestPageOfAtlas(t *testing.T) {
	found, err := scenarios.Find([]string{"blkptr-dva-flip"})
	if err != nil {
		t.Fatal(err)
	}
	a := &atlas.Atlas{
		Target: "bp", Trigger: scenarios.Trigger{At: "zio_free_sync"}, Asked: campaign.Ask(found)[0], Controls: 1,
		Structure: bench.Structure{Path: "bp", Type: "blkptr_t", Size: 4, Fields: []string{"a", "b", "c", "d"}},
	}
	if err := a.Read(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Begin(t.Context(), store.NewCampaign(KindAtlas, "bits", a, a, ""))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{Version: "0.1.0", Driver: "qemu", Accel: "tcg", Host: "a host"}, errorsSoFar(7, 0))
	if err != nil {
		t.Fatal(err)
	}
	spec := a.Spec(2, false, 1)
	if err := session.Put(t.Context(), spec.ID(), spec, trial.Result{Arm: spec.Arm, Number: 1, Outcome: trial.Masked, Seconds: 3}); err != nil {
		t.Fatal(err)
	}
	if err := session.End(t.Context(), errorsSoFar(9, 1), nil); err != nil {
		t.Fatal(err)
	}
	p, err := Page(t.Context(), host.Dirs{}, s, []store.Campaign{c}, report.Comparison{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Atlases) != 1 || len(p.Runs) != 1 || p.Runs[0].Wanted != 4 { // three bits and the control
		t.Errorf("got %+v", p)
	}
	var html strings.Builder
	if err := page.Write(&html, p); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"vdevil 0.1.0, qemu TCG, a host", "bits: the host&#39;s memory had errors meanwhile, 2 corrected and 1 not"} {
		if !strings.Contains(html.String(), text) {
			t.Errorf("the page does not say %q", text)
		}
	}
}

func errorsSoFar(corrected, uncorrected int64) store.Errors {
	return store.Errors{Corrected: &corrected, Uncorrected: &uncorrected}
}

// TestPageOfStudy expects a state of a power cut to be a trial that can be opened, with what was wrong with it.
func TestPageOfStudy(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := crash.Request{Asked: campaign.Asked{File: "crash-storm.yaml"}, Arm: "storm", Image: trial.Image{ID: "image", OpenZFS: "2.3.2"}, States: 2}
	c, err := s.Begin(t.Context(), store.NewCampaign(KindCrash, "cut", r, r, ""))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{Version: "0.1.0", Driver: "qemu", Accel: "tcg", Host: "a host"}, store.Errors{})
	if err != nil {
		t.Fatal(err)
	}
	spec := trial.Spec{
		Version: trial.SpecVersion, Name: r.Name(), Arm: r.Arm, Number: 2, Image: "image", OpenZFS: "2.3.2", Driver: "qemu", Accel: "tcg", Cut: &trial.Cut{Record: "one"},
	}
	result := trial.Result{Arm: r.Arm, Number: 2, Outcome: trial.Corrupt, Reason: "fsync promised /tank/p/3", Repeat: "vdevil repeat cut/crash-storm/storm/2"}
	result.State = &trial.State{Kind: "subset"}
	if err := session.Put(t.Context(), spec.ID(), spec, result); err != nil {
		t.Fatal(err)
	}
	p, err := Page(t.Context(), host.Dirs{}, s, []store.Campaign{c}, report.Comparison{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Studies) != 1 || len(p.Runs) != 1 || p.Runs[0].Wanted != 1 {
		t.Errorf("got %+v", p)
	}
	var html strings.Builder
	if err := page.Write(&html, p); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"fsync promised /tank/p/3", "vdevil repeat cut/crash-storm/storm/2", "qemu TCG, a host"} {
		if !strings.Contains(html.String(), text) {
			t.Errorf("the page does not say %q", text)
		}
	}
}
