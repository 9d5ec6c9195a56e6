package audit

import (
	"context"
	"errors"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Dedup calls do for each block of the dedup table, as it is when its logs are applied.
func Dedup(ctx context.Context, p *ondisk.Pool, do func(b ondisk.BlkPtr, refs uint64) error) error {
	a := &auditor{pool: p, report: &Report{Omitted: map[Kind]uint64{}}, found: map[Kind]int{}}
	err := (&state{auditor: a, pool: p}).dedup(ctx, do)
	if err == nil && len(a.report.Findings) != 0 {
		err = errors.New(a.report.Findings[0].String())
	}
	return err
}
