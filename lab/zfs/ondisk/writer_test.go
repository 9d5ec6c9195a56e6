package ondisk_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// writerPools are pools of different build.
var writerPools = []struct{ script, pool string }{
	{"single", "single"}, {"mirror", "glass"}, {"raidz1", "zr"}, {"raidz2", "zr"}, {"raidz3", "zr"}, {"live", "live"},
	{"dedup", "legacy"}, {"dedup", "fast"}, {"cloned", "cloned"}, {"removed", "removed"}, {"replacing", "change"},
	{"freeing", "freeing"}, {"gang", "gang"}, {"old", "old"}, {"elder", "elder"}, {"secret", "secret"},
}

func newWriter(t testing.TB, dir, pool string, mode ondisk.WriteMode) (*ondisk.Writer, []ondisk.Device) {
	t.Helper()
	devices := images(t, dir)
	w, err := ondisk.NewWriter(t.Context(), devices, mode, ondisk.Options{Name: pool, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return w, devices
}

// commit writes the changes to copies, in memory no more than in the writer: a file for each device.
func commit(t testing.TB, w *ondisk.Writer, devices []ondisk.Device) []ondisk.Device {
	t.Helper()
	dir := t.TempDir()
	targets, out := make([]ondisk.Target, 0, len(devices)), make([]ondisk.Device, 0, len(devices))
	for _, d := range devices {
		path := filepath.Join(dir, filepath.Base(d.Name))
		if err := host.CloneFile(t.Context(), path, d.Name); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		targets = append(targets, f)
		out = append(out, ondisk.Device{Name: path, Data: f, Size: d.Size})
	}
	if err := w.Commit(t.Context(), targets); err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(t.Context(), out); err != nil {
		t.Error(err)
	}
	return out
}

// targetsOf are blocks of the pool, some of each type and level, chosen by a seed.
func targetsOf(t testing.TB, p *ondisk.Pool) []ondisk.Position {
	t.Helper()
	type class struct {
		inMOS bool
		kind  uint8
		level int
	}
	random := rand.New(rand.NewPCG(1, 2))
	chosen, seen := map[class]ondisk.Position{}, map[class]int{}
	err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if r.Kind != ondisk.RefTree || r.ObjSet == ondisk.Destroyed {
			return nil
		}
		c := class{r.ObjSet == 0, b.Type(), r.Level}
		if seen[c]++; random.IntN(seen[c]) == 0 {
			chosen[c] = ondisk.Position{ObjSet: r.ObjSet, Object: r.Object, Level: r.Level, BlkID: r.BlkID}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(maps.Values(chosen))
}

// A block of each kind is written again, in both modes: the pool reads as before, or the writer says by name why not.
func TestRewriteSame(t *testing.T) {
	for i, c := range writerPools {
		for _, mode := range []ondisk.WriteMode{ondisk.InPlace, ondisk.NewTXG} {
			if mode == ondisk.NewTXG && i > 2 {
				continue // which uberblock it is has nothing to do with the pool
			}
			t.Run(fmt.Sprintf("%s %s %d", c.script, c.pool, mode), func(t *testing.T) {
				t.Parallel()
				w, devices := newWriter(t, poolDir(t, c.script), c.pool, mode)
				before, old := ondisktest.Contents(t, w.Pool()), w.Pool().Uberblock
				written, refused := 0, map[string]int{}
				for _, at := range targetsOf(t, w.Pool()) {
					_, err := w.Block(t.Context(), at, func([]byte, binary.ByteOrder) error { return nil })
					var no *ondisk.UnsupportedError
					switch {
					case err == nil:
						written++
					case errors.As(err, &no):
						refused[strings.Fields(no.What)[1]]++
					default:
						t.Error(err)
					}
				}
				out := commit(t, w, devices)
				after, err := ondisk.Open(t.Context(), out, ondisk.Options{Name: c.pool})
				if err != nil {
					t.Fatal(err)
				}
				for i := range devices {
					if a, b := withUberblock(t, devices[i], old), withUberblock(t, out[i], after.Uberblock); a != b {
						t.Errorf("%s: %d labels had the newest uberblock, %d have it", devices[i].Name, a, b)
					}
				}
				if got := ondisktest.Differences(before, ondisktest.Contents(t, after)); len(got) > 0 {
					t.Errorf("%d of %d blocks differ, %v", len(got), len(before), got[0])
				}
				if got := after.Uberblock.TXG - old.TXG; got != uint64(mode) {
					t.Errorf("%d txgs later", got)
				}
				if written < 5 {
					t.Errorf("only %d blocks were written; refused: %v", written, refused)
				}
				t.Logf("%d written, refused: %v", written, refused)
			})
		}
	}
}

// withUberblock counts the labels of a device that have an uberblock.
func withUberblock(t testing.TB, d ondisk.Device, u ondisk.Uberblock) (n int) {
	t.Helper()
	labels, err := ondisk.ReadLabels(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range labels {
		if slices.ContainsFunc(l.Ring, func(s ondisk.Slot) bool { return s.Uberblock.TXG == u.TXG && s.Uberblock.Root == u.Root }) {
			n++
		}
	}
	return n
}

// What was changed is changed, in all copies, and nothing else is; the devices are as they were.
func TestChange(t *testing.T) {
	for _, c := range writerPools {
		t.Run(c.script+" "+c.pool, func(t *testing.T) {
			t.Parallel()
			w, devices := newWriter(t, poolDir(t, c.script), c.pool, ondisk.InPlace)
			before := ondisktest.Contents(t, w.Pool())
			written := map[string]time.Time{}
			for _, d := range devices {
				written[d.Name] = modified(t, d.Name)
			}
			want := map[ondisk.Ref]bool{}
			for _, at := range targetsOf(t, w.Pool()) {
				if at.Level > 0 || at.Object == ondisk.MetaDNode || at.ObjSet == 0 && !isSpaceMap(t, w.Pool(), at.Object) {
					continue // not even the pool could be opened
				}
				change, err := w.Block(t.Context(), at, func(block []byte, _ binary.ByteOrder) error {
					block[len(block)/3] ^= 1
					return nil
				})
				var no *ondisk.UnsupportedError
				if errors.As(err, &no) || err != nil && strings.Contains(err.Error(), "no room") {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(change.Before) != 1 || change.Before[0]^1 != change.After[0] {
					t.Errorf("%+v", change)
				}
				want[ondisk.Ref{ObjSet: at.ObjSet, Object: at.Object, BlkID: at.BlkID}] = true
			}
			after, err := ondisk.Open(t.Context(), commit(t, w, devices), ondisk.Options{Name: c.pool})
			if err != nil {
				t.Fatal(err)
			}
			got := ondisktest.Differences(before, ondisktest.Contents(t, after))
			for _, r := range got {
				if !want[r] {
					t.Errorf("%v differs", r)
				}
			}
			if len(got) != len(want) || len(got) == 0 {
				t.Errorf("%d blocks differ, %d were changed", len(got), len(want))
			}
			for name, at := range written {
				if now := modified(t, name); now != at {
					t.Errorf("%s was written to at %v", name, now)
				}
			}
			t.Logf("%d changed", len(want))
		})
	}
}

func isSpaceMap(t testing.TB, p *ondisk.Pool, id uint64) bool {
	t.Helper()
	o, err := p.MOS.Object(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return o.Type == ondisk.TypeSpaceMap
}

func modified(t testing.TB, path string) time.Time {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.ModTime()
}

func fileSum(t testing.TB, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(p)
	return string(sum[:])
}

// What does not fit changes nothing.
func TestChangeThatDoesNotFit(t *testing.T) {
	w, devices := newWriter(t, poolDir(t, "single"), "single", ondisk.InPlace)
	noise := rand.NewChaCha8([32]byte{1})
	refused := 0
	for _, at := range targetsOf(t, w.Pool()) {
		_, err := w.Block(t.Context(), at, func(block []byte, _ binary.ByteOrder) error {
			_, err := noise.Read(block)
			return err
		})
		if err != nil {
			refused++
			continue
		}
		// It was not compressed before, so it is now the noise; that is another test's business.
		if w, devices = newWriter(t, poolDir(t, "single"), "single", ondisk.InPlace); len(devices) == 0 {
			t.Fatal("no devices")
		}
	}
	if refused == 0 {
		t.Fatal("noise fitted everywhere")
	}
	out := commit(t, w, devices)
	for i, d := range devices {
		if fileSum(t, d.Name) != fileSum(t, out[i].Name) {
			t.Errorf("%s has changed", d.Name)
		}
	}
}

// Pools that cannot be written to are refused by name: with a checkpoint, without a member, at an older txg, with vdevs that blocks
// have several places on.
func TestWriterRefuses(t *testing.T) {
	var no *ondisk.UnsupportedError
	refused := func(name string, devices []ondisk.Device, o ondisk.Options) error {
		o.Name = name
		_, err := ondisk.NewWriter(t.Context(), devices, ondisk.InPlace, o)
		return err
	}
	for pool, c := range map[string]struct{ script, what string }{
		"one": {"draid", "dRAID"}, "grown": {"grown", "expanded raidz"}, "growing": {"grown", "expanded raidz"}, "removing": {"removing", "being removed"},
	} {
		if err := refused(pool, images(t, poolDir(t, c.script)), ondisk.Options{}); !errors.As(err, &no) || !strings.Contains(no.What, c.what) {
			t.Errorf("%s: %v", pool, err)
		}
	}
	if err := refused("check", images(t, poolDir(t, "checkpoint")), ondisk.Options{}); !errors.As(err, &no) || !strings.Contains(no.What, "checkpoint") {
		t.Error(err)
	}
	raidz := images(t, poolDir(t, "raidz2"))
	if err := refused("zr", raidz[1:], ondisk.Options{}); !errors.Is(err, ondisk.ErrMissing) {
		t.Error(err)
	}
	if err := refused("zr", raidz, ondisk.Options{TXG: 10}); !errors.As(err, &no) {
		t.Error(err)
	}
}

// An edit that fails, and one that changes the size, leave no trace.
func TestEditThatFails(t *testing.T) {
	w, devices := newWriter(t, poolDir(t, "old"), "old", ondisk.InPlace)
	problem := errors.New("no")
	for _, at := range targetsOf(t, w.Pool()) {
		_, err := w.Block(t.Context(), at, func(block []byte, _ binary.ByteOrder) error {
			clear(block)
			return problem
		})
		if !errors.Is(err, problem) {
			t.Error(err)
		}
		// One of several changes was made.
		err = w.Atomically(func() error {
			_, err := w.Block(t.Context(), at, func([]byte, binary.ByteOrder) error { return nil })
			return errors.Join(err, problem)
		})
		if !errors.Is(err, problem) {
			t.Error(err)
		}
	}
	for i, d := range commit(t, w, devices) {
		if fileSum(t, d.Name) != fileSum(t, devices[i].Name) {
			t.Errorf("%s has changed", devices[i].Name)
		}
	}
}

// What a clone changes, its origin reads too, for they share the block.
func TestSnapshotsFollow(t *testing.T) {
	w, devices := newWriter(t, poolDir(t, "single"), "single", ondisk.InPlace)
	text := func(p *ondisk.Pool, name string) (*ondisk.Object, byte) {
		t.Helper()
		o := fileOf(t, p, name, "/text")
		block, err := o.Block(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return o, block.Data[10]
	}
	o, before := text(w.Pool(), "single/clone")
	change, err := w.Block(t.Context(), ondisk.Position{ObjSet: o.Set.ID, Object: o.ID}, func(block []byte, _ binary.ByteOrder) error {
		block[10]++
		return nil
	})
	if err != nil || change.Offset != 10 {
		t.Fatal(change, err)
	}
	p, err := ondisk.Open(t.Context(), commit(t, w, devices), ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"single/clone", "single/snaps@one"} {
		if _, after := text(p, name); after != before+1 {
			t.Errorf("%s has %d after %d", name, after, before)
		}
	}
}

// fileOf is the object of a file.
func fileOf(t testing.TB, p *ondisk.Pool, dataset, path string) *ondisk.Object {
	t.Helper()
	sets, err := p.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(sets, func(d *ondisk.DSLDataset) bool { return d.Name == dataset })
	set, err := p.OpenDataset(t.Context(), sets[i])
	if err != nil {
		t.Fatal(err)
	}
	fs, err := set.FileSystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for o, err := range set.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Type != ondisk.TypePlainFile {
			continue
		}
		if got, err := fs.Path(t.Context(), o.ID); err == nil && got == path {
			return o
		}
	}
	t.Fatalf("%s has no %s", dataset, path)
	return nil
}
