package ondisk_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

var update = flag.Bool("update", false, "take the blocks in testdata/blocks from pools again")

// maxSeed is what a block in testdata may have; the rest of a larger one is cut off.
const maxSeed = 16 << 10

// seeds are blocks of real pools by file name, for fuzzing and for tests without a guest.
func seeds(t *testing.T) map[string][]byte {
	all := map[string][]byte{}
	keep := func(name string, p []byte) {
		if _, ok := all[name]; !ok {
			all[name] = bytes.Clone(p[:min(len(p), maxSeed)])
		}
	}
	for _, c := range []struct{ script, pool string }{{"single", "single"}, {"old", "old"}, {"cloned", "cloned"}, {"dedup", "fast"}, {"live", "live"}, {"gang", "gang"}} {
		p := openPool(t, poolDir(t, c.script), c.pool)
		sets, err := p.Datasets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range sets {
			o, err := p.OpenDataset(t.Context(), d)
			if err != nil {
				continue // it has none
			}
			for z := range o.ZILBlocks(t.Context()) {
				if block, err := p.Read(t.Context(), z.Ptr); err == nil && len(z.Records) > 1 {
					keep("zil-"+c.pool, block.Data[:4096])
				}
			}
		}
		refs, err := p.BRTs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range refs {
			o, err := p.MOS.Object(t.Context(), b.EntriesObject)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := o.Block(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			keep("zap-leaf-keys-"+c.pool, leaf.Data)
		}
		err = p.Visit(t.Context(), &ondisk.Visitor{Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
			if b.Embedded() {
				keep("blkptr-embedded-"+c.pool, b.Encode())
				return nil
			}
			block, err := p.Read(t.Context(), b)
			if err != nil {
				return nil // encrypted, or the end of an intent log
			}
			first := firstWord(block.Data)
			switch {
			case b.Level() > 0:
				keep("indirect-"+c.pool, block.Data[:2048])
			case b.Type() == ondisk.TypeObjSet:
				keep("objset-"+c.pool, block.Data)
			case b.Type() == ondisk.TypeDNode && r.ObjSet == 0 && r.BlkID > 0:
				keep("dnodes-mos-"+c.pool, block.Data[:4096])
			case b.Type() == ondisk.TypeDNode && bytes.Count(block.Data[:512], []byte{0}) < 300:
				keep("dnodes-"+c.pool, block.Data[:4096])
			case b.Type() == ondisk.TypeSpaceMap:
				keep("spacemap-"+c.pool, bytes.TrimRight(block.Data[:min(len(block.Data), 2048)], "\x00"))
			case first == 1<<63+3:
				keep("zap-micro-"+c.pool, block.Data[:min(len(block.Data), 2048)])
			case first == 1<<63+1 && c.pool == "single":
				keep("zap-head-"+c.pool, block.Data)
			case first == 1<<63 && c.pool == "single":
				keep("zap-leaf-"+c.pool, block.Data)
			}
			raw, err := p.ReadRaw(t.Context(), b)
			if err == nil && b.Compress() != uint8(compress.Off) && len(raw.Data) <= 8192 && b.LSize() <= 128<<10 && c.pool == "single" {
				keep(fmt.Sprintf("compressed-%v-%d", compress.Algorithm(b.Compress()), b.LSize()), raw.Data)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func firstWord(p []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(p[i]) << (8 * i)
	}
	return v
}

// TestSeeds writes testdata/blocks with -update; without, it makes sure that they are small.
func TestSeeds(t *testing.T) {
	const dir = "testdata/blocks"
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		compressed := map[string]bool{}
		for name, p := range seeds(t) {
			if kind, ok := strings.CutPrefix(name, "compressed-"); ok {
				kind = kind[:strings.LastIndex(kind, "-")]
				if compressed[kind] {
					continue
				}
				compressed[kind] = true
			}
			if err := os.WriteFile(filepath.Join(dir, name+".bin"), bytes.TrimRight(p, "\x00"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(dir + "/*.bin")
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if len(files) < 20 || total > 200<<10 {
		t.Errorf("%d files with %d bytes", len(files), total)
	}
}
