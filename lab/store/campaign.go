package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/trial"
)

// Campaign is one search with its trials, under a name.
type Campaign struct {
	// ID is the hash of kind, name and identity.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Kind says what Request is a request for.
	Kind    string          `json:"kind"`
	Request json.RawMessage `json:"request"`
	Created time.Time       `json:"created"`
	// Over says that the search had all that it wanted.
	Over bool `json:"over"`
	// Dir has the bundles, on the host that began the campaign.
	Dir string `json:"dir"`
	// Trials is how many are stored, Invalid how many of them are invalid, Seconds what they took.
	Trials  int     `json:"trials"`
	Invalid int     `json:"invalid"`
	Seconds float64 `json:"seconds"`
}

// Driver is the one of its trials, empty for a request that names none.
func (c Campaign) Driver() string {
	var asked struct {
		Driver string `json:"driver"`
	}
	if json.Unmarshal(c.Request, &asked) != nil {
		return ""
	}
	return asked.Driver
}

// NewCampaign gives a campaign its ID. What has the same identity shares results; the request may say more, how many of them
// are wanted this time.
func NewCampaign(kind, name string, identity, request any, dir string) Campaign {
	c := Campaign{Kind: kind, Name: name, Request: json.RawMessage(marshal(request)), Created: time.Now().UTC(), Dir: dir}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", kind, name, marshal(identity)))
	c.ID = hex.EncodeToString(sum[:6])
	return c
}

// Begin stores a campaign, or finds the one of the same ID. A name is that of one campaign.
func (s *Store) Begin(ctx context.Context, c Campaign) (Campaign, error) {
	err := s.write(ctx, func(tx *sql.Tx) error {
		var other string
		err := tx.QueryRowContext(ctx, "SELECT id FROM campaigns WHERE name = ? AND id <> ?", c.Name, c.ID).Scan(&other)
		if err == nil {
			return fmt.Errorf("%q is the name of another campaign, %s, which asks for something else; choose another name", c.Name, other)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO campaigns (id, name, kind, request, created, dir) VALUES (?, ?, ?, ?, ?, ?) "+
			"ON CONFLICT (id) DO UPDATE SET request = excluded.request",
			c.ID, c.Name, c.Kind, string(c.Request), stamp(c.Created), c.Dir)
		return err
	})
	if err != nil {
		return Campaign{}, err
	}
	return s.Find(ctx, c.ID)
}

// Over notes that a search had all that it wanted, or wants more again.
func (s *Store) Over(ctx context.Context, campaign string, over bool) error {
	state := ""
	if over {
		state = "over"
	}
	_, err := s.db.ExecContext(ctx, "UPDATE campaigns SET state = ? WHERE id = ?", state, campaign)
	return s.explain(err)
}

// NotFoundError says that there is no such campaign, or that several begin so.
type NotFoundError struct {
	Name    string
	Several int
}

func (e *NotFoundError) Error() string {
	switch {
	case e.Several > 0:
		return fmt.Sprintf("%d campaigns begin with %q: give more of the ID; vdevil runs lists them", e.Several, e.Name)
	case e.Name == "":
		return "no campaign was stored yet"
	}
	return fmt.Sprintf("no campaign %q was stored; vdevil runs lists those that were", e.Name)
}

const campaignColumns = `SELECT id, name, kind, request, created, state, dir, coalesce(n, 0), coalesce(invalid, 0), coalesce(took, 0)
FROM campaigns LEFT JOIN (SELECT campaign, count(*) n, sum(outcome = 'invalid') invalid, sum(seconds) took FROM trials GROUP BY campaign)
	ON campaign = id `

// Find gives the campaign of a name, an ID, the beginning of an ID, or the latest one for an empty word.
func (s *Store) Find(ctx context.Context, word string) (Campaign, error) {
	where, args := "WHERE name = ? OR id = ?", []any{word, word}
	if word == "" {
		where, args = "ORDER BY created DESC, id LIMIT 1", nil
	}
	found, err := s.campaigns(ctx, where, args...)
	if err == nil && len(found) == 0 && word != "" {
		found, err = s.campaigns(ctx, "WHERE substr(id, 1, length(?)) = ?", word, word)
	}
	switch {
	case err != nil:
		return Campaign{}, err
	case len(found) == 0:
		return Campaign{}, &NotFoundError{Name: word}
	case len(found) > 1:
		return Campaign{}, &NotFoundError{Name: word, Several: len(found)}
	}
	return found[0], nil
}

// List gives all campaigns, the latest first.
func (s *Store) List(ctx context.Context) ([]Campaign, error) {
	return s.campaigns(ctx, "ORDER BY created DESC, id")
}

func (s *Store) campaigns(ctx context.Context, where string, args ...any) (all []Campaign, err error) {
	rows, err := s.db.QueryContext(ctx, campaignColumns+where, args...)
	if err != nil {
		return nil, s.explain(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Campaign
		var request, created, state string
		if err := rows.Scan(&c.ID, &c.Name, &c.Kind, &request, &created, &state, &c.Dir, &c.Trials, &c.Invalid, &c.Seconds); err != nil {
			return nil, s.explain(err)
		}
		c.Request, c.Over = json.RawMessage(request), state == "over"
		if c.Created, err = time.Parse(time.RFC3339Nano, created); err != nil {
			return nil, s.explain(err)
		}
		all = append(all, c)
	}
	return all, s.explain(rows.Err())
}

// Forget takes trials out of a campaign, to be done again.
func (s *Store) Forget(ctx context.Context, campaign string, specs []string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, id := range specs {
			if _, err := tx.ExecContext(ctx, "DELETE FROM trials WHERE campaign = ? AND spec = ?", campaign, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// Remove forgets a campaign with all its trials.
func (s *Store) Remove(ctx context.Context, campaign string) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM campaigns WHERE id = ?", campaign)
	return s.explain(err)
}

// Environment is where the latest session of a campaign was, the zero value without any.
func (s *Store) Environment(ctx context.Context, campaign string) (e trial.Environment, err error) {
	var text string
	err = s.db.QueryRowContext(ctx, "SELECT environment FROM sessions WHERE campaign = ? ORDER BY started DESC LIMIT 1", campaign).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &e)
	}
	return e, s.explain(err)
}

// Errors are the memory errors that a host has counted, by its EDAC drivers. Nil is one that does not count.
type Errors struct{ Corrected, Uncorrected *int64 }

// Session is one lab at work on a campaign.
type Session struct {
	store    *Store
	id       string
	campaign string
}

// Session opens one.
func (s *Store) Session(ctx context.Context, campaign string, e trial.Environment, before Errors) (*Session, error) {
	session := &Session{store: s, id: rand.Text(), campaign: campaign}
	self, err := host.Self()
	if err != nil {
		return nil, err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO sessions (id, campaign, environment, started, corrected_before, uncorrected_before, process)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, session.id, campaign, marshal(e), stamp(time.Now()), before.Corrected, before.Uncorrected, self.String())
	return session, s.explain(err)
}

// End closes it. failed is what ended it early, or nil.
func (s *Session) End(ctx context.Context, after Errors, failed error) error {
	text := ""
	if failed != nil {
		text = failed.Error()
	}
	return s.store.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM underway WHERE session = ?", s.id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET ended = ?, error = ?, corrected_after = ?, uncorrected_after = ? WHERE id = ?",
			stamp(time.Now()), text, after.Corrected, after.Uncorrected, s.id)
		return err
	})
}

// stamp gives every time the same number of digits, so that the order of the texts is that of the times.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z07:00") }
