// Package audit says whether a pool is consistent: whether what its space maps call allocated is exactly what somebody
// refers to, and whether every list and table that frees blocks one day agrees with that. It uses the reader of package
// ondisk alone, no code of ZFS, and writes nothing. What it calls a claim is somebody's word that a range of a vdev is his.
//
// All claims are collected and sorted by place; then each metaslab's space map is replayed and compared with the claims in
// it; last, a second walk names the owners of what was found.
package audit

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Options say how a pool is audited.
type Options struct {
	// Workers is how many goroutines walk, 0 for 1.
	Workers int
	// Memory is how many bytes of sorted claims are held in memory at most, 0 for 256 MiB: the first MiB, and a
	// sixteenth of what there is when that is more. The rest goes to files. A block pointer needs 32 bytes for each copy (each part of a gang
	// block), as do each entry of a deadlist, a dedup table and a block reference table, and, unless Quick, each reference at
	// the border to what a snapshot has too.
	Memory int64
	// TempDir is where these files are, empty for $TMPDIR, or /var/tmp: /tmp is often in memory. They have no names and
	// vanish with the process.
	TempDir string
	// Sorted is how many bytes of claims there may be, in memory and in files, 0 for as many as the devices of the pool have,
	// and 1 GiB. More gives ondisk.ErrExcess. Files take a twentieth of their file system less than it has room for.
	Sorted int64
	// Progress is called now and then, by one goroutine at a time; it may be nil.
	Progress func(Progress)
	// Found is called with each finding as it is found, by one goroutine at a time; it may be nil. Owners are not known yet,
	// neighbours not joined, and what several findings say together may change what kind they are of: the report counts.
	Found func(Finding)
	// Quick leaves out whether datasets have what they share with the snapshots before them at the same place: a claim for
	// each reference at the border to what they share, which may be many more than there are blocks.
	Quick bool
	// Data reads and verifies all copies of all blocks on all devices, as a scrub does, instead of one good copy of those alone
	// that lead to others.
	Data bool
}

const defaultMemory = 256 << 20

// Stage is a part of an audit.
type Stage string

// The stages, in their order.
const (
	Walking   Stage = "walking"            // the pool's trees, lists and tables
	Comparing Stage = "comparing"          // claims with space maps
	Naming    Stage = "looking for owners" // a second walk, if something was found
)

// Progress says how far an audit has come.
type Progress struct {
	Stage Stage
	// Blocks is the number of block pointers that were seen in this stage; of Comparing, metaslabs.
	Blocks uint64
	// Done and Total are bytes of allocated space.
	Done, Total uint64
}

// Pool audits an open pool. An error means that the audit was not possible; what is wrong with the pool is in the report.
// The pool must not change meanwhile.
func Pool(ctx context.Context, p *ondisk.Pool, o Options) (*Report, error) {
	o.Workers = max(o.Workers, 1)
	o.Memory = cmp.Or(o.Memory, defaultMemory)
	o.TempDir = cmp.Or(o.TempDir, os.Getenv("TMPDIR"), "/var/tmp")
	o.Sorted = cmp.Or(o.Sorted, int64(min(p.Room(), 1<<60))+1<<30)
	a := &auditor{
		Options: o, pool: p, claims: newRuns(o.Memory, o.TempDir),
		report: &Report{Pool: p.Name, GUID: p.GUID, TXG: p.Uberblock.TXG, Findings: []Finding{}, Omitted: map[Kind]uint64{}},
		bad:    map[uint64]*BadCopies{}, found: map[Kind]int{}, mapOf: map[uint64]*ondisk.Metaslab{},
	}
	a.claims.most = o.Sorted
	err := a.run(ctx)
	if err := errors.Join(err, a.claims.close()); err != nil {
		return nil, err
	}
	return a.report, nil
}

// auditor is one audit.
type auditor struct {
	Options
	pool   *ondisk.Pool
	before *ondisk.Pool // the checkpoint, nil if there is none
	claims *runs
	spaces []*vdevSpace
	mapOf  map[uint64]*ondisk.Metaslab // by object of their space maps
	held   int                         // entries of logs
	total  uint64                      // bytes that are allocated, as headers of space maps say

	hiding []hiding // datasets with blocks that the walk may not have met

	mu     sync.Mutex
	bad    map[uint64]*BadCopies // by GUID of the device
	report *Report
	found  map[Kind]int
}

func (a *auditor) run(ctx context.Context) error {
	if err := a.pool.CheckWriters(); err != nil {
		return err
	}
	for _, text := range a.pool.Demands(ctx) {
		a.find(Finding{Kind: Configuration, Detail: text})
	}
	before, err := a.pool.OpenCheckpoint(ctx)
	switch {
	case err == nil:
		a.before = before
		a.report.Checkpoint = before.Uberblock.TXG
	case !errors.Is(err, ondisk.ErrNotFound):
		a.problem("checkpoint", 0, err)
	}
	if err := a.zaps(ctx); err != nil {
		return err
	}
	if err := a.openSpaces(ctx); err != nil {
		return err
	}
	now := &state{auditor: a, pool: a.pool}
	if err := now.collect(ctx); err != nil {
		return err
	}
	if err := a.pool.Spend(0); err != nil {
		return err
	}
	a.report.Totals = now.totals()
	if a.before != nil {
		then := &state{auditor: a, pool: a.before, flags: inCheckpoint}
		if err := then.collect(ctx); err != nil {
			return err
		}
	}
	if err := a.compare(ctx); err != nil {
		return err
	}
	if err := a.nameOwners(ctx); err != nil {
		return err
	}
	if err := a.hidden(ctx); err != nil {
		return err
	}
	a.finish()
	if err := a.pool.Spend(0); err != nil { // what was found then is that nothing could be read
		return err
	}
	return ctx.Err()
}

// maxRaw is how many findings of a kind are kept until neighbours are joined.
const maxRaw = 10 * MaxFindings

// find adds a finding.
func (a *auditor) find(f Finding) {
	_ = a.pool.Spend(4) // run asks whether it was too much
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.found[f.Kind]++; a.found[f.Kind] > maxRaw {
		a.report.Omitted[f.Kind]++
		return
	}
	a.report.Findings = append(a.report.Findings, f)
	if a.Found != nil {
		a.Found(f)
	}
}

// problem adds a structure of the pool that cannot be read.
func (a *auditor) problem(what string, object uint64, err error) {
	kind := kindOf(err)
	a.find(Finding{Kind: kind, Object: object, Detail: what + ": " + err.Error()})
	if kind != BrokenTable { // all entries are read here
		a.incomplete()
	}
}

func (a *auditor) incomplete() {
	a.mu.Lock()
	a.report.Incomplete = true
	a.mu.Unlock()
}

func kindOf(err error) Kind {
	switch {
	case errors.Is(err, ondisk.ErrChecksum):
		return Checksum
	case errors.Is(err, ondisk.ErrBrokenTable):
		return BrokenTable
	}
	return Unreadable
}

// tell reports progress.
func (a *auditor) tell(p Progress) {
	if a.Progress == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.Total = a.total
	p.Done = min(p.Done, p.Total)
	a.Progress(p)
}
