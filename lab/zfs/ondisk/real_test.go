package ondisk_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// versions lets who has the time test with all of them: an image of each is built the first time.
var versions = flag.Bool("versions", false, "test pools of all OpenZFS versions, not the default one alone")

// What zdb says of a pool is what we read: uberblock, space maps entry by entry, datasets, the block pointers of all
// objects, and what takes space; files have the content that was written; every copy of every block is good; what the
// space maps say is allocated is what is referred to.
func TestRealPools(t *testing.T) {
	for _, c := range ondisktest.Pools() {
		if c.Version != "" && !*versions {
			continue
		}
		t.Run(c.Version+" "+c.Script+" "+c.Name, func(t *testing.T) {
			dir := c.Dir(t)
			p := c.Open(t)
			report := func(name string) string { return c.Report(t, name) }
			t.Run("uberblock", func(t *testing.T) { compareUberblock(t, p, report("uberblock")) })
			t.Run("space maps", func(t *testing.T) { compareSpaceMaps(t, p, report("metaslabs")) })
			t.Run("objects", func(t *testing.T) { compareObjects(t, p, report("objects")) })
			t.Run("files", func(t *testing.T) { compareFiles(t, p, dir, nil) })
			// zdb takes what the dedup log holds for leaked: TestDedupLogHoldsFreedBlocks.
			t.Run("totals", func(t *testing.T) { compareTotals(t, p, report("blocks"), c.Name != "fast") })
			t.Run("space", func(t *testing.T) { compareSpace(t, p) })
			t.Run("copies", func(t *testing.T) {
				// m2, r2 and those of the dRAIDs were offline while the others were written, n0 and n1 were not resilvered.
				old := map[string][]string{
					"mirror": {"m2"}, "replacing": {"r2", "n0", "n1"}, "draid": {"a1", "b2", "b5", "c4"},
				}[c.Script]
				stale := checkAll(t, p, func(d ondisk.Damage) bool { return slices.Contains(old, filepath.Base(d.VDev.Path)) })
				if (stale > 0) != (old != nil) {
					t.Errorf("%d places are out of date", stale)
				}
			})
		})
	}
}

// The content of a volume.
func TestVolume(t *testing.T) {
	dir := poolDir(t, "single")
	p := openPool(t, dir, "single")
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines(t, filepath.Join(dir, "vols")) {
		hash, name, ok := strings.Cut(l, "  ")
		if !ok {
			continue
		}
		i := slices.IndexFunc(sets, func(d *ondisk.DSLDataset) bool { return d.Name == name })
		if i < 0 {
			t.Fatalf("no volume %s", name)
		}
		o, err := p.OpenDataset(t.Context(), sets[i])
		if err != nil {
			t.Fatal(err)
		}
		const object, size = 1, 8 << 20 // ZVOL_OBJ
		vol, err := o.Object(t.Context(), object)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if err := vol.Copy(t.Context(), h, size); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != hash {
			t.Errorf("%s: %s, written was %s", name, got, hash)
		}
	}
}

