package libvirt

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/machine/vm"
)

// Storage is where the machines of the system's libvirtd lie when root is asked for them: its QEMU runs as a user of its
// own, who cannot enter root's home directory. libvirt's own directory for images is open to it on every distribution;
// $VDEVIL_LIBVIRT_STORAGE names another one, of labs that are to leave each other's remains alone.
func Storage() (string, error) {
	dir := cmp.Or(os.Getenv(StorageVariable), "/var/lib/libvirt/images/vdevil")
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("storage of machines: $%s is %q: libvirtd has a working directory of its own, give an absolute path",
			StorageVariable, dir)
	}
	return dir, nil
}

// StorageVariable is the variable of the environment that names another Storage.
const StorageVariable = "VDEVIL_LIBVIRT_STORAGE"

// ClosedError says that QEMU cannot enter a directory that it needs.
type ClosedError struct {
	Dir    string
	To     string // what it is the way to
	User   string // whom QEMU runs as
	Remedy string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("libvirt runs QEMU as %s, who may not enter %s, the way to %s: %s", e.User, e.Dir, e.To, e.Remedy)
}

// enterable makes dir, and checks that a user may enter it and all directories above it. Access control lists are not
// looked at: what they forbid, QEMU tells.
func enterable(dir string, who vm.Owner) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("storage of machines: %w", err)
	}
	for path := dir; ; path = filepath.Dir(path) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return fmt.Errorf("storage of machines: %s: %w", path, err)
		}
		if !may(who, st, unix.S_IXOTH) {
			return &ClosedError{Dir: path, To: "the machines in " + dir, User: nameOf(who), Remedy: "chmod o+x " + path}
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

// may says whether the mode of a file lets a user do what bits stand for: they are those for others.
func may(who vm.Owner, st unix.Stat_t, bits uint32) bool {
	switch {
	case who.UID == 0:
		return true
	case int(st.Uid) == who.UID:
		bits <<= 6
	case int(st.Gid) == who.GID || inGroup(who.UID, st.Gid):
		bits <<= 3
	}
	return st.Mode&bits == bits
}

// inGroup says whether the user database lists a user for a group: libvirt gives QEMU all of these.
func inGroup(uid int, gid uint32) bool {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return false // libvirt, too, goes without
	}
	all, err := u.GroupIds()
	return err == nil && slices.Contains(all, strconv.FormatUint(uint64(gid), 10))
}

// stateDir is where the system's libvirtd keeps what it hands to each QEMU. On Debian it is closed to all but libvirt's own
// user.
const stateDir = "/var/lib/libvirt/qemu"

// openState checks that this process may enter dir. A directory that is not there closes nothing.
func openState(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS); !errors.Is(err, unix.EACCES) {
		return nil
	}
	remedy := "take your own libvirtd with --connect " + Session
	if info, err := os.Stat(dir); err == nil {
		if group, err := user.LookupGroupId(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid))); err == nil {
			remedy += fmt.Sprintf(", or sudo usermod -aG %s %s and log in again", group.Name, userName())
		}
	}
	return &ClosedError{Dir: dir, To: "what libvirtd hands to it", User: userName(), Remedy: remedy}
}

// removeLog deletes what libvirt logged of a domain, for as many machines as a lab has. It may be another user's, who
// then keeps it.
func removeLog(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
}
