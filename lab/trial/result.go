package trial

import (
	"time"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/zfs/panics"
	"github.com/vdevil/vdevil/lab/zfs/status"
)

// Result is what happened in a trial.
type Result struct {
	Arm       string  `json:"arm"`
	Control   bool    `json:"control"`
	Number    int     `json:"number"`
	Seed      uint64  `json:"seed"`
	Outcome   Outcome `json:"outcome"`
	Signature string  `json:"signature,omitempty"`
	// Text is the raw message of the event that decided.
	Text string `json:"text,omitempty"`
	// Reason says why a trial is invalid, or what decided where there is no message.
	Reason string `json:"reason,omitempty"`
	// Untestable is why this version of OpenZFS cannot be tried at all: it does not compile, or no guest comes up with it.
	Untestable string `json:"untestable,omitempty"`
	// Events are the messages of the console that speak of trouble, the first one first.
	// They are long and have a place of their own in bundle and store.
	Events     []panics.Event  `json:"-"`
	Injections []Injection     `json:"injections,omitempty"`
	Status     *status.Pool    `json:"pool,omitempty"`
	Findings   oracle.Findings `json:"findings,omitempty"`
	// Audit is what the judge found inconsistent on the disks, ZDB what the second one says to that.
	Audit []string `json:"audit,omitempty"`
	ZDB   []string `json:"zdb,omitempty"`
	// NotAudited names what the pool uses and the judge does not know; empty when it was judged, or was not to be.
	NotAudited string `json:"not_audited,omitempty"`
	// State is that of the disks, of a trial after a power cut.
	State *State `json:"state,omitempty"`
	// Exact is what every repeat of a trial gives whose guest counts its time; nil of others.
	Exact *Exact `json:"exact,omitempty"`
	// Code is to what functions the trial came; nil where that was not asked for.
	Code *Code `json:"code,omitempty"`
	// Repeat is the command that does this trial again.
	Repeat string `json:"repeat"`
	// Workload is what the workloads say they have done.
	Workload []Work `json:"workload,omitempty"`
	// Survived are the signatures of the panics that steps required, after which the trial went on.
	Survived []string `json:"survived,omitempty"`
	// LastStep is the step that ran when the trial ended.
	LastStep string `json:"last_step,omitempty"`

	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	// Spans are where the time went, one after the other.
	Spans []Span `json:"spans,omitempty"`
	// Bundle is the directory of the evidence, on the host that did the trial; Evidence are the files in it.
	Bundle   string     `json:"bundle"`
	Evidence []Evidence `json:"evidence,omitempty"`
}

// Exact tells whether two trials were the same to the byte.
type Exact struct {
	// Checkpoint names the one that the trial was forked from, and when that was made: a boot is not the same twice.
	Checkpoint string `json:"checkpoint"`
	// SHA256 is that of all that the consoles said since, and of the data disks at the end.
	SHA256 string `json:"sha256"`
}

// Code is to what functions of OpenZFS's modules a trial came.
type Code struct {
	// Functions is how many there are, Reached to how many of them the trial came.
	Functions int `json:"functions"`
	Reached   int `json:"reached"`
	// First are those of them, in order, to which no trial of its campaign on that version had come before; all of a trial by itself.
	First []string `json:"first,omitempty"`
}

// Workload is the span from the beginning of the workload to its end, or to that of the guest.
const Workload = "workload"

// Lasted is how long that was, in seconds; the whole trial where it is not told.
func (r Result) Lasted() float64 {
	for _, s := range r.Spans {
		if s.Name == Workload {
			return s.Seconds
		}
	}
	return r.Seconds
}

// Span is a part of a trial.
type Span struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Evidence is one file of a bundle.
type Evidence struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // in bytes
	SHA256 string `json:"sha256"`
}

// Work is what one step has done.
type Work struct {
	Step string `json:"step"`
	Counts
}

// Counts are what a workload did, also one that was stopped. They say at least so much: what was under way is not in.
type Counts struct {
	Writes    int `json:"writes"`
	Snapshots int `json:"snapshots"`
	Destroyed int `json:"destroyed"`
	// Runs are completed runs of zfs-auto-snapshot, or jobs that cron has begun.
	Runs int `json:"runs"`
	// Seconds is how long cron ran, by the guest's clock.
	Seconds int `json:"seconds,omitempty"`
}
