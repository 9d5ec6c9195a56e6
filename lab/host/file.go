package host

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile writes a file that others see whole or not at all, whenever they look and whenever this process is killed.
// It does not wait for the disk.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// EachBlock calls do with every block of a file of so many bytes, 4096 at most, that is not in a hole. What a file has behind its last whole
// block is left out.
func EachBlock(path string, size int, do func(at int64, block []byte)) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		at, err = unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := in.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for k := 0; k+size <= n; k += size {
			do(at+int64(k), buf[k:k+size])
		}
		if n < size {
			return nil
		}
		at += int64(n)
	}
}
