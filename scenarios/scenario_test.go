package scenarios

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func embeddedByName(t *testing.T) map[string]*Scenario {
	t.Helper()
	all, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*Scenario{}
	for _, s := range all {
		byName[s.Name] = s
	}
	return byName
}

func arm(t *testing.T, s *Scenario, name string) Resolved {
	t.Helper()
	r, err := s.ForArm(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEmbeddedArms(t *testing.T) {
	want := map[string][]string{ // controls have a dash before their name
		"blkptr-dva-flip":    {"flip", "-no-flip"},
		"legacy-dedup-gang":  {"two-references-ganged", "-no-ganging", "-fast-dedup", "-one-reference"},
		"snapshot-storm":     {"storm"},
		"vdev-bitrot-mirror": {"one-side", "both-sides", "-untouched"},
	}
	all := embeddedByName(t)
	for name, arms := range want {
		s := all[name]
		if s == nil {
			t.Errorf("no scenario %s", name)
			continue
		}
		var got []string
		for _, a := range s.Arms {
			mark := ""
			if a.Control {
				mark = "-"
			}
			got = append(got, mark+a.Name)
		}
		if !slices.Equal(got, arms) {
			t.Errorf("%s has arms %v, want %v", name, got, arms)
		}
	}
	for name, s := range all {
		if _, ok := want[name]; s.Default != ok {
			t.Errorf("%s runs by default: %t, want %t", name, s.Default, ok)
		}
	}
}

// A scenario that cannot reach its expected verdict with its own trials would always be inconclusive.
func TestTrialsSuffice(t *testing.T) {
	for name, s := range embeddedByName(t) {
		if s.Expect.Verdict != DoesNotReproduce {
			continue
		}
		for _, a := range s.Arms {
			upper := 1 - math.Pow(0.025, 1/float64(a.Trials)) // Clopper-Pearson, no hits
			if !a.Control && upper >= s.Expect.Rate {
				t.Errorf("%s, arm %s: %d trials without a hit only show a rate below %.3f, not %g", name, a.Name, a.Trials, upper, s.Expect.Rate)
			}
		}
	}
}

// The arms of legacy-dedup-gang are the same but for the one thing each control takes away.
func TestLegacyDedupGangArms(t *testing.T) {
	s := embeddedByName(t)["legacy-dedup-gang"]
	base := arm(t, s, "two-references-ganged")
	if got := base.Pool.Options["feature@fast_dedup"]; got != "disabled" {
		t.Errorf("fast_dedup is %q, want disabled", got)
	}
	if got := base.Pool.Properties; got["dedup"] != "on" || got["compression"] != "off" {
		t.Errorf("properties are %v", got)
	}
	for name, undo := range map[string]func(*Resolved){
		"no-ganging": func(r *Resolved) {
			if got := r.Workload[0].Parameter["metaslab_force_ganging_pct"]; got != "0" {
				t.Errorf("no-ganging: percentage %q, want 0", got)
			}
			r.Workload[0] = base.Workload[0]
		},
		"fast-dedup": func(r *Resolved) {
			if got := r.Pool.Options["feature@fast_dedup"]; got != "enabled" {
				t.Errorf("fast-dedup: %q, want enabled", got)
			}
			r.Pool.Options = base.Pool.Options
		},
		"one-reference": func(r *Resolved) {
			if got := r.Workload[4].Write.Content; got == "first" {
				t.Errorf("one-reference: the second file has the content of the first")
			}
			r.Workload[4] = base.Workload[4]
		},
	} {
		r := arm(t, s, name)
		r.Workload = slices.Clone(r.Workload)
		if reflect.DeepEqual(r.Pool, base.Pool) && reflect.DeepEqual(r.Workload, base.Workload) {
			t.Errorf("arm %s differs in nothing", name)
		}
		undo(&r)
		if !reflect.DeepEqual(r.Pool, base.Pool) || !reflect.DeepEqual(r.Workload, base.Workload) || !reflect.DeepEqual(r.Prepare, base.Prepare) {
			t.Errorf("arm %s differs in more than one thing", name)
		}
	}
}

func TestBitrotSides(t *testing.T) {
	s := embeddedByName(t)["vdev-bitrot-mirror"]
	for name, want := range map[string][]string{"one-side": {"v0"}, "both-sides": {"v0", "v1"}, "untouched": {"v0"}} {
		if got := arm(t, s, name).Fault.VdevBitrot.Disks; !slices.Equal(got, want) {
			t.Errorf("arm %s damages %v, want %v", name, got, want)
		}
	}
	if !arm(t, s, "untouched").Arm.Withhold {
		t.Error("untouched does not withhold the strike")
	}
}

func TestPrepareKey(t *testing.T) {
	s := embeddedByName(t)["legacy-dedup-gang"]
	base := arm(t, s, "two-references-ganged").PrepareKey()
	if again := arm(t, embeddedByName(t)["legacy-dedup-gang"], "two-references-ganged").PrepareKey(); again != base {
		t.Errorf("keys of one arm differ: %s and %s", base, again)
	}
	if got := arm(t, s, "one-reference").PrepareKey(); got != base {
		t.Error("one-reference has the same pool and preparation but another key")
	}
	if got := arm(t, s, "fast-dedup").PrepareKey(); got == base {
		t.Error("fast-dedup has another pool but the same key")
	}
	for name, edit := range map[string][]string{
		"memory":  {"memory: 1GiB", "memory: 2GiB"},
		"prepare": {"size: 512KiB", "size: 256KiB"},
		"disks":   {"{v0: 512MiB, v1: 512MiB}", "{v1: 512MiB, v0: 512MiB}"},
	} {
		if before, after := goodKey(t, good), goodKey(t, change(t, good, edit...)); before == after {
			t.Errorf("the key does not depend on %s", name)
		}
	}
	if before, after := goodKey(t, good), goodKey(t, change(t, good, "keep: 31", "keep: 30")); before != after {
		t.Error("the key depends on the workload")
	}
}

func goodKey(t *testing.T, text string) string {
	t.Helper()
	s, err := Parse("good.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return arm(t, s, "rot").PrepareKey()
}

// Checkpoints of earlier runs stay in use as long as keys do not move.
func TestPrepareKeyIsStable(t *testing.T) {
	const want = "090a573738db73734d8d103727b97c16"
	if got := goodKey(t, good); got != want {
		t.Errorf("key %s, want %s", got, want)
	}
}

func TestResolvedSurvivesJSON(t *testing.T) {
	for name, s := range embeddedByName(t) {
		for _, a := range s.Arms {
			r := arm(t, s, a.Name)
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var back Resolved
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, r) {
				t.Errorf("%s, arm %s: got %+v, want %+v", name, a.Name, back, r)
			}
		}
		again, err := Parse(s.File, []byte(s.Source))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%s does not come back from its source: %v", name, err)
		}
	}
}

func TestLabels(t *testing.T) {
	all := embeddedByName(t)
	for name, want := range map[string][]string{
		"legacy-dedup-gang": {"cause:software", "cost:fast", "control"},
		"blkptr-dva-flip":   {"cause:memory", "cost:fast", "control"},
		"snapshot-storm":    {"cause:software", "cost:nightly"},
	} {
		if got := all[name].Labels(); !slices.Equal(got, want) {
			t.Errorf("labels of %s are %v, want %v", name, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "good.yaml")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		err  string
	}{
		{nil, "blkptr-dva-flip legacy-dedup-gang snapshot-storm vdev-bitrot-mirror", ""},
		{[]string{"snapshot-storm", "blkptr-dva-flip", "snapshot-storm"}, "snapshot-storm blkptr-dva-flip", ""},
		{[]string{path}, "good", ""},
		{[]string{"snapshot-strom"}, "", `there is no scenario "snapshot-strom"; write snapshot-storm, or the path of a file`},
		{[]string{"legacy"}, "", `there is no scenario "legacy"; write legacy-dedup-gang, or the path of a file`},
		{[]string{"nothing"}, "", `there is no scenario "nothing"; ` + instead("nothing", sortedKeys(embeddedByName(t))) + `, or the path of a file`},
		{[]string{"./none.yaml"}, "", "reading scenario: open ./none.yaml: no such file or directory"},
	} {
		found, err := Find(c.args)
		var names []string
		for _, s := range found {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("Find(%q) gives %q, want %q", c.args, got, c.want)
		}
		if got := errorText(err); got != c.err {
			t.Errorf("Find(%q) gives error %q, want %q", c.args, got, c.err)
		}
	}
}

func TestFindDefaults(t *testing.T) {
	all := []*Scenario{{Name: "often", Default: true}, {Name: "seldom"}}
	found, err := choose(nil, all)
	if err != nil || len(found) != 1 || found[0].Name != "often" {
		t.Errorf("got %v, %v; want the default scenario only", found, err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestForArmUnknown(t *testing.T) {
	_, err := embeddedByName(t)["blkptr-dva-flip"].ForArm("flop")
	if got, want := errorText(err), `scenario blkptr-dva-flip has no arm "flop"; write flip`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteFiles(t *testing.T) {
	one := Write{File: "/tank/f1", Content: "first"}
	if got, want := one.Files(), []File{{"/tank/f1", "first"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	two := Write{File: "/tank/f%02d", Content: "data", Count: 2}
	if got, want := two.Files(), []File{{"/tank/f00", "data#0"}, {"/tank/f01", "data#1"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Every step of the format has its kind, and its words in plans.
func TestStepKinds(t *testing.T) {
	steps := map[string]string{
		"parameter": "parameter zfs_recover=1", "write": "write /tank/f1", "sync": "sync", "snapshot": "snapshot tank@s1",
		"remove": "remove /tank/f1", "destroy": "destroy tank@s1", "create": "create tank/d", "churn": "churn tank/d for 20s",
		"snapshot-storm": "snapshot-storm tank/d for 20s", "auto-snapshot": "auto-snapshot frequent 3 times",
		"cron": "cron for 48h0m0s", "together": "together (scrub, sync)", "scrub": "scrub", "verify": "verify", "arm": "arm", "run": "run zpool status",
		"reboot": "reboot", "import": "import", "export": "export", "healthy": "healthy", "panic": "panic (import)",
		"must": "must zpool export tank", "must-fail": "must-fail zfs receive tank/d </root/stream",
		"holds": "holds /tank/clone/f1 as /tank/f1", "operations": "operations create tank/a", "generate": "generate 40 operations",
	}
	for _, f := range kinds {
		d := newDecoder("x.yaml", scenarioKind)
		list := d.parseNode([]byte(f.form))
		got := d.steps(list, "workload")
		if err := d.err(); err != nil || len(got) != 1 {
			t.Errorf("the form %q does not load: %v", f.form, err)
			continue
		}
		if got[0].Kind() != f.word || got[0].String() != steps[f.word] {
			t.Errorf("%s: kind %q, words %q, want %q", f.word, got[0].Kind(), got[0], steps[f.word])
		}
	}
	if len(kinds) != len(steps) {
		t.Errorf("%d forms, want %d", len(kinds), len(steps))
	}
	if got, want := (Step{Operations: "create tank/a\nsync\nscrub\n"}).String(), "operations create tank/a and 2 more"; got != want {
		t.Errorf("words %q, want %q", got, want)
	}
}

func TestSizesAndDurations(t *testing.T) {
	for text, want := range map[string]int64{"1KiB": 1 << 10, "512MiB": 512 << 20, "4GiB": 4 << 30} {
		if got, hint := parseSize(text); got != want || hint != "" {
			t.Errorf("parseSize(%q) = %d, %q; want %d", text, got, hint, want)
		}
	}
	for text, want := range map[string]string{
		"1gib": "1GiB", "1 GiB": "1GiB", "2048MB": "2GiB", "1TiB": "1024GiB", "0.5MiB": "512KiB", "0KiB": "?", "99999999999GiB": "?",
		"99999999999999999999KiB": "?", "1ZiB": "?", "-1KiB": "?", "": "?",
	} {
		if _, hint := parseSize(text); hint != want {
			t.Errorf("parseSize(%q) hints %q, want %q", text, hint, want)
		}
	}
	if got, hint := parseDuration("1m30s"); got != 90*time.Second || hint != "" {
		t.Errorf("parseDuration(1m30s) = %s, %q", got, hint)
	}
	for text, want := range map[string]string{"20": "20s", "2 min": "2m", "3Hours": "3h", "0s": "?", "0": "?", "soon": "?"} {
		if _, hint := parseDuration(text); hint != want {
			t.Errorf("parseDuration(%q) hints %q, want %q", text, hint, want)
		}
	}
}

// The README's example is a file that loads, and its reference leaves no step and no fault out.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if _, err := Parse("tiny.yaml", []byte(example)); err != nil {
		t.Error(err)
	}
	for name := range embeddedByName(t) {
		if !strings.Contains(string(text), fmt.Sprintf("\n| [%s](%s.yaml) |", name, name)) {
			t.Errorf("the table has no row for %s", name)
		}
	}
	words := stepWords()
	for _, kind := range faults {
		words = append(words, kind.word)
	}
	for _, word := range words {
		if !regexp.MustCompile("(?m)^\\| [^|]*`" + word + "[`:]").Match(text) {
			t.Errorf("the reference has no row for %s", word)
		}
	}
}

// TestOn expects the first range that a version is in to decide what is expected there, and all else to stay.
func TestOn(t *testing.T) {
	s, err := Parse("good.yaml", []byte(change(t, good, "claim: \"a claim\"\n", "", "  rate: 0.5\n", `  rate: 0.5
  signature: a@b
  versions:
    ..2.2.9: reproduces
    2.3.3..2.3.6: {verdict: reproduces, outcome: [hang, panic], outcomes: {rot: hang}}
    2.3.6..: {verdict: reproduces, rate: 0.1}
`)))
	if err != nil {
		t.Fatal(err)
	}
	here := Expect{Verdict: DoesNotReproduce, Signature: "a@b", Rate: 0.5, Outcomes: map[string]string{"rot": "healed"}}
	between := Expect{Verdict: Reproduces, Outcome: []string{"hang", "panic"}, Rate: 0.5, Outcomes: map[string]string{"rot": "hang"}}
	for version, want := range map[string]Expect{
		"2.1.11": {Verdict: Reproduces, Signature: "a@b", Rate: 0.5}, "2.3.2": here, "2.3.2-gf3e4043a3694": here, "2.3.2:2.4.4": here, "2.3.3": between, "2.3.6": between,
		"2.3.6-t012": between, "2.3.10": {Verdict: Reproduces, Rate: 0.1}, "2.4.99-gabc": {Verdict: Reproduces, Rate: 0.1},
	} {
		on := s.On(version)
		if !reflect.DeepEqual(on.Expect, want) || on.Name != s.Name || len(on.Arms) != len(s.Arms) {
			t.Errorf("on %s: %+v, want %+v", version, on.Expect, want)
		}
		if r, err := on.ForArm("rot"); err != nil || r.Arm.Name != "rot" {
			t.Errorf("on %s: arm rot is %+v, %v", version, r, err)
		}
	}
	if !reflect.DeepEqual(s.Expect, here) {
		t.Errorf("the scenario itself changed: %+v", s.Expect)
	}
	for i, want := range []string{"..2.2.9", "2.3.3..2.3.6", "2.3.6.."} {
		if got := s.Elsewhere[i].String(); got != want {
			t.Errorf("range %d is %q, want %q", i, got, want)
		}
	}
}

// TestMatrix expects an arm for each choice, in the order of the axes, and those of arms behind them.
func TestMatrix(t *testing.T) {
	text := strings.Replace(good, "arms:\n", "matrix:\n  - {one: {}, both: {sides: \"v0, v1\"}}\n  - {x: {label: x}, y: {label: y}, z: {label: z}}\narms:\n", 1)
	s, err := Parse("good.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(s.Arms))
	for i, a := range s.Arms {
		names[i] = a.Name
	}
	if want := []string{"one-x", "one-y", "one-z", "both-x", "both-y", "both-z", "rot", "no-rot", "other-label"}; !slices.Equal(names, want) {
		t.Errorf("arms are %q", names)
	}
	r, err := s.ForArm("both-y")
	if err != nil || !slices.Equal(r.Fault.VdevBitrot.Disks, []string{"v0", "v1"}) || r.Prepare[1].Write.Content != "y" || r.Arm.Trials != 10 || r.Arm.Control {
		t.Errorf("%+v, %v", r, err)
	}
}
