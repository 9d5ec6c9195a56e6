// Package judge looks at the disks of a machine that was switched off, and finds what is inconsistent in their pool: with our
// own reader from outside, and with zdb beside it.
package judge

import (
	"context"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/machine"
)

// Judge says whether disks hold a consistent pool.
type Judge interface {
	// Judge returns what is inconsistent, in words; nothing means that all is well. An error is trouble of the judge's own; an
	// *ondisk.UnsupportedError names what the pool uses and the judge does not know.
	Judge(ctx context.Context, s Subject) (findings []string, err error)
}

// Subject is what is judged.
type Subject struct {
	// Pool is the name of the pool, Disks are those that it lies on.
	Pool  string
	Disks []machine.Disk
	// Booted is a guest of the trial's OpenZFS, of a pair the later one, and with such disks, which has no pool and has seen no fault. Keys
	// let into it.
	Booted *machine.Checkpoint
	Keys   guest.Keys
}
