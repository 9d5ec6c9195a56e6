package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// begin makes a campaign with a session.
func begin(t *testing.T, s *Store, name string) (Campaign, *Session) {
	t.Helper()
	c, err := s.Begin(t.Context(), NewCampaign("run", name, "what", map[string]int{"trials": 3}, "/runs/"+name))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), c.ID, trial.Environment{Version: "1", Host: name}, Errors{})
	if err != nil {
		t.Fatal(err)
	}
	return c, session
}

func spec(number int) trial.Spec {
	return trial.Spec{Version: trial.SpecVersion, Name: "scenario", Scenario: "name: scenario\n", Arm: "arm", Number: number, OpenZFS: "2.3.2"}
}

func put(t *testing.T, s *Session, number int, o trial.Outcome) {
	t.Helper()
	r := trial.Result{
		Arm: "arm", Number: number, Outcome: o, Text: "PANIC", Reason: "so", Started: time.Now().UTC(), Seconds: 2, Spans: []trial.Span{{Name: "fork", Seconds: 1}, {Name: trial.Workload, Seconds: 0.5}},
		Events:     []panics.Event{{Class: panics.Panic, Text: "PANIC", Raw: []byte("raw")}},
		Injections: []trial.Injection{{Target: "a->b", Before: trial.Bytes{1}, After: trial.Bytes{3}}},
	}
	if err := s.Put(t.Context(), spec(number).ID(), spec(number), r); err != nil {
		t.Fatal(err)
	}
}

// TestTrials expects what was put to come back whole, spec and messages included.
func TestTrials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?#b", "vdevil.db")
	s := open(t, path)
	c, session := begin(t, s, "one")
	put(t, session, 1, trial.Panic)
	put(t, session, 2, trial.Masked)
	put(t, session, 3, trial.Masked)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	var all []Trial
	if err := s.Trials(t.Context(), c.ID, Filter{Scenario: "scenario", OpenZFS: "2.3.2", Arm: "arm", Number: 1}, func(one Trial) error {
		all = append(all, one)
		return nil
	}); err != nil || len(all) != 1 {
		t.Fatalf("%d trials, %v", len(all), err)
	}
	one := all[0]
	if one.Spec != spec(1) || one.ID != spec(1).ID() || one.Environment.Host != "one" || string(one.Result.Events[0].Raw) != "raw" || one.Result.Injections[0].Target != "a->b" {
		t.Errorf("got %+v", one)
	}
	outline, err := s.Outline(t.Context(), c.ID)
	if err != nil || len(outline) != 3 {
		t.Fatalf("%d in the outline, %v", len(outline), err)
	}
	for n, whole := range map[int]bool{1: true, 2: true, 3: false} {
		r := outline[spec(n).ID()]
		if r.Number != n || r.Text != "PANIC" || r.Reason != "so" || r.Seconds != 2 || r.Lasted() != 0.5 || (len(r.Events) > 0) != whole || (len(r.Injections) > 0) != whole {
			t.Errorf("trial %d in the outline: %+v", n, r)
		}
	}
	found, err := s.Find(t.Context(), c.ID[:3])
	if err != nil || found.Trials != 3 || found.Invalid != 0 || found.Seconds != 6 || found.Over {
		t.Errorf("got %+v, %v", found, err)
	}
	if err := errors.Join(s.Over(t.Context(), c.ID, true), session.End(t.Context(), Errors{}, nil), s.Forget(t.Context(), c.ID, []string{spec(3).ID()})); err != nil {
		t.Error(err)
	}
	if found, err = s.Find(t.Context(), ""); err != nil || !found.Over || found.Trials != 2 {
		t.Errorf("got %+v, %v", found, err)
	}
	if err := s.Remove(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	for _, table := range []string{"campaigns", "sessions", "trials", "records", "spans"} {
		var n int
		if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows of %s are left, %v", n, table, err)
		}
	}
}

// TestFirstCounts expects a second result of a spec to change nothing, unless it is the first valid one.
func TestFirstCounts(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	c, session := begin(t, s, "one")
	for i, tt := range []struct{ put, want trial.Outcome }{
		{trial.Invalid, trial.Invalid}, {trial.Invalid, trial.Invalid}, {trial.Panic, trial.Panic}, {trial.Masked, trial.Panic}, {trial.Invalid, trial.Panic},
	} {
		put(t, session, 1, tt.put)
		all, err := s.Results(t.Context(), c.ID)
		if r := all[spec(1).ID()]; err != nil || len(all) != 1 || r.Outcome != tt.want {
			t.Errorf("put %d: %s, %v", i, r.Outcome, err)
		}
	}
}

func TestNames(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	c, _ := begin(t, s, "one")
	if again, _ := begin(t, s, "one"); again.ID != c.ID {
		t.Error("the same campaign has two IDs")
	}
	_, err := s.Begin(t.Context(), NewCampaign("run", "one", "something else", nil, ""))
	if err == nil || !strings.Contains(err.Error(), "name of another campaign, "+c.ID) {
		t.Errorf("got %v", err)
	}
	var missing *NotFoundError
	if _, err := s.Find(t.Context(), "no"); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
	if _, err := open(t, filepath.Join(t.TempDir(), "x")).Find(t.Context(), ""); !errors.As(err, &missing) || !strings.Contains(err.Error(), "no campaign was stored yet") {
		t.Errorf("got %v", err)
	}
}

