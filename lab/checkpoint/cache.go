// Package checkpoint keeps prepared machines, made once and found again by content: a guest that has come up, one with a pool
// and what a scenario prepares, one frozen in the middle of a workload.
package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/drive"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/scenarios"
)

// bootLimit is what a guest gets on the reference host from power-on to a working ssh, prepareLimit what the steps
// before a checkpoint get, connectLimit what a running guest gets to let us in.
const (
	bootLimit    = 15 * time.Second
	prepareLimit = 30 * time.Second
	connectLimit = 3 * time.Second
)

// sshPort is the one port of a guest that the lab talks to.
const sshPort = 22

// Cache keeps checkpoints. What is in it is found again by every later run.
type Cache struct {
	// Dir is the directory of checkpoints, on the file system where the driver keeps its machines.
	Dir    string
	Driver machine.Driver
	// Kernels knows the guests' kernels.
	Kernels *Kernels
	// Open reads a checkpoint of the driver's.
	Open func(dir string) (*machine.Checkpoint, error)
	// Progress is told what is being done and, when it is done, how long it took.
	Progress func(what string, took time.Duration)

	turns sync.Map // by key: a chan struct{} that has room for the one at work
}

// Prepared is the checkpoint that trials of an arm are forked from.
func (c *Cache) Prepared(ctx context.Context, img *images.Image, r scenarios.Resolved) (*machine.Checkpoint, error) {
	key := c.key(img, "prepared", r.PrepareKey())
	return c.cached(ctx, key, fmt.Sprintf("prepare %s for %s", r.Scenario, img.OpenZFS), func(dir string) (*machine.Checkpoint, error) {
		base, err := c.Booted(ctx, img, r.Machine)
		if err != nil {
			return nil, err
		}
		return c.prepare(ctx, img, base, r, dir)
	})
}

// Booted is the checkpoint of a guest that has just come up, its disks empty.
func (c *Cache) Booted(ctx context.Context, img *images.Image, m scenarios.Machine) (*machine.Checkpoint, error) {
	key := c.key(img, "booted", m)
	return c.cached(ctx, key, "boot a guest with OpenZFS "+img.OpenZFS, func(dir string) (*machine.Checkpoint, error) {
		return c.boot(ctx, img, m, dir)
	})
}

// key depends on everything that a checkpoint does: the image, what was done to it, and the hypervisor that did it.
func (c *Cache) key(img *images.Image, stage string, what any) string {
	text, err := json.Marshal([]any{
		img.ID, img.Cmdline(""), stage, what, c.Driver.Name(), c.Driver.Version(), c.Driver.Accel(), guest.HelperName(),
	})
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%s-%s-%s", img.ID, stage, hex.EncodeToString(sum[:6]))
}

