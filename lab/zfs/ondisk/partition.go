package ondisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// The GUID partition table (UEFI specification, chapter 5). OpenZFS makes one on a whole disk that is given to a pool, with
// the vdev in the first partition; so does illumos ("EFI label"), with slices for partitions.
const (
	gptSignature    = "EFI PART"
	gptHeaderSize   = 92
	gptEntrySize    = 128
	maxGPTEntries   = 1024
	gptFirstLBA     = 32 // offsets in an entry
	gptLastLBA      = 40
	gptEntriesLBA   = 72 // offsets in the header
	gptEntriesCount = 80
	gptEntriesSize  = 84
)

// Partitions are the partitions of a device: those of a GUID partition table, or of the second one at the end of the device
// when the first is gone; those of a DOS partition table, logical ones included; Solaris slices, in a partition or on the
// whole device. It is nil if there is no table. Checksums of tables are not looked at: what is no partition of a pool is found
// out later.
func Partitions(ctx context.Context, d Device) ([]Device, error) {
	var failed error
	for _, sector := range []uint64{512, 4096} {
		size := uint64(d.Size) / sector
		if size < 3 {
			continue
		}
		for _, lba := range []uint64{1, size - 1} {
			header := make([]byte, gptHeaderSize)
			if err := d.read(ctx, header, lba*sector); err != nil {
				return nil, err
			}
			if !bytes.HasPrefix(header, []byte(gptSignature)) {
				continue
			}
			all, err := gptPartitions(ctx, d, header, sector)
			if err == nil && len(all) > 0 {
				return all, nil
			}
			if failed == nil {
				failed = err
			}
		}
	}
	if failed != nil {
		return nil, failed
	}
	return sectorPartitions(ctx, d)
}

func gptPartitions(ctx context.Context, d Device, header []byte, sector uint64) ([]Device, error) {
	little := binary.LittleEndian
	start, count, size := little.Uint64(header[gptEntriesLBA:]), little.Uint32(header[gptEntriesCount:]), little.Uint32(header[gptEntriesSize:])
	if count > maxGPTEntries || size < gptEntrySize || size > 4096 || start > uint64(d.Size)/sector {
		return nil, fmt.Errorf("%s: %w", d.Name, corrupt("a partition table of %d entries of %d bytes", count, size))
	}
	table := make([]byte, uint64(count)*uint64(size))
	if err := d.read(ctx, table, start*sector); err != nil {
		return nil, err
	}
	var all []Device
	for i := range int(count) {
		e := table[i*int(size):]
		first, last := little.Uint64(e[gptFirstLBA:]), little.Uint64(e[gptLastLBA:])
		end := uint64(d.Size) / sector
		if first == 0 || last < first || first >= end {
			continue
		}
		last = min(last, end-1) // of a disk that was cut off there is as much as there is
		all = append(all, d.part(fmt.Sprintf("partition %d", i+1), first*sector, (last-first+1)*sector))
	}
	return all, nil
}

// part is a range of a device, in bytes.
func (d *Device) part(name string, start, size uint64) Device {
	return Device{Name: d.Name + ", " + name, Data: io.NewSectionReader(d.Data, int64(start), int64(size)), Size: int64(size)}
}
