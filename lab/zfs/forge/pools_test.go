package forge_test

import (
	"errors"
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
	"github.com/vdevil/vdevil/scenarios"
)

// forgedPools have something for each forgery but those that are named.
var forgedPools = []struct {
	script, pool string
	// without are the forgeries of references that have nothing there.
	without string
}{
	{"mirror", "glass", "deadlist-duplicate bpobj-duplicate birth snapshot-txg brt-refcount brt-lost"},
	{"raidz2", "zr", "bpobj-duplicate shared-block ddt-refcount brt-refcount brt-lost"},
	{"live", "live", "deadlist-duplicate bpobj-duplicate birth snapshot-txg ddt-refcount brt-refcount brt-lost"},
	{"dedup", "legacy", "bpobj-duplicate birth shared-block brt-refcount brt-lost"},
	{"dedup", "fast", "bpobj-duplicate birth shared-block brt-refcount brt-lost"},
	{"cloned", "cloned", "bpobj-duplicate shared-block ddt-refcount"},
	{"freeing", "freeing", "birth ddt-refcount brt-refcount brt-lost"},
}

func writer(t *testing.T, script, pool string) *ondisk.Writer {
	t.Helper()
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", script))
	w, err := ondisk.NewWriter(t.Context(), devices, ondisk.InPlace, ondisk.Options{Name: pool, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var everywhere = flag.Bool("everywhere", false, "make each forgery in all pools that have something for it, and not only in the first two")

// A forgery changes what it says and nothing else, and every block of the pool has a good checksum afterwards.
func TestForgeries(t *testing.T) {
	made := map[string]int{}
	for _, c := range forgedPools {
		t.Run(c.script+" "+c.pool, func(t *testing.T) {
			w := writer(t, c.script, c.pool)
			before := ondisktest.Contents(t, w.Pool())
			for _, f := range forge.All() {
				without := slices.Contains(strings.Fields(c.without), f.Name)
				if made[f.Name]++; !without && made[f.Name] > 2 && !*everywhere {
					continue
				}
				t.Run(f.Name, func(t *testing.T) {
					w := writer(t, c.script, c.pool)
					record, err := f.Make(t.Context(), w, forge.Options{Seed: 7})
					if without {
						made[f.Name]--
						if !errors.Is(err, forge.ErrNothing) {
							t.Fatalf("%v instead of %v", err, forge.ErrNothing)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					t.Log(record.Effect)
					if err := w.Verify(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
					checkForged(t, f.Name, record, ondisktest.Differences(before, ondisktest.Contents(t, w.Pool())))
					checkAudit(t, f.Name, w.Pool())
				})
			}
		})
	}
}

// checkForged compares the blocks with other content with those that the record names. A pointer is changed in a block of
// pointers, and seen at the block that it points to.
func checkForged(t *testing.T, name string, record forge.Record, got []ondisk.Ref) {
	t.Helper()
	want := map[ondisk.Ref]bool{}
	for _, c := range record.Changes {
		if c.Level == 0 && c.Object != ondisk.MetaDNode {
			want[ondisk.Ref{ObjSet: c.ObjSet, Object: c.Object, BlkID: c.BlkID}] = true
		}
	}
	pointers := 0
	for _, r := range got {
		switch {
		case want[r]:
			delete(want, r)
		case (name == "birth" || name == "shared-block" || name == "pointer-type") && r.Level == 0 && r.Kind == ondisk.RefTree:
			pointers++
		case name == "bpobj-duplicate" && r.Kind == ondisk.RefPending: // the new entry is walked
			pointers++
		default:
			t.Errorf("%v differs", r)
		}
	}
	if len(want) > 0 || pointers > 1 {
		t.Errorf("unchanged: %v; %d pointers changed", want, pointers)
	}
}

// kindOf is what the audit calls each forgery.
var kindOf = map[string][]audit.Kind{
	"none":                     nil,
	"spacemap-duplicate-free":  {audit.FreedTwice},
	"spacemap-duplicate-alloc": {audit.AllocatedTwiceInMap},
	"spacemap-alloc-free":      {audit.Leaked},
	"spacemap-free-allocated":  {audit.FreeButReferenced},
	"spacemap-partial-free":    {audit.FreeButReferenced, audit.FreedTwice},
	"spacemap-outside":         {audit.OutsideMetaslab},
	"spacemap-header":          {audit.SpaceMapAccounting},
	"log-duplicate-free":       {audit.LogContradicts},
	"log-duplicate-alloc":      {audit.LogContradicts},
	"log-alloc-free":           {audit.Leaked},
	"log-free-allocated":       {audit.FreeButReferenced},
	"log-partial-free":         {audit.FreeButReferenced, audit.LogContradicts},
	"log-outside":              {audit.OutsideMetaslab},
	"log-header":               {audit.SpaceMapAccounting},
	"log-stray":                {audit.Leaked, audit.LogContradicts},
	"log-lost":                 {audit.LogContradicts},
	"deadlist-duplicate":       {audit.DeadlistEntry},
	"bpobj-duplicate":          {audit.BPObjEntry},
	"birth":                    {audit.WrongBirth},
	"snapshot-txg":             {audit.SnapshotChain},
	"shared-block":             {audit.AllocatedTwice, audit.Leaked},
	"pointer-type":             {audit.Malformed},
	"ddt-refcount":             {audit.DDTCount},
	"brt-refcount":             {audit.BRTCount},
	"brt-lost":                 {audit.BrokenTable},
}

// checkAudit lets the audit find the forgery, and name it right.
func checkAudit(t *testing.T, name string, p *ondisk.Pool) {
	t.Helper()
	r, err := audit.Pool(t.Context(), p, audit.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	found := map[audit.Kind]int{}
	for _, f := range r.Findings {
		found[f.Kind]++
	}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, kindOf[name]) {
		t.Errorf("audit: %v instead of %v", got, kindOf[name])
		for _, f := range r.Findings {
			t.Log(f.String())
		}
	}
}

// Scenario files know the names of all forgeries.
func TestScenariosKnowForgeries(t *testing.T) {
	all := forge.All()
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.Name
	}
	if known := scenarios.Forgeries(); !slices.Equal(names, known) {
		t.Errorf("%v instead of %v", known, names)
	}
}

// The seed decides, and flags narrow the choice.
func TestChoice(t *testing.T) {
	effect := func(name string, o forge.Options) string {
		f, err := forge.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		record, err := f.Make(t.Context(), writer(t, "live", "live"), o)
		if err != nil {
			t.Fatal(err)
		}
		return record.Effect
	}
	const name = "spacemap-alloc-free"
	if a, b := effect(name, forge.Options{Seed: 3}), effect(name, forge.Options{Seed: 3}); a != b {
		t.Errorf("%q and %q", a, b)
	}
	if a, b := effect(name, forge.Options{Seed: 3}), effect(name, forge.Options{Seed: 4}); a == b {
		t.Errorf("twice %q", a)
	}
	if got := effect(name, forge.Options{Metaslab: &forge.Metaslab{VDev: 0, ID: 0}}); !strings.Contains(got, "metaslab 0,") {
		t.Error(got)
	}
	if got := effect("spacemap-free-allocated", forge.Options{Dataset: "live", File: "/dir2/text"}); !strings.Contains(got, "live/dir2/text is in use") {
		t.Error(got)
	}
	f, err := forge.Find("shared-block")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Make(t.Context(), writer(t, "live", "live"), forge.Options{Dataset: "live", File: "/nosuch"}); !errors.Is(err, forge.ErrNothing) {
		t.Error(err)
	}
}
