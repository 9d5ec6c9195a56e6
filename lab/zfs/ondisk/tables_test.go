package ondisk_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

var (
	ddtTable = regexp.MustCompile(`^(DDT-\S+-zap-\S+|DDT-log-\S+): .*entries=(\d+)`)
	ddtEntry = regexp.MustCompile(`^index [0-9a-f]+ refcnt (\d+) phys (\d) DVA\[0\]=(<\S+>) .*size=([0-9a-f]+)L/([0-9a-f]+)P birth=\d+L/(\d+)P .*cksum=(\S+)`)
)

// ddtReport are the entries of a report of zdb -DDDDD by table.
func ddtReport(t testing.TB, report string) (entries map[string][]string, counts map[string]uint64) {
	entries, counts = map[string][]string{}, map[string]uint64{}
	table := ""
	for _, l := range lines(t, report) {
		if m := ddtTable.FindStringSubmatch(l); m != nil {
			table = m[1]
			counts[table] = number(t, m[2], 10)
		} else if m := ddtEntry.FindStringSubmatch(l); m != nil {
			entries[table] = append(entries[table], fmt.Sprintf("ref %s %s %s/%s birth %s %s", m[1], m[3], m[4], m[5], m[6], m[7]))
		}
	}
	return entries, counts
}

// renderDDT renders the entries of a table, of a log the newest of each key.
func renderDDT(t testing.TB, p *ondisk.Pool, d *ondisk.DDT) (out []string, count int) {
	newest := map[ondisk.DDTKey]ondisk.DDTEntry{}
	for e, err := range d.Entries(t.Context(), p) {
		if err != nil {
			t.Error(err)
			continue
		}
		newest[e.Key] = e
	}
	for k, e := range newest {
		for _, x := range e.Phys {
			if x.PhysicalBirth == 0 {
				continue
			}
			c := k.Cksum
			out = append(out, fmt.Sprintf("ref %d %v %x/%x birth %d %016x:%016x:%016x:%016x", x.RefCount, x.DVA[0], k.LSize(), k.PSize(), x.PhysicalBirth, c[0], c[1], c[2], c[3]))
		}
	}
	return out, len(newest)
}

func TestDedupTables(t *testing.T) {
	dir := poolDir(t, "dedup")
	for pool, report := range map[string]string{"legacy": "legacy.zdb.ddt", "fast": "zdb.ddt"} {
		t.Run(pool, func(t *testing.T) {
			p := openPool(t, dir, pool)
			want, counts := ddtReport(t, filepath.Join(dir, report))
			tables, err := p.DDTs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			total, logged := 0, 0
			for _, d := range tables {
				got, n := renderDDT(t, p, &d)
				slices.Sort(got)
				slices.Sort(want[d.Name])
				if !slices.Equal(got, want[d.Name]) {
					t.Errorf("%s: %s", d.Name, firstDifference(got, want[d.Name]))
				}
				if uint64(n) != counts[d.Name] {
					t.Errorf("%s has %d entries, zdb says %d", d.Name, n, counts[d.Name])
				}
				total += n
				if d.Log {
					logged += n
				}
				if d.Flat != (pool == "fast") {
					t.Errorf("%s is flat: %v", d.Name, d.Flat)
				}
			}
			if total == 0 || (logged > 0) != (pool == "fast") || pool == "fast" && total == logged {
				t.Errorf("%d entries, %d of them in logs", total, logged)
			}
		})
	}
}

// Blocks whose last reference is gone stay allocated until the log is flushed. zdb takes them for leaked.
func TestDedupLogHoldsFreedBlocks(t *testing.T) {
	dir := poolDir(t, "dedup")
	p := openPool(t, dir, "fast")
	tables, err := p.DDTs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var held uint64
	for _, d := range tables {
		if !d.Log {
			continue
		}
		newest := map[ondisk.DDTKey]ondisk.DDTEntry{}
		for e, err := range d.Entries(t.Context(), p) {
			if err != nil {
				t.Fatal(err)
			}
			newest[e.Key] = e
		}
		for _, e := range newest {
			if x := e.Phys[0]; x.RefCount == 0 {
				for _, d := range x.DVA {
					held += d.ASize()
				}
			}
		}
	}
	var leaked uint64
	for _, l := range lines(t, filepath.Join(dir, "zdb.blocks")) {
		if _, size, ok := strings.Cut(l, "leaked space: vdev 0, offset "); ok {
			_, size, _ = strings.Cut(size, "size ")
			leaked += number(t, size, 10)
		}
	}
	for _, l := range lines(t, filepath.Join(dir, "zdb.blocks.err")) {
		if _, size, ok := strings.Cut(l, "leaked space: vdev 0, offset "); ok {
			_, size, _ = strings.Cut(size, "size ")
			leaked += number(t, size, 10)
		}
	}
	if held == 0 || held != leaked {
		t.Errorf("entries of logs without references hold %d bytes, zdb says that %d are leaked", held, leaked)
	}
}

