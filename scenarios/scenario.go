// Package scenarios loads and checks scenario files. A scenario is a question as a file: a pool, a workload, fault arms,
// control arms and an expectation. The package knows what a file may say, not how any of it is done: of the rest of
// the lab it imports the words of operations alone, and the steps and faults it hands out are plain data.
//
// Checking is strict, because a scenario that means something else than its author thinks gives a wrong verdict. Every
// arm is resolved while a file is loaded, so a value that only one arm puts in place is still refused with its line.
package scenarios

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// Cause is the suspect that a scenario puts on trial.
type Cause string

// The suspects of the report.
const (
	Software Cause = "software"
	Memory   Cause = "memory"
	Disk     Cause = "disk"
)

// Cost says how often a scenario can be afforded.
type Cost string

// Fast scenarios run with every change, nightly ones once a day.
const (
	Fast    Cost = "fast"
	Nightly Cost = "nightly"
)

// Verdict is what all trials of a scenario are expected to say together.
type Verdict string

// The verdicts that can be expected; the third one, inconclusive, never is.
const (
	Reproduces       Verdict = "reproduces"
	DoesNotReproduce Verdict = "does not reproduce"
)

// Scenario is a checked file. Pool, steps and fault depend on the arm: ForArm gives them.
type Scenario struct {
	// File is where the scenario came from and Source its text: Parse(File, Source) gives the scenario again, which
	// JSON alone does not.
	File   string `json:"file"`
	Source string `json:"source"`

	Name     string `json:"name"`
	Question string `json:"question"`
	// Claim is the sentence of the article that the scenario settles, empty where the question is another one.
	Claim string `json:"claim,omitempty"`
	Cause Cause  `json:"cause"`
	Cost  Cost   `json:"cost"`
	// ZFS are the versions of OpenZFS that the question can be asked of; none means all from Since to Until, both included and
	// empty for no limit.
	ZFS   []string `json:"zfs,omitempty"`
	Since string   `json:"since,omitempty"`
	Until string   `json:"until,omitempty"`
	// Default scenarios run when none is named.
	Default bool    `json:"default"`
	Machine Machine `json:"machine"`
	// Files are brought along: contents by their paths in the guest, where each can be run.
	Files map[string][]byte `json:"files,omitempty"`
	// Vars are the defaults that arms may override.
	Vars map[string]string `json:"vars,omitempty"`
	// Arms are in the order of the file, at least one of them a fault arm.
	Arms []Arm `json:"arms"`
	// NoControl is the reason for having no control arm, empty when there is one.
	NoControl string `json:"no_control,omitempty"`
	// Limit is for the workload of one trial on the reference host, a KVM host with idle cores.
	Limit  time.Duration `json:"limit_ns"`
	Expect Expect        `json:"expect"`
	// Elsewhere are the expectations on versions where Expect does not hold; the first that a version is in counts. See On.
	Elsewhere []Elsewhere `json:"elsewhere,omitempty"`

	resolved []Resolved
}

// Clock is what the time of a guest follows; the host's, when it is empty.
type Clock string

// Counted is the clock that counts the instructions of the one CPU, and goes on to the next timer while that waits.
const Counted Clock = "icount"

// Machine is what every arm runs on.
type Machine struct {
	CPUs int `json:"cpus"`
	// Clock is what the guest's time follows.
	Clock Clock `json:"clock,omitempty"`
	// Memory is in bytes, a multiple of 1 MiB.
	Memory int64 `json:"memory"`
	// Disks are in the order of the file.
	Disks []DataDisk `json:"disks"`
}

// Names are those of the disks.
func (m Machine) Names() (names []string) {
	for _, disk := range m.Disks {
		names = append(names, disk.Name)
	}
	return names
}

// DataDisk is an empty disk that the guest knows by Name.
type DataDisk struct {
	Name string `json:"name"`
	// Size is in bytes, a multiple of 1 KiB.
	Size int64 `json:"size"`
}

// Arm is one condition of a scenario.
type Arm struct {
	Name string `json:"name"`
	// Control arms differ from a fault arm in exactly one thing.
	Control bool `json:"control"`
	// Withhold keeps trigger and pause but not the strike itself.
	Withhold bool `json:"withhold,omitempty"`
	// Vars are the overrides of this arm.
	Vars map[string]string `json:"vars,omitempty"`
	// Trials is the arm's own number or else the scenario's, at least 1.
	Trials int `json:"trials"`
}

// Elsewhere is what is expected on versions of OpenZFS from Since to Until, both included and empty for no limit.
type Elsewhere struct {
	Since  string `json:"since,omitempty"`
	Until  string `json:"until,omitempty"`
	Expect Expect `json:"expect"`
}

