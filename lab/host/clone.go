package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// cloneStep bounds how much is copied between two looks at the context.
const cloneStep = 64 << 20

// CloneFile makes dst a copy of src that shares its blocks where the file system can (FICLONE), and copies the data but
// not the holes where it cannot. dst must not exist; after an error it does not.
func CloneFile(ctx context.Context, dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(fmt.Errorf("clone %s: %w", src, err), os.Remove(dst))
		}
	}()
	return copyInto(ctx, out, in)
}

// OverwriteFile gives dst, which exists and may be open elsewhere, the content of src.
func OverwriteFile(ctx context.Context, dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := copyInto(ctx, out, in); err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	return nil
}

func copyInto(ctx context.Context, out, in *os.File) error {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	return copySparse(ctx, out, in)
}

func copySparse(ctx context.Context, out, in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		start, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole is left
			return nil
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(in.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for at = start; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if at, err = copyRange(out, in, at, min(end, at+cloneStep)); err != nil {
				return err
			}
		}
	}
}

// copyRange copies the bytes from at up to end inside the kernel and returns end.
func copyRange(out, in *os.File, at, end int64) (int64, error) {
	from, to := at, at
	for from < end {
		n, err := unix.CopyFileRange(int(in.Fd()), &from, int(out.Fd()), &to, int(end-from), 0)
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
			_, err := io.Copy(io.NewOffsetWriter(out, to), io.NewSectionReader(in, from, end-from))
			return end, err
		}
		if err != nil {
			return from, err
		}
		if n == 0 {
			return from, io.ErrUnexpectedEOF
		}
	}
	return end, nil
}
