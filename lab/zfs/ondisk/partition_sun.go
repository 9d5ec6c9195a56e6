package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Labels of Solaris and illumos with slices. On x86 it is in the second sector of a DOS partition or of the whole device
// (block/partitions/msdos.h of Linux, solaris_x86_vtoc; sys/dklabel.h of illumos, _SUNOS_VTOC_16).
const (
	vtocSane      = 0x600ddeee
	vtocMagic     = 12
	vtocSlicesNo  = 30
	vtocSlice     = 72 // the first one
	vtocSliceSize = 12
	maxVTOCSlices = 16
)

// On SPARC it is in the first sector, big-endian, and counts cylinders (block/partitions/sun.c of Linux; _SUNOS_VTOC_8).
const (
	sunMagicAt = 508
	sunMagic   = 0xdabe
	sunHeads   = 436
	sunSectors = 438
	sunMap     = 444
	sunSlicesN = 8
)

// vtocSlices are the slices of a label that lies in a partition of a device, or on the whole of it. What starts before the
// partition does, or is beyond its end, is none.
func vtocSlices(ctx context.Context, in Device) (all []Device) {
	label := make([]byte, dosSector)
	if in.Size < 2*dosSector || in.read(ctx, label, dosSector) != nil || binary.LittleEndian.Uint32(label[vtocMagic:]) != vtocSane {
		return nil
	}
	for i := range min(int(binary.LittleEndian.Uint16(label[vtocSlicesNo:])), maxVTOCSlices) {
		s := label[vtocSlice+i*vtocSliceSize:]
		start, size := uint64(binary.LittleEndian.Uint32(s[4:])), uint64(binary.LittleEndian.Uint32(s[8:]))
		if size = in.clip(start, size); size > 0 {
			all = append(all, in.part(fmt.Sprintf("slice %d", i), start*dosSector, size*dosSector))
		}
	}
	return all
}

// sunSlices are the slices of a label of SPARC, whose checksum is such that all its halfwords are 0 together, nil if a sector is
// none.
func sunSlices(d Device, sector []byte) (all []Device) {
	big := binary.BigEndian
	if big.Uint16(sector[sunMagicAt:]) != sunMagic {
		return nil
	}
	var sum uint16
	for i := 0; i < dosSector; i += 2 {
		sum ^= big.Uint16(sector[i:])
	}
	if sum != 0 {
		return nil
	}
	cylinder := uint64(big.Uint16(sector[sunHeads:])) * uint64(big.Uint16(sector[sunSectors:]))
	for i := range sunSlicesN {
		start, size := uint64(big.Uint32(sector[sunMap+8*i:]))*cylinder, uint64(big.Uint32(sector[sunMap+8*i+4:]))
		if size = d.clip(start, size); size > 0 {
			all = append(all, d.part(fmt.Sprintf("slice %d", i), start*dosSector, size*dosSector))
		}
	}
	return all
}
