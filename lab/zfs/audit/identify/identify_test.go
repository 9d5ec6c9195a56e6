package identify_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/vdevil/vdevil/lab/zfs/audit/identify"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/labeltest"
)

// put is a device of a MiB and more with bytes at a place, from the end if that is negative.
func put(at int, text string) []byte {
	p := bytes.Repeat([]byte{0xa5}, 2<<20)
	if at < 0 {
		at += len(p)
	}
	copy(p[at:], text)
	return p
}

func written(t *testing.T, write func(w io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDevice(t *testing.T) {
	content := make([]byte, 3000)
	gz := written(t, func(w io.Writer) error { z := gzip.NewWriter(w); z.Write(content); return z.Close() })
	zst := written(t, func(w io.Writer) error { z, _ := zstd.NewWriter(w); z.Write(content); return z.Close() })
	archive := written(t, func(w io.Writer) error {
		a := tar.NewWriter(w)
		if err := a.WriteHeader(&tar.Header{Name: "disk0.img", Size: int64(len(content)), Mode: 0o600}); err != nil {
			return err
		}
		if _, err := a.Write(content); err != nil {
			return err
		}
		return a.Close()
	})
	zipped := written(t, func(w io.Writer) error { z := zip.NewWriter(w); z.Create("disk0.img"); return z.Close() })
	labels := labeltest.Member(t, labeltest.List(labeltest.Pair("name", "tank")), 7)
	for i := range 4 { // the configurations, not the uberblocks
		labels[ondisk.LabelOffset(labeltest.Size, i)+20<<10] ^= 1
	}
	for what, content := range map[string][]byte{
		"a VMware disk image (VMDK): make a raw image of it with qemu-img convert -O raw '/x y' FILE": put(0, "KDMV\x01\x00\x00\x00"),
		"the descriptor of a VMware disk image: make a raw image":                                     []byte("# Disk DescriptorFile\nversion=1\n"),
		"a VirtualBox disk image (VDI): make a raw image":                                             put(64, "\x7f\x10\xda\xbe"),
		"a disk image of Virtual PC (VHD): make a raw image":                                          put(-512, "conectix"),
		"a Hyper-V disk image (VHDX): make a raw image":                                               put(0, "vhdxfile"),
		"a LUKS 1 encrypted device: unlock it with cryptsetup open --readonly '/x y' NAME":            put(0, "LUKS\xba\xbe\x00\x01"),
		"a LUKS 2 encrypted device: unlock it":                                                        put(0, "LUKS\xba\xbe\x00\x02"),
		"a physical volume of LVM: activate its volume group with vgchange -ay":                       put(512, "LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00LVM2 001"),
		"a member of a Linux software RAID (1.2): assemble":                                           put(4096, "\xfc\x4e\x2b\xa9"),
		"an ext2, ext3 or ext4 file system: a pool may be in a file on it":                            put(1024+56, "\x53\xef"),
		"a Btrfs file system":                                  put(65536+64, "_BHRfS_M"),
		"an XFS file system":                                   put(0, "XFSB"),
		"a stream of zfs send: receive it":                     put(8, "\xac\xcb\xba\xf5\x02\x00\x00\x00"),
		"compressed with gzip: unpack it with gzip -dk '/x y'": gz,
		"compressed with zstd: unpack it with zstd -dk":        zst,
		"compressed with xz: unpack it with xz -dk":            put(0, "\xfd7zXZ\x00"),
		"compressed with bzip2: unpack it":                     put(0, "BZh91AY&SY"),
		"a tar archive: unpack it with tar -xSf":               archive,
		"a zip archive: unpack it with unzip":                  zipped,
		"nothing but zeroes where a pool has its labels: ":     make([]byte, 2<<20),
		"empty": {},
		"a member of a pool whose labels are damaged":              labels,
		"nothing that is known: it has no label of a pool":         put(0, ""),
		"too small for a member of a pool: 600 bytes have no room": bytes.Repeat([]byte{0xa5}, 600),
	} {
		found := identify.Device(t.Context(), labeltest.Device("/x y", content))
		if len(found) != 1 || !strings.HasPrefix(found[0].String(), "/x y is "+what) {
			t.Errorf("%v, want %q", found, what)
		}
	}
}

// Partitions of a disk are looked into, each by itself.
func TestPartitions(t *testing.T) {
	disk := put(0, "")
	entry := func(i int, kind, start, sectors byte) {
		copy(disk[446+16*i:], []byte{0, 0, 0, 0, kind, 0, 0, 0, start, 0, 0, 0, sectors, 0, 0, 0})
	}
	for i := range disk[446:510] {
		disk[446+i] = 0
	}
	disk[510], disk[511] = 0x55, 0xaa
	entry(0, 0x83, 8, 100)
	entry(1, 0x83, 120, 100)
	copy(disk[120*512:], "LUKS\xba\xbe\x00\x02")
	found := identify.Device(t.Context(), labeltest.Device("disk", disk))
	if len(found) != 3 || found[0].What != "a disk with 2 partitions, none of which has a label of a pool" ||
		!strings.HasPrefix(found[1].String(), "disk, partition 1 is too small") ||
		!strings.HasPrefix(found[2].String(), "disk, partition 2 is a LUKS 2 encrypted device: unlock it with cryptsetup open --readonly PARTITION NAME") {
		t.Errorf("%q", found)
	}
}
