package ondisk_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// lines of a report of zdb.
func lines(t testing.TB, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

func number(t testing.TB, s string, base int) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, base, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// compareUberblock compares with zdb -uuu.
func compareUberblock(t *testing.T, p *ondisk.Pool, report string) {
	u := p.Uberblock
	want := map[string]string{
		"txg": fmt.Sprint(u.TXG), "version": fmt.Sprint(u.Version), "guid_sum": fmt.Sprint(u.GUIDSum), "timestamp": fmt.Sprint(u.Timestamp),
		"checkpoint_txg": fmt.Sprint(u.CheckpointTXG), "bp": fmt.Sprintf("DVA[0]=%v", u.Root.DVA[0]),
	}
	seen := 0
	for _, l := range lines(t, report) {
		if strings.HasPrefix(l, "Checkpointed uberblock") {
			break
		}
		name, value, ok := strings.Cut(strings.TrimSpace(l), " = ")
		if w, known := want[name]; ok && known {
			seen++
			if first, _, _ := strings.Cut(value, " "); first != w {
				t.Errorf("%s is %s, zdb says %s", name, w, value)
			}
		}
	}
	if seen < 5 {
		t.Errorf("%s says %d of %d things", report, seen, len(want))
	}
}

// Since 2.4 zdb says of the short form neither vdev nor words, and of the long one no words.
var spaceMapEntry = regexp.MustCompile(`^\s+\[\s*\d+\]\s+([AF]) +range: ([0-9a-f]+)-[0-9a-f]+ +size: ([0-9a-f]+)(?: vdev: (\d+))?`)
var spaceMapDebug = regexp.MustCompile(`^\s+\[\s*\d+\] (ALLOC|FREE): txg (\d+) pass (\d+)`)

// spaceMaps are those in a report of zdb -mmmm: by object, the header and the entries as we would write them.
func spaceMaps(t testing.TB, report string) map[uint64][]string {
	all := map[uint64][]string{}
	var object uint64
	for _, l := range lines(t, report) {
		if rest, ok := strings.CutPrefix(l, "space map object "); ok {
			object = number(t, strings.TrimSuffix(rest, ":"), 10)
			if all[object] != nil {
				object = 0 // printed again
			}
			continue
		}
		add := func(s string) {
			if object != 0 {
				all[object] = append(all[object], s)
			}
		}
		if v, ok := strings.CutPrefix(l, "  smp_length = "); ok {
			add("length " + v)
		} else if v, ok := strings.CutPrefix(l, "  smp_alloc = "); ok {
			add("alloc " + v)
		} else if m := spaceMapEntry.FindStringSubmatch(l); m != nil {
			vdev := uint64(ondisk.NoVDev)
			if m[4] != "" {
				vdev = number(t, m[4], 10)
			}
			add(fmt.Sprintf("%s %x+%x vdev %d", m[1], number(t, m[2], 16), number(t, m[3], 16), vdev))
		} else if m := spaceMapDebug.FindStringSubmatch(l); m != nil {
			add(fmt.Sprintf("debug %s %s %s", m[1], m[2], m[3]))
		}
	}
	return all
}

func renderSpaceMap(t testing.TB, s *ondisk.SpaceMap) []string {
	out := []string{fmt.Sprintf("length %#x", s.Length), fmt.Sprintf("alloc %#x", uint64(s.Allocated))}
	for e, err := range s.Entries(t.Context()) {
		switch {
		case err != nil:
			t.Error(err)
		case e.Debug && e.TXG == 0:
			// zdb does not print padding
		case e.Debug:
			out = append(out, fmt.Sprintf("debug %s %d %d", []string{"ALLOC", "FREE"}[e.Action], e.TXG, e.Pass))
		case e.Free:
			out = append(out, fmt.Sprintf("F %x+%x vdev %d", e.Offset, e.Size, e.VDev))
		default:
			out = append(out, fmt.Sprintf("A %x+%x vdev %d", e.Offset, e.Size, e.VDev))
		}
	}
	return out
}

// compareSpaceMaps compares all space maps, entry by entry.
func compareSpaceMaps(t *testing.T, p *ondisk.Pool, report string) {
	want := spaceMaps(t, report)
	entries := 0
	check := func(id uint64, s *ondisk.SpaceMap, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		got := renderSpaceMap(t, s)
		entries += len(got)
		if !slices.Equal(got, want[id]) {
			t.Errorf("space map %d: %s", id, firstDifference(got, want[id]))
		}
		delete(want, id)
	}
	for _, v := range p.VDevs {
		all, err := p.Metaslabs(t.Context(), v)
		if err != nil {
			t.Error(err)
		}
		for _, m := range all {
			if m.Object != 0 {
				s, err := m.SpaceMap(t.Context())
				check(m.Object, s, err)
			}
		}
		for _, open := range []func(context.Context, *ondisk.VDev) (*ondisk.SpaceMap, error){p.CheckpointSpaceMap, p.ObsoleteSpaceMap} {
			if s, err := open(t.Context(), v); err != nil || s != nil {
				check(s.Object.ID, s, err)
			}
		}
	}
	logs, err := p.LogSpaceMaps(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, l := range logs {
		s, err := l.SpaceMap(t.Context(), p)
		check(l.Object, s, err)
	}
	for id := range want {
		t.Errorf("zdb shows a space map %d that we did not look at", id)
	}
	if entries < 10 {
		t.Errorf("%d space map entries in the pool", entries)
	}
	t.Logf("%d space map entries, %d logs", entries, len(logs))
}

func firstDifference(got, want []string) string {
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			w := "nothing"
			if i < len(want) {
				w = want[i]
			}
			return fmt.Sprintf("%d of %d, %d: %q, zdb says %q", i, len(got), len(want), got[i], w)
		}
	}
	if len(want) > len(got) {
		return fmt.Sprintf("%d entries, zdb has %d, next %q", len(got), len(want), want[len(got)])
	}
	return "none"
}

