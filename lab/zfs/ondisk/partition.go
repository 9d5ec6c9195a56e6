package ondisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// The GUID partition table (UEFI specification, chapter 5). OpenZFS makes one on a whole disk that is given to a pool, with
// the vdev in the first partition.
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

// Partitions are the partitions of a device with a GUID partition table, in their order, or nil if it has none. Checksums
// of the table are not looked at: what is no partition of a pool is found out later.
func Partitions(ctx context.Context, d Device) ([]Device, error) {
	for _, sector := range []uint64{512, 4096} {
		header := make([]byte, gptHeaderSize)
		if d.Size < int64(2*sector) {
			return nil, nil
		}
		if err := d.read(ctx, header, sector); err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(header, []byte(gptSignature)) {
			continue
		}
		return gptPartitions(ctx, d, header, sector)
	}
	return nil, nil
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
		if first == 0 || last < first || last >= uint64(d.Size)/sector {
			continue
		}
		length := int64((last - first + 1) * sector)
		all = append(all, Device{
			Name: fmt.Sprintf("%s, partition %d", d.Name, i+1), Data: io.NewSectionReader(d.Data, int64(first*sector), length), Size: length,
		})
	}
	return all, nil
}
