package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/golden"

	"github.com/vdevil/vdevil/scenarios"
)

// nights are ten, of which the last one's name does not have its day.
func nights() (list []Night) {
	for i := range 10 {
		day := time.Date(2026, 11, 20+i, 1, 30, 0, 0, time.UTC)
		list = append(list, Night{Name: day.Format("20060102-150405"), Began: day})
	}
	list[9].Name = "nightly"
	return list
}

func at(scenario string) Where {
	return Where{Scenario: scenario, OpenZFS: "2.3.2", Driver: "qemu", Accel: "kvm"}
}

func sideOf(hits, scored int, lo, hi float64) Side {
	return Side{Scored: scored, Hits: hits, Rate: float64(hits) / float64(scored), CI95: [2]float64{lo, hi}}
}

func n(i int) *int { return &i }

// compared has one of each of the things that can be said.
func compared() Comparison {
	steady := Trend{Where: at("vdev-bitrot-mirror"), Arm: "both-sides", State: TrendSteady, Points: []Point{{Night: 9}}, Probability: 0.873}
	dropped := Trend{Where: at("blkptr-dva-flip"), Arm: "flip", State: TrendChanged, Changes: []RateChange{
		{
			Since: 1, Credible: []int{1}, Named: 1, Probability: 0.9999, State: ChangeGone, Until: n(2), Before: sideOf(10, 10, 0.7, 1),
			After: sideOf(0, 10, 0, 0.3), Test: "Fisher", P: p(1e-5),
		},
		{
			Since: 7, Credible: []int{7, 6, 8, 5}, Named: 8, Probability: 0.99871, State: ChangeThere, Before: sideOf(50, 50, 0.92, 1),
			After: sideOf(21, 30, 0.5, 0.86), Test: "Mantel-Haenszel", P: p(1.2e-4), Confounded: []string{`host "b" did no trial before`},
			Known: "openzfs/zfs#1",
		},
	}, Durations: &Durations{Of: "hits", Host: "linux/amd64, 2 CPUs", Since: 7, Before: Median{50, 5.25}, After: Median{21, 12.5}, P: 1e-6, Q: 2e-6}}
	ended := Trend{Where: at("file-data"), Arm: "dirty", State: TrendSteady, Changes: []RateChange{
		{
			Since: 3, Credible: []int{3}, Named: 3, Probability: 1, State: ChangeGone, Until: n(9), Before: sideOf(30, 30, 0.9, 1),
			After: sideOf(0, 60, 0, 0.05), Test: "Fisher", P: p(1e-20),
		},
	}}
	moved := Trend{Where: at("space-map-register"), Arm: "flip", State: TrendSteady, Changes: []RateChange{
		{
			Since: 9, Credible: []int{9}, Named: 9, Probability: 0.999, State: ChangeHosts, Before: sideOf(90, 90, 0.95, 1),
			After: sideOf(4, 10, 0.1, 0.75), Test: "Mantel-Haenszel", Confounded: []string{`host "b" did no trial before`},
		},
	}}
	edited := Trend{Where: at("snapshot-storm"), Arm: "storm", State: TrendEdited, Edited: &Edit{
		What: []string{"the scenario's text", "the image"}, Night: 9, Last: 8, Before: sideOf(0, 11, 0, 0.28), After: sideOf(9, 10, 0.6, 1), P: 3e-5, Q: 6e-5,
	}}
	long := Trend{Where: at("snapshot-storm"), Arm: "calm", State: TrendSteady, Edited: &Edit{What: []string{"the image"}, Night: 4, Last: 3, P: 1, Q: 1}}
	evil := Trend{Where: at("evil\x1b[2J\tname\n"), Arm: "a\x07", State: TrendNew}
	rate := 0.7
	day := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	return Comparison{
		Nights: nights(), Compared: 5, Hazard: 1.0 / 365, Confidence: 0.99, FalseAlarms: 0.05, Corrected: "It was corrected.",
		Cells: []Trend{
			dropped, evil, ended, moved, edited, long, steady, {Where: at("ecc-single-bit"), Arm: "no-ecc", State: TrendLost},
			{Where: at("random-flips"), Arm: "no-ecc", State: TrendAbsent},
		},
		Questions: []Question{
			{Where: at("file-data"), Verdict: scenarios.Reproduces, Expected: scenarios.Reproduces, Was: scenarios.DoesNotReproduce, Changed: true, Since: n(9)},
			{Where: at("vdev-bitrot-mirror"), Verdict: scenarios.Reproduces, Expected: scenarios.DoesNotReproduce, Was: scenarios.DoesNotReproduce, Changed: true, Since: n(5), Known: "a\x1bb"},
			{Where: at("snapshot-storm"), Verdict: scenarios.Reproduces, Expected: scenarios.Reproduces, Edited: []string{"the scenario's text", "the expectation"}, Last: n(8), Before: scenarios.DoesNotReproduce},
			{Where: at("steady"), Verdict: scenarios.Reproduces, Expected: scenarios.Reproduces, Was: scenarios.Reproduces},
		},
		Known: []Known{
			{Known: scenarios.Known{File: "known.yaml", Line: 2, Scenario: "vdev-*", OpenZFS: "*", Verdict: scenarios.Reproduces, Reason: "a\x1bb", Until: day.AddDate(0, 1, 0)}, State: KnownHolds, Holds: 1},
			{Known: scenarios.Known{File: "known.yaml", Line: 3, Scenario: "blkptr-*", OpenZFS: "2.3.*", Arm: "flip", Rate: &rate, Reason: "openzfs/zfs#1", Until: day}, State: KnownExpired},
			{Known: scenarios.Known{File: "known.yaml", Line: 4, Scenario: "file-data", OpenZFS: "*", Verdict: scenarios.DoesNotReproduce, Reason: "was", Until: day.AddDate(0, 1, 0)}, State: KnownGone, Gone: []string{"file-data on OpenZFS 2.3.2 with qemu/kvm: reproduces"}},
			{Known: scenarios.Known{File: "known.yaml", Line: 5, Scenario: "flie-data", OpenZFS: "*", Verdict: scenarios.DoesNotReproduce, Reason: "typing", Until: day.AddDate(0, 1, 0)}, State: KnownUnseen},
			{Known: scenarios.Known{File: "known.yaml", Line: 6, Scenario: "file-*", OpenZFS: "*", Verdict: scenarios.DoesNotReproduce, Reason: "few", Until: day.AddDate(0, 1, 0)}, State: KnownOpen},
		},
	}
}

