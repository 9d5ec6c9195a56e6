package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/nights"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

// Compare says what changed over runs, of which the latest is tonight's. known is the user's list of what is known to deviate.
func Compare(ctx context.Context, s *store.Store, runs []store.Campaign, known []scenarios.Known) (report.Comparison, error) {
	var all []nights.Night
	for _, c := range runs {
		n, err := night(ctx, s, c)
		if err != nil {
			return report.Comparison{}, fmt.Errorf("campaign %s: %w", c.Name, err)
		}
		all = append(all, n)
	}
	return nights.Compare(all, known), nil
}

// night is what a run has shown.
func night(ctx context.Context, s *store.Store, c store.Campaign) (nights.Night, error) {
	n := nights.Night{Name: c.Name, Began: c.Created}
	q := &campaign.Questions{}
	if err := errors.Join(json.Unmarshal(c.Request, q), q.Plan()); err != nil {
		return n, err
	}
	done := campaign.Results{}
	err := s.Trials(ctx, c.ID, store.Filter{}, func(t store.Trial) error {
		done[t.ID] = t.Result
		return n.Add(t.Spec, t.Result, t.Environment)
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
		n.Judge(asked[v.Scenario], v, images[v.OpenZFS], q.Driver, q.Accel)
	}
	return n, nil
}
