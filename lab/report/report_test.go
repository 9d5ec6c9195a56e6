package report

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/scenarios"
)

const (
	signature = "range-tree-add-overlap@metaslab_free_concrete"
	message   = "PANIC: zfs: adding existent segment to range tree (offset=8d4d200 size=200)"
	state     = "/state/vdevil/runs/20250601-120000.000"
)

// freed is the event of the report's panic, with a stack as 2.3.2 prints it.
func freed() panics.Event {
	e := panics.Event{
		Class: panics.Panic, Condition: panics.CondAddOverlap, Caller: "metaslab_free_concrete", Text: message,
		Offset: 0x8d4d200, Size: 0x200, Thread: "txg_sync", PID: 1187,
	}
	frame := func(fn, module string) {
		e.Stack = append(e.Stack, panics.Frame{Func: fn, Offset: 0x4d, Size: 0x1f0, Module: module})
	}
	frame("dump_stack_lvl", "")
	e.Stack = append(e.Stack, panics.Frame{Func: "srso_alias_return_thunk", Offset: 5, Size: 0xfbef5, Unreliable: true})
	for _, fn := range []string{"vcmn_err.cold", "zfs_panic_recover", "range_tree_add_impl", "range_tree_add",
		"metaslab_free_concrete", "metaslab_free_impl", "metaslab_free_dva", "metaslab_free", "zio_dva_free", "zio_nowait",
		"zio_free_sync", "dsl_scan_free_block_cb", "bpobj_iterate_blkptrs"} {
		frame(fn, "zfs")
	}
	frame("kthread", "")
	return e
}

func flip() trial.Injection {
	const before, bit = uint64(0x2c1a40), 9
	word := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	return trial.Injection{
		Fault: "blkptr-dva-flip", Target: "zio_free_sync(bp)->blk_dva[0].dva_word[1] bit 9",
		Trigger: "hit 14 of zio_free_sync, txg 42", Virt: 0xffff9f3a41d08c08, Phys: 0x1d08c08,
		Before: word(before), After: word(before ^ 1<<bit),
		Effect: "the block of 0x8000 bytes at 0x58348000 seems to lie at 0x58308000, over the 0x8000 bytes at 0x58308000 freed at hit 6",
	}
}

// ran makes n trials of an arm that ended alike.
func ran(a *verdict.Arm, n int, t trial.Result) {
	if a.Outcomes == nil {
		a.Outcomes, a.Signatures = map[trial.Outcome]int{}, map[string]int{}
	}
	for range n {
		a.Trials++
		a.Outcomes[t.Outcome]++
		if t.Outcome != trial.Invalid {
			a.Valid++
		}
		if t.Signature != "" {
			a.Signatures[t.Signature]++
		}
		if t.Signature == signature {
			a.Hits++
		}
		t.Arm, t.Control, t.Number, t.Seconds = a.Name, a.Control, a.Trials, 5.25
		t.Bundle = filepath.Join(state, "scenario-2.3.2", a.Name+"-000")
		t.Repeat = fmt.Sprintf("vdevil run scenario --zfs 2.3.2 --seed 7 --only %s/%d --driver libvirt", t.Arm, t.Number)
		a.Results = append(a.Results, t)
	}
	if a.Valid > 0 {
		a.Rate = float64(a.Hits) / float64(a.Valid)
	}
}

func panicked() trial.Result {
	return trial.Result{Outcome: trial.Panic, Signature: signature, Text: message, Events: []panics.Event{freed()}}
}

func p(x float64) *float64 { return &x }

// The results, made by hand; their numbers are those of the exact tests.

func reproduces() verdict.Summary {
	hit := panicked()
	hit.Injections = []trial.Injection{flip()}
	withheld := flip()
	withheld.Withheld, withheld.After, withheld.Effect = true, withheld.Before, "none"
	on := verdict.Arm{Name: "flip", CI95: [2]float64{0.6615, 0.9972}, P: p(1.2e-4)}
	ran(&on, 9, hit)
	ran(&on, 1, trial.Result{Outcome: trial.Masked, Injections: []trial.Injection{flip()}})
	ran(&on, 2, trial.Result{Outcome: trial.Invalid, Reason: "the fault was not delivered (masked seen): no block to flip in 3 hits"})
	off := verdict.Arm{Name: "no-flip", Control: true, CI95: [2]float64{0, 0.3085}}
	ran(&off, 10, trial.Result{Outcome: trial.Masked, Injections: []trial.Injection{withheld}})
	return verdict.Summary{
		Scenario: "blkptr-dva-flip", OpenZFS: "2.3.2", Arms: []verdict.Arm{on, off},
		Verdict: scenarios.Reproduces, Expected: scenarios.Reproduces, Held: true, Seconds: 123.4, Seed: 7,
	}
}

