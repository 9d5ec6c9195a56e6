package audit_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
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

// shareChildren makes all holes of the indirect blocks of an object's first branch point where their neighbours do, level by
// level: a tree with 1024 to the power of its levels ways through it.
func shareChildren(t *testing.T, w *ondisk.Writer, set, object uint64) (levels int) {
	t.Helper()
	for level := 1; ; level++ {
		_, err := w.Block(t.Context(), ondisk.Position{ObjSet: set, Object: object, Level: level}, func(block []byte, _ binary.ByteOrder) error {
			last := block[:ondisk.BlkPtrSize]
			for at := ondisk.BlkPtrSize; at < len(block); at += ondisk.BlkPtrSize {
				if p := block[at : at+ondisk.BlkPtrSize]; !slices.Equal(p, make([]byte, len(p))) {
					last = p
				} else {
					copy(p, last)
				}
			}
			return nil
		})
		if err != nil {
			t.Logf("level %d: %v", level, err)
			return level - 1
		}
	}
}

// A tree in which children are shared is walked as far as each block may be met, and named.
func TestSharedChildren(t *testing.T) {
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "live"))
	p := changed(t, devices, "live", func(w *ondisk.Writer) error {
		const set = 54
		if n := shareChildren(t, w, set, ondisk.MetaDNode); n < 4 {
			t.Fatalf("%d levels", n)
		}
		return nil
	})
	r := run(t, p, audit.Options{Workers: 2})
	if !r.Incomplete || !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool {
		return f.Kind == audit.Unreadable && strings.Contains(f.Detail, "was met more than 32 times")
	}) {
		t.Errorf("incomplete: %v, %d findings", r.Incomplete, len(r.Findings))
	}
	if !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return f.Kind == audit.AllocatedTwice }) {
		t.Error("what is shared is not called so")
	}
	if r.Totals.Blocks > 2_000_000 {
		t.Errorf("%d block pointers", r.Totals.Blocks)
	}
	t.Logf("%d block pointers, %d findings", r.Totals.Blocks, len(r.Findings))
}

// What is done for a pool comes to an end, and a pool that OpenZFS made is far from it.
func TestWork(t *testing.T) {
	for _, c := range []struct{ script, pool string }{{"live", "live"}, {"freeing", "freeing"}, {"dedup", "fast"}, {"cloned", "cloned"}} {
		devices := ondisktest.Images(t, ondisktest.Dir(t, "", c.script))
		for _, work := range []int64{1 << 24, 1 << 14} { // the default for these pools is 2^30
			p, err := ondisk.Open(t.Context(), devices, ondisk.Options{Name: c.pool, Work: work})
			clean := false
			if err == nil {
				var r *audit.Report
				r, err = audit.Pool(t.Context(), p, audit.Options{Workers: 2, Data: true, TempDir: t.TempDir()})
				clean = err == nil && r.Clean()
			}
			if enough := work > 1<<20; enough != clean || !enough && !errors.Is(err, ondisk.ErrExcess) {
				t.Errorf("%s with work of %d: %v", c.pool, work, err)
			}
		}
	}
}

// A gang block in which each part is a gang block that the others are, too, has 3 to the power of its depth parts.
func TestGangTree(t *testing.T) {
	images := ondisktest.Images(t, ondisktest.Dir(t, "", "gang"))
	sound := ondisktest.Open(t, ondisktest.Dir(t, "", "gang"), "gang")
	var gang ondisk.BlkPtr
	err := sound.Visit(t.Context(), &ondisk.Visitor{Workers: 1, Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
		if b.Gang() {
			gang = b
		}
		return nil
	}})
	if err != nil || !gang.Gang() {
		t.Fatal("no gang block", err)
	}
	vdev := sound.VDevs[0]
	below := gang
	at := func(i int) ondisk.BlkPtr {
		b := gang
		b.DVA = [3]ondisk.DVA{ondisk.NewDVA(0, vdev.ASize-1<<20+uint64(i)<<12, gang.DVA[0].ASize(), true)}
		return b
	}
	device := &patched{ReaderAt: vdev.Device.Data, pages: map[int64][]byte{}}
	const depth = 20
	for i := range depth {
		next := at(i)
		if i == depth-1 { // plain parts
			next.DVA[0] = ondisk.NewDVA(0, 0, 512, false)
		}
		const labels = 4 << 20
		device.pages[int64(labels+below.DVA[0].Offset())] = gangHeader(t, below, next)
		below = next
	}
	for i := range images {
		if images[i].Name == vdev.Device.Name {
			images[i].Data = device
		}
	}
	p, err := ondisk.Open(t.Context(), images, ondisk.Options{Name: "gang"})
	if err != nil {
		t.Fatal(err)
	}
	if members, err := p.GangMembers(t.Context(), gang); err != nil || len(members) != 3 || !members[0].Gang() {
		t.Fatalf("%v, %v", members, err)
	}
	if r := run(t, p, audit.Options{Workers: 2}); !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool {
		return strings.Contains(f.Detail, "a block of more than 196608 pieces")
	}) {
		t.Errorf("%v", r.Findings)
	}
}

// gangHeader is the header of a gang block with the same part three times.
func gangHeader(t *testing.T, of, part ondisk.BlkPtr) []byte {
	t.Helper()
	p := make([]byte, 512)
	for i := range 3 {
		copy(p[i*ondisk.BlkPtrSize:], part.Encode())
	}
	order := binary.LittleEndian
	trailer := p[len(p)-40:]
	order.PutUint64(trailer, 0x0210da7ab10c7a11)
	order.PutUint64(trailer[8:], uint64(of.DVA[0].VDev()))
	order.PutUint64(trailer[16:], of.DVA[0].Offset())
	order.PutUint64(trailer[24:], of.Birth())
	sum, err := checksum.NewHasher(checksum.Salt{}).Sum(checksum.GangHeader, p, order)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range sum {
		order.PutUint64(trailer[8+8*i:], w)
	}
	return p
}

// patched is a device with other sectors.
type patched struct {
	io.ReaderAt
	pages map[int64][]byte
}

func (d *patched) ReadAt(p []byte, at int64) (int, error) {
	n, err := d.ReaderAt.ReadAt(p, at)
	for from, page := range d.pages {
		for i, b := range page {
			if k := from + int64(i) - at; k >= 0 && k < int64(n) {
				p[k] = b
			}
		}
	}
	return n, err
}

// A pool with more metaslabs than memory is for is refused.
func TestMetaslabs(t *testing.T) {
	p := ondisktest.Open(t, ondisktest.Dir(t, "", "single"), "single")
	p.VDevs[0].ASize = 1 << 20 << p.VDevs[0].MetaslabShift
	for id := uint64(1); id < 5; id++ {
		v := *p.VDevs[0]
		v.ID = id
		p.VDevs = append(p.VDevs, &v)
	}
	_, err := audit.Pool(t.Context(), p, audit.Options{TempDir: t.TempDir()})
	var refused *ondisk.UnsupportedError
	if !errors.As(err, &refused) || !strings.Contains(refused.What, "more than 2097152 metaslabs") {
		t.Errorf("%v", err)
	}
}