func TestComparisonTable(t *testing.T) {
	quiet := Comparison{Nights: nights(), Compared: 1, Cells: []Trend{{Where: at("a"), Arm: "b", State: TrendSteady}}, Corrected: "It was corrected.", FalseAlarms: 0.01}
	alone := Comparison{Nights: nights()[9:], Cells: []Trend{{Where: at("a"), Arm: "b", State: TrendNew}}}
	for name, c := range map[string]Comparison{"nights.txt": compared(), "nights-quiet.txt": quiet, "nights-alone.txt": alone, "nights-none.txt": {}} {
		var b bytes.Buffer
		if err := c.Table(&b); err != nil {
			t.Fatal(err)
		}
		golden.Assert(t, b.String(), name)
		if strings.ContainsAny(b.String(), "\x1b\a\t\r") {
			t.Errorf("%s: strangers' words reach the terminal: %q", name, b.String())
		}
	}
}

// TestComparisonJSON has it read back as it was, and no list be null.
func TestComparisonJSON(t *testing.T) {
	var b bytes.Buffer
	want := compared()
	if err := want.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got Comparison
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i := range want.Cells {
		want.Cells[i].Points = append([]Point{}, want.Cells[i].Points...)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if strings.Contains(b.String(), "null") {
		t.Errorf("null in\n%s", b.String())
	}
	for _, key := range []string{`"scenario": "blkptr-dva-flip"`, `"state": "there"`, `"credible": [`, `"since": 7`, `"ci95": [`, `"until": "2026-11-28T00:00:00Z"`, `"rate": 0.7`} {
		if !strings.Contains(b.String(), key) {
			t.Errorf("%s is missing", key)
		}
	}
}

func TestUnexpected(t *testing.T) {
	if list := compared().Unexpected(); len(list) != 1 || list[0].Scenario != "file-data" {
		t.Errorf("%s", fmt.Sprint(list))
	}
}