func doesNotReproduce() verdict.Summary {
	a := verdict.Arm{Name: "storm", CI95: [2]float64{0, 0.2849}}
	ran(&a, 11, trial.Result{Outcome: trial.Masked})
	return verdict.Summary{
		Scenario: "snapshot-storm", OpenZFS: "2.3.2", Arms: []verdict.Arm{a},
		Verdict: scenarios.DoesNotReproduce, Expected: scenarios.DoesNotReproduce, Held: true, Seconds: 300, Seed: 7,
	}
}

func daily() verdict.Summary {
	r := doesNotReproduce()
	r.Arms[0].Daily = &verdict.Daily{Days: 14, CI95: [2]float64{0, 0.2635}}
	return r
}

func notAudited() verdict.Summary {
	r := doesNotReproduce()
	for i := range r.Arms[0].Results {
		t := &r.Arms[0].Results[i]
		t.NotAudited = "feature com.example:new"
		if i == 4 {
			t.ZDB = []string{"leaked space: vdev 0, offset 0x1000, size 512"}
		}
	}
	return r
}

func inconclusive() verdict.Summary {
	on := verdict.Arm{Name: "flip", CI95: [2]float64{0.0676, 0.6525}, P: p(0.2105)}
	ran(&on, 3, panicked())
	ran(&on, 7, trial.Result{Outcome: trial.Masked})
	off := verdict.Arm{Name: "no-flip", Control: true, CI95: [2]float64{0, 0.3085}}
	ran(&off, 10, trial.Result{Outcome: trial.Masked})
	return verdict.Summary{
		Scenario: "blkptr-dva-flip", OpenZFS: "2.3.9", Arms: []verdict.Arm{on, off},
		Verdict: verdict.Inconclusive, Expected: scenarios.Reproduces, Needed: 11, Seconds: 120, Seed: 7,
		Against: []string{`the verdict is "inconclusive", expected was "reproduces"`},
	}
}

func controlPanics() verdict.Summary {
	on := verdict.Arm{Name: "flip", Stopped: "separated from every control arm after 10 trials", CI95: [2]float64{0.6915, 1}, P: p(6.0e-4)}
	ran(&on, 10, panicked())
	off := verdict.Arm{Name: "no-flip", Control: true, CI95: [2]float64{0, 0.3085}}
	ran(&off, 9, trial.Result{Outcome: trial.Masked})
	ran(&off, 1, trial.Result{
		Outcome: trial.Panic, Signature: "verify@dnode_hold_impl",
		Text: "VERIFY3(dn->dn_type != DMU_OT_NONE) failed (0 != 0)\nPANIC at dnode.c:1550:dnode_hold_impl()",
	})
	return verdict.Summary{
		Scenario: "blkptr-dva-flip", OpenZFS: "2.3.2", Arms: []verdict.Arm{on, off},
		Verdict: scenarios.Reproduces, Expected: scenarios.Reproduces, Seconds: 120, Seed: 7,
		Against: []string{"no-flip/10: a control arm ended in panic: VERIFY3(dn->dn_type != DMU_OT_NONE) failed (0 != 0)\n" +
			"PANIC at dnode.c:1550:dnode_hold_impl()"},
	}
}

