package offline

import (
	"context"
	"errors"
	"strconv"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/audit/device"
	"github.com/vdevil/vdevil/lab/zfs/audit/identify"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Format and Version begin a document of an audit. The version grows when a field changes or vanishes, not when one
// is added; lab/zfs/audit/README.md describes them all.
const (
	Format  = "vdevil-audit"
	Version = 1
)

// The verdicts of a document.
const (
	Consistent   = "consistent"
	Inconsistent = "inconsistent"
	NotAudited   = "not-audited"
)

// Document is an audit for programs. GUIDs are strings, since they need all 64 bits; what there is none of is left out.
type Document struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Verdict string `json:"verdict"`
	// Error says why the pool was not audited.
	Error *Trouble `json:"error,omitempty"`
	Pool  *Pool    `json:"pool,omitempty"`
	// Findings are sorted by kind and place. Omitted counts by kind those that are left out.
	Findings []Finding             `json:"findings"`
	Omitted  map[audit.Kind]uint64 `json:"omitted,omitempty"`
	// Incomplete says that parts of the pool could not be read.
	Incomplete bool      `json:"incomplete,omitempty"`
	Missing    []Device  `json:"missing,omitempty"`
	BadCopies  []Copies  `json:"bad_copies,omitempty"`
	Strangers  []Unknown `json:"strangers,omitempty"`
	Notes      []Note    `json:"notes,omitempty"`
}

// Pool is the pool that was audited. Sizes are in bytes.
type Pool struct {
	Name       string       `json:"name"`
	GUID       string       `json:"guid"`
	TXG        uint64       `json:"txg,omitempty"`
	Checkpoint uint64       `json:"checkpoint_txg,omitempty"`
	Allocated  uint64       `json:"allocated,omitempty"`
	Capacity   uint64       `json:"capacity,omitempty"`
	Blocks     audit.Totals `json:"totals,omitzero"`
}

// Trouble is why a pool was not audited.
type Trouble struct {
	// Kind is in-use, no-pool, missing-devices, no-such-txg, unsupported, names-a-file, interrupted or other.
	Kind    string `json:"kind"`
	Message string `json:"message"`
	// Pools are those that are there instead of the one that was asked for; TXGs those that an uberblock is left of.
	Pools []Pool   `json:"pools,omitempty"`
	TXGs  []uint64 `json:"txgs,omitempty"`
	// VDevs are those that cannot be read for want of devices.
	VDevs []Lacking `json:"vdevs,omitempty"`
}

// Lacking is a top-level vdev that needs so many of the devices that are missing. Nothing else is known of one without
// a type.
type Lacking struct {
	ID      uint64   `json:"id"`
	Type    string   `json:"type,omitempty"`
	Devices int      `json:"devices,omitempty"`
	Needed  int      `json:"needed,omitempty"`
	Missing []Device `json:"missing,omitempty"`
}

// Device is a member of the pool. The path is where it was when the pool was last imported.
type Device struct {
	GUID string `json:"guid"`
	Path string `json:"path,omitempty"`
}

// Copies counts the blocks that a device holds badly, while other copies are good.
type Copies struct {
	Device
	audit.BadCopies
}

