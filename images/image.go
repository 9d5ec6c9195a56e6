// Package images builds and keeps the guests' images: kernel, initrd, root disk and the unstripped modules of one
// OpenZFS version, from Debian's packages, without root and without mounting anything on the host. An image never
// changes; it is named after what it was made from.
package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vdevil/vdevil/images/source"
)

// Image is a complete image in the store. All paths are absolute.
type Image struct {
	// ID names the image to the last bit: OpenZFS version, hash of what it was to be made from, hash of what came out. What
	// is derived from an image, an overlay of its root disk above all, is only good for the image of that very ID.
	ID      string
	OpenZFS string
	// Tree is what it was compiled from, nil for a package of Debian.
	Tree *source.Tree
	// Bare is true for one without modules of OpenZFS, which those of trees are put on. OpenZFS is its name then.
	Bare bool
	// Release is the kernel's, as uname -r prints it.
	Release string
	// Current is false for one that an older lab built, or another set of keys: Ensure does not return it.
	Current bool
	Dir     string
	Kernel  string // uncompressed vmlinux with a PVH entry, for QEMU's -kernel
	Initrd  string
	Root    string // raw ext4, 2 GiB, sparse; never to be written
	Modules string // directory of zfs.ko and spl.ko with DWARF
	// LoginKey is root's private key, HostKey the guests' public key in authorized_keys form. Both are ed25519.
	LoginKey string
	HostKey  string
	Built    time.Time
	// Seconds is how long the build took.
	Seconds float64
	files   map[string]file
	base    *Image // of a tree's
}

// Cmdline is the kernel command line that the image is made for, on a machine where root is the guest's name of its disk.
//
// Everything from KERN_NOTICE on is printed on the console, which is where the lab looks: OpenZFS says NOTICE and WARNING
// there before it panics, and loglevel=5 would lose the first. From the first program on it is everything from KERN_INFO on
// (sysctl.kernel.printk), which is how the kernel prints the stack of a hung task; before, that would only take time. Hung
// tasks are detected after the kernel's 120 s, and sysrq_always_enabled lets the lab ask for stacks before that. Soft
// lockups are detected too, since a ZFS thread that spins is an outcome, but only after 40 s: on an overcommitted host
// under emulation a CPU of the guest may not run for many seconds without being at fault. The detector of hard lockups is
// off, it needs performance counters that an emulated CPU lacks.
//
// nokaslr: addresses are the same in every boot. norandmaps, those of programs too: an emulator translates their code once, and
// not again wherever a process has it. clearcpuid=rep_good, as for what package vm calls slow. psi=0, and the last two: nothing
// that counts pressure, looks for fragments of memory or sums up statistics wakes an idle guest each second or oftener; a guest that counts
// its time has days of that. mitigations=off, no audit, no IPv6, no self-tests of ciphers, no checks of the TSC against other clocks: boot
// time. panic=-1: a kernel panic restarts at once, which QEMU's -no-reboot makes an end.
func (*Image) Cmdline(root string) string {
	return "root=" + root + " rw console=ttyS0 nokaslr mitigations=off panic=-1 net.ifnames=0 quiet loglevel=6" +
		" sysctl.kernel.printk=7 sysrq_always_enabled nmi_watchdog=0 watchdog_thresh=20 audit=0 ipv6.disable=1 tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests norandmaps clearcpuid=rep_good psi=0" +
		" sysctl.vm.compaction_proactiveness=0 sysctl.vm.stat_interval=60"
}

// file is what image.json says of a file.
type file struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// manifest is image.json.
type manifest struct {
	ID      string          `json:"id"`
	Recipe  Recipe          `json:"recipe"`
	Release string          `json:"kernel"`
	Package string          `json:"zfs_dkms"` // Debian's version of zfs-dkms
	Built   time.Time       `json:"built"`
	Seconds float64         `json:"seconds"`
	Files   map[string]file `json:"files"`
	// Of an image of a tree: the directory of the image that it is put on, beside its own, and the tree.
	Base string       `json:"base,omitempty"`
	Tree *source.Tree `json:"tree,omitempty"`
}

