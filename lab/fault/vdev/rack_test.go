package vdev_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// running is a machine whose disks are in a rack.
type running struct{ still }

func (running) Pause(context.Context) error  { return nil }
func (running) Resume(context.Context) error { return nil }

// rack serves copies of files of the same size.
func rack(t *testing.T, files map[string]string, o vdev.RackOptions) (*vdev.Rack, running) {
	t.Helper()
	dir, err := os.MkdirTemp("", "v") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o.Dir, o.Sockets = filepath.Join(dir, "d"), filepath.Join(dir, "s")
	cp, m, names := &machine.Checkpoint{}, running{}, make([]string, 0, len(files))
	for name, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		cp.Config.Disks = append(cp.Config.Disks, machine.DiskConfig{Name: name, Size: info.Size()})
	}
	r, err := vdev.NewRack(t.Context(), cp, func(disk string) string { return files[disk] }, names, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	})
	for _, d := range cp.Config.Disks {
		m.list = append(m.list, machine.Disk{Name: d.Name, Size: d.Size, Path: r.Disks()[d.Name].File})
	}
	return r, m
}

// empty is a file of 1 MiB.
func empty(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// does a request of one sector that is all c, and says what a disk then holds there, and what is in its file.
func does(t *testing.T, r *vdev.Rack, disk string, q nbd.Request, c byte) (seen, stored byte) {
	t.Helper()
	d, err := r.Device(disk)
	if err != nil {
		t.Fatal(err)
	}
	if q.Op != nbd.Flush {
		q.Length, q.Data = 512, bytes.Repeat([]byte{c}, 512)
	}
	if err := d.Handle(t.Context(), &q); err != nil {
		t.Fatal(err)
	}
	read := nbd.Request{Op: nbd.Read, Offset: q.Offset, Length: 512, Data: make([]byte, 512)}
	if err := d.Handle(t.Context(), &read); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(r.Disks()[disk].File)
	if err != nil {
		t.Fatal(err)
	}
	return read.Data[0], file[q.Offset]
}

// site is where the faults of these tests strike: the workload is over as soon as somebody waits for its end.
func site(m machine.Machine, withhold bool) fault.Site {
	over := make(chan struct{})
	close(over)
	return fault.Site{Machine: m, Withhold: withhold, Over: over}
}

// TestPowerCut expects what no flush has hurried to be lost with the power, and nothing of it with a control, or when the
// machine is switched off in order.
func TestPowerCut(t *testing.T) {
	for name, c := range map[string]struct {
		lie, withhold, orderly bool
		want                   string // of the write before the flush, and of that behind
	}{
		"honest":        {want: "a."},
		"lies":          {lie: true, want: ".."},
		"lies, orderly": {lie: true, orderly: true, want: "ab"},
		"withheld":      {lie: true, withhold: true, want: "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			r, m := rack(t, map[string]string{"v0": empty(t)}, vdev.RackOptions{Cache: 64 << 10, Withhold: c.withhold})
			var f fault.Fault = vdev.PowerCut{Rack: r}
			if c.lie {
				f = vdev.Requests{Rack: r, Disks: []string{"v0"}, Rule: vdev.Rule{Action: vdev.Lie{}}}
			}
			strike, err := f.Arm(t.Context(), site(m, c.withhold))
			if err != nil {
				t.Fatal(err)
			}
			if seen, stored := does(t, r, "v0", nbd.Request{Op: nbd.Write}, 'a'); seen != 'a' || stored != 0 {
				t.Errorf("the guest sees %q, the disk has %q", seen, stored)
			}
			does(t, r, "v0", nbd.Request{Op: nbd.Flush}, 0)
			does(t, r, "v0", nbd.Request{Op: nbd.Write, Offset: 512}, 'b')
			if c.orderly {
				err = r.Settle(t.Context())
			} else {
				err = r.Cut(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			all, err := strike(t.Context())
			if err != nil || len(all) == 0 {
				t.Errorf("struck %v, %v", all, err)
			}
			file, err := os.ReadFile(r.Disks()["v0"].File)
			if err != nil {
				t.Fatal(err)
			}
			if got := firsts(file[:1024]); got != c.want {
				t.Errorf("the disk has %q, want %q", got, c.want)
			}
			for _, in := range all {
				if in.Amiss == c.withhold && in.Fault != "vdev-power-cut" || in.Withheld != c.withhold {
					t.Errorf("%+v", in)
				}
			}
		})
	}
}

// TestNoPowerCut expects a fault that nothing came of to say so.
func TestNoStrike(t *testing.T) {
	r, m := rack(t, map[string]string{"v0": empty(t)}, vdev.RackOptions{})
	for want, f := range map[string]fault.Fault{
		"the machine was not switched off":             vdev.PowerCut{Rack: r},
		"no request of the workload was one that torn": vdev.Requests{Rack: r, Disks: []string{"v0"}, Rule: vdev.Rule{Action: vdev.Tear{Sectors: 1}}},
	} {
		strike, err := f.Arm(t.Context(), site(m, false))
		if err != nil {
			t.Fatal(err)
		}
		if all, err := strike(t.Context()); err == nil || !strings.Contains(err.Error(), want) || len(all) > 0 {
			t.Errorf("%v, %v; want %q", all, err, want)
		}
	}
	if _, err := (vdev.Requests{Rack: r, Disks: []string{"v9"}, Rule: vdev.Rule{Action: vdev.Lose{}}}).Arm(t.Context(), site(m, false)); err == nil {
		t.Error("there is no v9")
	}
}

// TestStale expects reads of what was written to give what was there before, and no other request to count.
func TestStale(t *testing.T) {
	r, m := rack(t, map[string]string{"v0": empty(t)}, vdev.RackOptions{})
	does(t, r, "v0", nbd.Request{Op: nbd.Write}, 'a')
	strike, err := vdev.Requests{Rack: r, Disks: []string{"v0"}, Rule: vdev.Rule{Action: vdev.Stale{}}}.Arm(t.Context(), site(m, false))
	if err != nil {
		t.Fatal(err)
	}
	does(t, r, "v0", nbd.Request{Op: nbd.Read, Offset: 4096}, 0)
	if seen, stored := does(t, r, "v0", nbd.Request{Op: nbd.Write}, 'b'); seen != 'a' || stored != 'b' {
		t.Errorf("the guest sees %q, the disk has %q", seen, stored)
	}
	all, err := strike(t.Context())
	if err != nil || len(all) != 1 || all[0].Before[0] != 'b' || all[0].After[0] != 'a' {
		t.Errorf("%+v, %v", all, err)
	}
	if seen, _ := does(t, r, "v0", nbd.Request{Op: nbd.Read}, 0); seen != 'b' {
		t.Errorf("the workload is over, and the guest sees %q", seen)
	}
}

func TestSwapped(t *testing.T) {
	for _, withhold := range []bool{false, true} {
		r, m := rack(t, map[string]string{"v0": empty(t), "v1": empty(t)}, vdev.RackOptions{Withhold: withhold})
		does(t, r, "v0", nbd.Request{Op: nbd.Write}, 'a')
		strike, err := vdev.Swapped{Rack: r, Disks: []string{"v0", "v1"}}.Arm(t.Context(), site(m, withhold))
		if err != nil {
			t.Fatal(err)
		}
		want := byte('a')
		if withhold {
			want = 0
		}
		if seen, _ := does(t, r, "v1", nbd.Request{Op: nbd.Read}, 0); seen != want {
			t.Errorf("withheld %v: v1 has %q", withhold, seen)
		}
		if all, err := strike(t.Context()); err != nil || len(all) != 1 || all[0].Amiss == withhold {
			t.Errorf("%+v, %v", all, err)
		}
	}
}

// TestManyStrikes expects a bundle to stay small.
func TestManyStrikes(t *testing.T) {
	r, m := rack(t, map[string]string{"v0": empty(t)}, vdev.RackOptions{})
	strike, err := vdev.Requests{Rack: r, Disks: []string{"v0"}, Rule: vdev.Rule{Ops: []nbd.Op{nbd.Read}, Action: vdev.Delay{}}}.Arm(t.Context(), site(m, false))
	if err != nil {
		t.Fatal(err)
	}
	for range 250 {
		does(t, r, "v0", nbd.Request{Op: nbd.Flush}, 0) // with a read behind it
	}
	all, err := strike(t.Context())
	if err != nil || len(all) != 201 || all[200].Target != "50 more" {
		t.Errorf("%d strikes, the last %+v, %v", len(all), all[len(all)-1], err)
	}
}

// TestWhatLiesThere expects requests to be met by what is there when the fault is armed: in the ring of uberblocks also where
// there is none yet.
func TestWhatLiesThere(t *testing.T) {
	disks, devices := clone(t, ondisktest.Dir(t, "", "live"))
	files := map[string]string{}
	for _, d := range disks {
		files[d.Name] = d.Path
	}
	pool, err := ondisk.Open(t.Context(), devices, ondisk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	leaf := pool.VDevs[0]
	for !leaf.Leaf() {
		leaf = leaf.Children[0]
	}
	begin := int64(0)
	if part, ok := leaf.Device.Data.(*io.SectionReader); ok {
		_, begin, _ = part.Outer()
	}
	disk, _, _ := strings.Cut(leaf.Device.Name, ",")
	for class, c := range map[vdev.Class]struct{ inside, outside []int64 }{
		vdev.Uberblock: {[]int64{128 << 10, 256<<10 - 512, 384 << 10}, []int64{128<<10 - 512, 256 << 10, 4 << 20}},
		vdev.Label:     {[]int64{16 << 10, 128<<10 - 512, 272 << 10}, []int64{16<<10 - 512, 128 << 10, 4 << 20}},
	} {
		r, m := rack(t, files, vdev.RackOptions{})
		if _, err := (vdev.Requests{Rack: r, Disks: []string{disk}, Class: class, Rule: vdev.Rule{Action: vdev.Lose{}}}).Arm(t.Context(), site(m, false)); err != nil {
			t.Fatal(err)
		}
		for _, at := range c.inside {
			if _, stored := does(t, r, disk, nbd.Request{Op: nbd.Write, Offset: begin + at}, 0xa5); stored == 0xa5 {
				t.Errorf("%s: the write at %d is done", class, at)
			}
		}
		for _, at := range c.outside {
			if _, stored := does(t, r, disk, nbd.Request{Op: nbd.Write, Offset: begin + at}, 0xa5); stored != 0xa5 {
				t.Errorf("%s: the write at %d is not done", class, at)
			}
		}
	}
	r, m := rack(t, files, vdev.RackOptions{})
	_, err = vdev.Requests{Rack: r, Disks: []string{disk}, Class: vdev.FileData, Dataset: "none", Rule: vdev.Rule{Action: vdev.Lose{}}}.Arm(t.Context(), site(m, false))
	if err == nil || !strings.Contains(err.Error(), "there is no dataset") {
		t.Errorf("got %v", err)
	}
}