// cached makes a checkpoint unless it is there. Whoever comes second while it is being made waits for the first. One
// that is not whole is made anew.
func (c *Cache) cached(ctx context.Context, key, what string, fill func(dir string) (*machine.Checkpoint, error), beside ...string) (*machine.Checkpoint, error) {
	pass, err := c.turn(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer pass()
	dir := filepath.Join(c.Dir, key)
	start, wait := time.Now(), ""
	unlock, err := host.Lock(ctx, dir+lockSuffix, func(h host.Holder) {
		wait = fmt.Sprintf("wait for %s, who has the lock %s", h, dir+lockSuffix)
		c.Progress(wait, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer unlock()
	if wait != "" {
		c.Progress(wait, time.Since(start))
	}
	cp, err := c.Open(dir)
	for _, name := range beside {
		if err == nil && !exists(filepath.Join(dir, name)) {
			err = os.ErrNotExist
		}
	}
	if err == nil {
		now := time.Now()
		return cp, os.Chtimes(dir, now, now) // by which Clean knows that it is in use
	}
	if !errors.Is(err, os.ErrNotExist) || exists(dir) {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	c.Progress(what, 0)
	start = time.Now()
	if _, err := fill(dir); err != nil {
		// What failed after the machine was frozen would be taken for whole the next time.
		return nil, fmt.Errorf("%s: %w", what, errors.Join(err, os.RemoveAll(dir)))
	}
	c.Progress(what, time.Since(start))
	return c.Open(dir)
}

// turn waits until nobody else of this process is at work on a key. Others are told apart by the lock, which tells of them.
func (c *Cache) turn(ctx context.Context, key string) (pass func(), err error) {
	room, _ := c.turns.LoadOrStore(key, make(chan struct{}, 1))
	at := room.(chan struct{})
	select {
	case at <- struct{}{}:
		return func() { <-at }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lockSuffix is what is added to a checkpoint's directory for the lock that its maker holds.
const lockSuffix = ".lock"

// Clean removes from a directory of checkpoints what was left half made and what keep does not want, told when it was used
// last, except where somebody is at work. It returns what it removed.
func Clean(dir string, keep func(checkpoint string, used time.Time) bool) (removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, part := strings.CutSuffix(e.Name(), machine.PartSuffix)
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) { // somebody else has removed it
			continue
		}
		if err != nil {
			return removed, err
		}
		if !e.IsDir() || !part && keep(name, info.ModTime()) {
			continue
		}
		unlock, err := host.TryLock(filepath.Join(dir, name+lockSuffix))
		if err != nil {
			continue
		}
		path := filepath.Join(dir, e.Name())
		err = os.RemoveAll(path)
		unlock()
		if err != nil {
			return removed, err
		}
		removed = append(removed, path)
	}
	return removed, nil
}

func (c *Cache) boot(ctx context.Context, img *images.Image, m scenarios.Machine, dir string) (_ *machine.Checkpoint, err error) {
	config := machine.Config{
		Kernel: img.Kernel, Initrd: img.Initrd, Root: img.Root, Cmdline: img.Cmdline(machine.Clock(m.Clock).Root()),
		CPUs: m.CPUs, Clock: machine.Clock(m.Clock), Memory: m.Memory, Ports: []int{sshPort},
	}
	for _, d := range m.Disks {
		config.Disks = append(config.Disks, machine.DiskConfig{Name: d.Name, Size: d.Size})
	}
	start := time.Now()
	vm, err := c.Driver.Boot(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	limited, cancel := context.WithTimeout(ctx, c.Driver.Accel().Default().Limit(bootLimit))
	defer cancel()
	g, err := guest.Connect(limited, vm, Keys(img))
	if err != nil {
		return nil, notUp(ctx, err)
	}
	scale := machine.Measured(time.Since(start))
	if img.Tree != nil { // who knows what it is
		_, err = g.Printed(limited, "test -d /sys/module/zfs || { modprobe zfs; dmesg | tail -n 3 >&2; exit 1; }")
	}
	if err == nil {
		err = g.Install(limited)
	}
	if err == nil && config.Clock == machine.Instructions {
		if err = g.MemoryDisks(limited, m.Names()...); err == nil {
			err = g.Listen(limited)
		}
	}
	if err := errors.Join(notUp(ctx, err), g.Close()); err != nil {
		return nil, err
	}
	return vm.Checkpoint(ctx, dir, scale)
}

// ErrNotUp says that a guest was started and did not come up, or not with OpenZFS.
var ErrNotUp = errors.New("the guest did not come up")

func notUp(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotUp, err)
}

func (c *Cache) prepare(ctx context.Context, img *images.Image, base *machine.Checkpoint, r scenarios.Resolved, dir string) (_ *machine.Checkpoint, err error) {
	vm, err := c.Driver.Fork(ctx, base, machine.ForkOptions{Freezable: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	limited, cancel := context.WithTimeout(ctx, base.Scale.Limit(prepareLimit))
	defer cancel()
	g, err := guest.Connect(limited, vm, Keys(img))
	if err != nil {
		return nil, err
	}
	defer g.Close()
	pool := guest.PoolSpec{Name: r.Pool.Name, Layout: r.Pool.Layout, Options: r.Pool.Options, Properties: r.Pool.Properties}
	if err := errors.Join(g.Bring(limited, r.Files), g.CreatePool(limited, pool)); err != nil {
		return nil, err
	}
	w := drive.Worker{Guest: g, Pool: r.Pool.Name, Disks: r.Machine.Names()}
	if err := w.Run(limited, r.Prepare); err != nil {
		return nil, err
	}
	// What the pool has in memory only would be lost to nobody, but a trial should start from a quiet pool.
	if err := g.Sync(limited, r.Pool.Name); err != nil {
		return nil, err
	}
	g.Close()
	return vm.Checkpoint(ctx, dir, base.Scale)
}

// Keys let into a guest of an image.
func Keys(img *images.Image) guest.Keys {
	return guest.Keys{Login: img.LoginKey, Host: img.HostKey}
}

// Enter forks a checkpoint and connects to the guest.
func Enter(ctx context.Context, d machine.Driver, img *images.Image, cp *machine.Checkpoint) (machine.Machine, *guest.Guest, error) {
	vm, err := d.Fork(ctx, cp, machine.ForkOptions{})
	if err != nil {
		return nil, nil, err
	}
	g, err := Connect(ctx, vm, img, cp.Scale)
	if err != nil {
		return nil, nil, errors.Join(err, vm.Close())
	}
	return vm, g, nil
}

// Connect makes a connection to a guest that runs already.
func Connect(ctx context.Context, vm machine.Machine, img *images.Image, scale machine.Scale) (*guest.Guest, error) {
	limited, cancel := context.WithTimeout(ctx, scale.Limit(connectLimit))
	defer cancel()
	return guest.Connect(limited, vm, Keys(img))
}
