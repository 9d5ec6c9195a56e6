// Package identify says what a device is that is no member of a pool, and how one gets at the pool that may be in it. It knows
// what people keep pools in: images of disks, encrypted devices, volume managers, archives; and what a device is mistaken for.
package identify

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"al.essio.dev/pkg/shellescape"
	"github.com/gabriel-vasile/mimetype"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Found is what a device is.
type Found struct {
	// Device is the name of the device, or that of a partition of it.
	Device string
	// What is a noun with its article: "a LUKS 2 encrypted device".
	What string
	// Remedy says what to do, empty if there is nothing.
	Remedy string
}

func (f Found) String() string {
	s := f.Device + " is " + f.What
	if f.Remedy != "" {
		s += ": " + f.Remedy
	}
	return s
}

// bytesAtEachEnd are read of a device: the two labels of a pool, and all that the table asks for, lie there.
const bytesAtEachEnd = 512 << 10

// maxParts is how many partitions of a disk are looked into.
const maxParts = 16

// Device says what a device is, and what its partitions are if it has some. It reads a MiB of each.
func Device(ctx context.Context, d ondisk.Device) []Found {
	whole := one(ctx, d, shellescape.Quote(d.Name))
	if whole.What != "" {
		return []Found{whole}
	}
	parts, err := ondisk.Partitions(ctx, d)
	if err != nil || len(parts) == 0 {
		whole.What = "nothing that is known: it has no label of a pool"
		return []Found{whole}
	}
	whole.What = fmt.Sprintf("a disk with %d partitions, none of which has a label of a pool", len(parts))
	all := []Found{whole}
	for _, part := range parts[:min(len(parts), maxParts)] {
		if f := one(ctx, part, "PARTITION"); f.What != "" {
			all = append(all, f)
		}
	}
	return all
}

// one looks at a device as a whole. The path is how a command names it.
func one(ctx context.Context, d ondisk.Device, path string) Found {
	f := Found{Device: d.Name}
	head, tail, err := ends(d)
	if err != nil {
		f.What = fmt.Sprintf("not to be read: %v", err)
		return f
	}
	if k, ok := known(head, tail); ok {
		f.What, f.Remedy = k.what, strings.ReplaceAll(k.remedy, "X", path)
		return f
	}
	switch {
	case d.Size == 0:
		f.What = "empty"
	case packed(head, &f, path):
	case zero(head) && zero(tail):
		f.What = "nothing but zeroes where a pool has its labels"
		f.Remedy = "it was wiped (zpool labelclear does that), or never was a member"
	case damaged(ctx, d):
		f.What = "a member of a pool whose labels are damaged: there are uberblocks, and no configuration has its checksum"
	case d.Size < 1<<20:
		f.What = fmt.Sprintf("too small for a member of a pool: %d bytes have no room for its labels", d.Size)
	}
	return f
}

func ends(d ondisk.Device) (head, tail []byte, err error) {
	n := min(d.Size, bytesAtEachEnd)
	head, tail = make([]byte, n), make([]byte, n)
	if n == 0 {
		return head, tail, nil
	}
	if k, err := d.Data.ReadAt(head, 0); k < len(head) {
		return nil, nil, err
	}
	if k, err := d.Data.ReadAt(tail, d.Size-n); k < len(tail) {
		return nil, nil, err
	}
	return head, tail, nil
}

func zero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }

// damaged says that a device has uberblocks with good checksums.
func damaged(ctx context.Context, d ondisk.Device) bool {
	labels, err := ondisk.ReadLabels(ctx, d)
	if err != nil {
		return false
	}
	for _, l := range labels {
		if len(l.Ring) > 0 {
			return true
		}
	}
	return false
}

// packed names archives and compressed files by what the library knows of their beginnings.
func packed(head []byte, f *Found, path string) bool {
	for m := mimetype.Detect(head); m != nil; m = m.Parent() { // a document of an office is a zip file, too
		for _, a := range archives {
			if m.Is(a.mime) {
				f.What, f.Remedy = a.what, strings.ReplaceAll(a.remedy, "X", path)+", then audit what was in it"
				return true
			}
		}
	}
	return false
}

var archives = []struct{ mime, what, remedy string }{
	{"application/gzip", "compressed with gzip", "unpack it with gzip -dk X"},
	{"application/x-xz", "compressed with xz", "unpack it with xz -dk X"},
	{"application/zstd", "compressed with zstd", "unpack it with zstd -dk X"},
	{"application/x-bzip2", "compressed with bzip2", "unpack it with bzip2 -dk X"},
	{"application/lzip", "compressed with lzip", "unpack it with lzip -dk X"},
	{"application/x-tar", "a tar archive", "unpack it with tar -xSf X"},
	{"application/x-cpio", "a cpio archive", "unpack it with cpio -id < X"},
	{"application/zip", "a zip archive", "unpack it with unzip X"},
	{"application/x-7z-compressed", "a 7z archive", "unpack it with 7z x X"},
	{"application/vnd.rar", "a rar archive", "unpack it with unrar x X"},
}
