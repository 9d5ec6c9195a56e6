package audit_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// Metadata that is damaged at random under valid checksums makes an audit find something, or nothing, or give up, and
// never more than that.
func TestDamagedMetadata(t *testing.T) {
	const each = 10
	for _, c := range []struct{ script, pool string }{
		{"freeing", "freeing"}, {"live", "live"}, {"dedup", "fast"}, {"cloned", "cloned"}, {"removed", "removed"},
	} {
		devices := ondisktest.Images(t, ondisktest.Dir(t, "", c.script))
		random := rand.New(rand.NewPCG(5, 6))
		blocks := metadata(t, ondisktest.Open(t, ondisktest.Dir(t, "", c.script), c.pool))
		clean, inconsistent, unreadable := 0, 0, 0
		for clean+inconsistent+unreadable < each {
			w, err := ondisk.NewWriter(t.Context(), devices, ondisk.InPlace, ondisk.Options{Name: c.pool})
			if err != nil {
				t.Fatal(err)
			}
			at := blocks[random.IntN(len(blocks))]
			if _, err := w.Block(t.Context(), at, func(block []byte, _ binary.ByteOrder) error {
				for range 1 + random.IntN(8) {
					block[random.IntN(len(block))] = byte(random.Uint32())
				}
				return nil
			}); err != nil {
				continue // it does not fit, or the pool cannot be opened any more
			}
			r, err := audit.Pool(t.Context(), w.Pool(), audit.Options{Workers: 2, TempDir: t.TempDir()})
			switch {
			case t.Context().Err() != nil:
				t.Fatalf("%s: %+v: the audit does not end", c.pool, at)
			case err != nil:
				unreadable++
			case r.Clean():
				clean++
			default:
				inconsistent++
			}
		}
		t.Logf("%s: %d inconsistent, %d unreadable, %d clean", c.pool, inconsistent, unreadable, clean)
		if inconsistent == 0 {
			t.Errorf("%s: nothing was found in %d damaged pools", c.pool, each)
		}
	}
}

// metadata are blocks of the MOS, and of the trees of datasets.
func metadata(t *testing.T, p *ondisk.Pool) (all []ondisk.Position) {
	t.Helper()
	err := p.Visit(context.WithoutCancel(t.Context()), &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if r.Kind == ondisk.RefTree && !b.Embedded() && (b.Level() > 0 || ondisk.IsMetadata(b.Type())) {
			all = append(all, ondisk.Position{ObjSet: r.ObjSet, Object: r.Object, Level: r.Level, BlkID: r.BlkID})
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
