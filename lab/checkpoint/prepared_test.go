package checkpoint

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/scenarios"
)

// TestPrepared makes a checkpoint from nothing, and finds it again.
func TestPrepared(t *testing.T) {
	s := newStage(t)
	r := s.resolved()
	s.guest.Program("zfs", "echo zfs \"$@\" >>"+s.log+"\ntest -s "+s.file()) // it is written before the snapshot
	s.cache.Open = func(dir string) (*machine.Checkpoint, error) {
		cp, err := scripttest.OpenCheckpoint(dir)
		if err == nil && strings.Contains(dir, "-booted-") {
			cp.Scale = 3 // as if the boot had been slow
		}
		return cp, err
	}
	cp, err := s.cache.Prepared(t.Context(), s.image, r)
	if err != nil {
		t.Fatal(err)
	}
	want := machine.Config{
		Kernel: "vmlinux", Initrd: "initrd", Root: "root.ext4", Cmdline: s.image.Cmdline("/dev/vda"), CPUs: 2, Memory: 1 << 30,
		Disks: []machine.DiskConfig{{Name: "v0", Size: 64 << 20}, {Name: "v1", Size: 128 << 20}}, Ports: []int{22},
	}
	if len(s.booted) != 1 || !reflect.DeepEqual(s.booted[0], want) || !reflect.DeepEqual(cp.Config, want) {
		t.Errorf("booted %+v", s.booted)
	}
	if cp.Scale != 3 {
		t.Errorf("the scale is %v, not that of the boot", cp.Scale)
	}
	booted, err := s.cache.Booted(t.Context(), s.image, r.Machine)
	if err != nil {
		t.Fatal(err)
	}
	if want := []fork{{booted.Dir, machine.ForkOptions{Freezable: true}}}; !reflect.DeepEqual(s.forked, want) {
		t.Errorf("forked %+v", s.forked)
	}
	const commands = "zpool create -o ashift=12 -O atime=off tank mirror /dev/disk/by-id/virtio-v0 /dev/disk/by-id/virtio-v1\nzfs snapshot tank@before\nzpool sync tank\n"
	if got := s.asked(); got != commands {
		t.Errorf("the guest was asked %s", got)
	}
	if info, err := os.Stat(s.file()); err != nil || info.Size() != 4096 {
		t.Errorf("the file is %v, %v", info, err)
	}
	const prepare, boot = "prepare scripted for 2.3.2", "boot a guest with OpenZFS 2.3.2"
	if want := []string{prepare, boot, boot + " done", prepare + " done"}; !slices.Equal(s.told, want) {
		t.Errorf("told %q", s.told)
	}
	r.Workload, r.Arm.Name = []scenarios.Step{{Sync: true}}, "other"
	again, err := s.cache.Prepared(t.Context(), s.image, r)
	if err != nil || !reflect.DeepEqual(again, cp) || len(s.machines) != 2 || len(s.told) != 4 {
		t.Errorf("another arm got %+v, %v after %d machines", again, err, len(s.machines))
	}
	r.Prepare = r.Prepare[:1]
	if other, err := s.cache.Prepared(t.Context(), s.image, r); err != nil || other.Dir == cp.Dir || len(s.machines) != 3 || len(s.booted) != 1 {
		t.Errorf("another preparation got %+v, %v after %d machines", other, err, len(s.machines))
	}
}