// What zfs list says of datasets.
func TestDatasets(t *testing.T) {
	dir := poolDir(t, "single")
	p := openPool(t, dir, "single")
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, d := range sets {
		// What the pool itself takes counts to the root, and changed after it was listed.
		if strings.ContainsAny(d.Name, "$%") || d.Name == p.Name {
			continue
		}
		o, err := p.OpenDataset(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		kind := map[uint64]string{ondisk.ObjSetZFS: "filesystem", ondisk.ObjSetZVol: "volume"}[o.Type]
		used := fmt.Sprint(d.UniqueBytes)
		if d.Snapshot() {
			kind = "snapshot"
		} else if dir, err := p.DSLDir(t.Context(), d.Dir); err != nil {
			t.Error(err)
		} else {
			used = fmt.Sprint(dir.UsedBytes)
		}
		got = append(got, fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d", d.Name, kind, used, d.ReferencedBytes, d.GUID, d.CreationTXG))
	}
	for _, l := range lines(t, filepath.Join(dir, "list")) {
		if strings.Contains(l, "/") && !strings.Contains(l, "\tbookmark\t") {
			want = append(want, l)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(got) < 20 || !slices.Equal(got, want) {
		t.Error(firstDifference(got, want))
	}
}

// The blocks and records of intent logs, as zdb -i shows them.
func TestIntentLogs(t *testing.T) {
	for _, pool := range []string{"live", "elder"} {
		t.Run(pool, func(t *testing.T) { compareLogs(t, pool) })
	}
}

func compareLogs(t *testing.T, pool string) {
	dir := poolDir(t, pool)
	p := openPool(t, dir, pool)
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint64]string{1: "TX_CREATE", 5: "TX_REMOVE", 8: "TX_RENAME", 9: "TX_WRITE", 10: "TX_TRUNCATE", 11: "TX_SETATTR", 15: "TX_CREATE_ATTR"}
	var got, want []string
	beside := 0
	for _, d := range sets {
		o, err := p.OpenDataset(t.Context(), d)
		if errors.Is(err, ondisk.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for b := range o.ZILBlocks(t.Context()) {
			got = append(got, fmt.Sprintf("%s block %d %v", d.Name, b.Seq, b.Ptr.DVA[0]))
			for _, r := range b.Records {
				got = append(got, fmt.Sprintf("%s %s len %d txg %d seq %d", d.Name, names[r.TXType], len(r.Body)+32, r.TXG, r.Seq))
				beside += len(r.Blocks)
			}
			if copies, err := p.Check(t.Context(), b.Ptr); b.Err == nil && (err != nil || len(copies) == 0 || len(copies[0].Damage) != 0) {
				t.Errorf("%s, block %d: %v, %v", d.Name, b.Seq, copies, err)
			}
		}
	}
	block := regexp.MustCompile(`^\tBlock seqno (\d+), .*DVA\[0\]=(<\S+>)`)
	record := regexp.MustCompile(`^\t\t(TX_\w+) +len +(\d+), txg (\d+), seq (\d+)`)
	name := ""
	for _, l := range lines(t, filepath.Join(dir, "zdb.zil")) {
		if rest, ok := strings.CutPrefix(l, "Dataset "); ok {
			name, _, _ = strings.Cut(rest, " [")
		} else if m := block.FindStringSubmatch(l); m != nil {
			want = append(want, fmt.Sprintf("%s block %s %s", name, m[1], m[2]))
		} else if m := record.FindStringSubmatch(l); m != nil {
			want = append(want, fmt.Sprintf("%s %s len %s txg %s seq %s", name, m[1], m[2], m[3], m[4]))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(got) == 0 || (beside == 0) != (pool == "elder") || !slices.Equal(got, want) {
		t.Errorf("%d blocks beside the log; %s", beside, firstDifference(got, want))
	}
}

// What the vdevs of a pool are.
func TestVDevs(t *testing.T) {
	p := openPool(t, poolDir(t, "mirror"), "glass")
	got := make([]string, 0, len(p.VDevs))
	for _, v := range p.VDevs {
		got = append(got, fmt.Sprintf("%v %d %s %v", v, len(v.Children), v.Bias, v.Log))
	}
	if want := []string{"mirror-0 3  false", "mirror-1 2 special false", "/var/tmp/p/l0 0 log true", "/var/tmp/p/x0 0 dedup false"}; !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("%q", got)
	}
	if !p.Exported() {
		state, _ := p.Label.Uint64("state")
		t.Errorf("an exported pool has state %d", state)
	}
	p = openPool(t, poolDir(t, "removed"), "removed")
	got = make([]string, 0, len(p.VDevs))
	for _, v := range p.VDevs {
		got = append(got, v.Type)
		if v.Concrete() == (v.Type == "indirect" || v.Type == "hole") {
			t.Errorf("%v is concrete: %v", v, v.Concrete())
		}
	}
	if n := strings.Count(strings.Join(got, " "), "indirect"); n != 2 {
		t.Errorf("%q", got)
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
