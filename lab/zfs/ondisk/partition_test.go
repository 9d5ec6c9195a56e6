package ondisk_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/labeltest"
)

const memberSectors = labeltest.Size / 512

// disk is one with a member of a pool at a sector of 512 bytes.
func disk(t testing.TB, at int) []byte {
	t.Helper()
	p := make([]byte, 32<<20)
	copy(p[at*512:], labeltest.Member(t, labeltest.List(labeltest.Pair("name", "tank"), labeltest.Pair("pool_guid", uint64(1)),
		labeltest.Pair("guid", uint64(2)), labeltest.Pair("txg", uint64(3))), 3))
	return p
}

func le32(p []byte, values ...uint32) {
	for i, v := range values {
		binary.LittleEndian.PutUint32(p[4*i:], v)
	}
}

// dosEntry writes an entry of the DOS table in a sector.
func dosEntry(p []byte, sector, n int, kind byte, start, size uint32) {
	table := p[sector*512:]
	e := table[446+16*n:]
	e[4] = kind
	le32(e[8:], start, size)
	table[510], table[511] = 0x55, 0xaa
}

// gpt writes a table at the header's sector, the entries of which begin at another.
func gpt(p []byte, sector, header, entries int, first uint64) {
	h := p[header*sector:]
	copy(h, "EFI PART")
	binary.LittleEndian.PutUint64(h[72:], uint64(entries))
	le32(h[80:], 4, 128)
	e := p[entries*sector:]
	binary.LittleEndian.PutUint64(e[32:], first)
	binary.LittleEndian.PutUint64(e[40:], first+uint64(labeltest.Size/sector)-1)
}

// vtoc writes a label of Solaris for x86 into the partition that begins at a sector.
func vtoc(p []byte, sector, slice int, start uint32) {
	l := p[(sector+1)*512:]
	le32(l[12:], 0x600ddeee, 1)
	binary.LittleEndian.PutUint16(l[30:], 16)
	le32(l[72+12*slice+4:], start, memberSectors)
}

// In whatever table a pool's partition is, it is found.
func TestPartitionTables(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int // sector of the member
		make func(p []byte)
		part string
	}{
		{"GPT", 2048, func(p []byte) { gpt(p, 512, 1, 2, 2048) }, "partition 1"},
		{"GPT of 4 KiB sectors", 2048, func(p []byte) { gpt(p, 4096, 1, 2, 256) }, "partition 1"},
		{"second GPT", 2048, func(p []byte) { gpt(p, 512, len(p)/512-1, len(p)/512-33, 2048) }, "partition 1"},
		{"second GPT of 4 KiB sectors", 2048, func(p []byte) { gpt(p, 4096, len(p)/4096-1, len(p)/4096-5, 256) }, "partition 1"},
		{"second GPT beside a damaged first", 2048, func(p []byte) {
			gpt(p, 512, 1, 2, 2048)
			p[512+72+5] = 1 // its entries begin at sector 2^40
			gpt(p, 512, len(p)/512-1, len(p)/512-33, 2048)
		}, "partition 1"},
		{"second GPT behind its guard", 2048, func(p []byte) {
			dosEntry(p, 0, 0, 0xee, 1, 1<<32-1)
			gpt(p, 512, len(p)/512-1, len(p)/512-33, 2048)
		}, "partition 1"},
		{"DOS", 63, func(p []byte) { dosEntry(p, 0, 2, 0xbf, 63, memberSectors) }, "partition 3"},
		{"logical", 20100, func(p []byte) {
			dosEntry(p, 0, 0, 0x83, 8, 100)
			dosEntry(p, 0, 1, 0x0f, 20000, 40000)
			dosEntry(p, 20000, 0, 0x83, 8, 20)
			dosEntry(p, 20000, 1, 0x05, 50, 40000)
			dosEntry(p, 20050, 0, 0x83, 50, memberSectors)
		}, "partition 6"},
		{"slice in a partition", 4000, func(p []byte) {
			dosEntry(p, 0, 0, 0xbf, 100, 60000)
			vtoc(p, 100, 7, 3900)
		}, "partition 1, slice 7"},
		{"slice of a device", 4000, func(p []byte) { vtoc(p, 0, 0, 4000) }, "slice 0"},
		{"slice of SPARC", 4 * 63 * 10, func(p []byte) {
			big := binary.BigEndian
			big.PutUint16(p[436:], 4)
			big.PutUint16(p[438:], 63)
			big.PutUint32(p[444+8*6:], 10)
			big.PutUint32(p[444+8*6+4:], memberSectors)
			big.PutUint16(p[508:], 0xdabe)
			var sum uint16
			for i := 0; i < 510; i += 2 {
				sum ^= big.Uint16(p[i:])
			}
			big.PutUint16(p[510:], sum)
		}, "slice 6"},
	} {
		p := disk(t, c.at)
		c.make(p)
		parts, err := ondisk.Partitions(t.Context(), labeltest.Device("disk", p))
		i := slices.IndexFunc(parts, func(d ondisk.Device) bool { return d.Name == "disk, "+c.part })
		if err != nil || i < 0 {
			t.Errorf("%s: %v, %v", c.name, parts, err)
			continue
		}
		labels, err := ondisk.ReadLabels(t.Context(), parts[i])
		if err != nil || parts[i].Size != labeltest.Size || slices.ContainsFunc(labels, func(l ondisk.Label) bool { return l.Err != nil }) {
			t.Errorf("%s: %d bytes, %v", c.name, parts[i].Size, err)
		}
		if !strings.HasPrefix(c.name, "second") { // that lies at the end
			cut, err := ondisk.Partitions(t.Context(), labeltest.Device("disk", p[:c.at*512+labeltest.Size/2]))
			if err != nil || len(cut) != len(parts) || cut[i].Size != labeltest.Size/2 {
				t.Errorf("%s, cut off: %v, %v", c.name, cut, err)
			}
		}
		// That it is opened far enough to find out that there is nothing behind the labels.
		if _, err := ondisk.Open(t.Context(), []ondisk.Device{labeltest.Device("disk", p)}, ondisk.Options{}); err == nil || !strings.HasPrefix(err.Error(), "open pool tank: ") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A chain of logical partitions that leads in a circle ends. Of entries that reach out of the disk there is what lies on it.
func TestHostilePartitions(t *testing.T) {
	p := make([]byte, 4<<20)
	dosEntry(p, 0, 0, 0x05, 100, 1000)
	dosEntry(p, 0, 1, 0x83, 8000, 1000)
	dosEntry(p, 0, 2, 0xbf, 1, 1<<32-1)
	dosEntry(p, 100, 0, 0x83, 1, 1)
	dosEntry(p, 100, 1, 0x05, 10, 1)
	dosEntry(p, 110, 0, 0x83, 1<<32-1, 1)
	dosEntry(p, 110, 1, 0x05, 10, 1)
	vtoc(p, 0, 0, 1<<32-1)
	parts, err := ondisk.Partitions(t.Context(), labeltest.Device("disk", p))
	got := make([]string, 0, len(parts))
	for _, d := range parts {
		got = append(got, fmt.Sprintf("%s: %d", d.Name, d.Size/512))
	}
	if want := []string{"disk, partition 5: 1", "disk, partition 2: 192", "disk, partition 3: 8191"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, not %q", got, err, want)
	}
	if all, err := ondisk.Partitions(t.Context(), labeltest.Device("noise", bytes.Repeat([]byte{0x55, 0xaa}, 1<<20))); all != nil || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}
