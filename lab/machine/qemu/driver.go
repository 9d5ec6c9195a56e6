// Package qemu runs each machine as a QEMU child process: no daemon, no root. A child dies with the lab. Memory lies in
// a file of ours, which a checkpoint keeps and every fork maps privately, so that a fork costs neither the time nor the
// space of a copy.
package qemu

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
)

// program is the QEMU that is found in PATH.
const program = "qemu-system-x86_64"

// Options say where a driver works.
type Options struct {
	// Dir holds the disks and memory of running machines. Checkpoints must lie on the same file system.
	Dir string
	// Run holds their sockets; its name is at most 60 bytes long.
	Run string
	// Accel is what runs the guests.
	Accel machine.Accel
	// Ahead is how many forks of one checkpoint are restored before they are asked for, when ForkOptions.Next says that
	// they will be.
	Ahead int
}

// Driver implements machine.Driver.
type Driver struct {
	opts    Options
	version string
	spawner *spawner

	mu     sync.Mutex
	closed bool
	ahead  map[string]*queue // by directory of the checkpoint
}

var _ machine.Driver = (*Driver)(nil)

// New looks for QEMU and asks it for its version.
func New(ctx context.Context, o Options) (*Driver, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	version, _, _ := strings.Cut(string(out), "\n")
	return &Driver{opts: o, version: version, spawner: newSpawner(), ahead: map[string]*queue{}}, nil
}

// Name is "qemu".
func (d *Driver) Name() string { return "qemu" }

// Accel says what runs the guests.
func (d *Driver) Accel() machine.Accel { return d.opts.Accel }

// Version is the first line of what QEMU says about itself.
func (d *Driver) Version() string { return d.version }

// Close ends the machines that were restored ahead and never used.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	queues := d.ahead
	d.ahead = nil
	d.mu.Unlock()
	var err error
	for _, q := range queues {
		err = errors.Join(err, q.close())
	}
	d.spawner.Close()
	return err
}

// Boot powers a new machine on.
func (d *Driver) Boot(ctx context.Context, c machine.Config) (machine.Machine, error) {
	s, err := d.prepare(c)
	if err != nil {
		return nil, err
	}
	s.ram, s.shared = s.files.ram(), true
	m, err := d.boot(ctx, s)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot machine %s: %w", s.id, err), s.remove())
	}
	return m, nil
}

func (d *Driver) boot(ctx context.Context, s *spec) (*vm, error) {
	if err := overlay(ctx, s.overlay(), s.Root, "raw"); err != nil {
		return nil, err
	}
	for _, disk := range s.Disks {
		if err := sparse(s.disk(disk.Name), disk.Size); err != nil {
			return nil, err
		}
	}
	if err := sparse(s.ram, s.Memory); err != nil {
		return nil, err
	}
	return d.start(ctx, s, nil)
}

// prepare makes the directories of a new machine, marked as ours so that gc can tell what a killed lab left.
func (d *Driver) prepare(c machine.Config) (*spec, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, errors.New("the driver is closed")
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	id := hex.EncodeToString(b[:])
	s := &spec{Config: c, id: id, accel: d.opts.Accel, files: files{
		dir: filepath.Join(d.opts.Dir, id),
		run: filepath.Join(d.opts.Run, id),
	}}
	for _, dir := range []string{s.dir, s.run} {
		if err := host.Claim(dir); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	return s, nil
}

func (f files) remove() error {
	return errors.Join(os.RemoveAll(f.run), os.RemoveAll(f.dir))
}

// overlay makes a qcow2 file in which a guest's writes to its root disk end up.
func overlay(ctx context.Context, path, backing, format string) error {
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", format, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("overlay of %s: %w: %s", backing, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func sparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
