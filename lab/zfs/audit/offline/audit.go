// Package offline audits the pool on devices or images that somebody names, and says what he must know to judge the report:
// what is missing, what is no member, whether the pool is in use.
package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/audit/device"
	"github.com/vdevil/vdevil/lab/zfs/audit/identify"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Options say which pool is audited, and how.
type Options struct {
	// Paths are images and block devices, in any order. What is no member of the pool is left out.
	Paths []string
	// Pool is the name or GUID of one of several pools, empty for the only one.
	Pool string
	// TXG audits the pool as an older uberblock has it: the newest that is not younger. 0 is the newest.
	TXG uint64
	// Backing opens the backing and data files that qcow2 images name; without it such an image is refused.
	Backing bool
	// Live audits a pool that is imported. It changes meanwhile, so findings may be no more than that.
	Live bool
	// Quick, Data, Memory, TempDir, Progress and Found are those of audit.Options.
	Quick    bool
	Data     bool
	Memory   int64
	TempDir  string
	Progress func(audit.Progress)
	Found    func(audit.Finding)
}

// Audited is a report and what should be known to judge it. Document is its form for programs.
type Audited struct {
	// Report is nil if there was an error.
	*audit.Report
	// Missing are the members that were not given, Strangers what is no member of the pool.
	Missing   []*ondisk.VDev
	Strangers []identify.Found
	Notes     []Note
}

// Note is what should be known to judge a report.
type Note struct {
	// Kind is a word that stays: not-exported, destroyed, missing-device, older-txg, moved-on, named-file, no-member,
	// bad-copies, one-copy, devices.
	Kind string `json:"kind"`
	Text string `json:"text"`
}

func (a *Audited) note(kind, format string, args ...any) {
	a.Notes = append(a.Notes, Note{kind, fmt.Sprintf(format, args...)})
}

// auditCache is what an audit's cache of metadata may take, in bytes: it walks each tree once.
const auditCache = 1 << 20

// Audit opens devices, read-only, and audits the pool on them. An error says that it was not possible: what is wrong with
// the pool is in the report.
func Audit(ctx context.Context, o Options) (a Audited, err error) {
	workers := runtime.NumCPU()
	var devices []ondisk.Device
	named := func(image, file string) {
		a.note("named-file", "%s was read, too, since %s names it", file, image)
	}
	for _, path := range o.Paths {
		d, closer, e := device.Open(ctx, path, device.Options{Live: o.Live, Connections: workers, Backing: o.Backing, Named: named})
		if e != nil {
			return a, e
		}
		defer func(c io.Closer) { err = errors.Join(err, c.Close()) }(closer)
		devices = append(devices, d)
	}
	opts := ondisk.Options{Name: o.Pool, TXG: o.TXG, CacheBytes: auditCache, Workers: workers}
	if guid, err := strconv.ParseUint(o.Pool, 10, 64); err == nil {
		opts.Name, opts.GUID = "", guid
	}
	p, err := ondisk.Open(ctx, devices, opts)
	if err != nil {
		a.Strangers = Strangers(ctx, err)
		return a, Explained(err, a.Strangers)
	}
	a.Missing, a.Strangers = p.Missing, identified(ctx, p.Unused)
	if err := p.Lacking(); err != nil {
		return a, Explained(fmt.Errorf("open pool %s: %w", p.Name, err), a.Strangers)
	}
	if Imported(p) && !o.Live {
		return a, &device.InUseError{Path: "pool " + p.Name, Who: "it is imported on this computer"}
	}
	a.Report, err = audit.Pool(ctx, p, audit.Options{
		Workers: workers, Memory: o.Memory, TempDir: o.TempDir, Quick: o.Quick, Data: o.Data, Progress: o.Progress, Found: o.Found,
	})
	if err != nil {
		return a, err
	}
	a.notes(p, o.Data)
	now, err := newest(ctx, p)
	if err != nil || !now.after(p) {
		return a, err
	}
	if !o.Live {
		return a, &device.InUseError{Path: "pool " + p.Name, Who: fmt.Sprintf("it went on from txg %d to %d meanwhile", p.Uberblocks[0].TXG, now.TXG)}
	}
	a.note("moved-on", "the pool went on from txg %d to %d meanwhile: space that was freed and used again looks damaged; "+
		"what a second audit does not find was not there", p.Uberblocks[0].TXG, now.TXG)
	return a, nil
}