// Unknown is a device that is no member of a pool.
type Unknown struct {
	Device string `json:"device"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// Finding is one thing that is not as it must be.
type Finding struct {
	Kind  audit.Kind `json:"kind"`
	Place *Place     `json:"place,omitempty"`
	// Object is the space map, list or table that the finding is about.
	Object uint64  `json:"object,omitempty"`
	Owners []Owner `json:"owners,omitempty"`
	// MoreOwners counts those that are left out.
	MoreOwners uint64 `json:"more_owners,omitempty"`
	Detail     string `json:"detail,omitempty"`
}

// Place is in bytes of a top-level vdev, without its labels.
type Place struct {
	VDev     uint32 `json:"vdev"`
	Metaslab uint64 `json:"metaslab"`
	Offset   uint64 `json:"offset"`
	Size     uint64 `json:"size"`
}

// Owner is who refers to a place. Objects that only the object set itself knows have negative numbers, as in zdb.
type Owner struct {
	Kind       string `json:"kind"`
	Dataset    string `json:"dataset,omitempty"`
	ObjSet     uint64 `json:"objset"`
	Object     int64  `json:"object"`
	Level      int    `json:"level"`
	BlkID      uint64 `json:"blkid"`
	Blocks     uint64 `json:"blocks"`
	Birth      uint64 `json:"birth,omitempty"`
	Path       string `json:"path,omitempty"`
	Checkpoint bool   `json:"checkpoint,omitempty"`
}

// Document is the audit for programs; err is what Audit returned with it.
func (a *Audited) Document(err error) Document {
	d := Document{Format: Format, Version: Version, Verdict: NotAudited, Findings: []Finding{}, Notes: a.Notes}
	for _, f := range a.Strangers {
		d.Strangers = append(d.Strangers, Unknown{f.Device, f.What, f.Remedy})
	}
	for _, v := range a.Missing {
		d.Missing = append(d.Missing, auditDevice(v))
	}
	if err != nil {
		d.Error = auditError(err)
		return d
	}
	d.report(a.Report)
	return d
}

func (d *Document) report(r *audit.Report) {
	d.Verdict = Consistent
	if !r.Clean() {
		d.Verdict = Inconsistent
	}
	d.Pool = &Pool{
		Name: r.Pool, GUID: guid(r.GUID), TXG: r.TXG, Checkpoint: r.Checkpoint, Allocated: r.Allocated, Capacity: r.Capacity, Blocks: r.Totals,
	}
	d.Omitted, d.Incomplete = r.Omitted, r.Incomplete
	for _, c := range r.BadCopies {
		d.BadCopies = append(d.BadCopies, Copies{auditDevice(c.VDev), c})
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		out := Finding{Kind: f.Kind, Object: f.Object, MoreOwners: f.MoreOwners, Detail: f.Detail}
		if f.Size > 0 {
			out.Place = &Place{f.VDev, f.Metaslab, f.Offset, f.Size}
		}
		for _, o := range f.Owners {
			out.Owners = append(out.Owners, Owner{
				o.Kind, o.Dataset, o.ObjSet, int64(o.Object), o.Level, o.BlkID, o.Blocks, o.Birth, o.Path, o.Checkpoint,
			})
		}
		d.Findings = append(d.Findings, out)
	}
}

func auditError(err error) *Trouble {
	e := &Trouble{Kind: "other", Message: err.Error()}
	var (
		used    *device.InUseError
		named   *device.NamedFileError
		none    *ondisk.NoPoolError
		lacking *ondisk.LackingError
		txg     *ondisk.TXGError
		unknown *ondisk.UnsupportedError
	)
	switch {
	case errors.Is(err, context.Canceled):
		e.Kind = "interrupted"
	case errors.As(err, &used):
		e.Kind = "in-use"
	case errors.As(err, &named):
		e.Kind = "names-a-file"
	case errors.As(err, &none):
		e.Kind = "no-pool"
		for _, p := range none.There {
			e.Pools = append(e.Pools, Pool{Name: p.Name, GUID: guid(p.GUID)})
		}
	case errors.As(err, &lacking):
		e.Kind = "missing-devices"
		for _, l := range lacking.VDevs {
			v := Lacking{ID: l.ID, Devices: l.Of, Needed: l.Need}
			if l.VDev != nil {
				v.Type = l.VDev.Type
			}
			for _, m := range l.Missing {
				v.Missing = append(v.Missing, auditDevice(m))
			}
			e.VDevs = append(e.VDevs, v)
		}
	case errors.As(err, &txg):
		e.Kind, e.TXGs = "no-such-txg", txg.Left
	case errors.As(err, &unknown):
		e.Kind = "unsupported"
	}
	return e
}

func auditDevice(v *ondisk.VDev) Device { return Device{guid(v.GUID), v.Path} }

func guid(n uint64) string { return strconv.FormatUint(n, 10) }

// Strangers says what the devices are that an error of ondisk.Open tells of.
func Strangers(ctx context.Context, err error) []identify.Found {
	var none *ondisk.NoPoolError
	var lacking *ondisk.LackingError
	switch {
	case errors.As(err, &none):
		return identified(ctx, none.Strangers)
	case errors.As(err, &lacking):
		return identified(ctx, lacking.Strangers)
	}
	return nil
}

// identified says what the devices are that are no members of a pool.
func identified(ctx context.Context, devices []ondisk.Device) (all []identify.Found) {
	for _, d := range devices {
		all = append(all, identify.Device(ctx, d)...)
	}
	return all
}
