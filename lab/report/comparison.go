package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/vdevil/vdevil/scenarios"
)

// Comparison is what changed over nights. As JSON it is what `vdevil compare --json` prints; keys may be added in later versions.
type Comparison struct {
	// Nights are campaigns, the oldest first. The last one is tonight. All else names a night by its index.
	Nights []Night `json:"nights"`
	// Unread says of which nights before it is not known what they asked, and why.
	Unread []string `json:"unread,omitempty"`
	// Compared is how many cells have valid trials tonight and, under the same key, on an earlier night.
	Compared int `json:"compared"`
	// Hazard is how likely a rate is to change from one night to the next, before anything is seen. Confidence is the probability
	// that a change must have to be named, FalseAlarms how many of the cells that are compared are named in a year of nights, at
	// most and on average, though nothing changes.
	Hazard      float64 `json:"hazard"`
	Confidence  float64 `json:"confidence"`
	FalseAlarms float64 `json:"false_alarms"`
	// Corrected says, in words, how it was corrected for the number of cells.
	Corrected string     `json:"corrected"`
	Cells     []Trend    `json:"cells"`
	Questions []Question `json:"questions"`
	Known     []Known    `json:"known"`
}

// Night is a campaign.
type Night struct {
	Name  string    `json:"name"`
	Began time.Time `json:"began"`
}

// Where is what a question is asked of: a scenario, with one OpenZFS on one accelerator.
type Where struct {
	Scenario string `json:"scenario"`
	OpenZFS  string `json:"openzfs"`
	Driver   string `json:"driver"`
	Accel    string `json:"accel"`
}

// Trend is what became of a cell over the nights: an arm of a scenario, with one OpenZFS on one accelerator. Only nights of
// the same key are compared: one with which its trials are done alike.
type Trend struct {
	Where
	Arm     string     `json:"arm"`
	Control bool       `json:"control,omitempty"`
	State   TrendState `json:"state"`
	// Points are the nights that it was done in, under whatever key.
	Points []Point `json:"points"`
	// Present is what all nights say together since the last change that was named. Probability is the one that the rate has changed
	// meanwhile, without being named yet.
	Present     Side    `json:"present"`
	Probability float64 `json:"probability"`
	// Changes are those that were named, the oldest first.
	Changes []RateChange `json:"changes,omitempty"`
	// Edited says when the key became the present one, if the cell had another one before.
	Edited    *Edit      `json:"edited,omitempty"`
	Durations *Durations `json:"durations,omitempty"`
}

// TrendState is where a cell stands tonight.
type TrendState string

// The states, of which the first that holds is given.
const (
	TrendAbsent  TrendState = "absent"  // it was not done tonight
	TrendLost    TrendState = "lost"    // it was, and no trial is valid
	TrendNew     TrendState = "new"     // tonight is its first night
	TrendEdited  TrendState = "edited"  // tonight is the first night of its key
	TrendChanged TrendState = "changed" // its rate changed, and the change is still there
	TrendSteady  TrendState = "steady"
)

// Point is one night of a cell.
type Point struct {
	Night int `json:"night"`
	Side
	Invalid int `json:"invalid,omitempty"`
	// Pooled says that the key is that of the cell's last night.
	Pooled bool `json:"pooled"`
}

// RateChange is a rate that became another one: a thing with a beginning, a present state and perhaps an end. The end is no change of
// its own.
type RateChange struct {
	// Since is most probably the first night with the new rate; Credible are nights of which one is, most probable first, with the
	// confidence. Named is the night whose trials made it certain.
	Since    int   `json:"since"`
	Credible []int `json:"credible"`
	Named    int   `json:"named"`
	// Probability is that of a change among the nights up to the next one, as it is seen tonight.
	Probability float64     `json:"probability"`
	State       ChangeState `json:"state"`
	// Until is the first night on which it was gone, or changed again.
	Until *int `json:"until,omitempty"`
	// Before and After are the nights on either side, from the change before it to the one after it.
	Before Side `json:"before"`
	After  Side `json:"after"`
	// Test is Fisher's, or Mantel and Haenszel's over hosts when they did other shares of the trials before than after. P is its
	// p-value. There is none when no host did trials on both sides. It decides nothing: the night was chosen by what it showed.
	Test string   `json:"test"`
	P    *float64 `json:"p,omitempty"`
	// Confounded lists what else changed when the rate did.
	Confounded []string `json:"confounded,omitempty"`
	// Known is the reason that the user's list gives for the rate.
	Known string `json:"known,omitempty"`
}

// ChangeState is what became of a change.
type ChangeState string

