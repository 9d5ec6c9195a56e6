package ondisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
)

// realBlocks are the blocks of testdata/blocks whose names begin with a prefix, filled up to a power of two.
func realBlocks(t testing.TB, prefix string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/blocks/" + prefix + "*.bin")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no blocks %s*: %v", prefix, err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		size := 512
		for size < len(p) {
			size *= 2
		}
		all[strings.TrimSuffix(filepath.Base(path), ".bin")] = append(p, make([]byte, size-len(p))...)
	}
	return all
}

func little(p []byte) Block { return Block{Data: p, Order: binary.LittleEndian} }

// swap turns the bytes of words round: what a host of the other byte order would have written.
func swap(p []byte, width int) {
	for i := 0; i+width <= len(p); i += width {
		slices.Reverse(p[i : i+width])
	}
}

func swapped(p []byte) []byte {
	q := bytes.Clone(p)
	swap(q, 8)
	return q
}

// swapDNodes does what dnode_byteswap does, for bonuses that are made of 64-bit words.
func swapDNodes(t testing.TB, p []byte) {
	for at := 0; at+DNodeSlot <= len(p); {
		d, err := DecodeDNode(p[at:], binary.LittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		end := at + d.Slots*DNodeSlot
		if d.Type != TypeNone {
			swap(p[at+8:at+12], 2)
			swap(p[at+16:end], 8)
		}
		at = end
	}
}

func TestDNodesOfBothByteOrders(t *testing.T) {
	for name, p := range realBlocks(t, "dnodes-mos-") {
		q := bytes.Clone(p)
		swapDNodes(t, q)
		n := 0
		for at := 0; at+DNodeSlot <= len(p); at += DNodeSlot {
			a, err := DecodeDNode(p[at:], binary.LittleEndian)
			if err != nil {
				t.Fatal(err)
			}
			b, err := DecodeDNode(q[at:], binary.BigEndian)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a.bonusWords(), b.bonusWords()) {
				t.Errorf("%s, slot %d: bonus %x, %x", name, at/DNodeSlot, a.bonusWords(), b.bonusWords())
			}
			if a.Type != TypeNone {
				n++
			}
			a.Bonus, b.Bonus, a.Order, b.Order = nil, nil, nil, nil
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s, slot %d: %+v, %+v", name, at/DNodeSlot, a, b)
			}
		}
		if n == 0 {
			t.Errorf("%s has no dnode", name)
		}
	}
}

func TestObjSetsOfBothByteOrders(t *testing.T) {
	for name, p := range realBlocks(t, "objset") {
		q := bytes.Clone(p)
		for _, at := range []int{0, objsetSizeV1, objsetSizeV1 + DNodeSlot, objsetSizeV2} {
			if at < len(q) {
				swapDNodes(t, q[at:at+DNodeSlot])
			}
		}
		swap(q[objsetZILHeader:objsetType+16], 8)
		a, err := decodeObjSet(p, binary.LittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		b, err := decodeObjSet(q, binary.BigEndian)
		if err != nil {
			t.Fatal(err)
		}
		if a.Type != b.Type || a.Type == 0 || a.ZIL != b.ZIL || a.Meta.MaxBlkID != b.Meta.MaxBlkID || !slices.Equal(a.Meta.BlkPtrs, b.Meta.BlkPtrs) || (a.UserUsed == nil) != (b.UserUsed == nil) {
			t.Errorf("%s: %+v, %+v", name, a, b)
		}
	}
}

func TestMicroZAPsOfBothByteOrders(t *testing.T) {
	for name, p := range realBlocks(t, "zap-micro") {
		q := bytes.Clone(p)
		swap(q[:mzapHead], 8)
		for at := mzapHead; at < len(q); at += mzapEntry {
			swap(q[at:at+8], 8)
			swap(q[at+8:at+12], 4)
		}
		a := microAll(t, Block{p, binary.LittleEndian})
		if b := microAll(t, Block{q, binary.BigEndian}); len(a) == 0 || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %v, %v", name, a, b)
		}
	}
}

func microAll(t testing.TB, head Block) (all []ZAPEntry) {
	z, err := decodeZAPHead(head)
	if err != nil || !z.Micro {
		t.Fatal(z, err)
	}
	microEntries(head, func(e ZAPEntry) bool { all = append(all, e); return true })
	return all
}

