package vm

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func stream(state string) []byte {
	b := []byte("...\x04\x00\x00\x00\x02\x0bglobalstate")
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 1) // instance and version
	b = binary.BigEndian.AppendUint32(b, uint32(len(state)+1))
	field := make([]byte, globalStateSize)
	copy(field, state)
	return append(append(b, field...), "\x7e tail"...)
}

func TestPausedState(t *testing.T) {
	b := stream("debug")
	if err := pausedState(b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, stream("paused")) {
		t.Errorf("got %q", b)
	}
	for name, bad := range map[string][]byte{
		"another state": stream("running"), "no section": []byte("nothing"), "cut off": stream("debug")[:40],
	} {
		before := slices.Clone(bad)
		if err := pausedState(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
		if !bytes.Equal(bad, before) {
			t.Errorf("%s: the stream was changed", name)
		}
	}
}

func TestUnit(t *testing.T) {
	for addr, want := range map[uint64][2]uint64{
		0x1234: {0x1000, pageSize}, 0xa0001: {0xa0000, pageSize}, 0x200000: {0x200000, chunk}, 0x3fffff: {0x200000, chunk},
	} {
		if base, size := unit(addr); base != want[0] || size != want[1] {
			t.Errorf("unit(%#x) = %#x, %#x; want %#x", addr, base, size, want)
		}
	}
}

func TestLastNumber(t *testing.T) {
	if n, err := lastNumber("Host virtual address for 0x1000 (ram) is 0x7f12c0001000\r\n", " is "); err != nil || n != 0x7f12c0001000 {
		t.Errorf("got %#x, %v", n, err)
	}
	if _, err := lastNumber("No memory is mapped at address 0xffff\r\n", "gpa: "); err == nil || !strings.Contains(err.Error(), "No memory") {
		t.Errorf("the monitor's own words are lost: %v", err)
	}
}
