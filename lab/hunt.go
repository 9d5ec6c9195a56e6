package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/hunt"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

// HuntRequest says where to look.
type HuntRequest struct {
	Terms
	Scenario *scenarios.Scenario
	// Versions are of OpenZFS, none for the default one.
	Versions []string
	// Features, Draw, Count, Long, Trials, Seed and Minimize are as in hunt.Search.
	Features                  []ops.Feature
	Draw, Count, Long, Trials int
	Seed                      uint64
	Minimize                  bool
}

// Hunt tries programs that nobody wrote. What is known is returned also with an error.
func (l *Lab) Hunt(ctx context.Context, r HuntRequest) (hunt.Summary, error) {
	if len(r.Versions) == 0 {
		r.Versions = []string{""}
	}
	s := &hunt.Search{
		Asked: campaign.Ask([]*scenarios.Scenario{r.Scenario})[0], Features: r.Features, Draw: r.Draw, Count: r.Count, Long: r.Long, Trials: r.Trials, Minimize: r.Minimize,
		Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Seed: r.Seed, Follow: l.driver.Can(machine.TracesCode),
	}
	for _, v := range r.Versions {
		img, err := l.asked(ctx, v)
		if err != nil {
			return hunt.Summary{}, err
		}
		s.Images = append(s.Images, img)
	}
	return l.hunt(ctx, s, store.NewCampaign(KindHunt, l.name(r.Terms), s, s, l.newDir()), r.Terms)
}

func (l *Lab) hunt(ctx context.Context, s *hunt.Search, c store.Campaign, t Terms) (hunt.Summary, error) {
	if err := s.Plan(); err != nil {
		return hunt.Summary{}, err
	}
	done, err := l.campaign(ctx, c, campaign.On{Bench: l.bench}, t, func(campaign.Results) (campaign.Search, error) { return s, nil })
	return hunted(s, done, err)
}

// hunted is what a hunt has found, beside what scenarios know.
func hunted(s *hunt.Search, done campaign.Results, err error) (hunt.Summary, error) {
	track, wrong := scenarios.Embedded()
	sum, unwritten := s.Summary(done, track)
	if err == nil {
		err = errors.Join(wrong, unwritten)
	}
	return sum, err
}

// hunting reads the request of a stored hunt.
func hunting(c store.Campaign) (*hunt.Search, error) {
	s := &hunt.Search{}
	if err := json.Unmarshal(c.Request, s); err != nil {
		return nil, fmt.Errorf("campaign %s: %w", c.Name, err)
	}
	return s, nil
}