func allInvalid() verdict.Summary {
	why := "connect to guest: the machine died; last try: EOF\nconsole ends:"
	for i := range 20 {
		why += fmt.Sprintf("\n[    1.%02d] line %d of the console", i, i)
	}
	on := verdict.Arm{Name: "flip", CI95: [2]float64{0, 1}, P: p(1)}
	ran(&on, 4, trial.Result{Outcome: trial.Invalid, Reason: why})
	ran(&on, 1, trial.Result{Outcome: trial.Invalid, Reason: why + "\n[    2.0] and one that differs"})
	off := verdict.Arm{Name: "no-flip", Control: true, CI95: [2]float64{0, 1}}
	ran(&off, 5, trial.Result{Outcome: trial.Invalid, Reason: why})
	return verdict.Summary{
		Scenario: "blkptr-dva-flip", OpenZFS: "2.3.2", Arms: []verdict.Arm{on, off},
		Verdict: verdict.Inconclusive, Expected: scenarios.Reproduces, Seconds: 50, Seed: 7,
		Against: []string{`the verdict is "inconclusive", expected was "reproduces"`, "arm flip has no valid trial: " + why},
	}
}

var asked = []*scenarios.Scenario{
	{Name: "blkptr-dva-flip", File: "blkptr-dva-flip.yaml", Question: "Does one flipped bit reproduce the panic?",
		Expect: scenarios.Expect{Signature: signature}},
	{Name: "snapshot-storm", File: "./mine/snapshot-storm.yaml", Question: "Does a storm of snapshots?"},
}

func TestTable(t *testing.T) {
	for name, results := range map[string][]verdict.Summary{
		"reproduces":         {reproduces()},
		"does-not-reproduce": {doesNotReproduce()},
		"inconclusive":       {inconclusive()},
		"control-panics":     {controlPanics()},
		"all-invalid":        {allInvalid()},
		"not-audited":        {notAudited()},
		"daily":              {daily()},
		"several":            {doesNotReproduce(), inconclusive()},
		"none":               {},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Table(&b, results, asked); err != nil {
				t.Fatal(err)
			}
			golden.Assert(t, b.String(), name+".txt")
		})
	}
}

func TestTrials(t *testing.T) {
	r := reproduces()
	for i := range r.Arms {
		r.Arms[i].Results = r.Arms[i].Results[:1-i]
	}
	var b bytes.Buffer
	if err := Trials(&b, []verdict.Summary{r}); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, b.String(), "trial.txt")
}

// A list of many findings is cut, and says so.
func TestManyAgainst(t *testing.T) {
	r := controlPanics()
	for i := range 30 {
		r.Against = append(r.Against, fmt.Sprintf("finding %d", i))
	}
	var b bytes.Buffer
	if err := Table(&b, []verdict.Summary{r}, asked); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); !strings.Contains(out, "and 21 more") || strings.Contains(out, "finding 20") {
		t.Errorf("31 findings are not cut to 10:\n%s", out)
	}
}

