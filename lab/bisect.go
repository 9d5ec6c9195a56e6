package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/bisect"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// BisectRequest says what changed and where to look for it.
type BisectRequest struct {
	Terms
	Scenario *scenarios.Scenario
	// Arm is one of the scenario's, empty for the first.
	Arm string
	// Old and New are the ends: two versions of packages, or two revisions of the source.
	Old, New string
	// Text, Confidence, Priors, Paths, Skip and Most are as in bisect.Bisect.
	Text       string
	Confidence float64
	Priors     []bisect.Prior
	Paths      []string
	Skip       []string
	Most       int
	Seed       uint64
	Flags      string
}

// bisection is a bisection as it is stored: with what finds its trees again.
type bisection struct {
	*bisect.Bisect
	// Source is the checkout, empty for packages, Backports the list of patches that some revisions need; Old and New are hashes of commits in it.
	Source    string `json:"source,omitempty"`
	Old       string `json:"old,omitempty"`
	New       string `json:"new,omitempty"`
	Backports string `json:"backports,omitempty"`
}

// What a build and a trial cost as long as none is known, in seconds: a tree not much like one that was compiled before, and the
// trial of a fast scenario, both in software emulation on two cores.
const (
	buildCost = 150
	trialCost = 8
)

// Bisect searches for what changed how a scenario comes out. What is known is returned also with an error.
func (l *Lab) Bisect(ctx context.Context, r BisectRequest) (report.Bisection, error) {
	b := &bisection{Bisect: &bisect.Bisect{
		Asked: campaign.Ask([]*scenarios.Scenario{r.Scenario})[0], Arm: cmp.Or(r.Arm, r.Scenario.Arms[0].Name),
		Driver: l.driver.Name(), Accel: string(l.driver.Accel()), Seed: r.Seed, Flags: r.Flags, Text: r.Text, Confidence: r.Confidence,
		Priors: r.Priors, Paths: r.Paths, Skip: r.Skip, Most: r.Most, Cost: bisect.Cost{Build: buildCost, Trial: trialCost},
	}}
	var err error
	packaged := func(word string) bool { return slices.Contains(l.images.Versions(), word) }
	switch {
	case packaged(r.Old) && packaged(r.New):
		err = l.packages(ctx, b.Bisect, r.Old, r.New)
	case packaged(r.Old) || packaged(r.New):
		err = misnamed(ctx, fmt.Errorf("%s and %s: one is a package and the other is not; name two packages, or two revisions such as zfs-2.3.2", r.Old, r.New))
	default:
		err = l.commits(ctx, b, r.Old, r.New)
	}
	if err == nil {
		err = misnamed(ctx, askable(r.Scenario, b.Bisect))
	}
	if err != nil {
		return report.Bisection{}, err
	}
	return l.bisect(ctx, b, store.NewCampaign(KindBisect, l.name(r.Terms), b, b, l.newDir()), r.Terms)
}

// askable skips candidates that the scenario cannot be asked of. The ends must not be among them.
func askable(s *scenarios.Scenario, b *bisect.Bisect) error {
	for i, c := range b.Candidates {
		if s.Applies(c.Image.OpenZFS) {
			continue
		}
		if i == 0 || i == len(b.Candidates)-1 {
			return fmt.Errorf("%s cannot be asked of OpenZFS %s, its file says: name another end", s.Name, c.Image.OpenZFS)
		}
		b.Skip = append(b.Skip, c.Image.OpenZFS)
	}
	return nil
}

func (l *Lab) bisect(ctx context.Context, b *bisection, c store.Campaign, t Terms) (report.Bisection, error) {
	if err := b.Plan(); err != nil {
		return report.Bisection{}, misnamed(ctx, err)
	}
	there, _ := l.images.List() // a damaged one is told of when it is used
	for _, candidate := range b.Candidates {
		b.There = append(b.There, slices.ContainsFunc(there, func(img *images.Image) bool { return img.ID == candidate.Image.ID }))
	}
	done, err := l.campaign(ctx, c, campaign.On{Bench: l.bench}, t, func(campaign.Results) (campaign.Search, error) { return b, nil })
	s := b.Summary(done)
	if err == nil {
		err = l.explain(ctx, b, &s, done)
	}
	return s, err
}

// packages are the versions from one package to another.
func (l *Lab) packages(ctx context.Context, b *bisect.Bisect, old, new string) error {
	all := slices.SortedFunc(slices.Values(l.images.Versions()), scenarios.CompareVersions)
	from, to := slices.Index(all, old), slices.Index(all, new)
	if from == to {
		return misnamed(ctx, fmt.Errorf("%s is both ends: name two versions", old))
	}
	if from > to {
		return misnamed(ctx, fmt.Errorf("%s is newer than %s: swap --old and --new", old, new))
	}
	b.Fork = -1
	for _, version := range all[from : to+1] {
		img, err := l.Find(ctx, version)
		if err != nil {
			return err
		}
		b.Candidates = append(b.Candidates, bisect.Candidate{Image: img})
	}
	return nil
}

