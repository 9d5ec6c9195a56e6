package trial

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vdevil/vdevil/scenarios"
)

// SpecVersion is that of the JSON form of a Spec. It changes when an older lab would do another trial than the one meant.
const SpecVersion = 1

// Spec is everything that decides one trial, as data: with it alone a trial is done again, on another computer and after the
// scenario's file was edited.
type Spec struct {
	// Version is SpecVersion.
	Version int `json:"version"`
	// Name is the scenario's, Scenario the text of its file; Arm is one of its arms and Number the trial's within it, from 1.
	Name     string `json:"name"`
	Scenario string `json:"scenario"`
	Arm      string `json:"arm"`
	Number   int    `json:"number"`
	// Seed is the trial's own: all its random choices come from it.
	Seed uint64 `json:"seed"`
	// Image is the ID by content of the guest's image, OpenZFS the version in it; or a pair of each, see Image.Then.
	Image   string `json:"image"`
	OpenZFS string `json:"openzfs"`
	// Driver and Accel are what runs the guest. Rates of two accelerators do not compare.
	Driver string `json:"driver"`
	Accel  string `json:"accel"`
	// Watch is how long the trial goes on at least, from the moment the CPUs run, on the host that does it.
	Watch time.Duration `json:"watch_ns,omitempty"`
	// Strike takes the place of the scenario's fault; nil for that.
	Strike *Strike `json:"strike,omitempty"`
	// Cut makes the trial one of disks that a power cut has left; nil for none.
	Cut *Cut `json:"cut,omitempty"`
}

// Strike is one bit of a structure in the guest's memory, flipped at an instant before which the CPUs stand still.
type Strike struct {
	// Target is the path of the structure, Trigger the instant. The scenario's workload goes on from there; so many Txgs are
	// synced after it.
	Target  string            `json:"target"`
	Trigger scenarios.Trigger `json:"trigger"`
	Txgs    int               `json:"txgs"`
	// Bit counts from the structure's first one. A control has its strike withheld.
	Bit      int  `json:"bit"`
	Withhold bool `json:"withhold,omitempty"`
	// Seed is that of the workload up to the instant, which all bits share.
	Seed uint64 `json:"seed"`
}

// ID is the hash of the spec's content: equal specs have equal ones.
func (s Spec) ID() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Images are those of the machine that the trial begins with, and of those that come after a reboot.
func (s Spec) Images() (first, later Image) { return Image{s.Image, s.OpenZFS}.Both() }

// Title names the trial for people.
func (s Spec) Title() string {
	return fmt.Sprintf("%s on OpenZFS %s, %s/%d", s.Name, s.OpenZFS, s.Arm, s.Number)
}

// Resolve reads the scenario and gives it, as it is asked of the spec's OpenZFS, with the spec's arm.
func (s Spec) Resolve() (*scenarios.Scenario, scenarios.Resolved, error) {
	read, err := scenarios.Parse(s.Name+".yaml", []byte(s.Scenario))
	if err != nil {
		return nil, scenarios.Resolved{}, fmt.Errorf("the scenario in the spec of a trial: %w", err)
	}
	r, err := read.ForArm(s.Arm)
	return read.On(s.OpenZFS), r, err
}

// ParseSpec reads the JSON form. A version that this lab does not know is refused, and so is what it has no word for: to
// leave it out would be another trial.
func ParseSpec(data []byte) (Spec, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Spec{}, fmt.Errorf("read spec: %w", err)
	}
	if head.Version != SpecVersion {
		return Spec{}, fmt.Errorf("read spec: it has version %d, this vdevil knows %d: use the one that wrote it", head.Version, SpecVersion)
	}
	var s Spec
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("read spec: %w", err)
	}
	return s, nil
}
