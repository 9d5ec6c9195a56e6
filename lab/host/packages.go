package host

import (
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// Package is something that the lab needs and a Debian package has.
type Package struct {
	Needs string // a program by its name, or a file by its path
	Name  string // the package
	Why   string
	// rootless packages are needed by ordinary users alone.
	rootless bool
}

// packages lists all that the lab needs of a computer beyond Go and a Debian base system.
var packages = []Package{
	{Needs: "qemu-system-x86_64", Name: "qemu-system-x86", Why: "runs the guests"},
	{Needs: "qemu-img", Name: "qemu-utils", Why: "makes overlays of the guests' root disk"},
	{Needs: "mmdebstrap", Name: "mmdebstrap", Why: "builds the guests' file system"},
	{Needs: "mkfs.ext4", Name: "e2fsprogs", Why: "makes the guests' root disk of it"},
	{
		Needs: "/usr/share/keyrings/debian-archive-keyring.gpg", Name: "debian-archive-keyring",
		Why: "proves that the guests' packages are Debian's",
	},
	{Needs: "newuidmap", Name: "uidmap", Why: "lets an ordinary user build a file system that belongs to root", rootless: true},
}

// Libvirt lists what the lab needs besides to have libvirt run its guests.
func Libvirt() []Package {
	return []Package{
		{Needs: "libvirtd", Name: "libvirt-daemon-system", Why: "runs the guests for --driver libvirt"},
		{
			Needs: "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so", Name: "libvirt-daemon-driver-qemu",
			Why: "lets libvirtd run QEMU",
		},
	}
}

// Git lists what the lab needs besides to build OpenZFS from a checkout.
func Git() []Package {
	return []Package{{Needs: "git", Name: "git", Why: "reads checkouts of OpenZFS"}}
}

// Missing are the packages that this computer lacks for the calling user, of those that the lab needs always and of more.
func Missing(more ...Package) []Package { return this().missing(more...) }

func (c *computer) missing(more ...Package) []Package {
	return slices.DeleteFunc(append(c.needed(), more...), func(p Package) bool { return c.has(p) })
}

// needed are the packages that the user who asks needs.
func (c *computer) needed() []Package {
	return slices.DeleteFunc(slices.Clone(packages), func(p Package) bool { return p.rootless && c.uid == 0 })
}

func (c *computer) has(p Package) bool {
	if filepath.IsAbs(p.Needs) {
		return c.exists(p.Needs)
	}
	_, err := c.program(p.Needs)
	return err == nil
}

func (c *computer) program(name string) (string, error) {
	for _, dir := range c.path {
		if path := filepath.Join(dir, name); filepath.IsAbs(path) && c.executable(path) {
			return path, nil
		}
	}
	for _, p := range slices.Concat(packages, Git(), Libvirt()) {
		if p.Needs == name {
			return "", fmt.Errorf("%w: %s, which %s: install package %s", exec.ErrNotFound, name, p.Why, p.Name)
		}
	}
	return "", fmt.Errorf("%w: %s", exec.ErrNotFound, name)
}

// MissingError says which packages a computer lacks, why each is needed and what to type.
type MissingError struct {
	Missing []Package
	// Apt is false on a computer without apt-get, where Name may not be what its packages are called.
	Apt bool
	// Reason says why the lab does not install them itself.
	Reason string
}

func (e *MissingError) Error() string {
	var b strings.Builder
	b.WriteString("this computer lacks what the lab needs:\n")
	for _, p := range e.Missing {
		fmt.Fprintf(&b, "  %-22s %s (%s)\n", p.Name, p.Why, p.Needs)
	}
	if !e.Apt {
		b.WriteString("It has no apt-get: install the programs and files in parentheses with its own package manager.")
		return b.String()
	}
	fmt.Fprintf(&b, "%s. Type:\n  sudo apt-get update && sudo apt-get install --no-install-recommends %s",
		e.Reason, strings.Join(names(e.Missing), " "))
	return b.String()
}

func names(ps []Package) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.Name
	}
	return out
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}
