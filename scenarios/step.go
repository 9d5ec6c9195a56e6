package scenarios

import (
	"fmt"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/ops"
)

// Step is one thing that the guest does. Exactly one field is set; Kind names it.
type Step struct {
	// Parameter sets parameters of the zfs and spl modules, in the order of their names.
	Parameter map[string]string `json:"parameter,omitempty"`
	Write     *Write            `json:"write,omitempty"`
	// Sync waits until the pool has written everything: zpool sync.
	Sync bool `json:"sync,omitempty"`
	// Snapshot is the full name of a snapshot to take.
	Snapshot string `json:"snapshot,omitempty"`
	// Remove holds absolute paths of files, removed in one go.
	Remove []string `json:"remove,omitempty"`
	// Destroy is the full name of a dataset or snapshot, Create that of a dataset.
	Destroy       string         `json:"destroy,omitempty"`
	Create        string         `json:"create,omitempty"`
	Churn         *Churn         `json:"churn,omitempty"`
	SnapshotStorm *SnapshotStorm `json:"snapshot-storm,omitempty"`
	AutoSnapshot  *AutoSnapshot  `json:"auto-snapshot,omitempty"`
	Cron          *Cron          `json:"cron,omitempty"`
	// Operations are those of a program, one after the other, which package ops reads; Generate is a program that each trial makes by its
	// own seed.
	Operations string    `json:"operations,omitempty"`
	Generate   *Generate `json:"generate,omitempty"`
	// Together runs steps side by side and ends when all have ended.
	Together []Step `json:"together,omitempty"`
	// Scrub runs a scrub to its end.
	Scrub bool   `json:"scrub,omitempty"`
	Holds *Holds `json:"holds,omitempty"`
	// Verify lets the oracle read everything back.
	Verify bool `json:"verify,omitempty"`
	// Arm marks the place from which the fault may strike: at once, or when its trigger fires.
	Arm bool `json:"arm,omitempty"`
	// Reboot cuts the power and goes on in a fresh machine with the same disks, the pool not imported. That machine has
	// never seen the fault.
	Reboot bool `json:"reboot,omitempty"`
	Import bool `json:"import,omitempty"`
	Export bool `json:"export,omitempty"`
	// Healthy ends the workload, as a result, unless zpool status knows of no damage, errors of the last scrub included.
	Healthy bool `json:"healthy,omitempty"`
	// Panic runs steps that must end in a panic, the expected one if a signature is expected. A reboot must follow.
	Panic []Step `json:"panic,omitempty"`
	// Must is a shell command whose exit status must be 0, or else the trial is broken.
	Must string `json:"must,omitempty"`
	// MustFail is a shell command that must be refused, with an exit status of 1 to 125, or else the trial is broken.
	MustFail string `json:"must-fail,omitempty"`
	// Run is a shell command; its exit status must be 0.
	Run string `json:"run,omitempty"`
}

// Write writes files whose bytes follow from a label.
type Write struct {
	// File is a path, or with Count above 0 a pattern with one %d or %02d for numbers from 0 on.
	File string `json:"file"`
	// Size is of each file, in bytes.
	Size int64 `json:"size"`
	// Content is a label. The same label, size and trial seed give the same bytes. In prepare, where there is no trial
	// yet, the bytes follow from label and size alone.
	Content string `json:"content"`
	Count   int    `json:"count,omitempty"`
}

// Holds says that files have the content that others were written with, whatever becomes of those afterwards: files of a clone, of a
// snapshot, of a dataset that was received. Nothing is done, and Verify looks at them, too.
type Holds struct {
	// File and As are paths, or with Count above 0 patterns as in Write.
	File  string `json:"file"`
	As    string `json:"as"`
	Count int    `json:"count,omitempty"`
}

// Pairs are the paths of all files, each with that of the file whose content it has.
func (h *Holds) Pairs() (pairs [][2]string) {
	if h.Count == 0 {
		return [][2]string{{h.File, h.As}}
	}
	for i := range h.Count {
		pairs = append(pairs, [2]string{fmt.Sprintf(h.File, i), fmt.Sprintf(h.As, i)})
	}
	return pairs
}

// File is one file of a Write.
type File struct {
	Path string
	// Content is the label: Write's own for a single file, with #number added for one of many, so that no two of them
	// hold the same bytes.
	Content string
}

// Files are all that w writes.
func (w *Write) Files() []File {
	if w.Count == 0 {
		return []File{{Path: w.File, Content: w.Content}}
	}
	files := make([]File, w.Count)
	for i := range files {
		files[i] = File{Path: fmt.Sprintf(w.File, i), Content: fmt.Sprintf("%s#%d", w.Content, i)}
	}
	return files
}

