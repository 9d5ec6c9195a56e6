package drive

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/scenarios"
)

// wrong runs steps and then says which of all files that the oracle knows are not as they must be, and how many it knows.
func (s *site) wrong(steps ...scenarios.Step) (wrong []string, known int) {
	s.t.Helper()
	if err := s.Run(s.t.Context(), append(steps, scenarios.Step{Verify: true})); err != nil {
		s.t.Fatal(err)
	}
	findings := s.Done().Findings
	return append(findings.Of(oracle.Wrong), findings.Of(oracle.Missing)...), len(findings)
}

func churned(writes int) scenarios.Step {
	return scenarios.Step{Churn: &scenarios.Churn{Dataset: "tank/c", Files: 5, Writes: writes}}
}

// TestChurnIsKnown expects the oracle to know every byte that churn and storms have written, also of files that are churned twice.
func TestChurnIsKnown(t *testing.T) {
	s := newSite(t)
	storm := scenarios.Step{SnapshotStorm: &scenarios.SnapshotStorm{Dataset: "tank/c", Snapshots: 3, Keep: 1}}
	wrong, known := s.wrong(churned(200), storm, churned(7), scenarios.Step{Together: []scenarios.Step{churned(50), storm, churned(60)}})
	if len(wrong) != 0 || known < 15 {
		t.Fatalf("%d files known, wrong are %q", known, wrong)
	}
	for _, pattern := range []string{"churn-3", "churn-2-1", "storm-2-0-*", "storm-4-1-*"} {
		found, err := filepath.Glob(s.path(pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no file %s, %v", pattern, err)
		}
		before, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		after := append([]byte(nil), before...)
		after[300] ^= 4
		if err := os.WriteFile(found[0], after, 0o600); err != nil {
			t.Fatal(err)
		}
		if wrong, _ := s.wrong(); len(wrong) != 1 || wrong[0] != found[0] {
			t.Errorf("one bit of %s is wrong, found is %q", found[0], wrong)
		}
		if err := os.WriteFile(found[0], before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChurnIsNotKnown expects nothing of files of which nobody can say what they have.
func TestChurnIsNotKnown(t *testing.T) {
	spoil := func(s *site) {
		t.Helper()
		if err := os.WriteFile(s.path("churn-0"), []byte("other"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("power cut", func(t *testing.T) {
		s := newSite(t)
		s.Reboot = func(context.Context) error { spoil(s); return nil }
		if wrong, known := s.wrong(churned(100), scenarios.Step{Reboot: true}); known != 0 {
			t.Errorf("%d files known, %q wrong", known, wrong)
		}
		s = newSite(t)
		s.Reboot = func(context.Context) error { spoil(s); return nil }
		if wrong, known := s.wrong(churned(100), scenarios.Step{Sync: true}, scenarios.Step{Reboot: true}); known != 5 || len(wrong) != 1 {
			t.Errorf("synced: %d files known, %q wrong", known, wrong)
		}
	})
	t.Run("prepared", func(t *testing.T) {
		s := newSite(t)
		if err := s.Recall([]scenarios.Step{{Together: []scenarios.Step{churned(9)}}}); err != nil {
			t.Fatal(err)
		}
		if wrong, known := s.wrong(churned(100)); known != 0 {
			t.Errorf("%d files known, %q wrong", known, wrong)
		}
	})
	t.Run("broken off", func(t *testing.T) {
		s := newSite(t)
		if _, known := s.wrong(churned(100)); known != 5 {
			t.Fatalf("%d files known", known)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		step := churned(0)
		step.Churn.For = time.Hour
		if err := s.Run(ctx, []scenarios.Step{step}); err == nil {
			t.Fatal("it came to its end")
		}
		if wrong, known := s.wrong(churned(10)); known != 0 {
			t.Errorf("%d files known, %q wrong", known, wrong)
		}
	})
}
