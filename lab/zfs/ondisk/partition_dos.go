package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
)

// The DOS partition table (MBR): four entries in the first sector, whose addresses count sectors of 512 bytes. An extended
// partition begins with a table of its own, of which the first entry is a logical partition, its start counted from that table,
// and the second leads to the next table, counted from the extended partition (block/partitions/msdos.c of Linux).
const (
	dosEntries   = 446
	dosEntrySize = 16
	dosSignature = 0xaa55 // in the last two bytes
	dosSector    = 512
	firstLogical = 5 // the number of the first logical partition

	dosExtended, dosExtendedLBA, dosExtendedLinux = 0x05, 0x0f, 0x85
	dosSolaris, dosSolaris2                       = 0x82, 0xbf // the first is Linux swap, too
	dosGPT                                        = 0xee       // keeps others off a disk with a GUID partition table
)

// maxLogical bounds the chain of logical partitions, which may lead in circles.
const maxLogical = 256

// dosEntry is an entry of a DOS partition table; start and size are in sectors.
type dosEntry struct {
	kind        byte
	start, size uint64
}

func (e dosEntry) extended() bool {
	return e.kind == dosExtended || e.kind == dosExtendedLBA || e.kind == dosExtendedLinux
}

// dosTable are the entries of the table in a sector, nil if there is none. It is told from the boot sector of a file system by
// the first byte of each entry, which is 0 or 0x80.
func dosTable(sector []byte) []dosEntry {
	if binary.LittleEndian.Uint16(sector[dosSector-2:]) != dosSignature {
		return nil
	}
	all := make([]dosEntry, 4)
	for i := range all {
		e := sector[dosEntries+i*dosEntrySize:]
		if e[0]&^0x80 != 0 {
			return nil
		}
		all[i] = dosEntry{e[4], uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))}
	}
	return all
}

// sectorPartitions are the partitions of tables that lie in the first sectors: DOS and Solaris.
func sectorPartitions(ctx context.Context, d Device) ([]Device, error) {
	if d.Size < dosSector {
		return nil, nil
	}
	sector := make([]byte, dosSector)
	if err := d.read(ctx, sector, 0); err != nil {
		return nil, err
	}
	if all := sunSlices(d, sector); all != nil {
		return all, nil
	}
	all := vtocSlices(ctx, d)
	for i, e := range dosTable(sector) {
		if e.size = d.clip(e.start, e.size); e.kind == 0 || e.kind == dosGPT || e.start == 0 || e.size == 0 {
			continue
		}
		if e.extended() {
			all = append(all, dosLogical(ctx, d, e.start)...)
			continue
		}
		part := d.part(fmt.Sprintf("partition %d", i+1), e.start*dosSector, e.size*dosSector)
		all = append(all, part)
		if e.kind == dosSolaris || e.kind == dosSolaris2 {
			all = append(all, vtocSlices(ctx, part)...)
		}
	}
	return all, ctx.Err()
}

// clip is how many of size sectors from start lie on the device: of a disk that was cut off there is as much as there is.
func (d *Device) clip(start, size uint64) uint64 {
	sectors := uint64(d.Size) / dosSector
	return min(size, max(sectors, start)-start)
}

// dosLogical follows the chain of logical partitions. It ends where it leads to no table, or further than can be.
func dosLogical(ctx context.Context, d Device, extended uint64) (all []Device) {
	sector := make([]byte, dosSector)
	at := extended
	for n := range maxLogical {
		if d.clip(at, 1) == 0 || d.read(ctx, sector, at*dosSector) != nil {
			return all
		}
		table := dosTable(sector)
		if table == nil {
			return all
		}
		e := table[0]
		if size := d.clip(at+e.start, e.size); e.kind != 0 && !e.extended() && size > 0 && e.start > 0 {
			all = append(all, d.part(fmt.Sprintf("partition %d", firstLogical+n), (at+e.start)*dosSector, size*dosSector))
		}
		next := table[1]
		if !next.extended() || next.start == 0 {
			return all
		}
		at = extended + next.start
	}
	return all
}
