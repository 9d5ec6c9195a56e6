package scenarios

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKnown(t *testing.T) {
	const file = `# what we know
- scenario: vdev-*
  verdict: does not reproduce
  reason: openzfs/zfs#17313
  until: 2027-03-31
- {scenario: blkptr-dva-flip, openzfs: "2.3.*", arm: flip, rate: 0, reason: "a slow host: misses", until: 2026-12-01}
`
	all, err := ParseKnown("known.yaml", []byte(file))
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	first, second := all[0], all[1]
	if first.Line != 2 || first.File != "known.yaml" || first.OpenZFS != "*" || first.Verdict != DoesNotReproduce || first.Rate != nil {
		t.Errorf("the first is %+v", first)
	}
	if second.Line != 6 || second.Rate == nil || *second.Rate != 0 || second.Reason != "a slow host: misses" {
		t.Errorf("the second is %+v", second)
	}
	for _, c := range []struct {
		k                      Known
		scenario, openzfs, arm string
		want                   bool
	}{
		{first, "vdev-bitrot-mirror", "2.3.2", "", true},
		{first, "file-data", "2.3.2", "", false},
		{second, "blkptr-dva-flip", "2.3.9", "flip", true},
		{second, "blkptr-dva-flip", "2.4.4", "flip", false},
		{second, "blkptr-dva-flip", "2.3.9", "no-flip", false},
	} {
		if got := c.k.Matches(c.scenario, c.openzfs, c.arm); got != c.want {
			t.Errorf("line %d, %s %s %s: %v", c.k.Line, c.scenario, c.openzfs, c.arm, got)
		}
	}
	day := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if second.Expired(day.Add(24*time.Hour-1)) || !second.Expired(day.Add(24*time.Hour)) {
		t.Error("it does not count to the end of its last day, or longer")
	}
	for _, none := range []string{"", "\n", "# nothing is known\n", "[]\n"} {
		if all, err := ParseKnown("known.yaml", []byte(none)); err != nil || len(all) > 0 {
			t.Errorf("%q: %v, %v", none, all, err)
		}
	}
}

func TestKnownErrors(t *testing.T) {
	const rest = ", reason: r, until: 2027-03-31}"
	for text, want := range map[string]string{
		"scenario: a\nverdict: reproduces\n": "known.yaml:1: the file is a mapping; write a list: - {scenario:",
		"- a\n":                              "known.yaml:1: entry is a single value; write - {scenario:",
		"- {verdict: reproduces" + rest:      "known.yaml:1: entry has no scenario; write scenario: vdev-*",
		"\n- {scenario: a, verdict: reproduces, reason: r}":            "known.yaml:2: entry has no until; write until: 2027-03-31",
		"- {scenario: a, verdict: reproduces, until: 2027-03-31}":      "known.yaml:1: entry has no reason; write reason: openzfs/zfs#17313",
		"- {scenario: '[', verdict: reproduces" + rest:                 "known.yaml:1: scenario of entry: \"[\" is no pattern; write a name in which * is anything",
		"- {scenario: a" + rest:                                        "known.yaml:1: an entry says what is known by a verdict or by a rate; write one of them",
		"- {scenario: a, verdict: inconclusive" + rest:                 "known.yaml:1: verdict of entry: \"inconclusive\" is unknown; write reproduces or does not reproduce",
		"- {scenario: a, rate: 0.4" + rest:                             "known.yaml:1: a rate is that of an arm; write arm: NAME",
		"- {scenario: a, arm: b, rate: 40 %" + rest:                    "known.yaml:1: rate of entry: \"40 %\" is not from 0 to 1; write for example 0.4",
		"- {scenario: a, arm: b, rate: 1.5" + rest:                     "known.yaml:1: rate of entry: \"1.5\" is not from 0 to 1",
		"- {scenario: a, arm: b, verdict: reproduces" + rest:           "known.yaml:1: a verdict is the whole scenario's, not that of an arm; take arm out",
		"- {scenario: a, verdikt: reproduces" + rest:                   "known.yaml:1: entry has no key \"verdikt\"; write verdict",
		"- {scenario: a, verdict: reproduces, reason: r, until: soon}": "known.yaml:1: until of entry: \"soon\" is no day; write year-month-day, for example 2027-03-31",
		"- scenario: a\n  scenario: b\n":                               "known.yaml:2: entry has scenario twice, first in line 1; write it once",
		"- {scenario: a\n":                                             "known.yaml:1: not YAML: ",
		"- a\n---\n- b\n":                                              "a second document; write one list a file",
	} {
		all, err := ParseKnown("known.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, %v; want %s", text, all, err, want)
			continue
		}
		var one *Error
		if !errors.As(err, &one) || one.File != "known.yaml" || one.Line == 0 {
			t.Errorf("%q: the error has no place: %v", text, err)
		}
	}
	_, err := ParseKnown("k", []byte("- {scenario: a}\n- {scenario: b}\n"))
	lines := strings.Split(err.Error(), "\n")
	if !slices.IsSortedFunc(lines, func(a, b string) int { return strings.Compare(a[:4], b[:4]) }) || len(lines) < 6 {
		t.Errorf("not all that is wrong is said, by line: %v", err)
	}
}

// TestKnownInREADME reads the example that people copy.
func TestKnownInREADME(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(data), "## What is known to deviate")
	_, after, _ = strings.Cut(after, "```yaml\n")
	example, _, found := strings.Cut(after, "```")
	if all, err := ParseKnown("known.yaml", []byte(example)); !found || err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

func FuzzKnown(f *testing.F) {
	f.Add("- {scenario: a, arm: b, rate: 1, reason: r, until: 2027-03-31}")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseKnown("known.yaml", []byte(text))
		if err != nil && all != nil {
			t.Errorf("%q gives both an error and %v", text, all)
		}
		for _, k := range all {
			if (k.Verdict == "") == (k.Rate == nil) || k.Reason == "" || k.Until.IsZero() || k.Scenario == "" {
				t.Errorf("%q gives %+v", text, k)
			}
		}
	})
}
