package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// Merged says what a merge has added.
type Merged struct {
	File      string `json:"file"`
	Campaigns int64  `json:"campaigns"`
	Trials    int64  `json:"trials"` // also such as were invalid here before
}

// Merge adds what another store has. Campaigns with the same ID become one; of a spec's two results the one that is here already
// stays, unless it is invalid and the other is not. To merge a store twice changes nothing. It may be one that Save compressed.
func (s *Store) Merge(ctx context.Context, path string) (m Merged, err error) {
	m.File = path
	if _, err := os.Stat(path); err != nil { // SQLite would make it
		return m, fmt.Errorf("merge: %w", err)
	}
	file, remove, err := unpack(path)
	if err != nil {
		return m, fmt.Errorf("merge: %w", err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	other, err := Open(ctx, file) // brings it to the version of this one, or says what is wrong with it
	if err != nil {
		return m, err
	}
	if err := other.Close(); err != nil {
		return m, err
	}
	whole, err := filepath.Abs(file)
	if err != nil {
		return m, err
	}
	conn, err := s.db.Conn(ctx) // what is attached is so for one connection
	if err != nil {
		return m, s.explain(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "ATTACH ? AS other", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: whole}).EscapedPath()}).String()); err != nil {
		return m, s.explain(err)
	}
	defer func() {
		_, e := conn.ExecContext(context.WithoutCancel(ctx), "DETACH other")
		err = errors.Join(err, s.explain(e))
	}()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return m, s.explain(err)
	}
	if err := m.add(ctx, tx); err != nil {
		return m, s.explain(fmt.Errorf("merge %s: %w", path, errors.Join(err, tx.Rollback())))
	}
	return m, s.explain(tx.Commit())
}

func (m *Merged) add(ctx context.Context, tx *sql.Tx) (err error) {
	// A name that another campaign has here gets the ID behind it.
	if m.Campaigns, err = changes(ctx, tx, `INSERT INTO main.campaigns SELECT id,
		CASE WHEN EXISTS (SELECT 1 FROM main.campaigns h WHERE h.name = o.name AND h.id <> o.id) THEN name || '-' || id ELSE name END,
		kind, request, created, state, dir FROM other.campaigns o WHERE true ON CONFLICT (id) DO NOTHING`); err != nil {
		return err
	}
	for _, statement := range []string{
		"INSERT OR IGNORE INTO main.texts SELECT * FROM other.texts",
		"INSERT INTO main.sessions SELECT * FROM other.sessions WHERE true ON CONFLICT (id) DO NOTHING",
	} {
		if _, err := changes(ctx, tx, statement); err != nil {
			return err
		}
	}
	const columns = "campaign, spec, session, name, openzfs, arm, control, number, outcome, signature, text, reason, audited, started, seconds"
	if m.Trials, err = changes(ctx, tx, "INSERT INTO main.trials ("+columns+") SELECT "+columns+" FROM other.trials WHERE true"+better); err != nil {
		return err
	}
	// What belongs to a trial is taken with it: those rows whose session is the one that the trial has here.
	const same = " FROM other.trials o JOIN main.trials t ON t.campaign = o.campaign AND t.spec = o.spec AND t.session = o.session AND t.started = o.started "
	for _, statement := range []string{
		"INSERT OR REPLACE INTO main.records SELECT t.id, r.scenario, r.spec, r.result, r.events" + same + "JOIN other.records r ON r.trial = o.id",
		"INSERT OR REPLACE INTO main.spans SELECT t.id, p.name, p.seconds" + same + "JOIN other.spans p ON p.trial = o.id",
	} {
		if _, err := changes(ctx, tx, statement); err != nil {
			return err
		}
	}
	return nil
}

func changes(ctx context.Context, tx *sql.Tx, statement string) (int64, error) {
	r, err := tx.ExecContext(ctx, statement)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
