package audit_test

import (
	"context"
	"errors"
	"flag"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// versions lets who has the time test with all of them: an image of each is built the first time.
var versions = flag.Bool("versions", false, "test pools of all OpenZFS versions, not the default one alone")

func pools() []ondisktest.Pool {
	return slices.DeleteFunc(ondisktest.Pools(), func(p ondisktest.Pool) bool { return p.Version != "" && !*versions })
}

func run(t *testing.T, p *ondisk.Pool, o audit.Options) *audit.Report {
	t.Helper()
	o.TempDir = t.TempDir()
	r, err := audit.Pool(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Findings {
		if a := r.Findings[i].Kind.Advice(); a.Effect == "" || a.Remedy == "" {
			t.Errorf("no advice about %s", r.Findings[i].Kind)
		}
	}
	return r
}

// stalePools are those, by script, with a device that was away for a while, or was replaced: reading all copies tells.
var stalePools = []string{"mirror", "replacing", "draid"}

// Pools that real guests made are consistent, and the numbers are those of zdb, to the byte; in whatever memory, by however
// many goroutines.
func TestRealPools(t *testing.T) {
	for _, c := range pools() {
		t.Run(strings.TrimSpace(c.Version+" "+c.Script+" "+c.Name), func(t *testing.T) {
			p := c.Open(t)
			first := run(t, p, audit.Options{Workers: 2})
			for i := range first.Findings {
				t.Error(&first.Findings[i])
			}
			x := first.Totals
			got := ondisktest.Totals{
				Count: x.Blocks, Logical: x.Logical, Physical: x.Physical, Allocated: x.Allocated, Ganged: x.Ganged, Embedded: x.Embedded,
			}
			if want, _ := ondisktest.ZDBTotals(t, c.Report(t, "blocks")); got != want || got.Count == 0 {
				t.Errorf("counted %+v, zdb %+v", got, want)
			}
			if first.Allocated == 0 || first.Allocated > first.Capacity || first.Incomplete {
				t.Errorf("%d of %d bytes allocated, incomplete: %v", first.Allocated, first.Capacity, first.Incomplete)
			}
			t.Logf("%d block pointers, %d bytes allocated", x.Blocks, first.Allocated)
			for _, o := range []audit.Options{{Workers: 1, Memory: 1}, {Workers: 4, Data: true}} {
				again := run(t, p, o)
				if stale := o.Data && slices.Contains(stalePools, c.Script); stale != (len(again.BadCopies) > 0) {
					t.Errorf("with %+v: bad copies %+v", o, again.BadCopies)
				}
				if again.BadCopies = first.BadCopies; !reflect.DeepEqual(again, first) {
					t.Errorf("with %+v: %+v, not %+v", o, again, first)
				}
			}
		})
	}
}

// What each forgery is found as, all of it. The forger counts its entries into all headers, so that each is one kind, but
// that what is freed in part is two things, and that a file which gets the block of another may leave its own behind, and
// may take one that is cloned.
var forged = map[string][][]audit.Kind{
	"none":                     {nil},
	"spacemap-duplicate-free":  {{audit.FreedTwice}},
	"spacemap-duplicate-alloc": {{audit.AllocatedTwiceInMap}},
	"spacemap-alloc-free":      {{audit.Leaked}},
	"spacemap-free-allocated":  {{audit.FreeButReferenced}},
	"spacemap-partial-free":    {{audit.FreeButReferenced, audit.FreedTwice}},
	"spacemap-outside":         {{audit.OutsideMetaslab}},
	"spacemap-header":          {{audit.SpaceMapAccounting}},
	"log-duplicate-free":       {{audit.LogContradicts}},
	"log-duplicate-alloc":      {{audit.LogContradicts}},
	"log-alloc-free":           {{audit.Leaked}},
	"log-free-allocated":       {{audit.FreeButReferenced}},
	"log-partial-free":         {{audit.FreeButReferenced, audit.LogContradicts}},
	"log-outside":              {{audit.OutsideMetaslab}},
	"log-header":               {{audit.SpaceMapAccounting}},
	"log-stray":                {{audit.Leaked, audit.LogContradicts}},
	"log-lost":                 {{audit.LogContradicts}},
	"deadlist-duplicate":       {{audit.DeadlistEntry}},
	"bpobj-duplicate":          {{audit.BPObjEntry}},
	"birth":                    {{audit.WrongBirth}},
	"shared-block":             {{audit.AllocatedTwice, audit.Leaked}, {audit.AllocatedTwice}, {audit.BRTCount}},
	"pointer-type":             {{audit.Malformed}},
	"ddt-refcount":             {{audit.DDTCount}},
	"brt-refcount":             {{audit.BRTCount}},
	"brt-lost":                 {{audit.BrokenTable}},
	"snapshot-txg":             {{audit.SnapshotChain}},
}

// Every forgery is found and named, on all pools that have something for it, and nothing else is.
func TestForgeries(t *testing.T) {
	met := map[string]int{}
	for _, c := range pools() {
		for _, f := range forge.All() {
			w, err := ondisk.NewWriter(t.Context(), ondisktest.Images(t, c.Dir(t)), ondisk.InPlace, ondisk.Options{Name: c.Name})
			var refused *ondisk.UnsupportedError
			if errors.As(err, &refused) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			record, err := f.Make(t.Context(), w, forge.Options{Seed: 1})
			if errors.Is(err, forge.ErrNothing) {
				continue
			}
			if err != nil {
				t.Errorf("%s on %s: %v", f.Name, c.Name, err)
				continue
			}
			met[f.Name]++
			r := run(t, w.Pool(), audit.Options{Workers: 2})
			var kinds []audit.Kind
			for _, f := range r.Findings {
				kinds = append(kinds, f.Kind)
			}
			slices.Sort(kinds)
			kinds = slices.Compact(kinds)
			if !slices.ContainsFunc(forged[f.Name], func(want []audit.Kind) bool { return slices.Equal(kinds, want) }) {
				t.Errorf("%s on %s %s: found %v, not %v\n%s", f.Name, c.Script, c.Name, kinds, forged[f.Name], record.Effect)
				for i := range r.Findings[:min(len(r.Findings), 10)] {
					t.Log(&r.Findings[i])
				}
			}
		}
	}
	for _, f := range forge.All() {
		if _, known := forged[f.Name]; !known || met[f.Name] == 0 {
			t.Errorf("%s: what it is found as is known: %v; pools that had something for it: %d", f.Name, known, met[f.Name])
		}
	}
}

// The pool at every uberblock that is left: what was overwritten since is told, and nothing fails.
func TestOlder(t *testing.T) {
	for _, script := range []string{"single", "freeing"} {
		dir := ondisktest.Dir(t, "", script)
		devices := ondisktest.Images(t, dir)
		clean, all := 0, 0
		for _, u := range ondisktest.Open(t, dir, script).Uberblocks {
			p, err := ondisk.Open(t.Context(), devices, ondisk.Options{TXG: u.TXG})
			if err != nil {
				continue
			}
			r := run(t, p, audit.Options{Workers: 2})
			all++
			if r.Clean() {
				clean++
			}
			if r.TXG != u.TXG {
				t.Errorf("txg %d was audited as %d", u.TXG, r.TXG)
			}
		}
		if clean == 0 || all < 2 {
			t.Errorf("%s: %d of %d txgs are consistent", script, clean, all)
		}
		t.Logf("%s: %d of %d txgs are consistent", script, clean, all)
	}
}

// An audit ends when it is told to.
func TestCancel(t *testing.T) {
	p := ondisktest.Open(t, ondisktest.Dir(t, "", "single"), "single")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := audit.Pool(ctx, p, audit.Options{Workers: 2, Progress: func(audit.Progress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
