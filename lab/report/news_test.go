package report

import (
	"slices"
	"testing"
	"time"

	"github.com/vdevil/vdevil/scenarios"
)

// TestChanges expects verdicts, rates and edits of a comparison, those that are known or over told apart from those that fail a night.
func TestChanges(t *testing.T) {
	one, two := 1, 2
	at := func(name string) Where { return Where{Scenario: name, OpenZFS: "2.3.2", Driver: "qemu", Accel: "tcg"} }
	c := Comparison{
		Nights: []Night{{Name: "a", Began: time.Unix(0, 0).UTC()}, {Name: "b"}, {Name: "c"}},
		Questions: []Question{
			{Where: at("steady"), Verdict: scenarios.Reproduces},
			{Where: at("changed"), Verdict: scenarios.Reproduces, Was: scenarios.DoesNotReproduce, Changed: true, Since: &two},
			{Where: at("known"), Verdict: scenarios.Reproduces, Was: scenarios.DoesNotReproduce, Changed: true, Since: &two, Known: "a bug"},
			{Where: at("was known before"), Verdict: scenarios.Reproduces, Known: "another bug"},
			{Where: at("back"), Verdict: scenarios.Reproduces, Was: scenarios.Reproduces, Meanwhile: scenarios.DoesNotReproduce, Back: &two},
			{Where: at("back before"), Verdict: scenarios.Reproduces, Was: scenarios.Reproduces, Meanwhile: scenarios.DoesNotReproduce, Back: &one},
			{Where: at("edited"), Verdict: scenarios.Reproduces, Before: scenarios.DoesNotReproduce, Edited: []string{"the scenario's text", "the image"}, Lines: []string{"- a: 1", "+ a: 2"}, Last: &one},
		},
		Cells: []Trend{
			{Where: at("steady"), Arm: "flip", State: TrendSteady},
			{Where: at("changed"), Arm: "flip", State: TrendChanged, Changes: []RateChange{
				{Since: 0, State: ChangeGone, Until: &one, Probability: 0.995}, {Since: 1, State: ChangeGone, Until: &two, Probability: 0.995}, {Since: 2, State: ChangeThere, Probability: 0.999, Confounded: []string{"a host"}},
			}},
			{Where: at("edited"), Arm: "flip", State: TrendEdited, Edited: &Edit{What: []string{"the image"}, Night: 2, P: 0.01, Q: 0.02}},
			{Where: at("edited"), Arm: "no-flip", State: TrendEdited, Edited: &Edit{What: []string{"the image"}, Night: 2, P: 0.125, Q: 0.25}},
		},
	}
	if got, want := c.Past(), "2 runs since 1970-01-01"; got != want {
		t.Errorf("past %q, want %q", got, want)
	}
	type told struct {
		scenario, arm, text string
		verdict, over       bool
	}
	changes := c.Changes()
	got := make([]told, len(changes))
	for i, k := range changes {
		got[i] = told{k.Scenario, k.Arm, k.Text, k.Verdict, k.Over}
		if k.Since == "" || k.OpenZFS != "2.3.2" || k.Driver != "qemu" {
			t.Errorf("%+v", k)
		}
	}
	want := []told{
		{"changed", "", "", true, false},
		{"known", "", "known: a bug", false, false},
		{"back", "", "", true, true},
		{"edited", "", "asked in another way: the scenario's text, the image: - a: 1; + a: 2", false, false},
		{"changed", "flip", "gone, with probability 0.9950, until " + c.night(2), false, true},
		{"changed", "flip", "there, with probability 0.9990; at the same time: a host", false, false},
		{"edited", "flip", "done in another way: the image; q = 0.020", false, false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := c.Reasons(); len(got) != 2 || got[at("known")] != "a bug" || got[at("was known before")] != "another bug" {
		t.Errorf("reasons %v", got)
	}
}
