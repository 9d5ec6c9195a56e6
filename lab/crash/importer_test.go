package crash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// stand is an importer whose guest is scripted: its commands run on this computer.
type stand struct {
	t        *testing.T
	guest    *guesttest.Server
	machine  *scripttest.Machine
	importer *importer
	fifo     string
}

// newStand has an image of an empty disk. The import is a script, which writes to the fifo for the test to know.
func newStand(t *testing.T, zpool string) *stand {
	t.Helper()
	b := &stand{t: t, guest: guesttest.New(t), machine: scripttest.New(t), fifo: filepath.Join(t.TempDir(), "fifo")}
	if err := syscall.Mkfifo(b.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"udevadm": "", "blockdev": "", "ls": "echo /dev/disk/by-id/virtio-v0-part1", "zdb": "echo 'leaked space: vdev 0, offset 0x14600, size 530432'",
		"zpool": strings.ReplaceAll(zpool, "FIFO", b.fifo), "find": "",
	} {
		b.guest.Program(name, script)
	}
	b.machine.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return b.guest.Dial(ctx) }
	driver := &scripttest.Driver{OnFork: func(context.Context, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
		return b.machine, nil
	}}
	log, err := NewLog(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	const size = 64 << 20
	study := &Study{
		resolved: scenarios.Resolved{Pool: scenarios.Pool{Name: "tank"}}, Machines: driver, Dir: t.TempDir(), Sockets: t.TempDir(),
		OnImage: &images.Image{LoginKey: b.guest.Login, HostKey: b.guest.Host},
		record:  &record{log: log, disks: NewDisks(log, []io.ReaderAt{bytes.NewReader(nil)}, []int64{size})},
		booted:  &machine.Checkpoint{Scale: 1, Config: machine.Config{Disks: []machine.DiskConfig{{Name: "v0", Size: size}}}},
	}
	if b.importer, err = study.newImporter(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.importer.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// state judges the one before everything while a script is played.
func (b *stand) state(script func()) trial.Result {
	b.t.Helper()
	played := make(chan struct{})
	go func() {
		defer close(played)
		script()
	}()
	v, err := b.importer.judge(b.t.Context(), b.importer.record.log.state(Boundary, 0, Flush{}, rand.New(rand.NewPCG(1, 1))))
	if err != nil {
		b.t.Fatal(err)
	}
	<-played
	return v
}

func (b *stand) reached() {
	b.t.Helper()
	if _, err := os.ReadFile(b.fifo); err != nil { // to its end: a writer without a reader is killed
		b.t.Fatal(err)
	}
}

// importing is a zpool that does not come back.
const importing = "echo here >FIFO; sleep infinity"

// panicHead and panicStack are what the kernel prints of a panic, in the format of spl_panic (module/os/linux/spl/spl-err.c)
// and of dump_stack.
const (
	panicHead  = "[   10.000000] PANIC: zfs: adding existent segment to range tree (offset=1000 size=200)\n[   10.000001] Showing stack for process 77\n"
	panicStack = "[   10.000002] CPU: 0 PID: 77 Comm: txg_sync Tainted: P           OE      6.1.0 #1\n[   10.000003] Call Trace:\n[   10.000004]  <TASK>\n" +
		"[   10.000005]  dump_stack_lvl+0x44/0x5c\n[   10.000006]  vcmn_err.cold+0x1e/0x2d [spl]\n[   10.000007]  zfs_panic_recover+0x6d/0x90 [zfs]\n" +
		"[   10.000008]  range_tree_add_impl+0x1a2/0x1090 [zfs]\n[   10.000009]  metaslab_free_concrete+0x115/0x250 [zfs]\n[   10.000010]  </TASK>\n"
)

func TestJudgeEnds(t *testing.T) {
	for name, c := range map[string]struct {
		script    func(*scripttest.Machine)
		outcome   trial.Outcome
		signature string
		reason    string
	}{
		"killed":   {func(m *scripttest.Machine) { m.Die("QEMU was ended by SIGKILL") }, trial.Invalid, "", "the hypervisor died, and the guest with it: the machine died: QEMU was ended by SIGKILL"},
		"reset":    {func(m *scripttest.Machine) { m.End() }, trial.Oops, "", "the machine stopped without a message"},
		"panic":    {func(m *scripttest.Machine) { m.Print(panicHead); m.Print(panicStack) }, trial.Panic, "range-tree-add-overlap@metaslab_free_concrete", ""},
		"its halt": {func(m *scripttest.Machine) { m.Print(panicHead + panicStack); m.End() }, trial.Panic, "range-tree-add-overlap@metaslab_free_concrete", ""},
		"suspended": {func(m *scripttest.Machine) {
			m.Print("[   10.000000] WARNING: Pool 'tank' has encountered an uncorrectable I/O failure and has been suspended.\n")
		}, trial.Detected, "pool-suspended", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newStand(t, importing)
			var consoles []string
			b.importer.entered = func(c *machine.Console) { consoles = append(consoles, c.Path()) }
			v := b.state(func() {
				b.reached()
				c.script(b.machine)
			})
			if v.Outcome != c.outcome || v.Signature != c.signature || v.Reason != c.reason {
				t.Errorf("%s %q because %q", v.Outcome, v.Signature, v.Reason)
			}
			if b.importer.vm != nil {
				t.Error("the next image would get the same guest")
			}
			if len(consoles) != 1 || consoles[0] != b.machine.Console().Path() {
				t.Errorf("whoever watches is shown the consoles %q", consoles)
			}
		})
	}
}

// TestJudgeKilledEarly has the hypervisor killed while the guest is made ready: its connection breaks first.
func TestJudgeKilledEarly(t *testing.T) {
	b := newStand(t, "exit 0")
	b.guest.Program("blockdev", strings.ReplaceAll(importing, "FIFO", b.fifo))
	var connection net.Conn
	b.machine.OnDial = func(ctx context.Context, _ int) (_ net.Conn, err error) {
		connection, err = b.guest.Dial(ctx)
		return connection, err
	}
	v := b.state(func() {
		b.reached()
		connection.Close()
		time.Sleep(100 * time.Millisecond)
		b.machine.Die("QEMU was ended by SIGKILL")
	})
	if want := "the hypervisor died, and the guest with it: the machine died: QEMU was ended by SIGKILL"; v.Reason != want || v.Outcome != trial.Invalid {
		t.Errorf("%s because %q", v.Outcome, v.Reason)
	}
}

// TestJudgeUnreadable expects a disk that our reader cannot read to be that and no failed import, with zdb's word.
func TestJudgeUnreadable(t *testing.T) {
	b := newStand(t, "exit 0")
	b.guest.Program("zpool", `case "$*" in *status*) printf '  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME        STATE     READ WRITE CKSUM\n\ttank        ONLINE       0     0     0\n\nerrors: No known data errors\n';; esac`)
	v := b.state(func() {})
	if v.State.Unreadable == "" || v.State.ReadOnly+v.State.ReadWrite != "" || len(v.ZDB) != 1 || v.Outcome != trial.Latent || !v.Inconsistent() {
		t.Errorf("got %+v", v)
	}
}

// TestJudgeRefused has an import that fails.
func TestJudgeRefused(t *testing.T) {
	b := newStand(t, "echo cannot import >&2; exit 1")
	if v := b.state(func() {}); v.State.ReadOnly != "cannot import" || v.State.ReadWrite != "cannot import" || v.Outcome != trial.Broken {
		t.Errorf("got %+v", v)
	}
}

// brokenDisk is a base that this computer cannot read.
type brokenDisk struct{}

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

// TestJudgeTrouble expects what the lab cannot read, or has no room for, to speak neither against the pool nor for it.
func TestJudgeTrouble(t *testing.T) {
	b := newStand(t, "exit 0")
	log := b.importer.record.log
	b.importer.record.disks = NewDisks(log, []io.ReaderAt{brokenDisk{}}, []int64{64 << 20})
	if v := b.state(func() {}); v.Outcome != trial.Invalid || !strings.Contains(v.Reason, syscall.EIO.Error()) {
		t.Errorf("got %+v", v)
	}
	view := NewDisks(log, []io.ReaderAt{bytes.NewReader(nil)}, []int64{1 << 30}).View(log.state(Boundary, 0, Flush{}, rand.New(rand.NewPCG(1, 1))), 0)
	if err := view.Handle(t.Context(), &nbd.Request{Op: nbd.Zero, Offset: 1, Length: sector}); err == nil || view.Trouble() != nil {
		t.Errorf("a request that no disk takes: %v, trouble %v", err, view.Trouble())
	}
	if err := view.Handle(t.Context(), &nbd.Request{Op: nbd.Zero, Length: (maxWritten + 1) * sector}); !errors.Is(err, syscall.ENOSPC) || !errors.Is(view.Trouble(), syscall.ENOSPC) {
		t.Errorf("got %v, trouble %v", err, view.Trouble())
	}
}
