package identify

// kind is what bytes at a place of a device tell.
type kind struct {
	// at is the place, from the end of the device if it is negative.
	at           int
	magic        string
	what, remedy string // X stands for the path
}

const (
	convert  = "make a raw image of it with qemu-img convert -O raw X FILE, and audit that"
	fileSys  = "a pool may be in a file on it: mount it read-only and audit the file"
	assemble = "activate it and audit what it holds"
)

// known looks for a kind. The first one counts.
func known(head, tail []byte) (kind, bool) {
	for _, k := range kinds {
		p, at := head, k.at
		if at < 0 {
			p, at = tail, len(tail)+at
		}
		if at >= 0 && at+len(k.magic) <= len(p) && string(p[at:at+len(k.magic)]) == k.magic {
			return k, true
		}
	}
	return kind{}, false
}

// kinds are what no library for types of files knows well. Each line has the source of its magic.
var kinds = []kind{
	// Images of disks; QEMU's block/*.c have the formats.
	{0, "KDMV", "a VMware disk image (VMDK)", convert},                                                              // vmdk.c, VMDK4_MAGIC
	{0, "COWD", "a VMware disk image (VMDK)", convert},                                                              // vmdk.c, VMDK3_MAGIC
	{0, "# Disk DescriptorFile", "the descriptor of a VMware disk image", convert},                                  // vmdk.c, vmdk_probe
	{64, "\x7f\x10\xda\xbe", "a VirtualBox disk image (VDI)", convert},                                              // vdi.c, VDI_SIGNATURE
	{0, "vhdxfile", "a Hyper-V disk image (VHDX)", convert},                                                         // vhdx.h, VHDX_FILE_SIGNATURE
	{0, "conectix", "a disk image of Virtual PC (VHD)", convert},                                                    // vpc.c, the copy of the footer
	{-512, "conectix", "a disk image of Virtual PC (VHD)", convert + "; -f vpc"},                                    // vpc.c, the footer
	{0, "QFI\xfb", "a disk image of QEMU (qcow, qcow2)", convert},                                                   // qcow2.h, QCOW_MAGIC
	{0, "QED\x00", "a disk image of QEMU (QED)", convert},                                                           // qed.h, QED_MAGIC
	{0, "WithoutFreeSpace", "a disk image of Parallels", convert},                                                   // parallels.c, HEADER_MAGIC
	{0, "WithouFreSpacExt", "a disk image of Parallels", convert},                                                   // parallels.c, HEADER_MAGIC2
	{-512, "koly", "an Apple disk image (DMG)", convert},                                                            // dmg.c
	{8, "\xac\xcb\xba\xf5\x02\x00\x00\x00", "a stream of zfs send", receiveRemedy},                                  // include/sys/zfs_ioctl.h, DMU_BACKUP_MAGIC
	{8, "\x00\x00\x00\x02\xf5\xba\xcb\xac", "a stream of zfs send", receiveRemedy},                                  // the same of the other byte order
	{0, "LUKS\xba\xbe\x00\x01", "a LUKS 1 encrypted device", cryptRemedy},                                           // cryptsetup, LUKS On-Disk Format 1.2.3
	{0, "LUKS\xba\xbe\x00\x02", "a LUKS 2 encrypted device", cryptRemedy},                                           // cryptsetup, LUKS2 On-Disk Format 1.1
	{3, "-FVE-FS-", "a BitLocker encrypted device", bitlockRemedy},                                                  // util-linux, libblkid/src/superblocks/bitlocker.c
	{-512, "GEOM::ELI", "a GELI encrypted device of FreeBSD", "attach it there (geli attach -r X) and audit X.eli"}, // g_eli.h

	// Volume managers and arrays; util-linux, libblkid/src/superblocks.
	{512 + 24, "LVM2 001", "a physical volume of LVM", lvmRemedy}, // lvm.c: the label may lie in any of four sectors
	{24, "LVM2 001", "a physical volume of LVM", lvmRemedy},
	{1024 + 24, "LVM2 001", "a physical volume of LVM", lvmRemedy},
	{1536 + 24, "LVM2 001", "a physical volume of LVM", lvmRemedy},
	{4096, "\xfc\x4e\x2b\xa9", "a member of a Linux software RAID (1.2)", raidRemedy},                               // linux_raid.c
	{0, "\xfc\x4e\x2b\xa9", "a member of a Linux software RAID (1.1)", raidRemedy},                                  // linux_raid.c
	{-64 << 10, "\xfc\x4e\x2b\xa9", "a member of a Linux software RAID (0.90)", raidRemedy},                         // linux_raid.c
	{-8 << 10, "\xfc\x4e\x2b\xa9", "a member of a Linux software RAID (1.0)", raidRemedy},                           // linux_raid.c
	{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "a device of bcache", assemble}, // bcache.c
	{0, "bluestore block device", "a device of Ceph", assemble},                                                     // ceph_bluestore.c

	// File systems and what else is taken for a pool; the same directory.
	{1024 + 56, "\x53\xef", "an ext2, ext3 or ext4 file system", fileSys}, // ext.c
	{0, "XFSB", "an XFS file system", fileSys},                            // xfs.c
	{64<<10 + 64, "_BHRfS_M", "a Btrfs file system", fileSys},             // btrfs.c
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system", fileSys},            // f2fs.c
	{3, "NTFS    ", "an NTFS file system", fileSys},                       // ntfs.c
	{3, "EXFAT   ", "an exFAT file system", fileSys},                      // exfat.c
	{82, "FAT32   ", "a FAT file system", fileSys},                        // vfat.c
	{54, "FAT1", "a FAT file system", fileSys},                            // vfat.c: FAT12 or FAT16
	{0, "hsqs", "a SquashFS file system", fileSys},                        // squashfs.c
	{1024, "\xe2\xe1\xf5\xe0", "an EROFS file system", fileSys},           // erofs.c
	{32, "NXSB", "an APFS container", fileSys},                            // apfs.c
	{1024, "H+", "an HFS+ file system", fileSys},                          // hfs.c
	{32769, "CD001", "an ISO 9660 file system", fileSys},                  // iso9660.c
	{4096 - 10, "SWAPSPACE2", "swap space", "there is no pool in it"},     // swap.c, pages of 4 KiB
	{4096 - 10, "SWAP-SPACE", "swap space", "there is no pool in it"},     // swap.c
}

const (
	receiveRemedy = "receive it into a pool (zfs receive), and audit that"
	cryptRemedy   = "unlock it with cryptsetup open --readonly X NAME, and audit /dev/mapper/NAME"
	bitlockRemedy = "unlock it with cryptsetup open --type bitlk --readonly X NAME, and audit /dev/mapper/NAME"
	lvmRemedy     = "activate its volume group with vgchange -ay, and audit the logical volumes (lvs -o lv_path)"
	raidRemedy    = "assemble the array with mdadm --assemble --readonly, and audit /dev/mdN"
)