// The states.
const (
	ChangeThere ChangeState = "there"
	ChangeGone  ChangeState = "gone"          // the rate is again what it was before
	ChangeAgain ChangeState = "changed again" // to a third rate
	// ChangeHosts is not the rate's: that hosts have rates of their own says as much, and one of them came in. The nights are
	// compared on.
	ChangeHosts ChangeState = "perhaps a host"
)

// Edit is a change of the key, which is no change of a rate: trials are done in another way.
type Edit struct {
	// What was changed: "the scenario's text", "what counts as a hit", "the image".
	What []string `json:"what"`
	// Night is the first with the present key, Last the one before.
	Night int `json:"night"`
	Last  int `json:"last"`
	// Earlier is how many nights before Last had the present key, too: they are compared.
	Earlier int `json:"earlier,omitempty"`
	// Before is night Last, After the cell's last night: what the edit did. P is Fisher's p-value, Q the same corrected over all edits.
	Before Side    `json:"before"`
	After  Side    `json:"after"`
	P      float64 `json:"p"`
	Q      float64 `json:"q"`
}

// Durations compare how long trials took until their outcome, on the host that did most on both sides.
type Durations struct {
	// Of is which trials: "hits" or "others".
	Of   string `json:"of"`
	Host string `json:"host"`
	// Since is the first night of After: that of the change that is there, or tonight.
	Since  int    `json:"since"`
	Before Median `json:"before"`
	After  Median `json:"after"`
	// P is the p-value of Wilcoxon, Mann and Whitney, Q the same corrected over all cells.
	P float64 `json:"p"`
	Q float64 `json:"q"`
}

// Median is that of some trials.
type Median struct {
	Trials  int     `json:"trials"`
	Seconds float64 `json:"seconds"`
}

// Question is a scenario as it was asked tonight, with its verdict.
type Question struct {
	Where
	Verdict  scenarios.Verdict `json:"verdict"`
	Expected scenarios.Verdict `json:"expected"`
	// Was is the first verdict, other than inconclusive, of the nights on which the same was asked and expected: empty when there is
	// none. Changed says that tonight's is another one, and Since when.
	Was     scenarios.Verdict `json:"was,omitempty"`
	Changed bool              `json:"changed"`
	Since   *int              `json:"since,omitempty"`
	// Back is the first night since which the verdict is Was again, where it was another one, Meanwhile, in between.
	Back      *int              `json:"back,omitempty"`
	Meanwhile scenarios.Verdict `json:"meanwhile,omitempty"`
	// Edited lists what is asked or expected in another way than on the night Last: "the scenario's text", "what counts as a hit", "the
	// image", "the expectation". Then there is a verdict of that night, and of the expectation's, to look at.
	Edited []string `json:"edited,omitempty"`
	// Lines are those of the scenario's text that only one of the two nights has, with "- " before those of night Last and "+ " before
	// tonight's.
	Lines  []string          `json:"lines,omitempty"`
	Last   *int              `json:"last,omitempty"`
	Before scenarios.Verdict `json:"before,omitempty"`
	// Known is the reason that the user's list gives for the verdict.
	Known string `json:"known,omitempty"`
}

// Known is an entry of the user's list of what is known to deviate.
type Known struct {
	scenarios.Known
	State KnownState `json:"state"`
	// Holds is how many cells, or questions, are as it says; Gone names those that are not.
	Holds int      `json:"holds"`
	Gone  []string `json:"gone,omitempty"`
}

// KnownState is where such an entry stands tonight.
type KnownState string

// The states.
const (
	KnownHolds   KnownState = "holds"
	KnownGone    KnownState = "gone"    // nothing is as it says: take it out
	KnownExpired KnownState = "expired" // it does not count any more
	KnownOpen    KnownState = "open"    // tonight decides nothing about it
	KnownUnseen  KnownState = "unseen"  // nothing of the night has such a name
)

// Unexpected are the questions that decide the exit status of a night: those whose verdict changed, unless the user's list knows it. A
// single trial, and a rate that changes without the verdict, are told and decide nothing.
func (c Comparison) Unexpected() (list []Question) {
	for _, q := range c.Questions {
		if q.Changed && q.Known == "" {
			list = append(list, q)
		}
	}
	return list
}

// listed is the comparison with lists that are there even when they are empty, for JSON.
func (c Comparison) listed() Comparison {
	c.Nights, c.Questions, c.Known = append([]Night{}, c.Nights...), append([]Question{}, c.Questions...), append([]Known{}, c.Known...)
	c.Cells = append([]Trend{}, c.Cells...)
	for i := range c.Cells {
		c.Cells[i].Points = append([]Point{}, c.Cells[i].Points...)
	}
	return c
}

// WriteJSON writes the comparison, indented. Lists are there even when they are empty, never null.
func (c Comparison) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(c.listed())
}
