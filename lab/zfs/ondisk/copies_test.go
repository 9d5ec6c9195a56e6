package ondisk_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// checkAll reads every copy of every block and wants all to be good, but for what expected allows.
func checkAll(t *testing.T, p *ondisk.Pool, allowed func(ondisk.Damage) bool) (damaged int) {
	var mu sync.Mutex
	bad, reads := 0, 0
	err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 2, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if !readable(r) {
			return nil
		}
		copies, err := p.Check(context.WithoutCancel(t.Context()), b)
		if err == nil {
			_, err = p.Read(t.Context(), b)
			if errors.Is(err, ondisk.ErrEncrypted) {
				err = nil
			}
		}
		mu.Lock()
		defer mu.Unlock()
		reads++
		if err != nil && bad < 10 {
			bad++
			t.Errorf("%v: %v", r, err)
		}
		for _, c := range copies {
			for _, d := range c.Damage {
				damaged++
				if (allowed == nil || !allowed(d)) && bad < 10 {
					bad++
					t.Errorf("%v, %v: %v", r, b, d)
				}
			}
		}
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d blocks read with all copies, %d damaged places", reads, damaged)
	return damaged
}

// readable says whether a reference has a checksum, and its block was written.
func readable(r ondisk.Ref) bool {
	return r.Kind != ondisk.RefZIL && r.Kind != ondisk.RefPending && r.Kind != ondisk.RefLivelist
}
