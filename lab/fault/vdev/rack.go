package vdev

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vdevil/vdevil/lab/fault/power"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/lab/trial"
)

// Rack has disks of a fork outside of its hypervisor, each a Device before a raw file, so that a fault can meet the guest's
// requests one by one.
type Rack struct {
	dirs   []string
	server *nbd.Server
	slots  []*slot
	opts   RackOptions

	mu  sync.Mutex
	off bool              // the power is
	own []trial.Injection // strikes that are no device's
}

// RackOptions say what the disks of a rack are like.
type RackOptions struct {
	// Dir is a directory to make for the files, on the file system of the checkpoints; Sockets one for the server's socket,
	// whose name has at most 60 bytes.
	Dir, Sockets string
	// Seed is what random choices come from.
	Seed uint64
	// Withhold makes all disks honest, see NewDevice.
	Withhold bool
	// Cache is how much a disk answers for before it is written, in bytes: what no flush has hurried is lost with the power. 0
	// is a disk without a volatile cache. Keep is the probability of each such write to have been written all the same.
	Cache int64
	Keep  float64
}

type slot struct {
	machine.Disk
	file   *os.File
	cache  *power.Cache // nil without one
	device *Device
}

// NewRack copies disks of a checkpoint, which saved gives the files of, and serves them.
func NewRack(ctx context.Context, cp *machine.Checkpoint, saved func(disk string) string, names []string, o RackOptions) (_ *Rack, err error) {
	r := &Rack{opts: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, dir := range []string{o.Dir, o.Sockets} {
		if err := host.Claim(dir); err != nil {
			return nil, err
		}
		r.dirs = append(r.dirs, dir)
	}
	if r.server, err = nbd.Listen(ctx, filepath.Join(o.Sockets, "nbd")); err != nil {
		return nil, err
	}
	for _, name := range names {
		i := slices.IndexFunc(cp.Config.Disks, func(d machine.DiskConfig) bool { return d.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("the machine has no disk %q", name)
		}
		if err := r.add(ctx, cp.Config.Disks[i], saved(name)); err != nil {
			return nil, fmt.Errorf("disk %s: %w", name, err)
		}
	}
	return r, nil
}

// add serves a copy of a file.
func (r *Rack) add(ctx context.Context, d machine.DiskConfig, from string) (err error) {
	s := &slot{Disk: machine.Disk{Name: d.Name, Size: d.Size, Path: filepath.Join(r.opts.Dir, "disk-"+d.Name+".raw")}}
	if err := host.CloneFile(ctx, s.Path, from); err != nil {
		return err
	}
	if s.file, err = os.OpenFile(s.Path, os.O_RDWR, 0); err != nil {
		return err
	}
	r.slots = append(r.slots, s)
	var next nbd.Handler = nbd.File{File: s.file}
	if r.opts.Cache > 0 {
		s.cache = power.NewCache(next, r.opts.Cache)
		next = s.cache
	}
	s.device = NewDevice(d.Name, d.Size, next, r.random(len(r.slots)), r.opts.Withhold)
	s.device.plug = r.server
	return r.server.Export(d.Name, nbd.Export{Size: d.Size, Handler: s.device})
}

// random is a source of its own for each disk, from 1, and 0 for the power cut: requests of two disks come in any order.
func (r *Rack) random(purpose int) *rand.Rand {
	return rand.New(rand.NewPCG(r.opts.Seed, uint64(purpose)))
}

// Disks are those of the rack, for ForkOptions.NBD.
func (r *Rack) Disks() map[string]machine.NBD {
	all := map[string]machine.NBD{}
	for _, s := range r.slots {
		all[s.Name] = machine.NBD{Socket: r.server.Path(), File: s.Path}
	}
	return all
}

// Device is the one in a slot.
func (r *Rack) Device(name string) (*Device, error) {
	for _, s := range r.slots {
		if s.Name == name {
			return s.device, nil
		}
	}
	return nil, fmt.Errorf("disk %s is not in the rack", name)
}

// clear makes all devices honest and does what they have held back.
func (r *Rack) clear(ctx context.Context) (err error) {
	for _, s := range r.slots {
		err = errors.Join(err, s.device.Clear(ctx))
	}
	return err
}

// Cut takes the power from the disks of a machine that has ended: what they have not written is lost, but for what the
// chance of RackOptions.Keep has saved. Withheld, they write it.
func (r *Rack) Cut(ctx context.Context) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return nil
	}
	if r.opts.Withhold {
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	// What the machine had asked for and got no answer to is done, or not, before anybody looks at the disks.
	if err := r.server.Close(); err != nil {
		return err
	}
	r.off = true
	chance := r.random(0)
	for _, s := range r.slots {
		lost := s.device.Drop()
		if s.cache != nil {
			n, e := s.cache.Cut(ctx, chance, r.opts.Keep)
			lost, err = lost+n, errors.Join(err, e)
		}
		r.own = append(r.own, trial.Injection{
			Fault: "vdev-power-cut", Time: time.Now().UTC(), Trigger: "reboot", Withheld: r.opts.Withhold, Amiss: lost > 0, Disk: s.Name,
			Target: "what the disk had answered for and not written", Effect: fmt.Sprintf("%d writes are lost", lost),
		})
	}
	return err
}

// Settle lets the disks of a machine that has ended do what they have not written, as long as they have power.
func (r *Rack) Settle(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return nil
	}
	return r.settle(ctx)
}

func (r *Rack) settle(ctx context.Context) error {
	return errors.Join(r.server.Close(), r.clear(ctx), r.flush(ctx))
}

// flush has the caches written.
func (r *Rack) flush(ctx context.Context) (err error) {
	for _, s := range r.slots {
		if s.cache != nil {
			err = errors.Join(err, s.cache.Handle(ctx, &nbd.Request{Op: nbd.Flush}))
		}
	}
	return err
}

// note keeps a strike that is no device's.
func (r *Rack) note(in trial.Injection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own = append(r.own, in)
}

// Injections are the strikes so far, disk by disk.
func (r *Rack) Injections() (all []trial.Injection) {
	for _, s := range r.slots {
		all = append(all, s.device.Injections()...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(all, r.own...)
}

// Close ends the server and removes the files.
func (r *Rack) Close() (err error) {
	if r.server != nil {
		err = r.server.Close()
	}
	for _, s := range r.slots {
		err = errors.Join(err, s.file.Close())
	}
	for _, dir := range r.dirs {
		err = errors.Join(err, host.Release(dir))
	}
	return err
}
