package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestWalk(t *testing.T) {
	for _, levels := range []int{4, 5} {
		f := newFake(t, levels)
		f.mapPage(0xffff888000000000, 0x100000000, 3, large)
		f.mapPage(0xffffc90000200000, 0x40000000, 2, large|1<<12) // bit 12 of a large page's entry is no address (PAT)
		f.mapPage(0xffffc90000400000, 0x7000, 1, 1<<63|large)     // in the last level the bit means PAT
		v := f.view(nil)
		for _, tt := range []struct{ virt, phys uint64 }{
			{0xffff888000000000, 0x100000000},
			{0xffff88803fffffff, 0x13fffffff},
			{0xffffc900002aacde, 0x400aacde},
			{0xffffc90000400fff, 0x7fff},
			{topVirt + 8, topPhys + 8},
		} {
			if got, err := v.Phys(tt.virt); err != nil || got != tt.phys {
				t.Errorf("%d levels: %#x is at %#x, %v; want %#x", levels, tt.virt, got, err, tt.phys)
			}
		}
		unmapped := []uint64{
			0, 0x1000, 0xffff888040000000, 0xffffc90000000000, 0xffffc90000401000, // missing in each of the levels
			0x8000000000000000, 0xffff888000000000 ^ 1<<63, // not canonical
		}
		for _, virt := range unmapped {
			if got, err := v.Phys(virt); !errors.Is(err, ErrUnmapped) {
				t.Errorf("%d levels: %#x is at %#x, %v", levels, virt, got, err)
			}
		}
	}
}

func TestWalkOfDamagedTables(t *testing.T) {
	f := newFake(t, 4)
	f.words(0xffffc90000000000, 1)
	table := f.pages[topPhys][0xffffc90000000000>>39%512*8:]
	binary.LittleEndian.PutUint64(table, 0xdead000|present) // no memory there
	if _, err := f.view(nil).Phys(0xffffc90000000000); err == nil {
		t.Error("an address was found through a table that does not exist")
	}
	f.mapPage(topVirt, 0x7000, 1, 0)
	if _, err := f.view(nil).Phys(topVirt); err == nil {
		t.Error("tables that map themselves elsewhere were believed")
	}
	*f.pages[topPhys] = page{}
	if _, err := f.view(nil).Phys(topVirt); err == nil {
		t.Error("an empty page was taken for the top table")
	}
}

func TestRead(t *testing.T) {
	f := newFake(t, 4)
	want := bytes.Repeat([]byte("vdevil"), 2000) // in four pages, which are not neighbours in physical memory
	const at = 0xffffc90000000ff0
	f.put(at, want)
	v := f.view(nil)
	got := make([]byte, len(want))
	if err := v.Read(at, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("memory reads as %.20q..., %v", got, err)
	}
	reads := f.reads
	if err := v.Read(at+100, got[:5000]); err != nil || f.reads != reads {
		t.Errorf("%d pages were read twice, %v", f.reads-reads, err)
	}
	if err := v.Read(at+uint64(len(want)), make([]byte, pageSize)); !errors.Is(err, ErrUnmapped) {
		t.Errorf("what lies behind could be read: %v", err)
	}
}
