package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/trial"
)

// Began notes that a trial runs.
func (s *Session) Began(ctx context.Context, spec trial.Spec) error {
	_, err := s.store.db.ExecContext(ctx, "INSERT OR REPLACE INTO underway (session, spec, title, started) VALUES (?, ?, ?, ?)",
		s.id, spec.ID(), spec.Title(), stamp(time.Now()))
	return s.store.explain(err)
}

// Entered notes where the console of a trial that runs is found, a file and an offset in it.
func (s *Session) Entered(ctx context.Context, spec trial.Spec, console string, from int64) error {
	_, err := s.store.db.ExecContext(ctx, "UPDATE underway SET console = ?, begins = ? WHERE session = ? AND spec = ?", console, from, s.id, spec.ID())
	return s.store.explain(err)
}

// Left notes that a trial does not run any more.
func (s *Session) Left(ctx context.Context, spec trial.Spec) error {
	_, err := s.store.db.ExecContext(ctx, "DELETE FROM underway WHERE session = ? AND spec = ?", s.id, spec.ID())
	return s.store.explain(err)
}

// Lab is a session as others see it.
type Lab struct {
	Campaign    string // its ID
	Environment trial.Environment
	Started     time.Time
	Ended       time.Time // zero for one that is at work, that was killed, or whose end another computer knows
	Error       string    // what ended it early
	Running     []Running
	// Corrected and Uncorrected are the memory errors that its host counted from its beginning to its end, 0 also where nobody counts.
	Corrected, Uncorrected int64

	process string
}

// Running is a trial that a lab has begun and not ended.
type Running struct {
	Title   string
	Started time.Time
	Console string // the file, empty as long as there is none
	From    int64  // where in it the trial's part begins
}

// AtWork says whether it is one of the processes of this computer.
func (l Lab) AtWork() bool {
	p, err := host.ParseProcess(l.process)
	return l.Ended.IsZero() && err == nil && p.Alive()
}

// Labs are the sessions of a campaign, or of all for an empty word, the latest first.
func (s *Store) Labs(ctx context.Context, campaign string) (labs []Lab, err error) {
	var ids []string
	err = s.each(ctx, `SELECT id, campaign, environment, started, ended, error, process,
			coalesce(max(0, corrected_after - corrected_before), 0), coalesce(max(0, uncorrected_after - uncorrected_before), 0)
		FROM sessions WHERE ? IN ('', campaign) ORDER BY started DESC`,
		[]any{campaign}, func(rows *sql.Rows) error {
			var l Lab
			var id, environment, started, ended string
			if err := rows.Scan(&id, &l.Campaign, &environment, &started, &ended, &l.Error, &l.process, &l.Corrected, &l.Uncorrected); err != nil {
				return err
			}
			err := errors.Join(json.Unmarshal([]byte(environment), &l.Environment), parse(started, &l.Started), parse(ended, &l.Ended))
			ids, labs = append(ids, id), append(labs, l)
			return err
		})
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if labs[i].Ended.IsZero() {
			if labs[i].Running, err = s.running(ctx, id); err != nil {
				return nil, err
			}
		}
	}
	return labs, nil
}

func (s *Store) running(ctx context.Context, session string) (all []Running, err error) {
	err = s.each(ctx, "SELECT title, started, console, begins FROM underway WHERE session = ? ORDER BY started", []any{session}, func(rows *sql.Rows) error {
		var r Running
		var started string
		if err := rows.Scan(&r.Title, &started, &r.Console, &r.From); err != nil {
			return err
		}
		err := parse(started, &r.Started)
		all = append(all, r)
		return err
	})
	return all, err
}

// parse reads a stamp, of which an empty one is no time.
func parse(text string, t *time.Time) (err error) {
	if text != "" {
		*t, err = time.Parse(time.RFC3339Nano, text)
	}
	return err
}

// Changes counts what other connections have written, also those of other processes.
type Changes struct {
	mu   sync.Mutex
	conn *sql.Conn
}

// Changes begins to count.
func (s *Store) Changes(ctx context.Context) (*Changes, error) {
	conn, err := s.db.Conn(ctx)
	return &Changes{conn: conn}, s.explain(err)
}

// Version is another one after each change.
func (c *Changes) Version(ctx context.Context) (version int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
	return version, err
}

// Close gives the connection back.
func (c *Changes) Close() error { return c.conn.Close() }
