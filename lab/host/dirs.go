package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dirs are the lab's places on this computer. Each exists, belongs to the user, and others cannot write to it; those that
// the lab makes are closed to others.
type Dirs struct {
	Cache string // what can be made again: images, checkpoints, keys
	State string // what cannot: results, bundles, logs
	Run   string // sockets; its path is short
}

// maxRun is the longest path of a run directory in bytes. The kernel allows 107 for a UNIX socket and QEMU's own options
// add to it, so that 60 are left for the socket's directory and name.
const maxRun = 44

// DefaultDirs follows the XDG base directory specification and creates what does not exist.
func DefaultDirs() (Dirs, error) {
	cache, err := xdg("XDG_CACHE_HOME", ".cache")
	if err != nil {
		return Dirs{}, err
	}
	state, err := xdg("XDG_STATE_HOME", ".local/state")
	if err != nil {
		return Dirs{}, err
	}
	d := Dirs{Cache: filepath.Join(cache, "vdevil"), State: filepath.Join(state, "vdevil")}
	for _, dir := range []string{d.Cache, d.State} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Dirs{}, fmt.Errorf("lab directory: %w", err)
		}
		if err := owned(dir); err != nil {
			return Dirs{}, fmt.Errorf("lab directory: %w", err)
		}
	}
	d.Run, err = runDir(os.Getenv("XDG_RUNTIME_DIR"), os.TempDir())
	return d, err
}

// xdg is the value of a variable of the specification, which asks to ignore one that is not absolute, or its default
// below the home directory.
func xdg(variable, fallback string) (string, error) {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("lab directory: neither $%s nor a home directory: %w", variable, err)
	}
	return filepath.Join(home, fallback), nil
}

// runDir is base/vdevil when that is short and writable. Otherwise it is in the system's directory for temporary files,
// or in /tmp when that is long too, under a name that carries the user.
func runDir(base, temp string) (string, error) {
	if dir := filepath.Join(base, "vdevil"); filepath.IsAbs(base) && len(dir) <= maxRun && private(dir) == nil {
		return dir, nil
	}
	name := "vdevil-" + strconv.Itoa(os.Getuid())
	dir := filepath.Join(temp, name)
	if len(dir) > maxRun {
		dir = filepath.Join("/tmp", name)
	}
	if err := private(dir); err != nil {
		return "", fmt.Errorf("run directory: %w", err)
	}
	return dir, nil
}

// owned says whether a directory that may have been there before is one into which nobody else can put anything: the lab
// boots kernels and reads checkpoints from there. It may be a link to one, in a home directory.
func owned(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory: remove it", dir)
	case int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s belongs to user %d, not to you: set XDG_CACHE_HOME and XDG_STATE_HOME to directories of your own", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s can be written to by others: chmod go-w it", dir)
	}
	return nil
}

// private makes dir, or checks that what stands there is a directory of this user that nobody else may enter: in /tmp
// somebody else may have been first.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory: remove it", dir)
	case int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s belongs to user %d, not to you: remove it or set XDG_RUNTIME_DIR", dir, st.Uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s is open to others: chmod 700 it", dir)
	}
	return unix.Access(dir, unix.W_OK|unix.X_OK)
}

// Free is the space in bytes that an ordinary user may still write to the file system of dir.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