// TestPreparedFails expects trouble at each stage to be told, to leave no machine and nothing half made, and to be over when
// its cause is.
func TestPreparedFails(t *testing.T) {
	trouble := errors.New("no room on this computer")
	nth := func(n int, do func(*scripttest.Machine)) func(*stage) {
		return func(s *stage) {
			s.script = func(i int, m *scripttest.Machine) {
				if i == n {
					do(m)
				}
			}
		}
	}
	refusing := func(n int) func(*stage) {
		return func(s *stage) {
			s.refuse = func(i int) error {
				if i == n {
					return trouble
				}
				return nil
			}
		}
	}
	dies := func(m *scripttest.Machine) { m.OnDial = nil; m.Die("QEMU was ended by SIGKILL") }
	frozen := func(m *scripttest.Machine) {
		m.OnCheckpoint = func(context.Context, string) error { return trouble }
	}
	failing := func(name, when string) func(*stage) {
		return func(s *stage) {
			s.program(name, `case "$*" in `+when+`*) echo it cannot >&2; exit 1;; esac`)
		}
	}
	const boot, prepare = "prepare scripted for 2.3.2: boot a guest with OpenZFS 2.3.2: ", "prepare scripted for 2.3.2: "
	for name, c := range map[string]struct {
		set        func(*stage)
		begins     string
		says, left string
	}{
		"boot":                 {refusing(1), boot, trouble.Error(), ""},
		"death of the booted":  {nth(1, dies), boot, "the machine died", ""},
		"checkpoint of booted": {nth(1, frozen), boot, trouble.Error(), ""},
		"fork":                 {refusing(2), prepare, trouble.Error(), "booted"},
		"death of the fork":    {nth(2, dies), prepare, "the machine died", "booted"},
		"pool":                 {failing("zpool", "create"), prepare, "it cannot", "booted"},
		"step":                 {failing("zfs", "snapshot"), prepare, "step snapshot tank@before: ", "booted"},
		"sync":                 {failing("zpool", "sync"), prepare, "zpool sync tank: exit status 1: it cannot", "booted"},
		"checkpoint":           {nth(2, frozen), prepare, trouble.Error(), "booted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			c.set(s)
			_, err := s.cache.Prepared(t.Context(), s.image, s.resolved())
			if err == nil || !strings.HasPrefix(err.Error(), c.begins) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("told %v", err)
			}
			if got := s.checkpoints(); got != c.left {
				t.Errorf("left are %q", got)
			}
			if slices.Contains(s.told, "prepare scripted for 2.3.2 done") {
				t.Errorf("told %q", s.told)
			}
			s.script, s.refuse = func(int, *scripttest.Machine) {}, func(int) error { return nil }
			s.program("zpool", "")
			s.program("zfs", "")
			if _, err := s.cache.Prepared(t.Context(), s.image, s.resolved()); err != nil || s.checkpoints() != "booted prepared" {
				t.Errorf("the next time: %v, %s", err, s.checkpoints())
			}
		})
	}
}

// TestEnter goes into a checkpoint, and into ones that cannot be gone into.
func TestEnter(t *testing.T) {
	s := newStage(t)
	cp := &machine.Checkpoint{Dir: "it", Scale: 1}
	vm, g, err := Enter(t.Context(), s.cache.Driver, s.image, cp)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := g.Run(t.Context(), "echo here"); err != nil || string(out.Stdout) != "here\n" {
		t.Errorf("the guest says %s, %v", out.Stdout, err)
	}
	if want := []fork{{Of: "it"}}; !reflect.DeepEqual(s.forked, want) {
		t.Errorf("forked %+v", s.forked)
	}
	if err := errors.Join(g.Close(), vm.Close()); err != nil {
		t.Error(err)
	}
	trouble := errors.New("no room on this computer")
	s.refuse = func(int) error { return trouble }
	if _, _, err := Enter(t.Context(), s.cache.Driver, s.image, cp); !errors.Is(err, trouble) {
		t.Errorf("no fork: %v", err)
	}
	s.refuse = func(int) error { return nil }
	other := *s.image
	other.HostKey = newStage(t).image.HostKey
	if vm, _, err := Enter(t.Context(), s.cache.Driver, &other, cp); err == nil || vm != nil || !strings.Contains(err.Error(), "host key") {
		t.Errorf("another guest: %v, %v", vm, err)
	}
}

// TestConnectLimit expects what a guest gets to let us in to be stretched for this host.
func TestConnectLimit(t *testing.T) {
	s := newStage(t)
	m := scripttest.New(t)
	var left []float64
	ended := errors.New("seen")
	for _, scale := range []machine.Scale{1, 100} {
		ctx, cancel := context.WithCancelCause(t.Context())
		m.OnDial = func(ctx context.Context, _ int) (net.Conn, error) {
			deadline, _ := ctx.Deadline()
			left = append(left, time.Until(deadline).Seconds())
			cancel(ended)
			return nil, ended
		}
		if _, err := Connect(ctx, m, s.image, scale); !errors.Is(err, ended) {
			t.Errorf("got %v", err)
		}
		cancel(nil)
	}
	if len(left) != 2 || left[0] > 3 || left[1] < 100 || left[1] > 300 {
		t.Errorf("limits of %v seconds", left)
	}
}

// TestKernelsFail expects what is missing of a guest's kernel to be told.
func TestKernelsFail(t *testing.T) {
	s := newStage(t)
	s.image.Modules = t.TempDir()
	r := s.resolved()
	err := s.cache.Look(t.Context(), s.image, Moment{Resolved: r}, func(*fault.Moment) error { return nil })
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(s.image.Modules, "zfs.ko")) {
		t.Errorf("no modules: %v", err)
	}
	s.knowKernel(r)
	clear(s.cache.Kernels.layouts)
	s.guest.Program("grep", "echo hidden >&2; exit 3") // by which it is asked for its symbols
	err = s.cache.Look(t.Context(), s.image, Moment{Resolved: r}, func(*fault.Moment) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("no layout: %v", err)
	}
}