// kstats is where OpenZFS has a directory for each imported pool.
const kstats = "/proc/spl/kstat/zfs"

// Imported says that this computer has the pool imported. Versions before 2.2 do not tell its GUID, so that another one of
// the same name counts.
func Imported(p *ondisk.Pool) bool {
	if p.Name == "" || filepath.Base(p.Name) != p.Name || p.Name[0] == '.' {
		return false // names of pools begin with a letter and have no slash
	}
	dir := filepath.Join(kstats, p.Name)
	if _, err := os.Stat(dir); err != nil {
		return false
	}
	guid, err := os.ReadFile(filepath.Join(dir, "guid"))
	return err != nil || strings.TrimSpace(string(guid)) == strconv.FormatUint(p.GUID, 10)
}

// Explained says, with an error, what the devices are that are no members.
func Explained(err error, strangers []identify.Found) error {
	for _, f := range strangers {
		err = fmt.Errorf("%w\n  %v", err, f)
	}
	return err
}

// notes are what a pool's labels say of its past, and what its devices are.
func (a *Audited) notes(p *ondisk.Pool, all bool) {
	const imported, destroyed = 0, 2 // pool_state_t
	state, _ := p.Label.Uint64("state")
	host, _ := p.Label.String("hostname")
	switch state {
	case imported:
		a.note("not-exported", "the pool was not exported: host \"%s\" had it last, and may have it still", host)
	case destroyed:
		a.note("destroyed", "the pool was destroyed")
	}
	for _, text := range p.Notes {
		a.note("devices", "%s", text)
	}
	for _, v := range p.Missing {
		a.note("missing-device", "no device was given for %v (GUID %d); the others are enough to read the pool", v, v.GUID)
	}
	for _, f := range a.Strangers {
		a.note("no-member", "%v", f)
	}
	if p.Uberblock.TXG != p.Uberblocks[0].TXG {
		a.note("older-txg", "this is txg %d of a pool at txg %d: what was freed since may have been written over", p.Uberblock.TXG, p.Uberblocks[0].TXG)
	}
	if !all {
		a.oneCopy(p)
	}
	for _, c := range a.BadCopies {
		a.note("bad-copies", "%v (GUID %d) has %d bad blocks, %d bytes, whose other copies are good, the first at %d (%s): a scrub repairs them",
			c.VDev, c.VDev.GUID, c.Blocks, c.Bytes, c.First, c.Reason)
	}
}

// oneCopy says of a pool with redundancy that not all of it was looked at.
func (a *Audited) oneCopy(p *ondisk.Pool) {
	if n := p.SecondTries(); n > 0 {
		a.note("one-copy", "%d blocks were read from a second place, since the first was bad: --data reads all copies of all blocks, and says which "+
			"devices are bad and how much of them", n)
		return
	}
	for _, v := range p.VDevs {
		if v != nil && v.Concrete() && !v.Leaf() {
			a.note("one-copy", "one good copy of a block was enough: --data reads the others, too, and says if one side of %v is bad", v)
			return
		}
	}
}

// moment is the newest uberblock of a pool at a time.
type moment struct{ ondisk.Uberblock }

func (m moment) after(p *ondisk.Pool) bool {
	u := p.Uberblocks[0]
	return m.TXG > u.TXG || m.TXG == u.TXG && m.Timestamp > u.Timestamp
}

// newest reads the labels again.
func newest(ctx context.Context, p *ondisk.Pool) (m moment, err error) {
	for _, top := range p.VDevs {
		if top == nil {
			continue
		}
		for v := range top.All() {
			if v.Device == nil {
				continue
			}
			labels, err := ondisk.ReadLabels(ctx, *v.Device)
			if err != nil {
				return m, fmt.Errorf("labels of %v: %w", v, err)
			}
			for _, l := range labels {
				for _, s := range l.Ring {
					if u := s.Uberblock; u.TXG > m.TXG || u.TXG == m.TXG && u.Timestamp > m.Timestamp {
						m.Uberblock = u
					}
				}
			}
		}
	}
	return m, nil
}
