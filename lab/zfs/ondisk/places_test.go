package ondisk_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

var errEnough = errors.New("enough blocks")

// What lies at the places of a copy, one after the other, is the block: on devices, columns and behind removed vdevs.
func TestPlacesHoldTheBlock(t *testing.T) {
	const most = 800
	for _, pool := range []struct{ script, name string }{{"single", "single"}, {"raidz1", "zr"}, {"raidz3", "zr"}, {"removed", "removed"}} {
		p := ondisktest.Open(t, ondisktest.Dir(t, "", pool.script), pool.name)
		checked, parity := 0, 0
		err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
			if !readable(r) || b.Embedded() || b.Gang() {
				return nil
			}
			places, err := p.Places(t.Context(), b)
			if err != nil {
				return err
			}
			raw, err := p.ReadRaw(t.Context(), b)
			if err != nil {
				return err
			}
			copies := make([][]byte, len(b.DVAs()))
			for _, at := range places {
				if at.Parity {
					parity++
					continue
				}
				data := make([]byte, at.Size)
				if _, err := at.VDev.Device.Data.ReadAt(data, int64(at.Offset)); err != nil {
					return err
				}
				copies[at.Copy] = append(copies[at.Copy], data...)
			}
			for i, c := range copies {
				if !bytes.HasPrefix(c, raw.Data) {
					t.Errorf("%s, %v, copy %d: %d bytes at its places are not the %d of the block", pool.name, r, i, len(c), len(raw.Data))
				}
			}
			if checked++; checked >= most {
				return errEnough
			}
			return nil
		}})
		if err != nil && !errors.Is(err, errEnough) || checked < most/4 {
			t.Errorf("%s: %d blocks, %v", pool.name, checked, err)
		}
		if (parity > 0) != (pool.name == "zr") {
			t.Errorf("%s: %d places are parity", pool.name, parity)
		}
	}
}
