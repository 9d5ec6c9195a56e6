package forge_test

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

//go:embed testdata/pool.sh
var poolScript string

// Limits on the reference host, with room.
const (
	connectLimit = 120 * time.Second
	scriptLimit  = 180 * time.Second
	stepLimit    = 120 * time.Second
)

// made is the directory of the pools that the tests have made, by their version: one that is asked for again is there.
var made string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if made, err = os.MkdirTemp("", "vdevil-forge-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(made)
		return m.Run()
	}())
}

// bench is a guest of one OpenZFS version and the pool of pool.sh, exported.
type bench struct {
	lab  *lab.Lab
	img  *images.Image
	cp   *machine.Checkpoint
	disk string
}

func newBench(t *testing.T, version string) *bench {
	t.Helper()
	b := &bench{lab: labtest.Open(t)}
	var err error
	if b.img, err = b.lab.Image(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	if b.cp, err = b.lab.Checkpoints().Booted(t.Context(), b.img, labtest.Machine()); err != nil {
		t.Fatal(err)
	}
	b.disk = filepath.Join(made, b.img.OpenZFS)
	if _, err := os.Stat(b.disk); err == nil {
		return b
	}
	m, g := b.fork(t, machine.ForkOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), b.cp.Scale.Limit(scriptLimit))
	defer cancel()
	out, err := g.RunScript(ctx, poolScript)
	if err != nil {
		t.Fatalf("%v\n%s%s%s", err, out.Stdout, out.Stderr, m.Console().Tail(2048))
	}
	t.Logf("%s", out.Stdout)
	if err := m.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := host.CloneFile(t.Context(), b.disk, m.Disks()[0].Path); err != nil {
		t.Fatal(err)
	}
	return b
}

