package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File is a disk that is a raw file. The host is not what fails, so a flush has nothing to do: what was written is in
// the host's page cache and survives every machine.
type File struct{ *os.File }

// Handle does a request.
func (f File) Handle(_ context.Context, r *Request) error {
	switch r.Op {
	case Read:
		_, err := io.ReadFull(io.NewSectionReader(f.File, r.Offset, r.Length), r.Data)
		return err
	case Write:
		_, err := f.WriteAt(r.Data, r.Offset)
		return err
	case Trim, Zero:
		return f.zero(r.Offset, r.Length)
	case Flush:
		return nil
	}
	return fmt.Errorf("%v: %w", r.Op, unix.EINVAL)
}

// zero punches a hole where the file system can.
func (f File) zero(offset, length int64) error {
	if length == 0 {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeroes := make([]byte, min(length, 1<<20))
	for length > 0 {
		n, err := f.WriteAt(zeroes[:min(length, int64(len(zeroes)))], offset)
		if err != nil {
			return err
		}
		offset, length = offset+int64(n), length-int64(n)
	}
	return nil
}
