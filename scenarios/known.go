package scenarios

import (
	"path/filepath"
	"strconv"
	"time"
)

// Known is something that is known to be otherwise than it should be: an entry of a list that a user keeps. It has a day on which it
// ends, so that nothing is forgotten.
type Known struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Scenario, OpenZFS and Arm are patterns as filepath.Match has them. Arm is empty for a verdict, which is the whole scenario's.
	Scenario string `json:"scenario"`
	OpenZFS  string `json:"openzfs"`
	Arm      string `json:"arm,omitempty"`
	// Verdict or Rate is what it is known to be; exactly one is set.
	Verdict Verdict  `json:"verdict,omitempty"`
	Rate    *float64 `json:"rate,omitempty"`
	// Reason says why, in words or as the address of an issue.
	Reason string `json:"reason"`
	// Until is the last day that the entry counts, in UTC.
	Until time.Time `json:"until"`
}

// Expired says whether a moment is after the entry's last day.
func (k Known) Expired(at time.Time) bool { return !at.Before(k.Until.AddDate(0, 0, 1)) }

// Matches says whether an entry is about a scenario and an OpenZFS, and about an arm of it unless that is empty.
func (k Known) Matches(scenario, openzfs, arm string) bool {
	match := func(pattern, name string) bool {
		ok, err := filepath.Match(pattern, name)
		return ok && err == nil
	}
	return match(k.Scenario, scenario) && match(k.OpenZFS, openzfs) && (arm == "" || match(k.Arm, arm))
}

const knownExample = `- {scenario: "vdev-*", verdict: does not reproduce, reason: "openzfs/zfs#17313", until: 2027-03-31}`

// ParseKnown reads a list of what is known: a YAML file with a list of entries, or with none. name is the file's, for messages.
// The error joins one *Error for each thing that is wrong, by line.
func ParseKnown(name string, data []byte) ([]Known, error) {
	d := newDecoder(name, knownKind)
	root := d.parseNode(data)
	var all []Known
	switch {
	case root == nil, root.kind == empty:
		return nil, d.err()
	case root.kind != list:
		d.errorf(root.line, "the file is %s", "write a list: %s", root.kind, knownExample)
	}
	for _, item := range root.items {
		all = append(all, d.known(item))
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return all, nil
}

func (d *decoder) known(n *node) (k Known) {
	f := d.fields(n, "entry", knownExample, "scenario", "openzfs", "arm", "verdict", "rate", "reason", "until")
	k = Known{File: d.file, Line: n.line, OpenZFS: "*", Scenario: d.pattern(f, "scenario", "vdev-*")}
	if f.has("openzfs") {
		k.OpenZFS = d.pattern(f, "openzfs", "2.3.*")
	}
	if f.has("arm") {
		k.Arm = d.pattern(f, "arm", "both-*")
	}
	switch verdict, rate := f.has("verdict"), f.has("rate"); {
	case f.n == nil: // reported
	case verdict == rate:
		d.errorf(n.line, "an entry says what is known by a verdict or by a rate", "write one of them: verdict: does not reproduce, or rate: 0.4")
	case verdict:
		k.Verdict = Verdict(d.oneOf(f.vals["verdict"], "verdict of entry", string(Reproduces), string(DoesNotReproduce)))
		if f.has("arm") {
			d.errorf(f.vals["arm"].line, "a verdict is the whole scenario's, not that of an arm", "take arm out, or write its rate: rate: 0.4")
		}
	default:
		k.Rate = d.share(f.vals["rate"])
		if !f.has("arm") {
			d.errorf(n.line, "a rate is that of an arm", `write arm: NAME, or arm: "*"`)
		}
	}
	k.Reason = f.text("reason", "openzfs/zfs#17313")
	k.Until = d.day(f.need("until", "2027-03-31"))
	return k
}

func (d *decoder) pattern(f fields, key, example string) string {
	s := f.text(key, example)
	if _, err := filepath.Match(s, ""); err != nil {
		d.wrong(f.vals[key], "%s: %q is no pattern", `write a name in which * is anything, for example "%s"`, f.name(key), s, example)
	}
	return s
}

// share is a rate that may be 0.
func (d *decoder) share(n *node) *float64 {
	s, ok := d.text(n, "rate of entry", "rate: 0.4")
	if !ok {
		return nil
	}
	rate, err := strconv.ParseFloat(s, 64)
	if err != nil || !rateForm.MatchString(s) || rate > 1 {
		d.wrong(n, "rate of entry: %q is not from 0 to 1", "write for example 0.4", s)
		return nil
	}
	return &rate
}

func (d *decoder) day(n *node) time.Time {
	s, ok := d.text(n, "until of entry", "until: 2027-03-31")
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		d.wrong(n, "until of entry: %q is no day", "write year-month-day, for example 2027-03-31", s)
	}
	return t
}
