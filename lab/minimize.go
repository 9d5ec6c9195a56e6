package lab

import (
	"context"
	"errors"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/minimize"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

// MinimizeRequest says what is to be minimised.
type MinimizeRequest struct {
	Terms
	Scenario *scenarios.Scenario
	Arm      string
	// Version is that of OpenZFS, empty for the default.
	Version string
	// Step, Program, Signature, Outcomes, Rate and Confirm are as in minimize.Search.
	Step      int
	Program   string
	Signature string
	Outcomes  []string
	Rate      float64
	Confirm   int
	Seed      uint64
}

// Minimize looks for the fewest operations that still do it. What is known is returned also with an error.
func (l *Lab) Minimize(ctx context.Context, r MinimizeRequest) (minimize.Minimum, error) {
	img, err := l.asked(ctx, r.Version)
	if err != nil {
		return minimize.Minimum{}, err
	}
	s := &minimize.Search{
		Asked: campaign.Ask([]*scenarios.Scenario{r.Scenario})[0], Arm: r.Arm, Step: r.Step, Program: r.Program, Signature: r.Signature, Outcomes: r.Outcomes,
		Rate: r.Rate, Confirm: r.Confirm, Image: img, Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Seed: r.Seed,
	}
	return l.minimize(ctx, s, store.NewCampaign(KindMinimize, l.name(r.Terms), s, s, l.newDir()), r.Terms)
}

func (l *Lab) minimize(ctx context.Context, s *minimize.Search, c store.Campaign, t Terms) (minimize.Minimum, error) {
	if err := s.Plan(); err != nil {
		return minimize.Minimum{}, err
	}
	done, err := l.campaign(ctx, c, campaign.On{Bench: l.bench}, t, func(campaign.Results) (campaign.Search, error) { return s, nil })
	m, wrong := s.Minimum(done)
	return m, errors.Join(err, wrong)
}