// swapLeaf does what zap_leaf_byteswap does.
func swapLeaf(p []byte) {
	swap(p[:24], 8)
	swap(p[24:28], 4)
	swap(p[28:36], 2)
	swap(p[leafHead:leafHead+len(p)/16], 2)
	for at := leafHead + len(p)/16; at+chunkSize <= len(p); at += chunkSize {
		c := p[at : at+chunkSize]
		if c[0] == chunkEntry {
			swap(c[2:12], 2)
			swap(c[12:16], 4)
			swap(c[16:24], 8)
		} else {
			swap(c[22:24], 2)
		}
	}
}

func leafAll(t testing.TB, b Block, keys bool) (all []ZAPEntry) {
	l, err := decodeZAPLeaf(b)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range l.entries(keys) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestZAPLeavesOfBothByteOrders(t *testing.T) {
	for name, p := range realBlocks(t, "zap-leaf") {
		q := bytes.Clone(p)
		swapLeaf(q)
		keys := strings.Contains(name, "keys")
		a := leafAll(t, Block{p, binary.LittleEndian}, keys)
		b := leafAll(t, Block{q, binary.BigEndian}, keys)
		if len(a) == 0 || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %v, %v", name, a, b)
		}
	}
}

func TestSpaceMapsOfBothByteOrders(t *testing.T) {
	for name, p := range realBlocks(t, "spacemap") {
		var all [2][]SpaceMapEntry
		for i, words := range [][]uint64{decodeWords(p, binary.LittleEndian), decodeWords(swapped(p), binary.BigEndian)} {
			for e, err := range decodeSpaceMap(words[:len(bytes.TrimRight(p, "\x00"))/8], 1<<24, 12) {
				if err != nil {
					t.Fatal(err)
				}
				all[i] = append(all[i], e)
			}
		}
		if len(all[0]) == 0 || !slices.Equal(all[0], all[1]) {
			t.Errorf("%s: %v, %v", name, all[0], all[1])
		}
	}
}

func TestUberblockOfBothByteOrders(t *testing.T) {
	p := make([]byte, UberblockSize)
	words := []uint64{uberblockMagic, 5000, 77, 0xfedcba9876543210, 1700000000}
	for i, w := range words {
		binary.LittleEndian.PutUint64(p[8*i:], w)
	}
	root := decode(t, realBlkPtrs[0].raw)
	copy(p[40:], root.Encode())
	for i, w := range []uint64{5000, mmpMagic, 1 << 30, 7 | 1000<<8 | 3<<32 | 10<<48, 70, 1<<55 | 5} {
		binary.LittleEndian.PutUint64(p[168+8*i:], w)
	}
	a, err := DecodeUberblock(p)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DecodeUberblock(swapped(p))
	if err != nil {
		t.Fatal(err)
	}
	if offset, state := a.Reflow(); offset != 5<<9 || state != 1 {
		t.Errorf("reflow %d, %d", offset, state)
	}
	if a.MMP == nil || a.MMP.Seq != 3 || a.MMP.FailIntervals != 10 || a.MMP.Interval.Seconds() != 1 || a.Root != root || a.CheckpointTXG != 70 {
		t.Errorf("%+v, %+v", a, a.MMP)
	}
	a.Order, b.Order = nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, %+v", a, b)
	}
}