// Churn overwrites parts of random files of a dataset.
type Churn struct {
	Dataset string `json:"dataset"`
	Files   int    `json:"files"`
	// One of For and Writes is set.
	For    time.Duration `json:"for_ns"`
	Writes int           `json:"writes,omitempty"`
}

// SnapshotStorm takes one snapshot of a dataset after the other and destroys all but the last Keep.
type SnapshotStorm struct {
	Dataset string `json:"dataset"`
	// One of For and Snapshots is set.
	For       time.Duration `json:"for_ns"`
	Snapshots int           `json:"snapshots,omitempty"`
	Keep      int           `json:"keep"`
}

// AutoSnapshot runs zfs-auto-snapshot --quiet --syslog --label=Label --keep=Keep // a number of times. The tool names a
// snapshot by the minute and fails on a name that exists, so each run must get a minute of its own.
type AutoSnapshot struct {
	Label string `json:"label"`
	Keep  int    `json:"keep"`
	Times int    `json:"times"`
}

// Cron lets time pass, in whole seconds by the guest's clock, with the cron jobs of its packages, zfs-auto-snapshot's among them.
type Cron struct {
	For time.Duration `json:"for_ns"`
	// Jobs are further commands, by the first five fields of a crontab.
	Jobs map[string]string `json:"jobs,omitempty"`
}

// Generate is a program of so many operations, beside those that its features begin with.
type Generate struct {
	Count    int           `json:"count"`
	Features []ops.Feature `json:"features"`
	// Draw is how many of the features each trial takes, 0 for all.
	Draw int `json:"draw,omitempty"`
}

// Kind is the step's word in a file.
func (s Step) Kind() string { return set(s) }

// String is the step in a few words, for plans and messages.
func (s Step) String() string {
	what := ""
	switch {
	case s.Parameter != nil:
		for _, name := range sortedKeys(s.Parameter) {
			what += " " + name + "=" + s.Parameter[name]
		}
	case s.Write != nil && s.Write.Count > 0:
		what = fmt.Sprintf(" %d x %s", s.Write.Count, s.Write.File)
	case s.Write != nil:
		what = " " + s.Write.File
	case s.Holds != nil:
		what = " " + s.Holds.File + " as " + s.Holds.As
	case s.Remove != nil:
		what = " " + strings.Join(s.Remove, " ")
	case s.Churn != nil:
		what = lasting(s.Churn.Dataset, s.Churn.For, s.Churn.Writes, "writes")
	case s.SnapshotStorm != nil:
		what = lasting(s.SnapshotStorm.Dataset, s.SnapshotStorm.For, s.SnapshotStorm.Snapshots, "snapshots")
	case s.AutoSnapshot != nil:
		what = fmt.Sprintf(" %s %d times", s.AutoSnapshot.Label, s.AutoSnapshot.Times)
	case s.Cron != nil:
		what = fmt.Sprintf(" for %s", s.Cron.For)
	case s.Operations != "":
		first, rest, _ := strings.Cut(strings.TrimSpace(s.Operations), "\n")
		if what = " " + first; rest != "" {
			what += fmt.Sprintf(" and %d more", strings.Count(rest, "\n")+1)
		}
	case s.Generate != nil:
		what = fmt.Sprintf(" %d operations", s.Generate.Count)
	case s.Together != nil:
		what = inBrackets(s.Together)
	case s.Panic != nil:
		what = inBrackets(s.Panic)
	default:
		if name := s.Snapshot + s.Destroy + s.Create + s.Must + s.MustFail + s.Run; name != "" { // one field only is set
			what = " " + name
		}
	}
	return s.Kind() + what
}

// lasting says how long something goes on: a time, or so many of something.
func lasting(where string, d time.Duration, count int, of string) string {
	if count > 0 {
		return fmt.Sprintf(" %s %d %s", where, count, of)
	}
	return fmt.Sprintf(" %s for %s", where, d)
}

func inBrackets(steps []Step) string {
	all := make([]string, len(steps))
	for i, s := range steps {
		all[i] = s.String()
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// lasts is the least time that steps need, from what they ask for.
func lasts(steps []Step) time.Duration {
	var sum time.Duration
	for _, s := range steps {
		switch {
		case s.Churn != nil:
			sum += s.Churn.For
		case s.SnapshotStorm != nil:
			sum += s.SnapshotStorm.For
		case s.Together != nil:
			var longest time.Duration
			for _, t := range s.Together {
				longest = max(longest, lasts([]Step{t}))
			}
			sum += longest
		case s.Panic != nil:
			sum += lasts(s.Panic)
		}
	}
	return sum
}
