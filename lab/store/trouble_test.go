package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
)

// readOnly makes a file one that SQLite may only read, for root, too: its header asks for a newer SQLite to write it
// (https://www.sqlite.org/fileformat2.html, 1.3.3).
func readOnly(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{3}, 18); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// closed makes a store with a campaign of one trial and closes it.
func closed(t *testing.T, path string) Campaign {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c, session := begin(t, s, "one")
	put(t, session, 1, trial.Panic)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestReadOnly expects a store that may only be read to be read, and to say so when it is to be written.
func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vdevil.db")
	c := closed(t, path)
	readOnly(t, path)
	s := open(t, path)
	if all, err := s.Results(t.Context(), c.ID); err != nil || len(all) != 1 {
		t.Errorf("%d results, %v", len(all), err)
	}
	for name, err := range map[string]error{
		"begin":  second(s.Begin(t.Context(), NewCampaign("run", "two", "what", nil, ""))),
		"forget": s.Forget(t.Context(), c.ID, []string{spec(1).ID()}),
		"remove": s.Remove(t.Context(), c.ID),
		"over":   s.Over(t.Context(), c.ID, true),
	} {
		if err == nil || !strings.Contains(err.Error(), "store "+path+": ") || !strings.Contains(err.Error(), "it must be writable, with its directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found, err := s.Find(t.Context(), c.ID); err != nil || found.Trials != 1 || found.Over {
		t.Errorf("now there is %+v, %v", found, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestOpenRefused expects the path, and the remedy where there is one, of what cannot be opened.
func TestOpenRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"a directory":     {dir, "it must be writable, with its directory"},
		"below a file":    {filepath.Join(file, "vdevil.db"), "open store"},
		"below no folder": {"/proc/none/vdevil.db", "open store"},
	} {
		if _, err := Open(t.Context(), c.path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClosed expects every operation to name the file whose store it could not use.
func TestClosed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vdevil.db")
	closed(t, filepath.Join(dir, "other.db"))
	s := open(t, path)
	c, session := begin(t, s, "one")
	if s.Path() != path {
		t.Errorf("the path is %s", s.Path())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, err := range map[string]error{
		"begin":       second(s.Begin(ctx, c)),
		"over":        s.Over(ctx, c.ID, true),
		"find":        second(s.Find(ctx, "one")),
		"list":        second(s.List(ctx)),
		"forget":      s.Forget(ctx, c.ID, []string{"x"}),
		"remove":      s.Remove(ctx, c.ID),
		"environment": second(s.Environment(ctx, c.ID)),
		"session":     second(s.Session(ctx, c.ID, trial.Environment{}, Errors{})),
		"end":         session.End(ctx, Errors{}, nil),
		"put":         session.Put(ctx, "x", spec(1), trial.Result{}),
		"results":     second(s.Results(ctx, c.ID)),
		"outline":     second(s.Outline(ctx, c.ID)),
		"merge":       second(s.Merge(ctx, filepath.Join(dir, "other.db"))),
		"migrate":     s.migrate(ctx),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "store "+path+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamagedRecords expects the trial whose record cannot be read to be named, by all that read it.
func TestDamagedRecords(t *testing.T) {
	for what, damage := range map[string]string{
		"result":         "UPDATE records SET result = '{\"arm\"'",
		"events":         "UPDATE records SET events = 'none'",
		"spec":           "UPDATE records SET spec = '{'",
		"version":        "UPDATE records SET spec = '{\"version\": 99}'",
		"environment":    "UPDATE sessions SET environment = ''",
		"time":           "UPDATE trials SET started = 'today'",
		"a result's own": "UPDATE records SET result = '{\"number\": \"one\"}'",
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
			c, session := begin(t, s, "one")
			put(t, session, 1, trial.Panic)
			if _, err := s.db.ExecContext(t.Context(), damage); err != nil {
				t.Fatal(err)
			}
			readers := map[string]error{}
			if what != "time" {
				readers["results"] = second(s.Results(t.Context(), c.ID))
				readers["trials"] = s.Trials(t.Context(), c.ID, Filter{}, func(Trial) error { return nil })
			}
			if what == "time" || strings.Contains(what, "result") || what == "events" {
				readers["outline"] = second(s.Outline(t.Context(), c.ID))
			}
			for name, err := range readers {
				if err == nil || !strings.Contains(err.Error(), "trial "+spec(1).ID()+": ") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, err := s.Environment(t.Context(), c.ID); (err != nil) != (what == "environment") {
				t.Errorf("environment: %v", err)
			}
		})
	}
}

// TestTrialsStops expects the error of whoever takes the trials to end it.
func TestTrialsStops(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	c, session := begin(t, s, "one")
	put(t, session, 1, trial.Panic)
	put(t, session, 2, trial.Panic)
	enough, taken := errors.New("enough"), 0
	if err := s.Trials(t.Context(), c.ID, Filter{}, func(Trial) error { taken++; return enough }); !errors.Is(err, enough) || taken != 1 {
		t.Errorf("%d were taken, %v", taken, err)
	}
}

// TestSessions expects a session to keep what it was told, and no number where the host does not count.
func TestSessions(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	c, err := s.Begin(t.Context(), NewCampaign("run", "one", "what", nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := s.Environment(t.Context(), c.ID); err != nil || e != (trial.Environment{}) {
		t.Errorf("without a session the environment is %+v, %v", e, err)
	}
	n := func(n int64) *int64 { return &n }
	for i, tt := range []struct {
		before, after Errors
		failed        error
		want          string
	}{
		{Errors{}, Errors{}, nil, "'' NULL NULL NULL NULL"},
		{Errors{n(1), n(0)}, Errors{n(3), n(2)}, errors.New("no space"), "'no space' 1 3 0 2"},
		{Errors{Corrected: n(5)}, Errors{Corrected: n(5)}, context.Canceled, "'context canceled' 5 5 NULL NULL"},
	} {
		where := trial.Environment{Version: "1", Driver: "qemu", Accel: "tcg", Host: fmt.Sprint("host ", i)}
		session, err := s.Session(t.Context(), c.ID, where, tt.before)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := s.Environment(t.Context(), c.ID); err != nil || e != where {
			t.Errorf("the latest environment is %+v, %v; want %+v", e, err, where)
		}
		if err := session.End(t.Context(), tt.after, tt.failed); err != nil {
			t.Fatal(err)
		}
		var got, started, ended string
		if err := s.db.QueryRowContext(t.Context(), `SELECT quote(error) || ' ' || quote(corrected_before) || ' ' || quote(corrected_after) || ' ' ||
			quote(uncorrected_before) || ' ' || quote(uncorrected_after), started, ended FROM sessions WHERE id = ?`, session.id).Scan(&got, &started, &ended); err != nil {
			t.Fatal(err)
		}
		if got != tt.want || ended < started || started == "" {
			t.Errorf("session %d is %s from %s to %s, want %s", i, got, started, ended, tt.want)
		}
	}
	if _, err := s.Session(t.Context(), "none", trial.Environment{}, Errors{}); err == nil || !strings.Contains(err.Error(), "FOREIGN KEY") {
		t.Errorf("a session of no campaign: %v", err)
	}
}

// TestRemovedMeanwhile expects a trial of a campaign that somebody else has removed not to be lost without a word.
func TestRemovedMeanwhile(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	c, session := begin(t, s, "one")
	if err := s.Remove(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if err := session.Put(t.Context(), spec(1).ID(), spec(1), trial.Result{}); err == nil || !strings.Contains(err.Error(), "FOREIGN KEY") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Find(t.Context(), c.ID); err == nil {
		t.Error("the campaign is there again")
	}
}

// TestLatest expects the order of campaigns and sessions to be that of their times, whatever digits these end in.
func TestLatest(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	if all, err := s.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("an empty store lists %v, %v", all, err)
	}
	begun := time.Date(2025, 6, 1, 12, 0, 5, 0, time.UTC)
	var want []string
	for _, after := range []time.Duration{0, time.Nanosecond, 100 * time.Millisecond, 150 * time.Millisecond, time.Second, 9 * time.Hour} {
		c := NewCampaign("run", after.String(), "what", nil, "")
		c.Created = begun.Add(after)
		stored, err := s.Begin(t.Context(), c)
		if err != nil || !stored.Created.Equal(c.Created) {
			t.Fatalf("%s became %s, %v", c.Created, stored.Created, err)
		}
		want = append([]string{c.Name}, want...)
		if latest, err := s.Find(t.Context(), ""); err != nil || latest.Name != c.Name {
			t.Errorf("the latest is %s, %v; want %s", latest.Name, err, c.Name)
		}
	}
	all, err := s.List(t.Context())
	got := make([]string, 0, len(all))
	for _, c := range all {
		got = append(got, c.Name)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || err != nil {
		t.Errorf("listed are %v, %v; want %v", got, err, want)
	}
}

// TestFind expects the beginning of an ID to do where it is that of one campaign.
func TestFind(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "vdevil.db"))
	first := map[byte]int{}
	all := make([]Campaign, 0, 17)
	for n := range 17 { // two of them begin alike: there are 16 digits
		c, err := s.Begin(t.Context(), NewCampaign("run", fmt.Sprint("campaign ", n), "what", nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		first[c.ID[0]]++
		all = append(all, c)
	}
	for _, c := range all {
		if found, err := s.Find(t.Context(), c.ID[:len(c.ID)-1]); err != nil || found.ID != c.ID {
			t.Errorf("%s: %+v, %v", c.ID, found, err)
		}
		var several *NotFoundError
		_, err := s.Find(t.Context(), c.ID[:1])
		if n := first[c.ID[0]]; n > 1 && (!errors.As(err, &several) || several.Several != n || !strings.HasPrefix(err.Error(), fmt.Sprint(n, " campaigns begin with "))) || n == 1 && err != nil {
			t.Errorf("%d begin with %s: %v", n, c.ID[:1], err)
		}
	}
	if _, err := s.Find(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), `no campaign "nobody" was stored; vdevil runs lists those that were`) {
		t.Errorf("got %v", err)
	}
}

// TestMergeRefused expects a store that cannot be merged to say why, and this one to stay as it is.
func TestMergeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil string
		want  string
	}{
		"too new":     {"PRAGMA user_version = 99", "has version 99, this vdevil knows 3: use the newer vdevil"},
		"not whole":   {"DROP TABLE spans", "no such table: other.spans"},
		"no sessions": {"DROP TABLE sessions", "no such table: other.sessions"},
		"no trials":   {"DROP TABLE trials", "no such table: other.trials"},
		"nothing":     {"DROP TABLE campaigns", "no such table: other.campaigns"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			here, other := open(t, filepath.Join(dir, "here.db")), filepath.Join(dir, "other.db")
			c0, session := begin(t, here, "here")
			put(t, session, 1, trial.Masked)
			closed(t, other)
			db, err := sql.Open("sqlite", other)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), c.spoil); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first one must leave nothing open
				m, err := here.Merge(t.Context(), other)
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), other) || m.File != other {
					t.Errorf("got %+v, %v", m, err)
				}
			}
			put(t, session, 2, trial.Masked)
			all, err := here.List(t.Context())
			if err != nil || len(all) != 1 || all[0].ID != c0.ID || all[0].Trials != 2 {
				t.Errorf("now there are %+v, %v", all, err)
			}
		})
	}
}

