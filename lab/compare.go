package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"al.essio.dev/pkg/shellescape"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/nights"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

// Compare says what changed over runs, of which the latest is tonight's. known is the user's list of what is known to deviate.
func Compare(ctx context.Context, s *store.Store, runs []store.Campaign, known []scenarios.Known) (report.Comparison, error) {
	var all []nights.Night
	var unread []string
	tonight := slices.MaxFunc(runs, func(a, b store.Campaign) int { return a.Created.Compare(b.Created) })
	for _, c := range runs {
		q, err := questions(c)
		if err != nil {
			if c.ID == tonight.ID {
				return report.Comparison{}, err
			}
			unread = append(unread, err.Error())
			continue
		}
		n, err := night(ctx, s, c, q)
		if err != nil {
			return report.Comparison{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		all = append(all, n)
	}
	compared := nights.Compare(all, known)
	compared.Unread = unread
	return compared, nil
}

// questions are those that a run asks. One of an older vdevil may have a text that this one refuses.
func questions(c store.Campaign) (*campaign.Questions, error) {
	q := &campaign.Questions{}
	if err := errors.Join(json.Unmarshal(c.Request, q), q.Plan()); err != nil {
		return nil, fmt.Errorf("campaign %s asks what this vdevil does not read: %w; the one that wrote it does, and vdevil rm %s forgets it",
			c.Name, err, shellescape.Quote(c.Name))
	}
	return q, nil
}

// night is what a run has shown.
func night(ctx context.Context, s *store.Store, c store.Campaign, q *campaign.Questions) (nights.Night, error) {
	n := nights.Night{Name: c.Name, Began: c.Created}
	done := campaign.Results{}
	err := s.Trials(ctx, c.ID, store.Filter{}, func(t store.Trial) error {
		err := n.Add(t.Spec, t.Result, t.Environment)
		t.Result.Events, t.Result.Injections = nil, nil // which decide nothing, and are most of it
		done[t.ID] = t.Result
		return err
	})
	if err != nil {
		return n, err
	}
	asked, images := map[string]*scenarios.Scenario{}, map[string]string{}
	for _, one := range q.Scenarios() {
		asked[one.Name] = one
	}
	for _, img := range q.Images {
		images[img.OpenZFS] = img.ID
	}
	for _, v := range q.Summaries(done) {
		n.Judge(asked[v.Scenario].On(v.OpenZFS), v, images[v.OpenZFS], q.Driver, q.Accel)
	}
	return n, nil
}
