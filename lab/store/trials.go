package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
)

// better is the rule of two results of one spec: the first valid one counts, whatever comes later.
const better = " ON CONFLICT (campaign, spec) DO UPDATE SET session = excluded.session, control = excluded.control, outcome = excluded.outcome, " +
	"signature = excluded.signature, text = excluded.text, reason = excluded.reason, audited = excluded.audited, started = excluded.started, seconds = excluded.seconds " +
	"WHERE trials.outcome = 'invalid' AND excluded.outcome <> 'invalid'"

// Put remembers a trial that came to its end. The first valid result of a spec is the one that counts.
func (s *Session) Put(ctx context.Context, id string, spec trial.Spec, r trial.Result) error {
	text := spec.Scenario
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:16])
	spec.Scenario = ""
	return s.store.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO texts (hash, text) VALUES (?, ?)", hash, text); err != nil {
			return err
		}
		var row int64
		err := tx.QueryRowContext(ctx, "INSERT INTO trials (campaign, spec, session, name, openzfs, arm, control, number, outcome, signature, text, reason, audited, "+
			"started, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"+better+" RETURNING id",
			s.campaign, id, s.id, spec.Name, spec.OpenZFS, r.Arm, r.Control, spec.Number, string(r.Outcome), r.Signature, r.Text, r.Reason, r.NotAudited, stamp(r.Started), r.Seconds).Scan(&row)
		if errors.Is(err, sql.ErrNoRows) { // another one was first
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO records (trial, scenario, spec, result, events) VALUES (?, ?, ?, ?, ?)",
			row, hash, marshal(spec), marshal(r), marshal(r.Events)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM spans WHERE trial = ?", row); err != nil {
			return err
		}
		for _, span := range r.Spans {
			if _, err := tx.ExecContext(ctx, "INSERT INTO spans (trial, name, seconds) VALUES (?, ?, ?)", row, span.Name, span.Seconds); err != nil {
				return err
			}
		}
		return nil
	})
}

// Trial is a stored one.
type Trial struct {
	ID          string            `json:"id"` // of the spec
	Spec        trial.Spec        `json:"spec"`
	Result      trial.Result      `json:"result"`
	Environment trial.Environment `json:"environment"`
}

// Filter chooses trials; what is empty or zero holds for all.
type Filter struct {
	Scenario, OpenZFS, Arm string
	Number                 int
}

func (f Filter) where(campaign string) (string, []any) {
	text, args := "WHERE t.campaign = ?", []any{campaign}
	for _, c := range []struct{ column, value string }{{"name", f.Scenario}, {"openzfs", f.OpenZFS}, {"arm", f.Arm}} {
		if c.value != "" {
			text, args = text+" AND t."+c.column+" = ?", append(args, c.value)
		}
	}
	if f.Number != 0 {
		text, args = text+" AND t.number = ?", append(args, f.Number)
	}
	return text, args
}

// Results gives all trials of a campaign by the ID of their spec.
func (s *Store) Results(ctx context.Context, campaign string) (map[string]trial.Result, error) {
	all := map[string]trial.Result{}
	err := s.Trials(ctx, campaign, Filter{}, func(t Trial) error {
		all[t.ID] = t.Result
		return nil
	})
	return all, err
}

// Outline gives what decides a verdict of all trials of a campaign and how long their workload was, and all that is known of the first of those that ended alike:
// as much as a summary of thousands shows.
func (s *Store) Outline(ctx context.Context, campaign string) (map[string]trial.Result, error) {
	all := map[string]trial.Result{}
	err := s.each(ctx, `SELECT spec, arm, control, number, outcome, signature, text, reason, audited, started, seconds,
		(SELECT s.seconds FROM spans s WHERE s.trial = t.id AND s.name = ?)
		FROM trials t WHERE campaign = ?`, []any{trial.Workload, campaign}, func(rows *sql.Rows) error {
		var r trial.Result
		var id, started string
		var workload sql.NullFloat64
		err := rows.Scan(&id, &r.Arm, &r.Control, &r.Number, &r.Outcome, &r.Signature, &r.Text, &r.Reason, &r.NotAudited, &started, &r.Seconds, &workload)
		if err != nil {
			return err
		}
		if workload.Valid {
			r.Spans = []trial.Span{{Name: trial.Workload, Seconds: workload.Float64}}
		}
		if r.Started, err = time.Parse(time.RFC3339Nano, started); err != nil {
			return fmt.Errorf("trial %s: %w", id, err)
		}
		all[id] = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, `SELECT t.spec, r.result, r.events FROM (SELECT id, spec, row_number() OVER
		(PARTITION BY name, openzfs, arm, outcome, signature ORDER BY number) AS rank FROM trials WHERE campaign = ?) t
		JOIN records r ON r.trial = t.id WHERE t.rank = 1`, []any{campaign}, func(rows *sql.Rows) error {
		var id, result, events string
		if err := rows.Scan(&id, &result, &events); err != nil {
			return err
		}
		var r trial.Result
		if err := errors.Join(json.Unmarshal([]byte(result), &r), json.Unmarshal([]byte(events), &r.Events)); err != nil {
			return fmt.Errorf("trial %s: %w", id, err)
		}
		all[id] = r
		return nil
	})
	return all, err
}

// Trials gives those that a filter chooses whole, one after the other.
func (s *Store) Trials(ctx context.Context, campaign string, f Filter, take func(Trial) error) error {
	where, args := f.where(campaign)
	return s.each(ctx, `SELECT t.spec, x.text, r.spec, r.result, r.events, e.environment FROM trials t
		JOIN records r ON r.trial = t.id JOIN texts x ON x.hash = r.scenario JOIN sessions e ON e.id = t.session `+where+
		" ORDER BY t.id", args, func(rows *sql.Rows) error {
		var t Trial
		var text, spec, result, events, environment string
		if err := rows.Scan(&t.ID, &text, &spec, &result, &events, &environment); err != nil {
			return err
		}
		var err error
		if t.Spec, err = trial.ParseSpec([]byte(spec)); err != nil {
			return fmt.Errorf("trial %s: %w", t.ID, err)
		}
		t.Spec.Scenario = text
		for _, part := range []struct {
			text string
			into any
		}{{result, &t.Result}, {events, &t.Result.Events}, {environment, &t.Environment}} {
			if err := json.Unmarshal([]byte(part.text), part.into); err != nil {
				return fmt.Errorf("trial %s: %w", t.ID, err)
			}
		}
		return take(t)
	})
}

func (s *Store) each(ctx context.Context, query string, args []any, take func(*sql.Rows) error) (err error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return s.explain(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := take(rows); err != nil {
			return s.explain(err)
		}
	}
	return s.explain(rows.Err())
}