// commits are those from one revision to another, as candidates: those that follow each other and compile to the same are one.
func (l *Lab) commits(ctx context.Context, b *bisection, old, new string) error {
	if l.opts.Source == "" {
		return misnamed(ctx, errors.New("--old and --new name no packages: name the checkout that they are revisions of with --source DIR"))
	}
	repo, err := l.Source(ctx, l.opts.Source, l.opts.Backports)
	if err != nil {
		return err
	}
	from, to, h, err := history(ctx, repo, old, new)
	if err != nil {
		return err
	}
	for i, word := range b.Skip { // other words are looked for among the candidates
		if t, err := repo.Resolve(ctx, word); err == nil && t.Commit != "" {
			b.Skip[i] = t.Commit
		}
	}
	b.Source, b.Old, b.New, b.Backports = repo.Dir, from.Commit, to.Commit, l.opts.Backports
	var skip []string
	b.Candidates, skip, b.Fork, err = candidates(h, func(t source.Tree) (trial.Image, error) { return l.Plan(ctx, repo, t) })
	b.Skip = append(b.Skip, skip...)
	if err == nil && len(b.Candidates) == 1 {
		return misnamed(ctx, fmt.Errorf("%s and %s, and all between them, compile to the same modules and programs: no trial can tell them apart", old, new))
	}
	return err
}

// candidates are the commits of a history as the images that they have: those that follow each other and have the same one are one.
// skip are hashes of those that can have none, as no kernel of the lab is one for them.
func candidates(h source.History, plan func(source.Tree) (trial.Image, error)) (all []bisect.Candidate, skip []string, fork int, err error) {
	fork = -1
	for i, c := range h.Commits {
		img, err := plan(c.Tree)
		if err != nil && (!errors.Is(err, images.ErrNoKernel) || i == 0 || i == len(h.Commits)-1) {
			return nil, nil, 0, err
		}
		if err != nil {
			img = trial.Image{ID: "none-" + c.Kernel, OpenZFS: c.Name}
		}
		one := report.Commit{Hash: c.Commit, Subject: c.Subject, Author: c.Author, Date: c.Date, Paths: c.Paths}
		n := len(all)
		switch {
		case n == 0 || all[n-1].Image.ID != img.ID:
			all = append(all, bisect.Candidate{Image: img, Commits: []report.Commit{one}})
			if err != nil {
				skip = append(skip, c.Commit)
			}
		case i <= h.Base: // down to where history forks, the later ones come first
			all[n-1].Commits = slices.Insert(all[n-1].Commits, 0, one)
		default:
			all[n-1].Commits = append(all[n-1].Commits, one)
			all[n-1].Image.OpenZFS = img.OpenZFS // of the last one, by which trials are repeated
		}
		if i == h.Base {
			fork = len(all) - 1
		}
	}
	return all, skip, fork, nil
}

// history is that between two revisions.
func history(ctx context.Context, repo *source.Repo, old, new string) (from, to source.Tree, h source.History, err error) {
	if from, err = repo.Resolve(ctx, old); err != nil {
		return from, to, h, misnamed(ctx, err)
	}
	if to, err = repo.Resolve(ctx, new); err != nil {
		return from, to, h, misnamed(ctx, err)
	}
	h, err = repo.Between(ctx, from, to)
	return from, to, h, misnamed(ctx, err)
}

// again finds the trees of a stored bisection.
func (l *Lab) again(ctx context.Context, b *bisection) error {
	if b.Source == "" {
		return nil
	}
	repo, err := l.Source(ctx, cmp.Or(l.opts.Source, b.Source), cmp.Or(l.opts.Backports, b.Backports))
	if err != nil {
		return err
	}
	_, _, h, err := history(ctx, repo, b.Old, b.New)
	if err != nil {
		return err
	}
	planned := map[string]bool{}
	for _, c := range h.Commits {
		img, err := l.Plan(ctx, repo, c.Tree)
		if err != nil && !errors.Is(err, images.ErrNoKernel) {
			return err
		}
		if err == nil {
			planned[img.ID] = true
		}
	}
	for _, c := range b.Candidates {
		if !planned[c.Image.ID] && !slices.ContainsFunc(b.Skip, func(hash string) bool { return c.Commits[0].Hash == hash }) {
			return fmt.Errorf("the images that %s would be put on have changed since the bisection was begun: begin it anew", c.Image.OpenZFS)
		}
	}
	return nil
}

// explain adds to what was found: hashes of the same change elsewhere, and functions of it that stand in the stack of a hit.
func (l *Lab) explain(ctx context.Context, b *bisection, s *report.Bisection, done campaign.Results) error {
	if s.State != report.StageFound || b.Source == "" {
		return nil
	}
	repo, err := l.Source(ctx, cmp.Or(l.opts.Source, b.Source), cmp.Or(l.opts.Backports, b.Backports))
	if err != nil {
		return err
	}
	from, to, h, err := history(ctx, repo, b.Old, b.New)
	if err != nil {
		return err
	}
	stack := map[string]bool{}
	for _, r := range done {
		if !b.Hit(r) {
			continue
		}
		for _, e := range r.Events {
			for _, f := range e.Stack {
				stack[f.Func] = true
			}
		}
	}
	for _, i := range s.Credible {
		for k := range s.Candidates[i].Commits {
			c := &s.Candidates[i].Commits[k]
			at := slices.IndexFunc(h.Commits, func(one source.Commit) bool { return one.Commit == c.Hash })
			if at < 0 {
				continue
			}
			if c.Also, err = repo.SameFix(ctx, h.Commits[at], from, to); err != nil {
				return err
			}
			functions, err := repo.Functions(ctx, c.Hash)
			if err != nil {
				return err
			}
			c.InStack = slices.DeleteFunc(functions, func(name string) bool { return !stack[name] })
		}
	}
	return nil
}
