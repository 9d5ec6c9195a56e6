package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// says is a judge of one mind.
type says struct {
	findings []string
	err      error
}

func (s says) Judge(context.Context, judge.Subject) ([]string, error) {
	return s.findings, s.err
}

// TestNotAudited expects what was seen to stand, with zdb's word, when the judge does not know the pool.
func TestNotAudited(t *testing.T) {
	unknown := fmt.Errorf("open pool tank: %w", &ondisk.UnsupportedError{What: "feature com.example:new"})
	leak := []string{"leaked space: vdev 0, offset 0x1000, size 512"}
	for name, c := range map[string]struct {
		seen          trial.Outcome
		judge, second says
		outcome       trial.Outcome
		notAudited    string
		zdb           []string
	}{
		"sound":                     {trial.Masked, says{}, says{findings: leak}, trial.Masked, "", nil},
		"found":                     {trial.Masked, says{findings: []string{"leaked"}}, says{findings: leak}, trial.Latent, "", leak},
		"lab's trouble":             {trial.Masked, says{err: errors.New("no space")}, says{}, trial.Invalid, "", nil},
		"unknown":                   {trial.Masked, says{err: unknown}, says{}, trial.Masked, "feature com.example:new", nil},
		"unknown, healed":           {trial.Healed, says{err: unknown}, says{}, trial.Healed, "feature com.example:new", nil},
		"unknown, zdb finds":        {trial.Masked, says{err: unknown}, says{findings: leak}, trial.Masked, "feature com.example:new", leak},
		"unknown, and zdb in vain":  {trial.Masked, says{err: unknown}, says{err: errors.New("no guest")}, trial.Masked, "feature com.example:new", []string{"no guest"}},
		"a panic leaves no need to": {trial.Panic, says{err: unknown}, says{}, trial.Panic, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			one := &run{Trial: &Trial{bench: &Bench{Judge: c.judge, Second: c.second}, later: &images.Image{}}, lives: []*life{{vm: scripttest.New(t)}}}
			r := result{Result: trial.Result{Outcome: c.seen}}
			one.audit(t.Context(), &r)
			if r.Outcome != c.outcome || r.NotAudited != c.notAudited || !slices.Equal(r.ZDB, c.zdb) {
				t.Errorf("got %s, not audited for %q, zdb %q", r.Outcome, r.NotAudited, r.ZDB)
			}
		})
	}
}