// Blocks of real pools that every compression made.
func TestRealCompressed(t *testing.T) {
	d, err := compress.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for name, p := range realBlocks(t, "compressed") {
		kind, size, _ := strings.Cut(strings.TrimPrefix(name, "compressed-"), "-")
		if strings.HasPrefix(kind, "gzip") {
			_, size, _ = strings.Cut(size, "-")
		}
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(name, err)
		}
		var a compress.Algorithm
		for a = range compress.ZSTD + 1 {
			if strings.HasPrefix(name, "compressed-"+a.String()+"-") {
				break
			}
		}
		seen[kind] = true
		if err := d.Decompress(a, make([]byte, n), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []string{"lz4", "zstd", "gzip", "lzjb", "zle"} {
		if !seen[kind] {
			t.Errorf("no block of %s: %v", kind, slices.Sorted(maps.Keys(seen)))
		}
	}
}

func TestRawSize(t *testing.T) {
	// From vdev_raidz_psize_to_asize: sectors, parity of each row, rounded up to parity + 1.
	v := &VDev{Type: vdevRAIDZ, Parity: 2, AShift: 12, Children: make([]*VDev, 6)}
	for size, want := range map[uint64]uint64{512: 3 << 12, 4096: 3 << 12, 16384: 6 << 12, 20480: 9 << 12, 131072: 48 << 12} {
		if got := v.RawSize(size, 7); got != want {
			t.Errorf("%d bytes take %d, not %d", size, got, want)
		}
	}
	if got := (&VDev{Type: "mirror", AShift: 9}).RawSize(700, 7); got != 1024 {
		t.Error(got)
	}
}

// An active feature that a reader must know is named, an enabled one that is not active is no obstacle.
func TestUnknownFeatures(t *testing.T) {
	err := checkFeatures(map[string]uint64{"com.example:new": 1, "com.example:idle": 0, "org.freebsd:zstd_compress": 3, "com.delphix:spacemap_histogram": 1})
	var u *UnsupportedError
	if !errors.As(err, &u) || !strings.Contains(u.What, "com.example:new") || strings.Contains(u.What, "idle") || strings.Contains(u.What, "zstd") {
		t.Error(err)
	}
	if err := checkFeatures(map[string]uint64{"com.example:idle": 0}); err != nil {
		t.Error(err)
	}
}

func FuzzDNode(f *testing.F) {
	for _, p := range realBlocks(f, "dnodes") {
		f.Add(p, false)
	}
	f.Fuzz(func(t *testing.T, p []byte, big bool) {
		var order binary.ByteOrder = binary.LittleEndian
		if big {
			order = binary.BigEndian
		}
		d, err := DecodeDNode(p, order)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if len(d.Bonus) > len(p) || len(d.BlkPtrs) > 3 || d.Slots < 1 || d.Slots*DNodeSlot > len(p) {
			t.Errorf("%+v of %d bytes", d, len(p))
		}
		o := &Object{DNode: d, Set: &ObjSet{}}
		_ = o.Size()
		_ = d.bonusWords()
	})
}

func FuzzObjSet(f *testing.F) {
	for _, p := range realBlocks(f, "objset") {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			if o, err := decodeObjSet(p, order); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v, %v", o, err)
			}
		}
	})
}

func FuzzZAP(f *testing.F) {
	for _, p := range realBlocks(f, "zap") {
		f.Add(p, false)
		f.Add(p, true)
	}
	f.Fuzz(func(t *testing.T, p []byte, keys bool) {
		if z, err := decodeZAPHead(little(p)); err == nil && z.Micro {
			n := 0
			microEntries(z.head, func(e ZAPEntry) bool { n++; return e.Uint64() == e.Uint64s()[0] })
			if n > len(p)/mzapEntry {
				t.Errorf("%d entries in %d bytes", n, len(p))
			}
		}
		l, err := decodeZAPLeaf(little(p))
		if err != nil {
			return
		}
		n := 0
		for e, err := range l.entries(keys) {
			n++
			if err == nil && (len(e.Name)+8*len(e.Key) > len(p) || len(e.Value) > len(p)) {
				t.Errorf("%+v in %d bytes", e, len(p))
			}
			_ = e.Uint64s()
		}
		if n > len(p)/chunkSize+1 {
			t.Errorf("%d entries in %d bytes", n, len(p))
		}
	})
}

func FuzzSpaceMap(f *testing.F) {
	for _, p := range realBlocks(f, "spacemap") {
		f.Add(p, uint64(0), uint8(9))
		f.Add(p, uint64(1<<24), uint8(12))
	}
	f.Fuzz(func(t *testing.T, p []byte, start uint64, shift uint8) {
		n := 0
		for e, err := range decodeSpaceMap(decodeWords(p, binary.LittleEndian), start, uint(shift)) {
			n++
			if err == nil && (e.Words < 1 || e.Words > 2 || !e.Debug && e.Size == 0) {
				t.Errorf("%+v", e)
			}
		}
		if n > len(p)/8 {
			t.Errorf("%d entries in %d bytes", n, len(p))
		}
	})
}

func FuzzZIL(f *testing.F) {
	for _, p := range realBlocks(f, "zil") {
		f.Add(p, uint8(checksum.ZILog2))
		f.Add(p, uint8(checksum.ZILog))
	}
	d, err := compress.NewDecoder(1)
	if err != nil {
		f.Fatal(err)
	}
	pool := &Pool{hasher: checksum.NewHasher(checksum.Salt{}), decoder: d, cache: newCache(0)}
	f.Fuzz(func(t *testing.T, p []byte, function uint8) {
		b := BlkPtr{Prop: uint64(function) << 40}
		before := bytes.Clone(p)
		_, _ = pool.verify(b, p)
		if !bytes.Equal(before, p) {
			t.Error("verifying changed the block")
		}
		_, _, _ = decodeZILBlock(b, little(p))
		records, err := decodeZILRecords(p, binary.LittleEndian)
		if err == nil && len(records) > len(p)/32 {
			t.Errorf("%d records in %d bytes", len(records), len(p))
		}
	})
}

