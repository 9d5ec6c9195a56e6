package audit_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

var (
	ztestPools    = flag.Int("ztest", 2, "how many pools of ztest are audited, of each version")
	ztestSeconds  = flag.Int("ztest-seconds", 10, "how long ztest works on each")
	ztestVersions = flag.String("ztest-versions", "", "OpenZFS versions of ztest, with commas between; the default one if empty")
	ztestSeed     = flag.Uint64("ztest-seed", 0, "what ztest's options come from; 0 for another one each time")
	ztestKept     = flag.String("ztest-kept", "", "audit the pools in the directories that match this pattern instead of new ones")
)

// ztest, OpenZFS's own stress test, makes pools in user space with all that there is, no two alike: snapshots, clones, dedup,
// gang blocks, vdevs that are added, removed, replaced, damaged and expanded, processes that are killed. The audit says of each
// what zdb -b says. A pool of which they say different things is kept.
func TestZTest(t *testing.T) {
	seed := *ztestSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-ztest-seed %d", seed)
	there := 0
	for _, version := range strings.Split(*ztestVersions, ",") {
		user := ondisktest.NewUserland(t, version)
		kept, err := filepath.Glob(*ztestKept)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range kept {
			t.Run(version+" "+dir, func(t *testing.T) { there += compareZTest(t, user, dir, "") })
		}
		if *ztestKept != "" {
			continue
		}
		random := rand.New(rand.NewPCG(seed, 0))
		for i := range *ztestPools {
			options := ztestOptions(random, version)
			t.Run(fmt.Sprintf("%s %d", version, i), func(t *testing.T) {
				dir := runZTest(t, user, options)
				defer func() {
					if t.Failed() {
						t.Logf("the pool is kept in %s", dir)
					} else if err := os.RemoveAll(dir); err != nil {
						t.Error(err)
					}
				}()
				there += compareZTest(t, user, dir, strings.Join(options, " "))
			})
		}
	}
	if there == 0 {
		t.Error("no pool was there to be audited")
	}
}

// ztestOptions say what kind of pool it is.
func ztestOptions(random *rand.Rand, version string) []string {
	one := func(all ...string) string { return all[random.IntN(len(all))] }
	options := []string{
		"-v", one("1", "2", "3"), "-m", one("1", "2"), "-a", one("9", "12", "0"), "-g", one("4K", "8K", "16K", "32K"),
		"-d", one("3", "7"), "-t", one("4", "12", "23"), "-C", one("special=on", "special=off"),
	}
	kind := one("none", "raidz", "draid", "eraidz")
	if kind == "eraidz" && strings.HasPrefix(version, "2.1.") {
		kind = "raidz" // expansion came with 2.3
	}
	switch kind {
	case "none":
		return append(options, "-K", "raidz", "-r", "1")
	case "draid":
		return append(options, "-K", kind, "-r", one("5", "8"), "-R", one("1", "2"), "-D", one("1", "2"), "-S", one("1", "2"))
	}
	return append(options, "-K", kind, "-r", one("4", "5"), "-R", one("1", "2", "3"))
}

// runZTest makes the vdevs of a pool named ztest in a directory.
func runZTest(t *testing.T, user ondisktest.Userland, options []string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "vdevil-ztest-") // files of several hundred MiB, which may stay
	if err != nil {
		t.Fatal(err)
	}
	// It ends by itself after -T seconds; what it verifies after each pass comes on top of that.
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*ztestSeconds)*time.Second+20*time.Minute)
	defer cancel()
	args := append([]string{"-f", dir, "-T", strconv.Itoa(*ztestSeconds), "-P", strconv.Itoa((*ztestSeconds + 2) / 3)}, options...)
	if out, err := user.Command(ctx, "ztest", args...).CombinedOutput(); err != nil {
		// ztest has bugs of its own, and what it leaves when it dies is a pool as any other.
		t.Logf("ztest %s: %v\n%s", strings.Join(args, " "), err, tail(out))
	}
	return dir
}

// tail is the end of what a program printed.
func tail(text []byte) []byte { return text[max(0, len(text)-2048):] }

// zdbSays is what zdb -b finds out about the pool in a directory.
type zdbSays struct {
	totals ondisktest.Totals
	leaked uint64 // bytes
	// agrees is whether blocks and space maps are said to agree; neither that nor leaks is said by a zdb that died.
	agrees bool
}

var leakedBytes = regexp.MustCompile(`(?m)^leaked space: vdev \d+, offset 0x[0-9a-f]+, size (\d+)`)

func askZDB(t *testing.T, user ondisktest.Userland, dir string) (z zdbSays) {
	t.Helper()
	out, err := zdbBlocks(t.Context(), user, dir, "ztest")
	report := filepath.Join(t.TempDir(), "zdb")
	if err := errors.Join(err, os.WriteFile(report, out, 0o600)); err != nil {
		t.Logf("zdb: %v\n%s", err, tail(out))
	}
	z.totals, z.agrees = ondisktest.ZDBTotals(t, report)
	for _, m := range leakedBytes.FindAllSubmatch(out, -1) {
		n, err := strconv.ParseUint(string(m[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		z.leaked += n
	}
	return z
}

// compareZTest compares what the audit says with what zdb says. Only leaks may be there to be found, and what is wrong with the
// dedup table alone, which zdb calls so. It gives the number of pools that were there: none if ztest died too early.
func compareZTest(t *testing.T, user ondisktest.Userland, dir, options string) int {
	t.Helper()
	zdb := askZDB(t, user, dir)
	var devices []ondisk.Device
	paths, err := filepath.Glob(filepath.Join(dir, "ztest.*[0-9a-z]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if filepath.Ext(path) == ".lock" {
			continue
		}
		d, closer, err := ondisk.OpenDevice(path)
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		devices = append(devices, d)
	}
	p, err := ondisk.Open(t.Context(), devices, ondisk.Options{Name: "ztest", Workers: 2})
	if errors.Is(err, ondisk.ErrNotFound) && zdb.totals.Count == 0 {
		t.Logf("ztest %s: neither the audit nor zdb finds a pool: %v", options, err)
		return 0
	}
	if err != nil {
		t.Fatalf("ztest %s: %v", options, err)
	}
	r := run(t, p, audit.Options{Workers: 2, Data: true})
	words := findDedupWords(t, p)
	x, leaked := r.Totals, words.allocated(r.Findings)
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case f.Kind == audit.Leaked:
			leaked += f.Size
		case words.covers(f):
			t.Log(f)
		default:
			t.Error(f)
		}
	}
	got := ondisktest.Totals{
		Count: x.Blocks, Logical: x.Logical, Physical: x.Physical, Allocated: x.Allocated + words.extended, Ganged: x.Ganged, Embedded: x.Embedded,
	}
	if got != zdb.totals || leaked != zdb.leaked || zdb.agrees != (leaked == 0) || got.Count == 0 || r.Incomplete {
		t.Errorf("ztest %s: counted %+v, %d bytes leaked, incomplete: %v; zdb %+v", options, got, leaked, r.Incomplete, zdb)
	}
	t.Logf("ztest %s: %d block pointers, %d bytes allocated, %d leaked", options, x.Blocks, got.Allocated, leaked)
	return 1
}
