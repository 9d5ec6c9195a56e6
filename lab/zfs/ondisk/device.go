package ondisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Device is an image or a block device that may be a member of a pool. Nothing is ever written to it.
type Device struct {
	// Name is for messages: a path.
	Name string
	Data io.ReaderAt
	// Size is in bytes.
	Size int64
	// Filled is how many bytes of it take room on a file system, 0 if that is not known. It bounds how much is read.
	Filled int64
}

// OpenDevice opens a file or a block device for reading. Close the returned closer when the pool is not used any more.
func OpenDevice(path string) (Device, io.Closer, error) {
	f, err := os.Open(path)
	if err != nil {
		return Device{}, nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Device{}, nil, errors.Join(fmt.Errorf("size of %s: %w", path, err), f.Close())
	}
	return Device{Name: path, Data: f, Size: size, Filled: FilledOf(f)}, f, nil
}

// FilledOf is how many bytes of a file take room on its file system, 0 of what is no file.
func FilledOf(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	const unit = 512 // of st_blocks, whatever the file system has (stat(2))
	return max(stat.Blocks*unit, 1)
}

// read fills p from an offset of the device, or fails.
func (d *Device) read(ctx context.Context, p []byte, offset uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if offset > uint64(d.Size) || uint64(len(p)) > uint64(d.Size)-offset {
		return fmt.Errorf("read %s: %d bytes at %d are beyond its %d", d.Name, len(p), offset, d.Size)
	}
	n, err := d.Data.ReadAt(p, int64(offset))
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at %d: %w", d.Name, offset, err)
}
