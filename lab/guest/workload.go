package guest

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The workloads are bash, run inside the guest. They print lines like "writes=120" as they go, so that what was done is
// known even when a panic stops them: their methods call tell with what they have done so far, each time that it has changed.
var (
	//go:embed lib.sh
	scriptLib string
	//go:embed churn.sh
	scriptChurn string
	//go:embed storm.sh
	scriptStorm string
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
	// Seconds is how long cron ran, by the guest's clock, to the last quarter of an hour that was over.
	Seconds int `json:"seconds,omitempty"`
}

// ChurnOptions say how to overwrite files at random.
type ChurnOptions struct {
	// Dataset is made when it does not exist. It must be mounted.
	Dataset string
	// Files is how many files are written to.
	Files int
	// Duration is measured by the guest's clock.
	Duration time.Duration
	// Seed chooses sizes, files and data. bash takes 32 bits, into which it is folded.
	Seed uint64
}

// Churn overwrites the beginnings of random files with random text of 512 bytes to 32 KiB, one piece after the other.
func (g *Guest) Churn(ctx context.Context, o ChurnOptions, tell func(Counts)) error {
	return g.workload(ctx, "churn", scriptLib+scriptChurn, tell,
		o.Dataset, strconv.Itoa(o.Files), milliseconds(o.Duration), seed(o.Seed))
}

// SnapshotStormOptions say how to make and destroy snapshots under load.
type SnapshotStormOptions struct {
	// Dataset is made when it does not exist. It must be mounted.
	Dataset string
	// Duration is measured by the guest's clock. A round that has begun is finished.
	Duration time.Duration
	// Keep is how many snapshots exist at most; from then on each new one has the oldest destroyed beside it.
	Keep int
	// Seed is that of the churn.
	Seed uint64
}

// stormFiles is the number of files that the churn of a storm writes to.
const stormFiles = 200

// SnapshotStorm makes snapshots and destroys old ones as fast as the guest can, while files are churned.
func (g *Guest) SnapshotStorm(ctx context.Context, o SnapshotStormOptions, tell func(Counts)) error {
	return g.workload(ctx, "snapshot storm", scriptLib+scriptStorm, tell,
		o.Dataset, strconv.Itoa(stormFiles), milliseconds(o.Duration), seed(o.Seed), strconv.Itoa(o.Keep))
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
	var c Counts
	lines := &lineWriter{line: func(line string) {
		if c.read(line) {
			tell(c)
		}
	}}
	if _, err := g.runScript(ctx, script, lines, args...); err != nil {
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

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// seed makes a value for bash's RANDOM and awk's srand of a seed.
func seed(s uint64) string { return strconv.FormatUint(uint64(uint32(s^s>>32)), 10) }
