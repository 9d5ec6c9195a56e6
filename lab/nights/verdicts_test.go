package nights

import (
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/scenarios"
)

func TestVerdicts(t *testing.T) {
	edited := strings.Replace(text, "verdict: reproduces", "verdict: does not reproduce", 1)
	for _, tt := range []struct {
		what    string
		texts   []string // the last one is that of all nights after it
		hits    []int
		changed bool
		since   int
		back    int // since when it is what it was, 0 for never
	}{
		{"the same", nil, []int{10, 10, 10}, false, 0, 0},
		{"another one tonight", nil, []int{10, 10, 0}, true, 2, 0},
		{"and it stays", nil, []int{10, 0, 3, 0}, true, 1, 0},
		{"and is back", nil, []int{10, 0, 10}, false, 0, 2},
		{"and is back for a while", nil, []int{10, 0, 0, 10, 3, 10}, false, 0, 3},
		{"and comes again", nil, []int{10, 0, 10, 0}, true, 3, 0},
		{"it is not known tonight", nil, []int{10, 0, 3}, false, 0, 0},
		{"it was not known before", nil, []int{3, 4, 0}, false, 0, 0},
		{"the expectation took note of it", []string{text, text, edited}, []int{10, 0, 0}, false, 0, 0},
		{"and then it changes again", []string{text, text, edited}, []int{10, 0, 0, 10}, true, 3, 0},
	} {
		all := make([]Night, 0, len(tt.hits))
		for i, hits := range tt.hits {
			with := text
			if len(tt.texts) > 0 {
				with = tt.texts[min(i, len(tt.texts)-1)]
			}
			all = append(all, asks(t, i, with, "i", hits))
		}
		r := Compare(all, nil)
		q := r.Questions[0]
		if q.Changed != tt.changed || q.Changed && *q.Since != tt.since || (len(r.Unexpected()) > 0) != tt.changed {
			t.Errorf("%s: %+v", tt.what, q)
		}
		if back := q.Back != nil; back != (tt.back > 0) || back && (*q.Back != tt.back || q.Meanwhile != scenarios.DoesNotReproduce) || !back && q.Meanwhile != "" {
			t.Errorf("%s: back since %v, meanwhile %q", tt.what, q.Back, q.Meanwhile)
		}
	}
}

// TestUnexpected has a rate change, and single trials too, without a verdict that does.
func TestUnexpected(t *testing.T) {
	all := make([]Night, 0, 25)
	for i := range 20 {
		all = append(all, asks(t, i, text, "i", 10))
	}
	for i := range 5 {
		all = append(all, asks(t, 20+i, text, "i", 6))
	}
	r := Compare(all, nil)
	if c := r.Cells[0]; c.Arm != "flip" || c.State != report.TrendChanged {
		t.Fatalf("%+v", c)
	}
	if list := r.Unexpected(); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}

func TestKnown(t *testing.T) {
	list, err := scenarios.ParseKnown("known.yaml", []byte(`
- {scenario: "ask*", verdict: does not reproduce, reason: "an issue", until: 2026-12-31}
- {scenario: asked, openzfs: "2.4.*", verdict: reproduces, reason: "typing error", until: 2026-12-31}
- {scenario: asked, arm: flip, rate: 0, reason: "rate", until: 2026-12-31}
- {scenario: asked, arm: flip, rate: 0.9, reason: "was", until: 2026-12-31}
- {scenario: asked, verdict: does not reproduce, reason: "old", until: 2026-10-31}
- {scenario: asked, verdict: reproduces, reason: "was", until: 2026-12-31}
`))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]Night, 0, 8)
	for i := range 5 {
		all = append(all, asks(t, i, text, "i", 10))
	}
	for i := range 3 {
		all = append(all, asks(t, 5+i, text, "i", 0))
	}
	r := Compare(all, list)
	want := []report.KnownState{report.KnownHolds, report.KnownUnseen, report.KnownHolds, report.KnownGone, report.KnownExpired, report.KnownGone}
	for i, k := range r.Known {
		if k.State != want[i] || (len(k.Gone) > 0) != (want[i] == report.KnownGone) {
			t.Errorf("line %d: %s, gone %v; want %s", k.Line, k.State, k.Gone, want[i])
		}
	}
	if q := r.Questions[0]; !q.Changed || q.Known != "an issue" || len(r.Unexpected()) > 0 {
		t.Errorf("%+v", q)
	}
	if k := r.Cells[0].Changes[0]; k.Known != "rate" {
		t.Errorf("%+v", k)
	}
	if r := Compare(all, list[1:]); len(r.Unexpected()) != 1 {
		t.Error("what is not known, or was, is not unexpected")
	}
	all[7] = asks(t, 7, text, "i", 3) // inconclusive
	if r := Compare(all, list[:1]); r.Known[0].State != report.KnownOpen {
		t.Errorf("%+v", r.Known[0])
	}
}

// TestKnownRate has a rate that was rounded, and one that a single night seems to miss.
func TestKnownRate(t *testing.T) {
	for _, tt := range []struct {
		what string
		hits []int
		rate float64
		want report.KnownState
	}{
		{"rounded", repeat(10, 30), 0.9, report.KnownHolds},
		{"missed tonight", append(repeat(5, 10), 10), 0.5, report.KnownHolds},
		{"another one", repeat(10, 30), 0.5, report.KnownGone},
	} {
		known := []scenarios.Known{{Scenario: "asked", OpenZFS: "*", Arm: "*", Rate: &tt.rate, Until: first.AddDate(1, 0, 0)}}
		nights := hitsOf10(tt.hits...)
		if k := Compare(nights, known).Known[0]; k.State != tt.want {
			t.Errorf("%s: %s", tt.what, k.State)
		}
		nights = append(nights, Night{Began: first.AddDate(0, 0, 99)})
		if k := Compare(nights, known).Known[0]; k.State != report.KnownUnseen {
			t.Errorf("%s: not done tonight, and it is %s", tt.what, k.State)
		}
	}
}