// String is the range as a file has it.
func (e Elsewhere) String() string {
	if e.Since == e.Until {
		return e.Since
	}
	return e.Since + ".." + e.Until
}

// Expect is what the scenario's author foretells.
type Expect struct {
	Verdict Verdict `json:"verdict"`
	// Signature, or one of Outcome, makes a trial a hit; at most one of both is set. With neither, any panic, oops or hang is one.
	Signature string   `json:"signature,omitempty"`
	Outcome   []string `json:"outcome,omitempty"`
	// Text must stand in the raw text of every hit.
	Text string `json:"text,omitempty"`
	// Rate is the stated rate that the interval is compared with, in (0,1].
	Rate float64 `json:"rate"`
	// Outcomes gives, for some arms, the outcome that every valid trial must have.
	Outcomes map[string]string `json:"outcomes,omitempty"`
}

// Pool is made by zpool create, once for all arms that agree in it.
type Pool struct {
	Name string `json:"name"`
	// Layout holds the words after the pool's name; disks are named as in Machine.
	Layout []string `json:"layout"`
	// Options are for -o, Properties for -O.
	Options    map[string]string `json:"options,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

// Resolved is one arm with every var in place. It is shared: read it, do not change it.
type Resolved struct {
	Scenario string  `json:"scenario"`
	Arm      Arm     `json:"arm"`
	Machine  Machine `json:"machine"`
	// Files are those of Scenario.
	Files    map[string][]byte `json:"files,omitempty"`
	Pool     Pool              `json:"pool"`
	Prepare  []Step            `json:"prepare,omitempty"`
	Workload []Step            `json:"workload"`
	Fault    *Fault            `json:"fault,omitempty"`
	Limit    time.Duration     `json:"limit_ns"`
}

// ForArm is the arm of that name, resolved.
func (s *Scenario) ForArm(name string) (Resolved, error) {
	for _, r := range s.resolved {
		if r.Arm.Name == name {
			return r, nil
		}
	}
	names := make([]string, 0, len(s.Arms))
	for _, a := range s.Arms {
		names = append(names, a.Name)
	}
	return Resolved{}, fmt.Errorf("scenario %s has no arm %q; %s", s.Name, name, instead(name, names))
}

// PrepareKey identifies what goes into the checkpoint that trials are forked from: machine, pool, preparation and files. Arms
// with equal keys share a checkpoint. The image is the caller's to add.
func (r Resolved) PrepareKey() string {
	// Maps are marshalled in the order of their keys, so equal content gives equal bytes.
	text, err := json.Marshal(struct {
		Machine Machine
		Pool    Pool
		Prepare []Step
		Files   map[string][]byte `json:",omitempty"`
	}{r.Machine, r.Pool, r.Prepare, r.Files})
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Applies says whether the question can be asked of a version of OpenZFS. A commit or an edited tree has the version of its META
// in front of a dash; of a pair, with a colon between them, it is the first one that is asked.
func (s *Scenario) Applies(version string) bool {
	version = numbers(version)
	if len(s.ZFS) > 0 {
		return slices.Contains(s.ZFS, version)
	}
	return within(version, s.Since, s.Until)
}

// On is the scenario as it is asked of a version of OpenZFS, which is named as in Applies: Expect is what is expected there.
func (s *Scenario) On(version string) *Scenario {
	version = numbers(version)
	for _, e := range s.Elsewhere {
		if within(version, e.Since, e.Until) {
			there := *s
			there.Expect = e.Expect
			return &there
		}
	}
	return s
}

// numbers are the version's alone: without what a tree is called besides, and of a pair that of the first one.
func numbers(version string) string {
	end := strings.IndexAny(version, "-:")
	if end < 0 {
		return version
	}
	return version[:end]
}

// within says whether a version is one of those from since to until.
func within(version, since, until string) bool {
	return (since == "" || CompareVersions(version, since) >= 0) && (until == "" || CompareVersions(version, until) <= 0)
}

// CompareVersions orders versions such as 2.3.9 and 2.3.10 by their numbers.
func CompareVersions(a, b string) int { return semver.Compare("v"+a, "v"+b) }

// Labels are what test filters select by: the cause, the cost, and control when there is a control arm.
func (s *Scenario) Labels() []string {
	labels := []string{"cause:" + string(s.Cause), "cost:" + string(s.Cost)}
	if slices.ContainsFunc(s.Arms, func(a Arm) bool { return a.Control }) {
		labels = append(labels, "control")
	}
	return labels
}
