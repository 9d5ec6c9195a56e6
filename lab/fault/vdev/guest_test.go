package vdev_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/fault/power"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/nbd"
)

// bench is a guest whose disks v0 and v1 are devices with rules, each before a cache before a file.
type bench struct {
	t       *testing.T
	guest   *guest.Guest
	scale   machine.Scale
	server  *nbd.Server
	devices map[string]*vdev.Device
	caches  map[string]*power.Cache
	files   map[string]string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	l := labtest.Open(t)
	img, cp := labtest.Booted(t, l)
	dir, err := os.MkdirTemp("", "v") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{
		t: t, scale: cp.Scale, devices: map[string]*vdev.Device{}, caches: map[string]*power.Cache{}, files: map[string]string{},
	}
	if b.server, err = nbd.Listen(t.Context(), filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.server.Close(); err != nil {
			t.Error(err)
		}
	})
	disks := map[string]machine.NBD{}
	for _, d := range cp.Config.Disks {
		b.files[d.Name] = filepath.Join(dir, d.Name)
		disks[d.Name] = machine.NBD{Socket: b.server.Path(), File: b.files[d.Name]}
		f, err := os.Create(b.files[d.Name])
		if err == nil {
			err = f.Truncate(d.Size)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		b.caches[d.Name] = power.NewCache(nbd.File{File: f}, 1<<20)
		b.devices[d.Name] = vdev.NewDevice(d.Name, d.Size, b.caches[d.Name], rand.New(rand.NewPCG(1, 1)), false)
		if err := b.server.Export(d.Name, nbd.Export{Size: d.Size, Handler: b.devices[d.Name]}); err != nil {
			t.Fatal(err)
		}
	}
	vm := labtest.Fork(t, l, cp, machine.ForkOptions{NBD: disks})
	if b.guest, err = checkpoint.Connect(t.Context(), vm, img, cp.Scale); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.guest.Close() })
	return b
}

