package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

// patience is far more than a few kilobytes need: what takes longer does not end.
const patience = 20 * time.Second

// FuzzObjects makes a pool of a block of dnodes and one block of data, which all of them point at, and takes each object
// for everything that an object can be.
func FuzzObjects(f *testing.F) {
	for name, dnodes := range realBlocks(f, "dnodes") {
		for _, kind := range []string{"zap-micro", "spacemap", "dnodes-single", "indirect-single"} {
			for _, data := range realBlocks(f, kind) {
				f.Add(dnodes, data, name == "dnodes-mos-old")
			}
		}
	}
	decoder, err := compress.NewDecoder(1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, dnodes, data []byte, big bool) {
		var order binary.ByteOrder = binary.LittleEndian
		if big {
			order = binary.BigEndian
		}
		pool := &Pool{hasher: checksum.NewHasher(checksum.Salt{}), decoder: decoder, cache: newCache(1 << 30), Features: map[string]uint64{}}
		pool.VDevs = []*VDev{{Type: "disk", AShift: 9, ASize: 1 << 30, pool: pool}}
		if !invent(pool, dnodes, data, order) {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for o, err := range pool.MOS.Objects(ctx) {
			if err == nil {
				takeFor(ctx, pool, o)
			}
		}
		if z, err := pool.MOS.ZAP(ctx, 1); err == nil {
			pool.Directory = z
			directory(ctx, pool)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error("it does not end")
		}
	})
}

// invent gives the pool its MOS. Blocks are in the cache, as if they had been read.
func invent(pool *Pool, dnodes, data []byte, order binary.ByteOrder) bool {
	const size = 16 << 10
	if len(dnodes) > size || len(data) > size {
		return false
	}
	dnodes = append(dnodes[:len(dnodes):len(dnodes)], make([]byte, size-len(dnodes))...)
	root := BlkPtr{Prop: size>>sectorShift - 1, DVA: [3]DVA{{1, 1}}}
	pool.cache.put(root, Block{Data: dnodes, Order: order})
	pool.MOS = &ObjSet{pool: pool, Type: ObjSetMeta, Meta: DNode{
		Type: TypeDNode, Levels: 1, IndirectShift: maxIndirect, DataBlockSize: size, Slots: 1, Order: order, BlkPtrs: []BlkPtr{root},
	}}
	for o, err := range pool.MOS.Objects(context.Background()) {
		if err != nil {
			continue
		}
		pointers := o.BlkPtrs
		if o.Spill != nil {
			pointers = append(pointers[:len(pointers):len(pointers)], *o.Spill)
		}
		for _, b := range pointers {
			if n := b.LSize(); n <= 1<<20 {
				block := make([]byte, n)
				copy(block, data)
				pool.cache.put(b, Block{Data: block, Order: order})
			}
		}
	}
	return true
}

// takeFor reads an object in every way.
func takeFor(ctx context.Context, pool *Pool, o *Object) {
	mos := pool.MOS
	if b, err := mos.BPObj(ctx, o.ID); err == nil {
		drain(b.Walk(ctx))
		drain(b.Live(ctx))
	}
	if l, err := mos.Deadlist(ctx, o.ID); err == nil {
		for _, e := range l.Lists {
			if b, err := mos.BPObj(ctx, e.BPObj); err == nil {
				drain(b.Walk(ctx))
			}
		}
	}
	if z, err := mos.ZAP(ctx, o.ID); err == nil {
		drain(z.All(ctx))
		_, _ = z.Lookup(ctx, "name")
		_, _ = z.LookupKey(ctx, 1, 2)
	}
	if s, err := pool.SpaceMap(ctx, o.ID, 0, 9); err == nil {
		drain(s.Entries(ctx))
	}
	_, _ = pool.DSLDir(ctx, o.ID)
	if d, err := pool.DSLDataset(ctx, o.ID); err == nil {
		_, _ = pool.OpenDataset(ctx, d)
	}
	fs := &FileSystem{Set: mos}
	fs.sa, _ = loadSA(ctx, mos, o.ID)
	_, _ = fs.Size(ctx, o)
	_, _ = fs.Parent(ctx, o)
	_, _ = fs.Path(ctx, o.ID)
	drain(o.Blocks(ctx))
}

// directory follows the names that a pool's directory may have.
func directory(ctx context.Context, pool *Pool) {
	_, _ = pool.Datasets(ctx)
	_, _ = pool.Pending(ctx)
	_, _ = pool.DeletedClones(ctx)
	_, _ = pool.Checkpoint(ctx)
	_, _ = pool.Metaslabs(ctx, pool.VDevs[0])
	if b, err := pool.BPTree(ctx); err == nil {
		drain(b.Entries(ctx))
	}
	tables, _ := pool.DDTs(ctx)
	for _, d := range tables {
		drain(d.Entries(ctx, pool))
	}
	refs, _ := pool.BRTs(ctx)
	for _, b := range refs {
		drain(b.Entries(ctx, pool))
		_, _ = b.Counts(ctx, pool)
	}
	logs, _ := pool.LogSpaceMaps(ctx)
	for _, l := range logs {
		if s, err := l.SpaceMap(ctx, pool); err == nil {
			drain(s.Entries(ctx))
		}
	}
}

func drain[T any](all func(yield func(T, error) bool)) {
	for range all {
	}
}
