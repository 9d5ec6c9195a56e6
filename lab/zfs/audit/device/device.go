// Package device opens what may be a member of a pool, for reading only: raw images, block devices and qcow2 images. It
// tells when something is in use right now; it knows nothing of what is on it. Images come from strangers: no file that
// one of them names is opened unless that is asked for.
package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// InUseError says that somebody else has a device open in a way that means that he may write to it.
type InUseError struct{ Path, Who string }

func (e *InUseError) Error() string { return fmt.Sprintf("%s is in use: %s", e.Path, e.Who) }

// Options say how a device is opened.
type Options struct {
	// Live opens it even if it is in use.
	Live bool
	// Connections is how many reads run at once of a qcow2 image that QEMU has to read, 0 for 1.
	Connections int
	// Backing opens the backing and data files that qcow2 images name, if they are files.
	Backing bool
	// Named is told of each of them when it was opened: the image that names it, and its path. It may be nil.
	Named func(image, file string)
}

// Open opens a device. Close the closer when it is not used any more.
func Open(ctx context.Context, path string, o Options) (ondisk.Device, io.Closer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return ondisk.Device{}, nil, err
	}
	switch {
	case info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0:
		return openBlock(path, o)
	case !info.Mode().IsRegular():
		return ondisk.Device{}, nil, fmt.Errorf("%s is neither an image nor a block device", path)
	}
	d, file, err := ondisk.OpenDevice(path)
	if err != nil {
		return d, nil, err
	}
	if err := written(path, file.(*os.File)); err != nil && !o.Live {
		return ondisk.Device{}, nil, errors.Join(err, file.Close())
	}
	head := make([]byte, len(qcow2Magic))
	if _, err := d.Data.ReadAt(head, 0); err != nil || string(head) != qcow2Magic {
		return d, file, nil // too short to be qcow2, or something else: what it is not, the reader will say
	}
	return openQCOW2(ctx, path, file.(*os.File), o)
}

// openBlock opens a block device. Linux lets nobody have a device exclusively whose file system or pool is in use
// (bd_prepare_to_claim), so that to ask for that tells.
func openBlock(path string, o Options) (ondisk.Device, io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
	switch {
	case errors.Is(err, unix.EBUSY) && !o.Live:
		return ondisk.Device{}, nil, &InUseError{path, "the kernel has it open for a pool, a file system or another device"}
	case err == nil && !o.Live:
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return ondisk.Device{}, nil, errors.Join(fmt.Errorf("size of %s: %w", path, err), f.Close())
		}
		return ondisk.Device{Name: path, Data: f, Size: size}, f, nil
	case err == nil:
		if err := f.Close(); err != nil {
			return ondisk.Device{}, nil, err
		}
	case !errors.Is(err, unix.EBUSY):
		return ondisk.Device{}, nil, err
	}
	return ondisk.OpenDevice(path)
}

// Bytes of an image that QEMU locks: one that says that it may write, of those from RAW_LOCK_PERM_BASE on
// (block/file-posix.c).
const (
	permissions = 100
	permWrite   = 1 // bit of BLK_PERM_WRITE
)

// written tells of an image that a running QEMU may write to.
func written(path string, f *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: permissions + permWrite, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return fmt.Errorf("locks of %s: %w", path, err)
	}
	if lock.Type != unix.F_UNLCK {
		return &InUseError{path, "a process, most likely a QEMU, holds the lock of those who write to it"}
	}
	return nil
}