// names are those of all files.
func (m manifest) names() []string {
	if m.Tree != nil {
		return []string{initrdFile, zfsFile, splFile}
	}
	return m.Recipe.files()
}

// contents is a short hash of all files.
func (m manifest) contents() string {
	h := sha256.New()
	for _, name := range m.names() {
		h.Write([]byte(m.Files[name].SHA256))
	}
	return hex.EncodeToString(h.Sum(nil))[:8]
}

const manifestName = "image.json"

// files of an image beside the manifest.
const (
	kernelFile   = "vmlinux"
	initrdFile   = "initrd.img"
	rootFile     = "root.img"
	zfsFile      = "modules/zfs.ko"
	splFile      = "modules/spl.ko"
	packagesFile = "packages.txt"
)

// files are those of an image of the recipe.
func (r Recipe) files() []string {
	if r.Bare != "" {
		return []string{kernelFile, initrdFile, rootFile, packagesFile}
	}
	return []string{kernelFile, initrdFile, rootFile, zfsFile, splFile, packagesFile}
}

// CorruptError says that a file of an image is not what the build made.
type CorruptError struct {
	OpenZFS string
	Path    string
	Problem string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("image of OpenZFS %s: %s %s; remove the image with: vdevil image rm %s", e.OpenZFS, e.Path, e.Problem, e.OpenZFS)
}

// load reads the image in dir, checking that its files are there and of the right size.
func load(dir, version string) (*Image, error) {
	var m manifest
	path := filepath.Join(dir, manifestName)
	b, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, &CorruptError{version, path, "is missing"}
		}
		return nil, fmt.Errorf("image of OpenZFS %s: %w", version, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, &CorruptError{version, path, "cannot be read: " + err.Error()}
	}
	// Checkpoints name these files and outlive whatever link the cache was reached by.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("image of OpenZFS %s: %w", version, err)
	}
	for _, name := range m.names() {
		path, want := filepath.Join(dir, name), m.Files[name].Size
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, &CorruptError{version, path, "is missing"}
		case err != nil:
			return nil, fmt.Errorf("image of OpenZFS %s: %w", version, err)
		case st.Size() != want:
			return nil, &CorruptError{version, path, fmt.Sprintf("has %d bytes, not %d", st.Size(), want)}
		}
	}
	img := &Image{
		ID: m.ID, OpenZFS: m.Recipe.Name(), Bare: m.Recipe.Bare != "", Release: m.Release, Dir: dir,
		Kernel: filepath.Join(dir, kernelFile), Initrd: filepath.Join(dir, initrdFile), Root: filepath.Join(dir, rootFile),
		Modules: filepath.Join(dir, "modules"), Built: m.Built, Seconds: m.Seconds, files: m.Files,
	}
	if m.Tree == nil {
		return img, nil
	}
	base, err := load(filepath.Join(filepath.Dir(dir), m.Base), m.Tree.Name)
	if err != nil {
		return nil, err
	}
	img.OpenZFS, img.Tree, img.base, img.Kernel, img.Root = m.Tree.Name, m.Tree, base, base.Kernel, base.Root
	return img, nil
}

// Verify reads the whole image and compares it with what was built. It takes seconds; the error is a *CorruptError.
func (i *Image) Verify() error {
	for _, name := range slices.Sorted(maps.Keys(i.files)) {
		path := filepath.Join(i.Dir, name)
		got, err := describe(path)
		if err != nil {
			return fmt.Errorf("image of OpenZFS %s: %w", i.OpenZFS, err)
		}
		if got != i.files[name] {
			return &CorruptError{i.OpenZFS, path, "is not what was built"}
		}
	}
	if i.base != nil {
		return i.base.Verify()
	}
	return nil
}

// describe reads a file.
func describe(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return file{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}
