package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
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
		seen          Outcome
		judge, second says
		outcome       Outcome
		notAudited    string
		zdb           []string
	}{
		"sound":                     {Masked, says{}, says{findings: leak}, Masked, "", nil},
		"found":                     {Masked, says{findings: []string{"leaked"}}, says{findings: leak}, Latent, "", leak},
		"lab's trouble":             {Masked, says{err: errors.New("no space")}, says{}, Invalid, "", nil},
		"unknown":                   {Masked, says{err: unknown}, says{}, Masked, "feature com.example:new", nil},
		"unknown, healed":           {Healed, says{err: unknown}, says{}, Healed, "feature com.example:new", nil},
		"unknown, zdb finds":        {Masked, says{err: unknown}, says{findings: leak}, Masked, "feature com.example:new", leak},
		"unknown, and zdb in vain":  {Masked, says{err: unknown}, says{err: errors.New("no guest")}, Masked, "feature com.example:new", []string{"no guest"}},
		"a panic leaves no need to": {Panic, says{err: unknown}, says{}, Panic, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			one := &run{Plan: Plan{Judge: c.judge, Second: c.second, Image: &images.Image{}}, lives: []*life{{vm: scripttest.New(t)}}}
			r := Result{Outcome: c.seen}
			one.audit(t.Context(), &r)
			if r.Outcome != c.outcome || r.NotAudited != c.notAudited || !slices.Equal(r.ZDB, c.zdb) {
				t.Errorf("got %s, not audited for %q, zdb %q", r.Outcome, r.NotAudited, r.ZDB)
			}
		})
	}
}