// dumped is a dataset in a report of zdb -ddddd: its number, and by object the block pointers.
type dumped struct {
	id      uint64
	objects map[uint64][]string
	heads   map[uint64]string
}

var (
	datasetLine = regexp.MustCompile(`^Dataset (.+) \[(\w+)\], ID (\d+), `)
	objectLine  = regexp.MustCompile(`^ +(-?\d+) +(\d+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +([\d.]+)  (.*)$`)
	blockLine   = regexp.MustCompile(`^ *([0-9a-f]+) +L(\d+) +(.*)$`)
	compactPtr  = regexp.MustCompile(`^(\d+:[0-9a-f]+:[0-9a-f]+)G? ([0-9a-f]+)L/([0-9a-f]+)P F=(\d+) B=(\d+)/(\d+) cksum=(\S+)`)
	compactData = regexp.MustCompile(`^EMBEDDED et=0 ([0-9a-f]+)L/([0-9a-f]+)P B=(\d+)`)
)

func dumps(t testing.TB, report string) map[string]*dumped {
	all := map[string]*dumped{}
	var d *dumped
	var object uint64
	f, err := os.Open(report)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	inBlocks := false
	for scan.Scan() {
		l := scan.Text()
		switch {
		case strings.HasPrefix(l, "Dataset "):
			if m := datasetLine.FindStringSubmatch(l); m != nil {
				d = &dumped{id: number(t, m[3], 10), objects: map[uint64][]string{}, heads: map[uint64]string{}}
				all[m[1]], inBlocks = d, false
			}
		case strings.HasPrefix(l, "    Object  lvl"):
			inBlocks = false
		case strings.HasPrefix(l, "Indirect blocks:"):
			inBlocks = true
		case inBlocks && d != nil:
			m := blockLine.FindStringSubmatch(l)
			if m == nil {
				if strings.TrimSpace(l) == "" {
					inBlocks = false
				}
				continue
			}
			if c := compactPtr.FindStringSubmatch(m[3]); c != nil {
				d.objects[object] = append(d.objects[object], fmt.Sprintf("L%s %s %s %s/%s F%s B%s/%s %s", m[2], m[1], c[1], c[2], c[3], c[4], c[5], c[6], c[7]))
			} else if c := compactData.FindStringSubmatch(m[3]); c != nil {
				d.objects[object] = append(d.objects[object], fmt.Sprintf("L%s %s EMBEDDED %s/%s B%s", m[2], m[1], c[1], c[2], c[3]))
			}
		default:
			if m := objectLine.FindStringSubmatch(l); m != nil && d != nil {
				id, err := strconv.ParseInt(m[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				object = uint64(id)
				d.heads[object] = fmt.Sprintf("levels %s, %s", m[2], strings.TrimSpace(strings.Split(m[9], "(")[0]))
			}
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// visited are the block pointers of a pool by object set and object, in the order of zdb, behind what the object is.
func visited(t *testing.T, p *ondisk.Pool) map[uint64]map[uint64][]string {
	all := map[uint64]map[uint64][]string{}
	add := func(o *ondisk.ObjSet) {
		all[o.ID] = map[uint64][]string{}
		dump := func(obj *ondisk.Object) {
			out := []string{fmt.Sprintf("levels %d, %s", obj.Levels, ondisk.TypeName(obj.Type))}
			walkTree(t, obj, func(level int, blkid uint64, b ondisk.BlkPtr) {
				out = append(out, renderPtr(obj, level, blkid, b))
			})
			all[o.ID][obj.ID] = out
		}
		for _, id := range []uint64{ondisk.MetaDNode, ondisk.UserUsed, ondisk.GroupUsed, ondisk.ProjectUsed} {
			if obj, err := o.Object(t.Context(), id); err == nil {
				dump(obj)
			} else if !errors.Is(err, ondisk.ErrNotFound) {
				t.Error(err)
			}
		}
		for obj, err := range o.Objects(t.Context()) {
			if err != nil {
				t.Error(err)
				continue
			}
			dump(obj)
		}
	}
	add(p.MOS)
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, d := range sets {
		o, err := p.OpenDataset(t.Context(), d)
		if errors.Is(err, ondisk.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		add(o)
	}
	return all
}

// walkTree goes through the pointers of an object, the upper ones first.
func walkTree(t testing.TB, o *ondisk.Object, do func(int, uint64, ondisk.BlkPtr)) {
	var below func(level int, blkid uint64)
	below = func(level int, blkid uint64) {
		b, err := o.BlkPtr(t.Context(), level, blkid)
		if err != nil {
			t.Error(err)
			return
		}
		if b.Hole() {
			return
		}
		do(level, blkid, b)
		if level > 0 {
			for i := range uint64(1) << (o.IndirectShift - 7) {
				below(level-1, blkid<<(o.IndirectShift-7)+i)
			}
		}
	}
	for i := range o.BlkPtrs {
		below(int(o.Levels)-1, uint64(i))
	}
}

func renderPtr(o *ondisk.Object, level int, blkid uint64, b ondisk.BlkPtr) string {
	at := blkid * uint64(o.DataBlockSize)
	if level > 0 {
		at <<= uint(level) * uint(o.IndirectShift-7)
	}
	if b.Embedded() {
		return fmt.Sprintf("L%d %x EMBEDDED %x/%x B%d", level, at, b.LSize(), b.PSize(), b.LogicalBirth)
	}
	d := b.DVA[0]
	fill := b.Fill
	if b.Encrypted() {
		fill &= 1<<32 - 1
	}
	return fmt.Sprintf("L%d %x %d:%x:%x %x/%x F%d B%d/%d %016x:%016x:%016x:%016x", level, at, d.VDev(), d.Offset(), d.ASize(),
		b.LSize(), b.PSize(), fill, b.LogicalBirth, b.Birth(), b.Cksum[0], b.Cksum[1], b.Cksum[2], b.Cksum[3])
}

// compareObjects compares the names and numbers of all datasets and the block pointers of all objects.
func compareObjects(t *testing.T, p *ondisk.Pool, report string) {
	want, got := dumps(t, report), visited(t, p)
	names := map[string]uint64{"mos": 0}
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, d := range sets {
		names[d.Name] = d.ID
	}
	blocks := 0
	for name, d := range want {
		id, ok := names[name]
		if !ok || id != d.id {
			t.Errorf("dataset %s is %d, zdb says %d", name, id, d.id)
			continue
		}
		for object, head := range d.heads {
			have := got[id][object]
			blocks += len(have)
			if ptrs := append([]string{head}, d.objects[object]...); !slices.Equal(have, ptrs) {
				t.Errorf("%s, object %d: %s", name, int64(object), firstDifference(have, ptrs))
			}
		}
		for object := range got[id] {
			if _, ok := d.heads[object]; !ok {
				t.Errorf("%s has no object %d, says zdb", name, int64(object))
			}
		}
	}
	if len(want) == 0 || blocks == 0 {
		t.Errorf("%s has %d datasets, %d blocks", report, len(want), blocks)
	}
	t.Logf("%d datasets, %d block pointers", len(want), blocks)
}

// compareFiles compares the content of files with their hashes. names says under which names the file systems were
// hashed, nil: their own.
func compareFiles(t *testing.T, p *ondisk.Pool, dir string, names map[string]string) {
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Error(err)
	}
	byName := map[string]*ondisk.DSLDataset{}
	for _, d := range sets {
		if names == nil {
			byName[d.Name] = d
		} else if hashed, ok := names[d.Name]; ok {
			byName[hashed] = d
		}
	}
	systems := map[string]map[string]uint64{}
	n := 0
	for _, l := range lines(t, filepath.Join(dir, "sums")) {
		hash, rest, ok := strings.Cut(l, "  ")
		name, path, ok2 := strings.Cut(rest, "//")
		pool, _, _ := strings.Cut(strings.Split(name, "@")[0], "/")
		if !ok || !ok2 || pool != p.Name || byName[name] == nil {
			continue
		}
		o, err := p.OpenDataset(t.Context(), byName[name])
		if err != nil {
			t.Fatal(err)
		}
		fs, err := o.FileSystem(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if systems[name] == nil {
			systems[name] = files(t, fs)
		}
		id, ok := systems[name][path]
		if !ok {
			t.Errorf("%s has no file %q", name, path)
			continue
		}
		h := sha256.New()
		if err := fs.CopyFile(t.Context(), h, id); err != nil {
			t.Errorf("%s, %s: %v", name, path, err)
		} else if hex.EncodeToString(h.Sum(nil)) != hash {
			t.Errorf("%s, %s: the content is not what was written", name, path)
		}
		if n++; n%100 == 0 {
			if back, err := fs.Path(t.Context(), id); err != nil || back != "/"+path {
				t.Errorf("%s, object %d is %q, %v, not %q", name, id, back, err, path)
			}
		}
	}
	if n == 0 {
		t.Errorf("no file of %s is known", p.Name)
	}
	t.Logf("%d files", n)
}

// files are all regular files by path.
func files(t testing.TB, fs *ondisk.FileSystem) map[string]uint64 {
	all := map[string]uint64{}
	var dir func(id uint64, path string)
	dir = func(id uint64, path string) {
		err := fs.ReadDir(t.Context(), id, func(e ondisk.DirEntry) error {
			switch e.Kind {
			case ondisk.KindDirectory:
				dir(e.Object, path+e.Name+"/")
			case ondisk.KindFile:
				all[path+e.Name] = e.Object
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	dir(fs.Root, "")
	return all
}

// compareTotals counts what a walk finds, as zdb -b does.
func compareTotals(t *testing.T, p *ondisk.Pool, report string, noLeaks bool) {
	var got ondisktest.Totals
	var mu sync.Mutex
	err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 2, Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
		mu.Lock()
		defer mu.Unlock()
		got.Add(b)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	want, clean := ondisktest.ZDBTotals(t, report)
	if got != want {
		t.Errorf("counted %+v, zdb %+v", got, want)
	}
	if clean != noLeaks {
		t.Errorf("zdb found no leaks: %v", clean)
	}
}
