package vm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
)

// Files are the host files of one machine. Disks and memory lie in Dir, which may have a long name; sockets in Run, whose
// name is short because a UNIX socket address holds 107 bytes at most. Both stay the lab's: a QEMU that a guest has taken over
// must not be able to put something else where the lab will read or write. The sockets that QEMU makes have a directory of
// their own.
type Files struct {
	Dir, Run string
}

// Overlay is the root disk.
func (f Files) Overlay() string { return filepath.Join(f.Dir, "root.qcow2") }

// root is the root disk as it is kept: that of a machine that counts its time is memory.
func (f Files) root(c machine.Config) string {
	if c.Clock == machine.Instructions {
		return filepath.Join(f.Dir, "root.raw")
	}
	return f.Overlay()
}

// Disk is a data disk.
func (f Files) Disk(name string) string { return filepath.Join(f.Dir, "disk-"+name+".raw") }

// Console is what the guest printed.
func (f Files) Console() string { return filepath.Join(f.Dir, "console.log") }

// Log is what QEMU said of itself, where the driver has it.
func (f Files) Log() string { return filepath.Join(f.Dir, "qemu.log") }

// Socket is the path of a UNIX socket of the lab, or of a QEMU that is the lab's child.
func (f Files) Socket(name string) string { return filepath.Join(f.Run, name+".sock") }

// theirs is the path of a UNIX socket that QEMU makes as it runs, in the one directory in which it can.
func (f Files) theirs(name string) string { return filepath.Join(f.Run, "in", name+".sock") }

// code is the pipe that QEMU writes to where it is asked what code its guest comes to.
func (f Files) code() string { return filepath.Join(f.Run, "in", "code") }

func (f Files) ram() string      { return filepath.Join(f.Dir, "ram") }
func (f Files) state() string    { return filepath.Join(f.Dir, "state") }
func (f Files) manifest() string { return filepath.Join(f.Dir, "checkpoint.json") }

// saved are the files of a machine that a checkpoint consists of, but for the device state.
func (f Files) saved(c machine.Config) []string {
	all := make([]string, 0, 3+len(c.Disks))
	all = append(all, f.ram(), f.root(c), f.Console())
	for _, d := range c.Disks {
		all = append(all, f.Disk(d.Name))
	}
	return all
}

func (f Files) remove() error { return errors.Join(host.Release(f.Run), host.Release(f.Dir)) }

// Spec is what one QEMU process is started with.
type Spec struct {
	machine.Config
	Files
	ID    string
	Accel machine.Accel
	// RAM is the file behind the guest's memory. A shared one is written through, so that a checkpoint finds the memory
	// there; a fork maps the checkpoint's file privately.
	RAM    string
	Shared bool
	// Base is the qcow2 file below the overlay of a fork that was not copied; the image's root disk lies below it. Of a machine that
	// counts its time it is the file that its root disk is mapped from, like RAM.
	Base string
	// RootSize is that of the image's root disk, in bytes.
	RootSize int64
	// NBD are the data disks that servers have in place of files, by name.
	NBD map[string]machine.NBD
	// Incoming processes wait for a migration stream instead of booting.
	Incoming bool
}

// Name is that of the process and of the domain.
func (s *Spec) Name() string { return NamePrefix + s.ID }

// NamePrefix is what the names of all machines begin with.
const NamePrefix = "vdevil-"

// MemoryBackend is the value of QEMU's -object that has the guest's memory, under the id "ram".
func (s *Spec) MemoryBackend() string {
	share := "off"
	if s.Shared {
		share = "on"
	}
	return fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=%s,share=%s", s.Memory>>20, Escape(s.RAM), share)
}

// RootBackend is the memory that the root disk is of a guest that counts its time, under the id "root".
func (s *Spec) RootBackend() string {
	share := "off"
	if s.Shared {
		share = "on"
	}
	return fmt.Sprintf("memory-backend-file,id=root,size=%d,mem-path=%s,share=%s", s.RootSize, Escape(s.Base), share)
}

// DiskBackend is the memory that a data disk is of a guest that counts its time, written through to its file.
func (s *Spec) DiskBackend(d machine.DiskConfig) string {
	return fmt.Sprintf("memory-backend-file,id=disk-%s,size=%d,mem-path=%s,share=on", d.Name, d.Size, Escape(s.Disk(d.Name)))
}

// Netdev is the value of QEMU's -netdev of the id "net". It lets the host reach the guest's ports and the guest reach
// nothing. Port 0: the kernel chooses, QEMU tells.
func (s *Spec) Netdev() string {
	n := "user,id=net,restrict=on"
	for _, p := range s.Ports {
		n += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", p)
	}
	return n
}

// The devices that no driver has words of its own for, as values of QEMU's -device.
const (
	NetDevice     = "virtio-net-pci,netdev=net,romfile="
	PvpanicDevice = "pvpanic-pci"
)

// Slow are features of a CPU that TCG has and guests do without: for a CPU with them the kernel clears and copies pages with one
// instruction, which TCG does byte by byte, where time is counted as a block of code for each. Loops of words take a fraction of that.
var Slow = []string{"erms", "fsrm"}

// Escape doubles commas, as QEMU's option syntax wants them in file names.
func Escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// Owner is a user of this computer by its numbers.
type Owner struct{ UID, GID int }

// prepare makes the directories of a new machine, marked as ours so that gc can tell what a killed lab left.
func (d *Driver) prepare(c machine.Config) (*Spec, error) {
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
	s := &Spec{Config: c, ID: id, Accel: d.opts.Accel, Files: Files{
		Dir: filepath.Join(d.opts.Dir, id),
		Run: filepath.Join(d.opts.Run, id),
	}}
	root, err := os.Stat(c.Root)
	if err != nil {
		return nil, err
	}
	s.RootSize = root.Size()
	dirs := []string{s.Dir}
	if s.Run != s.Dir {
		dirs = append(dirs, s.Run)
	}
	for _, dir := range dirs {
		if err := host.Claim(dir); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	return s, nil
}

// grant lets whoever runs QEMU into the machine's directories, and gives them the files that QEMU writes.
func (d *Driver) grant(s *Spec) error {
	in := filepath.Dir(s.theirs(""))
	if err := os.Mkdir(in, 0o700); err != nil {
		return err
	}
	if d.opts.Owner == nil {
		return nil
	}
	for _, dir := range []string{s.Dir, s.Run} {
		if err := errors.Join(os.Chown(dir, -1, d.opts.Owner.GID), os.Chmod(dir, 0o710)); err != nil {
			return err
		}
	}
	theirs := []string{in, s.ram(), s.Overlay()}
	for _, disk := range s.Disks {
		theirs = append(theirs, s.Disk(disk.Name))
	}
	for _, path := range theirs {
		// A fork may have its memory, and disks, elsewhere.
		if err := d.give(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (d *Driver) give(path string) error {
	if d.opts.Owner == nil {
		return nil
	}
	return os.Lchown(path, d.opts.Owner.UID, d.opts.Owner.GID)
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
