package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// compressed is how the name of a saved store ends that was compressed.
const compressed = ".zst"

// Save writes a copy of the store that is whole, also while others write to it, and as small as it gets: compressed with zstd if the
// file's name ends in .zst. A file of that name is replaced when the copy is complete.
func (s *Store) Save(ctx context.Context, path string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".vdevil-save-")
	if err != nil {
		return fmt.Errorf("save store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	made := filepath.Join(dir, "vdevil.db")
	if _, err := s.db.ExecContext(ctx, "VACUUM INTO ?", made); err != nil {
		return s.explain(fmt.Errorf("save to %s: %w", path, err))
	}
	if strings.HasSuffix(path, compressed) {
		plain := made
		made += compressed
		if err := convert(plain, made, func(w io.Writer, r io.Reader) error {
			z, err := zstd.NewWriter(w)
			if err == nil {
				_, err = io.Copy(z, r)
				err = errors.Join(err, z.Close())
			}
			return err
		}); err != nil {
			return fmt.Errorf("save store: %w", err)
		}
	}
	return os.Rename(made, path)
}

// unpack gives a saved store as one that can be opened, in a directory to be removed afterwards, if it is compressed.
func unpack(path string) (plain string, remove func() error, err error) {
	if !strings.HasSuffix(path, compressed) {
		return path, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "vdevil-merge-")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	plain = filepath.Join(dir, "vdevil.db")
	err = convert(path, plain, func(w io.Writer, r io.Reader) error {
		z, err := zstd.NewReader(r)
		if err == nil {
			defer z.Close()
			_, err = io.Copy(w, z)
		}
		return err
	})
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("unpack %s: %w", path, err), remove())
	}
	return plain, remove, nil
}

// convert writes one file from another.
func convert(from, to string, do func(io.Writer, io.Reader) error) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(do(w, r), w.Close())
}
