package vm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestReadCode expects the addresses of a trace, however its lines come in, and what is no line of it to be left out.
func TestReadCode(t *testing.T) {
	const trace = "translate_block tb:0x7fde18000040, pc:0xffffffff81c00eb0, tb_code:0x7fde18000100\n" +
		"qemu-system-x86_64: warning: pc:0x1\n\n" +
		"translate_block tb:0x7fde18000180, pc:0xffffffffc0b2e010, tb_code:0x7fde18000240\n" +
		"translate_block tb:0x7fde18000180, pc:0xffffffffc0"
	long := strings.Repeat("x", lines+1) + "\ntranslate_block tb:0x1, pc:0x7, tb_code:0x2\n"
	want := []uint64{0xffffffff81c00eb0, 0xffffffffc0b2e010}
	var got []uint64
	see := func(addr uint64) { got = append(got, addr) }
	if err := readCode(strings.NewReader(trace), see); err != nil || !slices.Equal(got, want) {
		t.Errorf("%#x, %v", got, err)
	}
	got = nil
	if err := readCode(iotest.OneByteReader(strings.NewReader(trace)), see); err != nil || !slices.Equal(got, want) {
		t.Errorf("byte by byte: %#x, %v", got, err)
	}
	got = nil
	if err := readCode(strings.NewReader(long), see); err != nil || !slices.Equal(got, []uint64{7}) {
		t.Errorf("behind a long line: %#x, %v", got, err)
	}
	broken := errors.New("broken")
	if err := readCode(iotest.ErrReader(broken), see); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