// TestMerge expects the parts of a campaign to become one, and a second merge to change nothing.
func TestMerge(t *testing.T) {
	dir := t.TempDir()
	here, there := open(t, filepath.Join(dir, "here.db")), open(t, filepath.Join(dir, "there.db"))
	c, part := begin(t, here, "one")
	put(t, part, 1, trial.Panic)
	put(t, part, 2, trial.Invalid)
	_, other := begin(t, there, "one")
	put(t, other, 1, trial.Masked)
	put(t, other, 2, trial.Healed)
	put(t, other, 3, trial.Latent)
	alone, more := begin(t, there, "two")
	put(t, more, 4, trial.Hang)
	for round, want := range []Merged{{Campaigns: 1, Trials: 3}, {}} {
		m, err := here.Merge(t.Context(), there.path)
		want.File = there.path
		if err != nil || m != want {
			t.Errorf("merge %d: %+v, %v", round+1, m, err)
		}
		all, err := here.Results(t.Context(), c.ID)
		if err != nil || len(all) != 3 || all[spec(1).ID()].Outcome != trial.Panic || all[spec(2).ID()].Outcome != trial.Healed || all[spec(3).ID()].Outcome != trial.Latent {
			t.Errorf("merge %d: %v, %v", round+1, all, err)
		}
		if all, err = here.Results(t.Context(), alone.ID); err != nil || len(all) != 1 || len(all[spec(4).ID()].Events) != 1 {
			t.Errorf("merge %d: %v, %v", round+1, all, err)
		}
	}
	if _, err := here.Merge(t.Context(), filepath.Join(dir, "none.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store that is not there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none.db")); err == nil {
		t.Error("a store that was asked for was made")
	}
}

// TestTogether lets several stores write the same file at once.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vdevil.db")
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			_, session := begin(t, s, "one")
			for n := range 25 {
				put(t, session, 100*i+n+1, trial.Masked)
			}
		})
	}
	group.Wait()
	if c, err := open(t, path).Find(t.Context(), "one"); err != nil || c.Trials != 100 {
		t.Errorf("%d trials, %v", c.Trials, err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	s := open(t, newer)
	if _, err := s.db.ExecContext(t.Context(), "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged.db")
	if err := os.WriteFile(damaged, []byte(strings.Repeat("no database at all\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		newer: "has version 99, this vdevil knows 3: use the newer vdevil", damaged: "it is damaged: move it away",
		"/proc/vdevil.db": "/proc/vdevil.db",
	} {
		if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestFull fills the disk that the store is on: what was stored stays.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() == 0 { // nobody else may mount one
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
	}
	s, err := Open(t.Context(), filepath.Join(dir, "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	s.db.SetMaxOpenConns(1)                                                                 // for what follows
	if _, err := s.db.ExecContext(t.Context(), "PRAGMA max_page_count = 250"); err != nil { // the same answer, of a disk of a megabyte
		t.Fatal(err)
	}
	c, session := begin(t, s, "one")
	stored := 0
	for err == nil && stored < 10_000 {
		r := trial.Result{Outcome: trial.Masked, Text: strings.Repeat("x", 10_000)}
		if err = session.Put(t.Context(), spec(stored+1).ID(), spec(stored+1), r); err == nil {
			stored++
		}
	}
	if err == nil || !strings.Contains(err.Error(), "make room, nothing that was stored is lost") {
		t.Errorf("after %d trials: %v", stored, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s, err = Open(t.Context(), filepath.Join(dir, "vdevil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if found, err := s.Find(t.Context(), c.ID); err != nil || found.Trials != stored || stored == 0 {
		t.Errorf("%d trials are left of %d, %v", found.Trials, stored, err)
	}
}

var size = flag.Int("trials", 10_000, "how many trials BenchmarkStore puts")

// BenchmarkStore measures how fast trials are put, and how fast a campaign of all of them is read.
//
//	go test ./lab/store -run '^$' -bench Store -benchtime 1x -trials 100000
func BenchmarkStore(b *testing.B) {
	ctx := context.Background()
	for b.Loop() {
		s, err := Open(ctx, filepath.Join(b.TempDir(), "vdevil.db"))
		if err != nil {
			b.Fatal(err)
		}
		c, err := s.Begin(ctx, NewCampaign("run", "big", "what", nil, ""))
		if err != nil {
			b.Fatal(err)
		}
		session, err := s.Session(ctx, c.ID, trial.Environment{}, Errors{})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		for n := range *size {
			r := trial.Result{Arm: fmt.Sprintf("arm%d", n%4), Number: n/4 + 1, Outcome: trial.Masked, Started: time.Now(), Bundle: "/state/runs/x/" + fmt.Sprint(n)}
			one := spec(n)
			one.Arm, one.Number = r.Arm, r.Number
			if err := session.Put(ctx, one.ID(), one, r); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(*size)/time.Since(start).Seconds(), "puts/s")
		for name, read := range map[string]func() error{
			"list-s":    func() error { _, err := s.List(ctx); return err },
			"outline-s": func() error { _, err := s.Outline(ctx, c.ID); return err },
			"results-s": func() error { _, err := s.Results(ctx, c.ID); return err },
		} {
			start := time.Now()
			if err := read(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(start).Seconds(), name)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