func TestBlockReferenceTable(t *testing.T) {
	dir := poolDir(t, "cloned")
	p := openPool(t, dir, "cloned")
	tables, err := p.BRTs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	var used uint64
	external := false // how the entries are shared out among the vdevs is ZFS's affair
	for _, b := range tables {
		counts, err := b.Counts(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		for e, err := range b.Entries(t.Context(), p) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d:%x %d", b.VDev, e.Offset, e.Count))
			counts[e.Offset/b.RangeSize]--
			n++
		}
		z, err := p.MOS.ZAP(t.Context(), b.EntriesObject)
		if err != nil {
			t.Fatal(err)
		}
		if z.Entries != n || z.Leaves < 2 {
			t.Errorf("%d entries in %d leaves, of %d", z.Entries, z.Leaves, n)
		}
		if z.Object.DataBlockSize > 4096 || z.Leaves > 256 {
			external = true
		}
		if n != b.TotalCount || slices.ContainsFunc(counts, func(c uint16) bool { return c != 0 }) {
			t.Errorf("vdev %d has %d entries, of %d; not accounted: %v", b.VDev, n, b.TotalCount, counts)
		}
		used += b.UsedSpace
	}
	entry := regexp.MustCompile(`^(\d+:[0-9a-f]+) +(\d+)`)
	for _, l := range lines(t, filepath.Join(dir, "zdb.brt")) {
		if m := entry.FindStringSubmatch(l); m != nil {
			want = append(want, m[1]+" "+m[2])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(got) == 0 || !slices.Equal(got, want) {
		t.Error(firstDifference(got, want))
	}
	if !external {
		t.Error("no table has a pointer table of its own")
	}
	if used == 0 {
		t.Error("no space used by clones")
	}
}

func TestCheckpoint(t *testing.T) {
	dir := poolDir(t, "checkpoint")
	p := openPool(t, dir, "check")
	before, err := p.OpenCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.Uberblock.CheckpointTXG == 0 || before.Uberblock.TXG >= p.Uberblock.TXG {
		t.Errorf("%+v is no checkpoint of %+v", before.Uberblock, p.Uberblock)
	}
	byName := func(p *ondisk.Pool, name string) *ondisk.FileSystem {
		sets, err := p.Datasets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range sets {
			if d.Name == name {
				o, err := p.OpenDataset(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				fs, err := o.FileSystem(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return fs
			}
		}
		return nil
	}
	if byName(p, "check/gone") != nil {
		t.Error("the destroyed dataset is there after the checkpoint")
	}
	compareFiles(t, before, dir, map[string]string{"check/gone": "check/gone", "check": "check/before"})
	old, now := files(t, byName(before, "check")), files(t, byName(p, "check"))
	if old["text"] == 0 || now["text"] != 0 || old["after/text"] != 0 || now["after/text"] == 0 {
		t.Errorf("before: %v, after: %v", old, now)
	}
	if _, err := openPool(t, poolDir(t, "secret"), "secret").Checkpoint(t.Context()); !errors.Is(err, ondisk.ErrNotFound) {
		t.Errorf("a pool without checkpoint: %v", err)
	}
}

// What is encrypted is refused as such, the structure around it is read.
func TestEncrypted(t *testing.T) {
	p := openPool(t, poolDir(t, "secret"), "secret")
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	encrypted := 0
	for _, d := range sets {
		dir, err := p.DSLDir(t.Context(), d.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if dir.CryptoKey == 0 {
			continue
		}
		encrypted++
		o, err := p.OpenDataset(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.FileSystem(t.Context()); err != nil { // the master node is not encrypted, attribute tables are
			if !errors.Is(err, ondisk.ErrEncrypted) {
				t.Errorf("%s: %v", d.Name, err)
			}
		} else {
			t.Errorf("%s is read without a key", d.Name)
		}
		objects, refused := 0, 0
		for obj, err := range o.Objects(t.Context()) {
			if err != nil {
				t.Error(err)
				continue
			}
			objects++
			if _, err := obj.Block(t.Context(), 0); errors.Is(err, ondisk.ErrEncrypted) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused == 0 || objects <= refused {
			t.Errorf("%s: %d objects, %d of them encrypted", d.Name, objects, refused)
		}
	}
	if encrypted < 3 {
		t.Errorf("%d encrypted datasets", encrypted)
	}
}

// Lists of blocks to be freed, and livelists of clones, say the same as their headers.
func TestFreeing(t *testing.T) {
	p := openPool(t, poolDir(t, "freeing"), "freeing")
	pending, err := p.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, subs := 0, 0
	for _, b := range pending {
		var bytes uint64
		for e, err := range b.Walk(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			entries++
			bytes += e.Ptr.ASize()
			if e.Object != b.Object.ID {
				subs++
			}
		}
		if bytes != b.Bytes {
			t.Errorf("bpobj %d has %d bytes, its header says %d", b.Object.ID, bytes, b.Bytes)
		}
	}
	if entries == 0 || subs == 0 {
		t.Errorf("%d entries, %d of them in sub-objects", entries, subs)
	}
	tree, err := p.BPTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var bytes uint64
	for e, err := range tree.Entries(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		err := p.VisitDestroyed(t.Context(), e, &ondisk.Visitor{Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
			bytes += b.ASize()
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if bytes == 0 || bytes != tree.Bytes {
		t.Errorf("destroyed datasets have %d bytes, the header says %d", bytes, tree.Bytes)
	}
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clones, dead := 0, uint64(0)
	for _, d := range sets {
		dir, err := p.DSLDir(t.Context(), d.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if d.Deadlist != 0 {
			dead += deadlistBytes(t, p, d.Deadlist)
		}
		if dir.Livelist == 0 {
			continue
		}
		l, err := p.MOS.Deadlist(t.Context(), dir.Livelist)
		if err != nil {
			t.Fatal(err)
		}
		clones++
		var live []string
		for _, e := range l.Lists {
			b, err := p.MOS.BPObj(t.Context(), e.BPObj)
			if err != nil {
				t.Fatal(err)
			}
			for ptr, err := range b.Live(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				live = append(live, ptr.DVA[0].String())
			}
			if b.Freed == 0 || b.Freed >= b.Count {
				t.Errorf("livelist with %d entries, %d of them freed", b.Count, b.Freed)
			}
		}
		if want := ownBlocks(t, p, d); !slices.Equal(sorted(live), sorted(want)) {
			t.Errorf("livelist of %s: %s", d.Name, firstDifference(sorted(live), sorted(want)))
		}
	}
	if clones == 0 || dead == 0 {
		t.Errorf("%d clones, %d bytes in deadlists", clones, dead)
	}
}

// ownBlocks are the blocks that a clone does not share with what it was cloned from.
func ownBlocks(t *testing.T, p *ondisk.Pool, d *ondisk.DSLDataset) (all []string) {
	o, err := p.OpenDataset(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	err = o.Visit(t.Context(), d.PrevSnapTXG, &ondisk.Visitor{Block: func(_ ondisk.Ref, b ondisk.BlkPtr) error {
		if !b.Embedded() {
			all = append(all, b.DVA[0].String())
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func deadlistBytes(t *testing.T, p *ondisk.Pool, id uint64) (total uint64) {
	l, err := p.MOS.Deadlist(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range l.Lists {
		b, err := p.MOS.BPObj(t.Context(), list.BPObj)
		if err != nil {
			t.Fatal(err)
		}
		var sum uint64
		for e, err := range b.Walk(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			sum += e.Ptr.ASize()
		}
		if sum != b.Bytes {
			t.Errorf("deadlist %d: list %d has %d bytes, its header says %d", id, list.BPObj, sum, b.Bytes)
		}
		total += sum
	}
	if total != l.Used {
		t.Errorf("deadlist %d has %d bytes, its header says %d", id, total, l.Used)
	}
	return total
}

// Every name of a ZAP is found by its hash, be it text or numbers, and no other one.
func TestLookup(t *testing.T) {
	check := func(z *ondisk.ZAP) (n int) {
		for e, err := range z.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			found, err := z.Lookup(t.Context(), e.Name)
			if e.Key != nil {
				found, err = z.LookupKey(t.Context(), e.Key...)
			}
			if err != nil || !slices.Equal(found.Value, e.Value) {
				t.Fatalf("%q %x: %v, %v", e.Name, e.Key, found, err)
			}
		}
		if _, err := z.Lookup(t.Context(), "no such name"); !errors.Is(err, ondisk.ErrNotFound) {
			t.Error(err)
		}
		if _, err := z.LookupKey(t.Context(), 1, 2, 3, 4, 5); !errors.Is(err, ondisk.ErrNotFound) {
			t.Error(err)
		}
		return n
	}
	p := openPool(t, poolDir(t, "single"), "single")
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, d := range sets {
		if !slices.Contains([]string{"single/many", "single/mixed", "single/dnodes"}, d.Name) {
			continue
		}
		o, err := p.OpenDataset(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		for obj, err := range o.Objects(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if obj.Type != ondisk.TypeDirectory {
				continue
			}
			z, err := obj.ZAP(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n := check(z)
			if counts[fmt.Sprintf("micro %v", z.Micro)] += n; !z.Micro && (uint64(n) != z.Entries || z.Leaves < 2) {
				t.Errorf("%v: %d entries in %d leaves, the header says %d", z.Object, n, z.Leaves, z.Entries)
			}
		}
	}
	q := openPool(t, poolDir(t, "dedup"), "fast")
	tables, err := q.DDTs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range tables {
		if d.Log {
			continue
		}
		z, err := q.MOS.ZAP(t.Context(), d.Object)
		if err != nil {
			t.Fatal(err)
		}
		counts["dedup"] += check(z)
	}
	if counts["micro true"] == 0 || counts["micro false"] < 2500 || counts["dedup"] == 0 {
		t.Errorf("looked for %v", counts)
	}
}
