package qemu

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
)

func testSpec() *spec {
	return &spec{
		Config: machine.Config{
			Kernel: "k", Initrd: "i", Cmdline: "a b", CPUs: 2, Memory: 3 << 30, Ports: []int{22, 80},
			Disks: []machine.DiskConfig{{Name: "v0", Size: 1 << 20}},
		},
		files: files{dir: "/d,1", run: "/r"}, id: "0a", accel: machine.TCG, ram: "/cp/ram",
	}
}

func TestArgs(t *testing.T) {
	tests := []struct {
		name   string
		change func(*spec)
		want   []string // option and value
	}{
		{"memory of a fork is private", func(*spec) {}, []string{"-object", "memory-backend-file,id=ram,size=3072M,mem-path=/cp/ram,share=off"}},
		{"memory of a template is shared", func(s *spec) { s.shared = true }, []string{"-object", "memory-backend-file,id=ram,size=3072M,mem-path=/cp/ram,share=on"}},
		{"a fork waits", func(s *spec) { s.incoming = true }, []string{"-incoming", "defer"}},
		{"the guest sees the name of a disk", func(*spec) {}, []string{"-device", "virtio-blk-pci,drive=disk-v0,serial=v0"}},
		{"a comma in a path is doubled", func(*spec) {}, []string{"-drive", "file=/d,,1/disk-v0.raw,if=none,id=disk-v0,format=raw"}},
		{"only loopback is forwarded", func(*spec) {}, []string{"-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:0-:80"}},
		{"a KVM guest sees the host's CPU", func(s *spec) { s.accel = machine.KVM }, []string{"-cpu", "host,migratable=on"}},
		{"the command line is one argument", func(*spec) {}, []string{"-append", "a b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := testSpec()
			tt.change(s)
			args := s.args()
			for i := range args[:len(args)-1] {
				if slices.Equal(args[i:i+2], tt.want) {
					return
				}
			}
			t.Errorf("%q is not in %q", tt.want, args)
		})
	}
	if args := testSpec().args(); slices.Contains(args, "-incoming") || slices.Contains(args, "-S") {
		t.Errorf("a machine to boot waits: %q", args)
	}
}

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