// forge makes a forged copy of the pool's disk.
func (b *bench) forge(t *testing.T, name string, mode ondisk.WriteMode) (string, forge.Record) {
	t.Helper()
	f, err := forge.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "v0")
	if err := host.CloneFile(t.Context(), copied, b.disk); err != nil {
		t.Fatal(err)
	}
	device, closer, err := ondisk.OpenDevice(b.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	w, err := ondisk.NewWriter(t.Context(), []ondisk.Device{device}, mode, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record, err := f.Make(t.Context(), w, forge.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Commit(t.Context(), []ondisk.Target{out}), out.Close()); err != nil {
		t.Fatal(err)
	}
	return copied, record
}

// life is a guest with a disk that it has not seen before.
type life struct {
	m     machine.Machine
	g     *guest.Guest
	scale machine.Scale
}

func (b *bench) enter(t *testing.T, disk string) *life {
	t.Helper()
	m, g := b.fork(t, machine.ForkOptions{Disks: map[string]string{"v0": disk}})
	ctx, cancel := context.WithTimeout(t.Context(), b.cp.Scale.Limit(stepLimit))
	defer cancel()
	if err := g.Rescan(ctx); err != nil {
		t.Fatal(err)
	}
	return &life{m, g, b.cp.Scale}
}

func (b *bench) fork(t *testing.T, o machine.ForkOptions) (machine.Machine, *guest.Guest) {
	t.Helper()
	m := labtest.Fork(t, b.lab, b.cp, o)
	ctx, cancel := context.WithTimeout(t.Context(), b.cp.Scale.Limit(connectLimit))
	defer cancel()
	g, err := guest.Connect(ctx, m, guest.Keys{Login: b.img.LoginKey, Host: b.img.HostKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return m, g
}

// do runs commands until one does not end well, or the kernel says something: what that was, or nothing.
func (l *life) do(t *testing.T, commands ...string) (printed, end string) {
	t.Helper()
	for _, c := range commands {
		ctx, cancel := context.WithTimeout(t.Context(), l.scale.Limit(stepLimit))
		crash := l.watch(ctx, cancel)
		out, err := l.g.Run(ctx, c)
		cancel()
		printed += string(out.Stdout) + string(out.Stderr)
		if event := <-crash; event != "" {
			return printed, event
		}
		var exit *guest.ExitError
		if errors.As(err, &exit) {
			return printed, fmt.Sprintf("`%s`: %s", c, strings.TrimSpace(exit.Stderr))
		}
		if err != nil {
			return printed, fmt.Sprintf("`%s` hangs", c)
		}
	}
	return printed, ""
}

// watch ends the context soon after the kernel has fallen, and then tells its event.
func (l *life) watch(ctx context.Context, cancel context.CancelFunc) <-chan string {
	found := make(chan string, 1)
	from := l.m.Console().Len()
	go func() {
		var s panics.Scanner
		p := make([]byte, 4096)
		reader := l.m.Console().Reader(ctx, from)
		var events []panics.Event
		for {
			n, err := reader.Read(p)
			events = append(events, s.Feed(p[:n])...)
			if fatal(events) != "" && !s.Pending() {
				cancel()
			}
			if err != nil {
				break
			}
		}
		found <- fatal(append(events, s.Flush()...))
	}()
	return found
}

func fatal(events []panics.Event) string {
	for _, e := range events {
		if e.Class == panics.Panic || e.Class == panics.Oops {
			return fmt.Sprintf("%s: `%s` (%s)", e.Class, strings.SplitN(e.Text, "\n", 2)[0], e.Signature())
		}
	}
	return ""
}

// warned are the signatures of what zfs_recover let pass.
func (l *life) warned() (all []string) {
	count := map[string]int{}
	for _, e := range panics.Scan(l.m.Console().Bytes()[l.m.Console().Start():]) {
		if e.Class == panics.Warned {
			if s := e.Signature(); count[s] == 0 {
				all = append(all, s)
			}
			count[e.Signature()]++
		}
	}
	return all
}

const (
	importIt = "udevadm settle; zpool import -d /dev/disk/by-id tank"
	loadAll  = "echo 1 >/sys/module/zfs/parameters/metaslab_debug_load"
	scrub    = "zpool scrub -w tank; zpool status tank | grep -e scan: -e errors:"
	destroyA = "zfs destroy tank/fs@a; zpool sync tank; zpool sync tank"
	destroyB = "zfs destroy tank/fs@b; zpool sync tank; zpool sync tank"
	readAll  = "cat $(find /tank -type f) | sha256sum"
	exportIt = "zpool export tank"
)

var versions = flag.String("versions", "", "OpenZFS versions of the guests, with commas between; the default one if empty")

// A pool whose blocks were written again as they are is imported, scrubbed and read as if nothing had happened, with the
// newest uberblock changed and with a newer one; no file has other bytes.
func TestRewrittenPoolIsSound(t *testing.T) {
	b := newBench(t, "")
	sums := map[string]bool{}
	for _, mode := range []ondisk.WriteMode{ondisk.InPlace, ondisk.NewTXG} {
		disk, _ := b.forge(t, "none", mode)
		l := b.enter(t, disk)
		sum, end := l.do(t, loadAll, importIt, readAll)
		printed, scrubEnd := l.do(t, scrub, destroyA, destroyB, exportIt, importIt)
		if end != "" || scrubEnd != "" || len(l.warned()) > 0 || !strings.Contains(printed, "repaired 0B") || !strings.Contains(printed, "with 0 errors") {
			t.Errorf("mode %d: %q %q %v\n%s", mode, end, scrubEnd, l.warned(), printed)
		}
		sums[sum] = true
	}
	if len(sums) != 1 {
		t.Errorf("the files read differently: %v", sums)
	}
}

// A space map that frees the same space twice is no matter to a scrub, and panics whenever it is loaded; the text of the
// message changed with 2.3.4.
func TestDuplicateFreePanics(t *testing.T) {
	const old, later = "adding existent segment to range tree", "overlapping with existing one"
	text := map[string]string{"": old, "2.1.11": old, "2.3.2": old, "2.3.9": later, "2.4.4": later}
	for _, version := range strings.Split(*versions, ",") {
		t.Run(version, func(t *testing.T) {
			b := newBench(t, version)
			disk, record := b.forge(t, "spacemap-duplicate-free", ondisk.InPlace)
			t.Log(record.Effect)
			l := b.enter(t, disk)
			printed, end := l.do(t, importIt, scrub, exportIt)
			if end != "" || !strings.Contains(printed, "with 0 errors") {
				t.Errorf("%s\n%s", end, printed)
			}
			_, end = l.do(t, loadAll, importIt)
			if !strings.Contains(end, text[version]) || !strings.Contains(end, "(range-tree-add-overlap@space_map_load_callback)") {
				t.Errorf("import with all space maps loaded: %q instead of %q", end, text[version])
			}
			t.Log(end)
		})
	}
}