// TestMergeNames expects a campaign whose name another one has here to be told by its ID.
func TestMergeNames(t *testing.T) {
	dir := t.TempDir()
	here, there := open(t, filepath.Join(dir, "here.db")), open(t, filepath.Join(dir, "there.db"))
	ours, _ := begin(t, here, "one")
	theirs, err := there.Begin(t.Context(), NewCampaign("run", "one", "something else", nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := here.Merge(t.Context(), there.path); err != nil || m.Campaigns != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	for word, want := range map[string]Campaign{"one": ours, "one-" + theirs.ID: theirs, theirs.ID: theirs} {
		if c, err := here.Find(t.Context(), word); err != nil || c.ID != want.ID {
			t.Errorf("%s is %+v, %v", word, c, err)
		}
	}
}

// TestMigrateTogether lets several make the same store at once: one does, the others find it made.
func TestMigrateTogether(t *testing.T) {
	for round := range 5 {
		path := filepath.Join(t.TempDir(), fmt.Sprint(round), "vdevil.db")
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			group.Go(func() {
				<-start
				s, err := Open(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if version, err := s.version(t.Context()); err != nil || version != len(migrations) {
					t.Errorf("version %d, %v", version, err)
				}
				if _, err := s.Begin(t.Context(), NewCampaign("run", "one", "what", nil, "")); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		group.Wait()
		if all, err := open(t, path).List(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("%d campaigns, %v", len(all), err)
		}
	}
}
