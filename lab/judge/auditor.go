package judge

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Auditor judges by our own reader of pools, from outside.
type Auditor struct{}

// Judge implements Judge.
func (Auditor) Judge(ctx context.Context, s Subject) (findings []string, err error) {
	var devices []ondisk.Device
	for _, d := range s.Disks {
		device, closer, e := ondisk.OpenDevice(d.Path)
		if e != nil {
			return nil, e
		}
		defer func(c io.Closer) { err = errors.Join(err, c.Close()) }(closer)
		devices = append(devices, device)
	}
	o, err := Audit(ctx, devices, s.Pool, audit.Options{Workers: 1})
	switch {
	case err != nil:
		return nil, err
	case o.NotAudited != nil:
		return nil, o.NotAudited
	case o.Unreadable != nil: // what was written is no pool any more
		return []string{o.Unreadable.Error()}, nil
	}
	for i := range o.Report.Findings {
		f := &o.Report.Findings[i]
		// Blocks that lost their checksum are for ZFS to detect. What is below them cannot be seen and looks leaked.
		if f.Kind != audit.Checksum && (f.Kind != audit.Leaked || !o.Report.Incomplete) {
			findings = append(findings, f.String())
		}
	}
	return findings, nil
}

// Opinion is what our own reader says of disks: one of its fields is set.
type Opinion struct {
	Report *audit.Report
	// Unreadable is what of the pool's own keeps it from being read.
	Unreadable error
	// NotAudited is what the pool uses and the reader does not know. That says nothing about the pool.
	NotAudited error
}

// Audit has the disks of a pool read from outside. An error is trouble of the lab's own and no finding.
func Audit(ctx context.Context, devices []ondisk.Device, name string, o audit.Options) (Opinion, error) {
	pool, err := ondisk.Open(ctx, devices, ondisk.Options{Name: name})
	if err != nil {
		return opinion(nil, fmt.Errorf("open pool %s: %w", name, err))
	}
	return opinion(audit.Pool(ctx, pool, o))
}

// opinion tells the kinds of errors apart.
func opinion(report *audit.Report, err error) (Opinion, error) {
	var unsupported *ondisk.UnsupportedError
	switch {
	case err == nil:
		return Opinion{Report: report}, nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Opinion{}, err
	case errors.As(err, &unsupported):
		return Opinion{NotAudited: err}, nil
	case ondisk.OfPool(err):
		return Opinion{Unreadable: err}, nil
	}
	return Opinion{}, err
}
