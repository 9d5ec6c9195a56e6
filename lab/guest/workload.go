package guest

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The workloads are loads of the helper, or bash, inside the guest. They print lines like "writes=120" as they go, so that what was done is
// known even when a panic stops them: their methods call tell with what they have done so far, when that has changed.
var (
	//go:embed autosnapshot.sh
	scriptAutoSnapshot string
	//go:embed cron.sh
	scriptCron string
)

// Counts are what a workload did, also one that was stopped. They say at least so much: what was under way is not in.
type Counts struct {
	Writes    int `json:"writes"`
	Snapshots int `json:"snapshots"`
	Destroyed int `json:"destroyed"`
	// Runs are completed runs of zfs-auto-snapshot, or jobs that cron has begun.
	Runs int `json:"runs"`
	// Seconds is how long cron ran, by the guest's clock, to the last hour that was over.
	Seconds int `json:"seconds,omitempty"`
}

// ChurnOptions say how to overwrite files at random.
type ChurnOptions struct {
	// Dataset is made when it does not exist. It must be mounted.
	Dataset string
	// Name is what the names of the files begin with, Files how many there are.
	Name  string
	Files int
	// Duration is measured by the guest's clock; Writes, if there are some, are made however long that takes.
	Duration time.Duration
	Writes   int
	// Seed chooses sizes, files and data, as package churn has them.
	Seed uint64
}

// Churn overwrites the beginnings of random files with random text of 512 bytes to 32 KiB, one piece after the other.
// begun is told the folder of the files before the first is written.
func (g *Guest) Churn(ctx context.Context, o ChurnOptions, begun func(folder string), tell func(Counts)) error {
	return g.load(ctx, "churn", load{
		Do: "churn", Dataset: o.Dataset, Name: o.Name, Files: o.Files, Milliseconds: o.Duration.Milliseconds(), Times: o.Writes, Seed: o.Seed,
	}, beginning(begun, counting(tell)))
}

// SnapshotStormOptions say how to make and destroy snapshots under load.
type SnapshotStormOptions struct {
	// Dataset is made when it does not exist. It must be mounted.
	Dataset string
	// Name is what the names of snapshots and of the churn's files begin with.
	Name string
	// Duration is measured by the guest's clock; Snapshots, if there are some, are made however long that takes. A round that has begun
	// is finished.
	Duration  time.Duration
	Snapshots int
	// Keep is how many snapshots exist at most; from then on each new one has the oldest destroyed beside it.
	Keep int
	// Seed is that of the churn.
	Seed uint64
}

// StormFiles is the number of files that the churn of a storm writes to.
const StormFiles = 200

// SnapshotStorm makes snapshots and destroys old ones as fast as the guest can, while files are churned.
// begun is as in Churn.
func (g *Guest) SnapshotStorm(ctx context.Context, o SnapshotStormOptions, begun func(folder string), tell func(Counts)) error {
	return g.load(ctx, "snapshot storm", load{
		Do: "storm", Dataset: o.Dataset, Name: o.Name, Files: StormFiles, Milliseconds: o.Duration.Milliseconds(), Times: o.Snapshots, Keep: o.Keep, Seed: o.Seed,
	}, beginning(begun, counting(tell)))
}

// load is what the helper is told as its argument.
type load struct {
	Do           string `json:"do"`
	Dataset      string `json:"dataset"`
	Name         string `json:"name"`
	Files        int    `json:"files"`
	Milliseconds int64  `json:"milliseconds"`
	Times        int    `json:"times"`
	Keep         int    `json:"keep"`
	Seed         uint64 `json:"seed"`
}

// load runs one, and calls line with each line that it prints.
func (g *Guest) load(ctx context.Context, name string, l load, line func(string)) error {
	argument, err := json.Marshal(l)
	if err != nil {
		panic(err) // plain data always marshals
	}
	command, program, err := g.helper(ctx, string(argument))
	if err == nil {
		_, err = g.runTo(ctx, command, bytes.NewReader(program), &lineWriter{line: line}, io.Discard)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// beginning reads the line that names the folder, and gives others on.
func beginning(begun, other func(string)) func(string) {
	return func(line string) {
		if folder, names := strings.CutPrefix(line, "folder="); names {
			begun(folder)
			return
		}
		other(line)
	}
}

// counting reads lines of counts.
func counting(tell func(Counts)) func(string) {
	var c Counts
	return func(line string) {
		if c.read(line) {
			tell(c)
		}
	}
}

// AutoSnapshotOptions say how to run zfs-auto-snapshot.
type AutoSnapshotOptions struct {
	// Label and Keep are the flags of the same name; openzfs/zfs#17313 has "frequent" and 31. Nothing is destroyed before
	// Keep snapshots exist.
	Label string
	Keep  int
	// Times is how often to run it.
	Times int
}

// AutoSnapshot runs the command of openzfs/zfs#17313, zfs-auto-snapshot --quiet --syslog --label=frequent --keep=31 //,
// one run after the other. A snapshot's name ends with the minute, so a second run within a minute would fail. Each run
// is therefore told, through a date command of its own, a minute one later than the run before; the command and its flags
// are those of the report. It snapshots every pool.
func (g *Guest) AutoSnapshot(ctx context.Context, o AutoSnapshotOptions, tell func(Counts)) error {
	return g.workload(ctx, "zfs-auto-snapshot", scriptAutoSnapshot, tell,
		o.Label, strconv.Itoa(o.Keep), strconv.Itoa(o.Times))
}

// CronOptions say what a guest lives by.
type CronOptions struct {
	// Duration is measured by the guest's clock, in whole seconds.
	Duration time.Duration
	// Jobs are commands by when they run, the first five fields of a crontab.
	Jobs map[string]string
}

// Cron lets time pass with the jobs that packages have in /etc/cron.d, /etc/cron.hourly and so on, zfs-auto-snapshot's among them, at the
// times of Debian's crontab, and some more.
func (g *Guest) Cron(ctx context.Context, o CronOptions, tell func(Counts)) error {
	args := make([]string, 0, 1+len(o.Jobs))
	args = append(args, strconv.Itoa(int(o.Duration.Seconds())))
	for _, when := range slices.Sorted(maps.Keys(o.Jobs)) {
		args = append(args, when+" "+o.Jobs[when])
	}
	return g.workload(ctx, "cron", scriptCron, tell, args...)
}

// workload runs a script that prints counts.
func (g *Guest) workload(ctx context.Context, name, script string, tell func(Counts), args ...string) error {
	if _, err := g.runScript(ctx, script, &lineWriter{line: counting(tell)}, args...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// read takes a line of name=number in; others it ignores.
func (c *Counts) read(line string) bool {
	fields := map[string]*int{
		"writes": &c.Writes, "snapshots": &c.Snapshots, "destroyed": &c.Destroyed, "runs": &c.Runs, "seconds": &c.Seconds,
	}
	name, value, _ := strings.Cut(line, "=")
	number, err := strconv.Atoi(value)
	if fields[name] == nil || err != nil {
		return false
	}
	*fields[name] = number
	return true
}