// rule adds one to v0 and takes it away when the test ends.
func (b *bench) rule(t *testing.T, r vdev.Rule) {
	t.Helper()
	if err := b.devices["v0"].Add(r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.devices["v0"].Clear(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// write lets the guest write so many sectors of a character, past its page cache, and says what dd said.
func (b *bench) write(disk string, at, sectors int, c byte, more string) error {
	_, err := b.guest.Run(b.t.Context(), fmt.Sprintf(
		"head -c %d /dev/zero | tr '\\0' '%c' | dd of=/dev/disk/by-id/virtio-%s bs=%d iflag=fullblock oflag=direct,seek_bytes seek=%d count=1 conv=notrunc%s",
		sectors*512, c, disk, sectors*512, at*512, more))
	return err
}

// read lets the guest read sectors past its page cache and gives the first character of each.
func (b *bench) read(disk string, at, sectors int) (string, error) {
	out, err := b.guest.Run(b.t.Context(), fmt.Sprintf(
		"dd if=/dev/disk/by-id/virtio-%s bs=%d iflag=direct,skip_bytes skip=%d count=1 status=none", disk, sectors*512, at*512))
	return firsts(out.Stdout), err
}

func firsts(data []byte) string {
	var s strings.Builder
	for n := 0; n+512 <= len(data); n += 512 {
		if c := data[n]; c == 0 {
			s.WriteByte('.')
		} else {
			s.WriteByte(c)
		}
	}
	return s.String()
}

// on is what eight sectors of a disk's file hold: what no power cut takes away.
func (b *bench) on(disk string, at int) string {
	data := make([]byte, 8*512)
	f, err := os.Open(b.files[disk])
	if err == nil {
		_, err = f.ReadAt(data, int64(at)*512)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return firsts(data)
}

func (b *bench) wrote(t *testing.T, disk string, at, sectors int, c byte, more string) {
	t.Helper()
	if err := b.write(disk, at, sectors, c, more); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) reads(t *testing.T, disk string, at int, want string) {
	t.Helper()
	if got, err := b.read(disk, at, len(want)); err != nil || got != want {
		t.Errorf("the guest reads %q, %v; want %q", got, err, want)
	}
}

// struck gives the injections of a kind.
func (b *bench) struck(disk, kind string) (n int) {
	for _, in := range b.devices[disk].Injections() {
		if in.Fault == kind && in.Disk == disk && !in.Withheld {
			n++
		}
	}
	return n
}

func TestFaultsInAGuest(t *testing.T) {
	b := newBench(t)
	write, read, flush := []nbd.Op{nbd.Write}, []nbd.Op{nbd.Read}, []nbd.Op{nbd.Flush}
	place := func(sector int) vdev.Rule {
		return vdev.Rule{Places: []vdev.Range{{From: int64(sector) * 512, To: int64(sector+64) * 512}}}
	}
	t.Run("no rule", func(t *testing.T) {
		b.wrote(t, "v0", 0, 8, 'a', ",fsync")
		b.reads(t, "v0", 0, "aaaaaaaa")
		if got := b.on("v0", 0); got != "aaaaaaaa" {
			t.Errorf("after fsync the file has %q", got)
		}
	})
	t.Run("lost write", func(t *testing.T) {
		b.wrote(t, "v0", 1000, 8, 'a', "")
		r := place(1000)
		r.Nth, r.Times, r.Action = 2, 1, vdev.Lose{}
		b.rule(t, r)
		b.wrote(t, "v0", 1000, 8, 'b', "")
		b.reads(t, "v0", 1000, "bbbbbbbb")
		b.wrote(t, "v0", 1000, 8, 'c', "")
		b.reads(t, "v0", 1000, "bbbbbbbb")
		if n := b.struck("v0", "vdev-lost-write"); n != 1 {
			t.Errorf("%d writes were lost", n)
		}
	})
	t.Run("torn write", func(t *testing.T) {
		r := place(2000)
		r.Action = vdev.Tear{Sectors: 3}
		b.rule(t, r)
		b.wrote(t, "v0", 2000, 8, 'x', ",fsync")
		b.reads(t, "v0", 2000, "xxx.....")
	})
	t.Run("misdirected write", func(t *testing.T) {
		r := place(3000)
		r.Action = vdev.Misdirect{By: 100 * 512}
		b.rule(t, r)
		b.wrote(t, "v0", 3000, 8, 'm', "")
		b.reads(t, "v0", 3000, "........")
		b.reads(t, "v0", 3100, "mmmmmmmm")
	})
	t.Run("stale read", func(t *testing.T) {
		b.wrote(t, "v0", 4000, 8, 'o', "")
		r := place(4000)
		r.Action = vdev.Stale{}
		b.rule(t, r)
		b.wrote(t, "v0", 4000, 4, 'n', ",fsync")
		b.reads(t, "v0", 4000, "oooooooo")
		if got := b.on("v0", 4000); got != "nnnnoooo" {
			t.Errorf("the file has %q", got)
		}
	})
	t.Run("reordered writes", func(t *testing.T) {
		r := place(5000)
		r.Times, r.Action = 1, vdev.Reorder{Writes: 1}
		b.rule(t, r)
		b.wrote(t, "v0", 5000, 8, 'h', ",fsync")
		b.reads(t, "v0", 5000, "hhhhhhhh")
		if got := b.on("v0", 5000); got != "........" {
			t.Errorf("a flush hurried what was held back: %q", got)
		}
		b.wrote(t, "v0", 5100, 8, 'i', ",fsync") // does the other on its way
		b.wrote(t, "v0", 5200, 8, 'j', ",fsync")
		if got := b.on("v0", 5000); got != "hhhhhhhh" {
			t.Errorf("after another write the file has %q", got)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for _, ops := range [][]nbd.Op{read, write, flush} {
			r := place(6000)
			r.Ops, r.Action = ops, vdev.Fail{Errno: syscall.EIO}
			b.rule(t, r)
			_, err := b.read("v0", 6000, 8)
			if ops[0] != nbd.Read {
				err = b.write("v0", 6000, 8, 'e', ",fsync")
			}
			if err == nil || !strings.Contains(err.Error(), "Input/output error") {
				t.Errorf("%v: the guest sees %v", ops, err)
			}
			if err := b.devices["v0"].Clear(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("latency", func(t *testing.T) {
		const by = 700 * time.Millisecond
		r := place(7000)
		r.Times, r.Action = 1, vdev.Delay{By: by}
		b.rule(t, r)
		start := time.Now()
		b.reads(t, "v0", 7000, "........")
		if took := time.Since(start); took < by || b.struck("v0", "vdev-latency") != 1 {
			t.Errorf("a read took %s", took)
		}
	})
	t.Run("a device that goes and comes", func(t *testing.T) {
		if err := b.server.Leave("v1"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- b.write("v1", 100, 8, 'r', ",fsync") }()
		if err := b.server.Return("v1"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		b.reads(t, "v1", 100, "rrrrrrrr")
	})
	t.Run("a device that goes", func(t *testing.T) {
		if err := b.server.Leave("v1"); err != nil {
			t.Fatal(err)
		}
		if err := b.write("v1", 200, 8, 'g', ""); err == nil || !strings.Contains(err.Error(), "Input/output error") {
			t.Errorf("the guest sees %v", err)
		}
		if err := b.server.Return("v1"); err != nil {
			t.Fatal(err)
		}
		// QEMU looks for the server again after 1, 2, 4, ... 16 seconds.
		ctx, cancel := context.WithTimeout(t.Context(), b.scale.Limit(time.Minute))
		defer cancel()
		for b.write("v1", 200, 8, 'g', "") != nil {
			if ctx.Err() != nil {
				t.Fatal("the device did not come back")
			}
		}
	})
	t.Run("two devices swapped", func(t *testing.T) {
		b.wrote(t, "v0", 8000, 4, '0', ",fsync")
		b.wrote(t, "v1", 8000, 4, '1', ",fsync")
		for _, want := range []string{"1111", "0000"} {
			if err := vdev.Swap(b.devices["v0"], b.devices["v1"]); err != nil {
				t.Fatal(err)
			}
			b.reads(t, "v0", 8000, want)
		}
	})
	t.Run("a flush that lies, and the power goes", func(t *testing.T) {
		b.rule(t, vdev.Rule{Ops: flush, Action: vdev.Lie{}})
		b.wrote(t, "v0", 9000, 8, 'l', ",fsync")
		b.wrote(t, "v1", 9000, 8, 'h', ",fsync")
		b.reads(t, "v0", 9000, "llllllll")
		for disk, want := range map[string]string{"v0": "........", "v1": "hhhhhhhh"} {
			if _, err := b.caches[disk].Cut(t.Context(), rand.New(rand.NewPCG(1, 1)), 0); err != nil {
				t.Fatal(err)
			}
			if got := b.on(disk, 9000); got != want {
				t.Errorf("after the cut %s has %q, want %q", disk, got, want)
			}
		}
	})
}

func TestWithheldDeviceIsHonest(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	d := vdev.NewDevice("v0", 1<<20, nbd.File{File: f}, rand.New(rand.NewPCG(1, 1)), true)
	if err := d.Add(vdev.Rule{Action: vdev.Lose{}}); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{7}, 512)
	if err := d.Handle(t.Context(), &nbd.Request{Op: nbd.Write, Length: 512, Data: data}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 512)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the write was not done, %v", err)
	}
	if all := d.Injections(); len(all) != 1 || !all[0].Withheld {
		t.Errorf("%+v", all)
	}
}
