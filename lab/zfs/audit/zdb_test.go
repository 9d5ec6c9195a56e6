package audit_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

var (
	damages = flag.Int("damages", 36, "how many pools are damaged, and those that are called consistent shown to zdb")
	seed    = flag.Uint64("seed", 1, "of the damages")
)

// damaged are the pools that are damaged, of different shapes and ages.
var damaged = [][2]string{{"elder", "elder"}, {"live", "live"}, {"mirror", "glass"}, {"removed", "removed"}, {"raidz1", "zr"}, {"ancient", "three"}}

// Of pools that are damaged at random under valid checksums, and that an audit calls consistent, zdb opens all but one in two
// hundred, and finds what the audit finds: nothing.
func TestCleanBesideZDB(t *testing.T) {
	d := &damager{T: t, user: ondisktest.NewUserland(t, "")}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(2 * runtime.NumCPU()) // zdb sleeps most of its time
	pools := make([]*victim, len(damaged))
	for i, names := range damaged {
		pools[i] = newVictim(t, names[0], names[1])
	}
	for i := range *damages {
		group.Go(func() error {
			if err := d.one(ctx, pools[i%len(pools)], uint64(i)); err != nil {
				return fmt.Errorf("damage %d: %w", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d pools %d could not be damaged so, %d not be opened, of %d something was found, %d were called consistent, of which zdb refuses %d; "+
		"the longest audit took %v", *damages, d.impossible, d.unopened, d.found, d.clean, len(d.refused), d.longest.Round(time.Millisecond))
	for _, text := range d.refused {
		t.Log(text)
	}
	const oneIn = 200
	if len(d.refused)*oneIn > d.clean {
		t.Errorf("of %d pools that were called consistent zdb refuses %d", d.clean, len(d.refused))
	}
}

// victim is a pool that is damaged in memory.
type victim struct {
	name    string
	devices []ondisk.Device
	blocks  []ondisk.Position
}

func newVictim(t *testing.T, script, name string) *victim {
	t.Helper()
	p := ondisktest.Open(t, ondisktest.Dir(t, "", script), name)
	v := &victim{name: name, blocks: metadata(t, p)}
	for _, top := range p.VDevs {
		for leaf := range top.All() {
			if leaf.Device != nil {
				v.devices = append(v.devices, *leaf.Device)
			}
		}
	}
	return v
}

// damager damages pools, and counts what came of it.
type damager struct {
	*testing.T
	user ondisktest.Userland

	mu                                 sync.Mutex
	impossible, unopened, found, clean int
	longest                            time.Duration
	refused                            []string
}

func (d *damager) count(n *int) {
	d.mu.Lock()
	*n++
	d.mu.Unlock()
}

func (d *damager) one(ctx context.Context, v *victim, number uint64) error {
	w, err := ondisk.NewWriter(ctx, v.devices, ondisk.InPlace, ondisk.Options{})
	if err != nil {
		return err
	}
	what, err := (&mutator{Rand: rand.New(rand.NewPCG(*seed, number)), blocks: v.blocks}).mutate(d.T, w)
	if err != nil {
		if what == "" || strings.Contains(err.Error(), "has no room") {
			d.count(&d.impossible)
		} else {
			d.count(&d.unopened)
		}
		return ctx.Err()
	}
	start := time.Now()
	r, err := audit.Pool(ctx, w.Pool(), audit.Options{Workers: 2, TempDir: d.TempDir()})
	d.mu.Lock()
	d.longest = max(d.longest, time.Since(start))
	d.mu.Unlock()
	if err != nil || !r.Clean() {
		d.count(&d.found)
		return ctx.Err()
	}
	text, err := d.ask(ctx, v, w)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", v.name, what, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clean++
	if text != "" {
		d.refused = append(d.refused, fmt.Sprintf("%d: %s, %s: zdb says\n%s", number, v.name, what, text))
	}
	return nil
}

// ask writes the damaged pool to files, and is what zdb says of it unless that is nothing.
func (d *damager) ask(ctx context.Context, v *victim, w *ondisk.Writer) (text string, err error) {
	dir, err := os.MkdirTemp(d.TempDir(), v.name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var targets []ondisk.Target
	for _, device := range v.devices {
		path := filepath.Join(dir, filepath.Base(device.Name))
		if err := host.CloneFile(ctx, path, device.Name); err != nil {
			return "", err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		targets = append(targets, f)
	}
	if err := w.Commit(ctx, targets); err != nil {
		return "", err
	}
	out, err := zdbBlocks(ctx, d.user, dir, w.Pool().Name)
	if err == nil && bytes.Contains(out, []byte("No leaks (block sum matches space maps exactly)")) {
		return "", nil
	}
	return fmt.Sprintf("%v\n%s", err, out), ctx.Err()
}

// zdbBlocks is what zdb prints of all blocks of the pool in a directory, with its log at the end. It ends with an error when
// something leaks.
func zdbBlocks(ctx context.Context, user ondisktest.Userland, dir, pool string) ([]byte, error) {
	cmd := user.Command(ctx, "zdb", "-e", "-p", dir, "-G", "-bb", "-y", pool)
	// It believes a label that says how many vdevs there are, and would ask for room for all of them.
	const kib = 8 << 20
	limited := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -v %d; exec "$@"`, kib), "sh"}, cmd.Args...)...)
	limited.Env = cmd.Env
	return limited.CombinedOutput()
}
