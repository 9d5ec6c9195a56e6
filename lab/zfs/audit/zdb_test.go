package audit_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

var damages = flag.Int("damages", 12, "how many pools with damaged metadata zdb is asked about")

// Of a pool whose metadata are damaged at random under valid checksums, and which an audit calls consistent, zdb does not
// say otherwise.
func TestCleanBesideZDB(t *testing.T) {
	const scriptLimit = 180 * time.Second // on the reference host
	script, err := os.ReadFile("../forge/testdata/pool.sh")
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.Open(t)
	img, cp := labtest.Booted(t, l)
	m, g, err := trial.Enter(t.Context(), l.Driver(), img, cp)
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, m, g)
	ctx, cancel := context.WithTimeout(t.Context(), cp.Scale.Limit(scriptLimit))
	defer cancel()
	if out, err := g.RunScript(ctx, string(script)); err != nil {
		t.Fatalf("%v\n%s", err, out.Stderr)
	}
	if err := m.PowerOff(); err != nil {
		t.Fatal(err)
	}
	disk := m.Disks()[0]
	device, closer, err := ondisk.OpenDevice(disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	sound, err := ondisk.Open(t.Context(), []ondisk.Device{device}, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	blocks := metadata(t, sound)
	random := rand.New(rand.NewPCG(17, 313))
	plan := trial.Plan{Image: img, Booted: cp}
	plan.Resolved.Pool.Name = sound.Name
	for asked, found := 0, 0; asked < *damages; {
		w, err := ondisk.NewWriter(t.Context(), []ondisk.Device{device}, ondisk.InPlace, ondisk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		at := blocks[random.IntN(len(blocks))]
		change, err := w.Block(t.Context(), at, func(block []byte, _ binary.ByteOrder) error {
			for range 1 + random.IntN(8) {
				block[random.IntN(len(block))] = byte(random.Uint32())
			}
			return nil
		})
		if err != nil {
			continue // it does not fit, or the pool cannot be opened any more
		}
		if r, err := audit.Pool(t.Context(), w.Pool(), audit.Options{Workers: 2, TempDir: t.TempDir()}); err != nil || !r.Clean() {
			found++
			continue
		}
		asked++
		damaged := filepath.Join(t.TempDir(), "v0")
		if err := machine.CloneFile(t.Context(), damaged, disk.Path); err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(damaged, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Commit(t.Context(), []ondisk.Target{out}), out.Close()); err != nil {
			t.Fatal(err)
		}
		plan.Next = *damages - asked
		findings, err := trial.ZDB{Driver: l.Driver()}.Judge(t.Context(), plan, []machine.Disk{{Name: disk.Name, Path: damaged, Size: disk.Size}})
		if err != nil {
			t.Fatal(err)
		}
		if len(findings) > 0 {
			t.Errorf("%+v: the audit finds nothing, zdb %q\nfrom %v on\n%x became\n%x", at, findings, change, change.Before, change.After)
		}
		if asked == *damages {
			t.Logf("%d pools called consistent, %d not", asked, found)
		}
		if err := os.Remove(damaged); err != nil {
			t.Fatal(err)
		}
	}
}
