// Package store remembers campaigns and their trials in one SQLite file. It is the truth about what was done: what runs
// writes to it as things end, what reports reads from it. Several processes may write at once.
package store

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/vdevil/vdevil/lab/host"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// migrations bring a file from the version of their index to the next one. One that has been released never changes.
//
//go:embed schema.sql
var schema string

//go:embed underway.sql
var underway string

//go:embed places.sql
var places string

var migrations = []string{schema, underway, places}

// Store is an open file.
type Store struct {
	db   *sql.DB
	path string
}

// Open opens a store, or makes it.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// A transaction that will write says so from its beginning: it then waits for its turn, where it would fail otherwise.
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(30000)", "synchronous(normal)", "foreign_keys(1)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Store{db: db, path: path}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Path is the file's.
func (s *Store) Path() string { return s.path }

// migrate brings a file to the version that this lab writes, one lab at a time: SQLite waits for nobody when it changes the kind of
// journal, which is done once in a file's life.
func (s *Store) migrate(ctx context.Context) error {
	version, err := s.version(ctx)
	if err != nil || version == len(migrations) {
		return err
	}
	unlock, err := host.Lock(ctx, s.path+".lock", nil)
	if err != nil {
		return fmt.Errorf("open store %s: %w", s.path, err)
	}
	defer unlock()
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode = wal"); err != nil {
		return s.explain(err)
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		// Another process may have been faster.
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		for ; version < len(migrations); version++ {
			if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1)); err != nil {
				return err
			}
		}
		return nil
	})
}

// version is that of the file, at most the one that this lab writes.
func (s *Store) version(ctx context.Context) (version int, err error) {
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, s.explain(err)
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("store %s has version %d, this vdevil knows %d: use the newer vdevil that wrote it", s.path, version, len(migrations))
	}
	return version, nil
}

// write does something whole or not at all.
func (s *Store) write(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.explain(err)
	}
	if err := do(tx); err != nil {
		return s.explain(errors.Join(err, tx.Rollback()))
	}
	return s.explain(tx.Commit())
}

// explain adds the file and, where there is one, the remedy.
func (s *Store) explain(err error) error {
	if err == nil {
		return nil
	}
	remedy := ""
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			remedy = "; it is damaged: move it away and begin a new one, sqlite3 " + s.path + " .recover may save what is in it"
		case sqlite3.SQLITE_FULL:
			remedy = "; make room, nothing that was stored is lost"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
			remedy = "; it must be writable, with its directory"
		}
	}
	return fmt.Errorf("store %s: %w%s", s.path, err, remedy)
}

// marshal is for values that always marshal.
func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
