package ondisk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// everything looks at all that a pool has and does not mind errors.
func everything(ctx context.Context, p *ondisk.Pool) {
	_ = p.Visit(ctx, &ondisk.Visitor{
		Workers: 2, Block: func(ondisk.Ref, ondisk.BlkPtr) error { return ctx.Err() },
		Problem: func(ondisk.Ref, error) error { return ctx.Err() },
	})
	sets, _ := p.Datasets(ctx)
	for _, d := range sets {
		if o, err := p.OpenDataset(ctx, d); err == nil {
			readFiles(ctx, o)
			for range o.ZILBlocks(ctx) {
			}
		}
		drainDeadlist(ctx, p, d.Deadlist)
		if dir, err := p.DSLDir(ctx, d.Dir); err == nil {
			drainDeadlist(ctx, p, dir.Livelist)
		}
	}
	for _, v := range p.VDevs {
		if v == nil {
			continue
		}
		all, _ := p.Metaslabs(ctx, v)
		for _, m := range all {
			if s, err := m.SpaceMap(ctx); err == nil {
				for range s.Entries(ctx) {
				}
			}
		}
	}
	logs, _ := p.LogSpaceMaps(ctx)
	for _, l := range logs {
		if s, err := l.SpaceMap(ctx, p); err == nil {
			for range s.Entries(ctx) {
			}
		}
	}
	tables, _ := p.DDTs(ctx)
	for _, d := range tables {
		for range d.Entries(ctx, p) {
		}
	}
	refs, _ := p.BRTs(ctx)
	for _, b := range refs {
		for range b.Entries(ctx, p) {
		}
		_, _ = b.Counts(ctx, p)
	}
	_, _ = p.OpenCheckpoint(ctx)
}

func drainDeadlist(ctx context.Context, p *ondisk.Pool, id uint64) {
	l, err := p.MOS.Deadlist(ctx, id)
	if err != nil {
		return
	}
	for _, e := range l.Lists {
		b, err := p.MOS.BPObj(ctx, e.BPObj)
		if err != nil {
			continue
		}
		for range b.Walk(ctx) {
		}
		for range b.Live(ctx) {
		}
	}
}

func readFiles(ctx context.Context, o *ondisk.ObjSet) {
	fs, err := o.FileSystem(ctx)
	if err != nil {
		return
	}
	left := 50
	_ = fs.ReadDir(ctx, fs.Root, func(e ondisk.DirEntry) error {
		if left--; left < 0 {
			return io.EOF
		}
		_, _ = fs.Path(ctx, e.Object)
		_ = fs.CopyFile(ctx, &limited{1 << 20}, e.Object)
		return nil
	})
}

// limited takes so many bytes.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// metadata are the blocks of metadata of a pool.
func metadata(t testing.TB, p *ondisk.Pool) []ondisk.BlkPtr {
	t.Helper()
	var all []ondisk.BlkPtr
	err := p.Visit(t.Context(), &ondisk.Visitor{Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if readable(r) && (b.Level() > 0 || ondisk.IsMetadata(b.Type())) && !b.Embedded() && !b.Encrypted() {
			all = append(all, b)
		}
		return nil
	}})
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	return all
}

// mutate damages a block: bits, words that are lengths or numbers of blocks, ranges copied from elsewhere in it.
func mutate(r *rand.Rand, data []byte) []byte {
	p := bytes.Clone(data)
	for range 1 + r.IntN(8) {
		at := r.IntN(len(p))
		switch r.IntN(5) {
		case 0:
			p[at] ^= 1 << r.IntN(8)
		case 1:
			p[at] = byte(r.Uint32())
		case 2:
			for i := at &^ 7; i < at&^7+8; i++ {
				p[i] = [...]byte{0, 0xff, 0x7f, 0x80}[r.IntN(4)]
			}
		case 3:
			n := min(8<<r.IntN(8), len(p)-at)
			copy(p[at:at+n], p[r.IntN(len(p)-n+1):])
		case 4:
			clear(p[at:min(at+64, len(p))])
		}
	}
	return p
}

// Metadata that is damaged under a valid checksum gives errors: no panic, and no walk that does not heed its context.
func TestForgedMetadata(t *testing.T) {
	pools := []struct{ script, pool string }{{"single", "single"}, {"freeing", "freeing"}, {"dedup", "fast"}, {"removed", "removed"}, {"cloned", "cloned"}, {"live", "live"}, {"checkpoint", "check"}}
	for i, c := range pools {
		p := openPool(t, poolDir(t, c.script), c.pool)
		blocks := metadata(t, p)
		r := rand.New(rand.NewPCG(uint64(i), 4))
		slow := 0
		for range forgeries {
			forged := map[ondisk.BlkPtr]ondisk.Block{}
			for range 1 + r.IntN(3) {
				b := blocks[r.IntN(len(blocks))]
				block, err := p.Read(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				forged[b] = ondisk.Block{Data: mutate(r, block.Data), Order: block.Order}
			}
			const patience = 2 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			start := time.Now()
			if q, err := p.Forged(ctx, forged); err == nil {
				everything(ctx, q)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				slow++
			}
			cancel()
			if took := time.Since(start); took > 10*patience {
				t.Errorf("%s: %v after a deadline of %v", c.pool, took, patience)
			}
		}
		t.Logf("%s: %d forgeries of %d blocks, %d of them without end", c.pool, forgeries, len(blocks), slow)
	}
}

// forgeries is how many are tried on each pool.
const forgeries = 50

// Damage without a valid checksum is found by the checksum: what is read is right or an error.
func TestBitRot(t *testing.T) {
	dir := poolDir(t, "single")
	good := openPool(t, dir, "single")
	devices := images(t, dir)
	devices[0] = rot(devices[0], 7)
	if _, err := ondisk.Open(t.Context(), devices, ondisk.Options{}); !errors.Is(err, ondisk.ErrChecksum) {
		t.Errorf("noise in all data: %v", err)
	}
	for _, b := range metadata(t, good)[:50] {
		if b.Gang() {
			continue
		}
		for i := range b.Cksum {
			c := b
			c.Cksum[i] ^= 1 << 17
			if _, err := good.Read(t.Context(), c); !errors.Is(err, ondisk.ErrChecksum) {
				t.Errorf("%v with a wrong checksum: %v", b, err)
			}
		}
	}
}