// What changed tonight did not change in the run of another night, what is known is not unexpected, and what ended a run is the trouble of
// those whose trials are missing.
func TestStatesOfRuns(t *testing.T) {
	other := doesNotReproduce()
	other.Scenario, other.Against, other.Held = "other", []string{`the verdict is "does not reproduce", expected was "reproduces"`}, false
	other.Expected = "reproduces"
	also := other
	also.Scenario, also.Against = "also", append([]string{"no-flip/10: a control arm ended in a panic"}, other.Against...)
	missing := inconclusive()
	missing.Scenario, missing.Against, missing.Missing = "missing", nil, 3
	all := []verdict.Summary{reproduces(), other, also, missing}
	env := environment("qemu")
	at := func(name string) Where { return Where{name, "2.3.2", env.Driver, env.Accel} }
	r := Report{
		Runs:    []Run{{Name: "monday", Environment: env, Results: all}, {Name: "tuesday", Environment: env, Results: all, Error: "no space left on device"}},
		Changes: []Change{{Scenario: reproduces().Scenario, OpenZFS: "2.3.2", Since: "tuesday", Verdict: true}},
		Known:   map[Where]string{at("other"): "a bug", at("also"): "a bug"}, Tonight: "tuesday",
	}
	want := map[string][]State{
		reproduces().Scenario: {Expected, Changed}, "other": {Unexpected, AsKnown}, "also": {Unexpected, Unexpected}, "missing": {Unsure, Trouble},
	}
	got := map[string][]State{}
	for _, c := range r.Cells() {
		got[c.Summary.Scenario] = append(got[c.Summary.Scenario], c.State)
		kind, message := outcome(c)
		switch {
		case c.State == AsKnown && kind != "", c.Summary.Scenario == "missing" && c.State == Trouble && (kind != "error" || !strings.Contains(message, "no space left")):
			t.Errorf("%s: %s, %s", c.Summary.Scenario, kind, message)
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// One trial alone is told whole: all strikes, and the console around the message.
func TestTrialWhole(t *testing.T) {
	r := reproduces().Arms[0].Results[0]
	if len(r.Events) == 0 || len(r.Injections) == 0 {
		t.Fatalf("%+v", r)
	}
	for len(r.Injections) < 5 {
		r.Injections = append(r.Injections, r.Injections[0])
	}
	e := &r.Events[0]
	r.Text, r.Signature = e.Text, e.Signature()
	e.Pos, e.Raw = 4711, []byte("[   12.3] "+e.Text+"\r\n[   12.4] \x1b[31mCPU: 1\n"+strings.Repeat("[   12.5] frame\n", 100))
	var b bytes.Buffer
	if err := Trial(&b, trial.Spec{Name: "blkptr-dva-flip", OpenZFS: "2.3.2", Arm: r.Arm, Number: 1}, r, environment("qemu")); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{"on the console, from byte 4711 on:\n    [   12.3] " + e.Text + "\n", "CPU: 1\n", "... 42 lines more"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Count(out, "  when: ") != 5 || strings.Contains(out, "more strikes") || strings.ContainsAny(out, "\r\x1b") {
		t.Errorf("got\n%s", out)
	}
}

func TestNeededUnknown(t *testing.T) {
	r := inconclusive()
	r.Needed = 0
	var b bytes.Buffer
	if err := Table(&b, []verdict.Summary{r}, asked); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "no number of trials settles it") {
		t.Errorf("does not say that no number of trials helps:\n%s", b.String())
	}
}

func TestJSON(t *testing.T) {
	d := Document{
		Lab:     trial.Environment{Version: "0.1.0", Driver: "qemu", Accel: "tcg", Host: "linux/amd64, 2 CPUs, QEMU 7.2"},
		Results: []verdict.Summary{reproduces(), inconclusive()},
	}
	var b bytes.Buffer
	if err := d.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	golden.Assert(t, b.String(), "document.json")
}

func TestJSONHasNoNull(t *testing.T) {
	for name, d := range map[string]Document{
		"nothing judged": {Error: "ended early"},
		"no arms":        {Results: []verdict.Summary{{Scenario: "a"}}},
		"no trials":      {Results: []verdict.Summary{{Scenario: "a", Arms: []verdict.Arm{{Name: "x"}}}}},
	} {
		var b bytes.Buffer
		if err := d.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "null") {
			t.Errorf("%s: null in\n%s", name, b.String())
		}
		var any map[string]any
		if err := json.Unmarshal(b.Bytes(), &any); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := verdict.Summary{Arms: []verdict.Arm{{Name: "x"}}}
	if err := (Document{Results: []verdict.Summary{a}}).WriteJSON(&bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if a.Arms[0].Outcomes != nil {
		t.Error("writing changed the result")
	}
}

// TestMissing expects a scenario that was broken off to be reported without a verdict.
func TestMissing(t *testing.T) {
	r := verdict.Summary{
		Scenario: "broken-off", OpenZFS: "2.3.2", Verdict: verdict.Inconclusive, Expected: scenarios.Reproduces, Missing: 5,
		Arms: []verdict.Arm{{Name: "flip", Trials: 3, Valid: 3, Hits: 3, Rate: 1, Outcomes: map[trial.Outcome]int{trial.Panic: 3}}},
	}
	var table, document bytes.Buffer
	if err := Table(&table, []verdict.Summary{r}, nil); err != nil {
		t.Fatal(err)
	}
	if err := (Document{Results: []verdict.Summary{r}, Error: "ended early"}).WriteJSON(&document); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"no verdict, as trials are missing yet; expected: reproduces", "5 trials were not done", "3/3", "panic 3"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is missing in\n%s", want, table.String())
		}
	}
	if !strings.Contains(document.String(), `"missing": 5`) {
		t.Errorf("got %s", document.String())
	}
}
