package trial

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Auditor judges by our own reader of pools, from outside.
type Auditor struct{}

// Judge implements Judge.
func (Auditor) Judge(ctx context.Context, p Plan, disks []machine.Disk) (findings []string, err error) {
	var devices []ondisk.Device
	for _, d := range disks {
		device, closer, e := ondisk.OpenDevice(d.Path)
		if e != nil {
			return nil, e
		}
		defer func(c io.Closer) { err = errors.Join(err, c.Close()) }(closer)
		devices = append(devices, device)
	}
	report, err := auditPool(ctx, devices, p.Resolved.Pool.Name)
	var unsupported *ondisk.UnsupportedError
	switch {
	case ctx.Err() != nil || errors.As(err, &unsupported):
		return nil, err
	case err != nil: // what was written is no pool any more
		return []string{err.Error()}, nil
	}
	for i := range report.Findings {
		f := &report.Findings[i]
		// Blocks that lost their checksum are for ZFS to detect. What is below them cannot be seen and looks leaked.
		if f.Kind != audit.Checksum && (f.Kind != audit.Leaked || !report.Incomplete) {
			findings = append(findings, f.String())
		}
	}
	return findings, nil
}

func auditPool(ctx context.Context, devices []ondisk.Device, name string) (*audit.Report, error) {
	pool, err := ondisk.Open(ctx, devices, ondisk.Options{Name: name})
	if err != nil {
		return nil, fmt.Errorf("open pool %s: %w", name, err)
	}
	return audit.Pool(ctx, pool, audit.Options{Workers: 1})
}
