package main

import (
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/trial"
)

// TestDiffers expects every way in which a trial can end otherwise to be told, and the time of a strike not to be one.
func TestDiffers(t *testing.T) {
	strike := trial.Injection{Target: "bp->blk_prop", Before: trial.Bytes{0x10}, After: trial.Bytes{0x30}}
	exact := trial.Exact{Checkpoint: "one", SHA256: "aa"}
	was := trial.Result{Outcome: trial.Panic, Signature: "verify@f", Injections: []trial.Injection{strike}, Exact: &exact}
	for name, c := range map[string]struct {
		change func(*trial.Result)
		says   string
	}{
		"the same":      {func(r *trial.Result) { r.Seconds, r.Injections[0].Hit = 9, 0 }, ""},
		"outcome":       {func(r *trial.Result) { r.Outcome, r.Signature = trial.Masked, "" }, "it was panic verify@f and is masked  now"},
		"bytes":         {func(r *trial.Result) { r.Injections[0].After = trial.Bytes{0x50} }, "injection 1 was 10 -> 30 in bp->blk_prop and is 10 -> 50 in bp->blk_prop now"},
		"place":         {func(r *trial.Result) { r.Injections[0].Offset = 512 }, "injection 1 was"},
		"a byte":        {func(r *trial.Result) { r.Exact = &trial.Exact{Checkpoint: "one", SHA256: "ab"} }, "console or disks are not the same to the byte"},
		"a checkpoint":  {func(r *trial.Result) { r.Exact = &trial.Exact{Checkpoint: "two", SHA256: "ab"} }, ""},
		"no injections": {func(r *trial.Result) { r.Injections = nil }, "there were 1 injections and are 0 now"},
	} {
		now := was
		now.Injections = []trial.Injection{strike}
		c.change(&now)
		if got := strings.Join(differs(was, now), "; "); got != c.says && (c.says == "" || !strings.HasPrefix(got, c.says)) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