func FuzzBlkPtr(f *testing.F) {
	for _, c := range realBlkPtrs {
		b := decode(f, c.raw)
		f.Add(b.Encode())
	}
	for _, p := range realBlocks(f, "blkptr") {
		f.Add(p[:BlkPtrSize])
	}
	d, err := compress.NewDecoder(1)
	if err != nil {
		f.Fatal(err)
	}
	pool := &Pool{hasher: checksum.NewHasher(checksum.Salt{}), decoder: d, cache: newCache(1 << 20)}
	pool.VDevs = []*VDev{{Type: "disk", AShift: 9, ASize: 1 << 30, pool: pool}}
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := DecodeBlkPtr(p)
		if err != nil {
			return
		}
		_ = b.String()
		block, err := pool.Read(context.Background(), b)
		if err == nil && uint64(len(block.Data)) != b.LSize() {
			t.Errorf("%v: %d bytes", b, len(block.Data))
		}
		if err == nil && !b.Hole() && !b.Embedded() {
			t.Errorf("%v was read from no device", b)
		}
		_, _ = pool.Check(context.Background(), b)
	})
}

func FuzzUberblock(f *testing.F) {
	f.Add(make([]byte, UberblockSize))
	f.Add(append(binary.LittleEndian.AppendUint64(nil, uberblockMagic), make([]byte, UberblockSize)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		u, err := DecodeUberblock(p)
		if err == nil && u.Order == nil {
			t.Errorf("%+v", u)
		}
	})
}

// FuzzLabels gives any content to a whole small device.
func FuzzLabels(f *testing.F) {
	f.Add([]byte("x"), uint32(labelConfig))
	f.Fuzz(func(t *testing.T, p []byte, at uint32) {
		data := make([]byte, labels*labelSize)
		copy(data[int(at)%len(data):], p)
		all, err := ReadLabels(context.Background(), Device{Name: "fuzz", Data: bytes.NewReader(data), Size: int64(len(data))})
		if err != nil || len(all) != labels {
			t.Errorf("%v, %v", all, err)
		}
		for _, l := range all {
			if l.Err == nil || len(l.Ring) != 0 {
				t.Errorf("%+v", l)
			}
		}
	})
}

func FuzzPartitions(f *testing.F) {
	table := make([]byte, 2048)
	copy(table, gptSignature)
	table[gptEntriesLBA], table[gptEntriesCount], table[gptEntriesSize] = 2, 4, gptEntrySize
	table[512+gptFirstLBA], table[512+gptLastLBA] = 34, 99
	f.Add(table, uint16(512))
	dos := make([]byte, 2048)
	copy(dos[dosEntries:], []byte{0, 0, 0, 0, dosExtended, 0, 0, 0, 2, 0, 0, 0, 100})
	copy(dos[dosEntries+dosEntrySize:], []byte{0, 0, 0, 0, dosSolaris, 0, 0, 0, 1, 0, 0, 0, 100})
	copy(dos[2*dosSector+vtocMagic:], []byte{0xee, 0xde, 0x0d, 0x60})
	dos[2*dosSector+vtocSlicesNo], dos[2*dosSector+vtocSlice+4], dos[2*dosSector+vtocSlice+8] = 1, 8, 8
	dos[dosSector-2], dos[dosSector-1] = 0x55, 0xaa
	f.Add(dos, uint16(0))
	f.Fuzz(func(t *testing.T, p []byte, at uint16) {
		data := make([]byte, 64<<10)
		copy(data[at:], p)
		all, err := Partitions(context.Background(), Device{Name: "fuzz", Data: bytes.NewReader(data), Size: int64(len(data))})
		for _, d := range all {
			if err != nil || d.Size <= 0 || d.Size > int64(len(data)) {
				t.Errorf("%+v, %v", d, err)
			}
		}
	})
}

func FuzzMapping(f *testing.F) {
	f.Add([]byte{}, uint64(0), uint64(512))
	entry := make([]byte, mappingEntrySize)
	entry[8] = 1
	f.Add(entry, uint64(0), uint64(512))
	f.Fuzz(func(t *testing.T, p []byte, offset, size uint64) {
		m, err := decodeMapping(p, binary.LittleEndian)
		if err != nil {
			return
		}
		v := &VDev{Type: vdevIndirect, mapping: m}
		pieces, err := v.pieces(offset, size%(16<<20))
		var total uint64
		for _, p := range pieces {
			total += p.Size
		}
		if err == nil && total != size%(16<<20) {
			t.Errorf("%d bytes of %d", total, size)
		}
	})
}
