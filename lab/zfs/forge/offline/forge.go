// Package offline makes a pool wrong on devices or images that somebody names, or on copies of them.
package offline

import (
	"github.com/vdevil/vdevil/lab/host"
	auditing "github.com/vdevil/vdevil/lab/zfs/audit/offline"

	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vdevil/vdevil/lab/zfs/forge"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Options say what to forge and where it goes.
type Options struct {
	forge.Options
	// Name is that of the forgery.
	Name string
	// Devices are images or block devices of a whole pool, in any order; Pool is its name where there are several.
	Devices []string
	Pool    string
	// InPlace changes the devices themselves. Otherwise images are copied: into the directory Output, or, where that is
	// empty, beside them, with Suffix.
	InPlace bool
	Output  string
	// NewTXG makes an uberblock of the next transaction group instead of changing the newest one.
	NewTXG bool
}

// Suffix is what the name of a forged copy ends in beside its original.
const Suffix = ".forged"

// partSuffix is what the name of a copy ends in until it is complete.
const partSuffix = ".part"

// Forged is a forgery that was made.
type Forged struct {
	forge.Record
	// Written are the forged devices or images, in the order of the options.
	Written []string `json:"written"`
}

// Forge makes a pool wrong in a known way. Nothing is written before all of it is known to be possible, copies get their
// names when they are complete, and what was written is read back and verified.
func Forge(ctx context.Context, o Options) (f Forged, err error) {
	kind, err := forge.Find(o.Name)
	if err != nil {
		return f, err
	}
	devices, closeAll, err := openAll(o.Devices)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	mode := ondisk.InPlace
	if o.NewTXG {
		mode = ondisk.NewTXG
	}
	w, err := ondisk.NewWriter(ctx, devices, mode, ondisk.Options{Name: o.Pool})
	if err != nil {
		return f, auditing.Explained(err, auditing.Strangers(ctx, err))
	}
	const exported = 1
	if state, ok := w.Pool().Label.Uint64("state"); o.InPlace && (!ok || state != exported) {
		return f, fmt.Errorf("pool %s was not exported and may be in use: export it, or forge copies", w.Pool().Name)
	}
	if f.Record, err = kind.Make(ctx, w, o.Options); err != nil {
		return f, err
	}
	if f.Written, err = o.write(ctx, w); err != nil {
		return f, err
	}
	written, closeWritten, err := openAll(f.Written)
	if err != nil {
		return f, err
	}
	return f, errors.Join(w.Verify(ctx, written), closeWritten())
}

func openAll(paths []string) (devices []ondisk.Device, closeAll func() error, err error) {
	var closers []func() error
	closeAll = func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	for _, path := range paths {
		d, closer, err := ondisk.OpenDevice(path)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		devices, closers = append(devices, d), append(closers, closer.Close)
	}
	return devices, closeAll, nil
}

// write commits to the devices or to copies of them.
func (o *Options) write(ctx context.Context, w *ondisk.Writer) (written []string, err error) {
	if o.InPlace {
		return o.Devices, commit(ctx, w, o.Devices)
	}
	var parts []string
	defer func() {
		if err != nil {
			for _, part := range parts {
				err = errors.Join(err, os.Remove(part))
			}
		}
	}()
	for _, path := range o.Devices {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no file: forge an image of it, or the device itself in place", path)
		}
		to := path + Suffix
		if o.Output != "" {
			to = filepath.Join(o.Output, filepath.Base(path))
		}
		if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(err, fmt.Errorf("%s is there already", to))
		}
		if err := host.CloneFile(ctx, to+partSuffix, path); err != nil {
			return nil, err
		}
		written, parts = append(written, to), append(parts, to+partSuffix)
	}
	if err := commit(ctx, w, parts); err != nil {
		return nil, err
	}
	for i, to := range written {
		if err := os.Rename(to+partSuffix, to); err != nil {
			parts = parts[i:]
			return nil, err
		}
	}
	parts = nil
	return written, nil
}

func commit(ctx context.Context, w *ondisk.Writer, paths []string) (err error) {
	targets := make([]ondisk.Target, 0, len(paths))
	for _, path := range paths {
		// A block device that is mounted, or in a pool, cannot be opened for one's own.
		f, err := os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		targets = append(targets, f)
	}
	return w.Commit(ctx, targets)
}
