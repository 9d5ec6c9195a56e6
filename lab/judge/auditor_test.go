package judge

import (
	"context"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// TestOpinion expects neither the lab's own trouble nor what its reader does not know to speak against a pool.
func TestOpinion(t *testing.T) {
	for name, c := range map[string]struct {
		err                             error
		unreadable, notAudited, trouble bool
	}{
		"read":          {},
		"damaged":       {err: fmt.Errorf("open pool tank: %w", ondisk.ErrChecksum), unreadable: true},
		"no pool":       {err: ondisk.ErrNotFound, unreadable: true},
		"unknown":       {err: fmt.Errorf("open pool tank: %w", &ondisk.UnsupportedError{What: "x"}), notAudited: true},
		"no space":      {err: fmt.Errorf("sorting on disk: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), trouble: true},
		"bad disk":      {err: syscall.EIO, trouble: true},
		"ended":         {err: context.Canceled, trouble: true},
		"ended in time": {err: fmt.Errorf("%w: %w", ondisk.ErrChecksum, context.DeadlineExceeded), trouble: true},
	} {
		t.Run(name, func(t *testing.T) {
			report := &audit.Report{}
			if c.err != nil {
				report = nil
			}
			o, err := opinion(report, c.err)
			if (o.Unreadable != nil) != c.unreadable || (o.NotAudited != nil) != c.notAudited || (err != nil) != c.trouble || (o.Report != nil) != (c.err == nil) {
				t.Errorf("got %+v, %v", o, err)
			}
		})
	}
}
