package qemu

import (
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

func testSpec() *vm.Spec {
	return &vm.Spec{
		Config: machine.Config{
			Kernel: "k", Initrd: "i", Cmdline: "a b", CPUs: 2, Memory: 3 << 30, Ports: []int{22, 80},
			Disks: []machine.DiskConfig{{Name: "v0", Size: 1 << 20}},
		},
		Files: vm.Files{Dir: "/d,1", Run: "/r"}, ID: "0a", Accel: machine.TCG, RAM: "/cp/ram",
	}
}

func counted(s *vm.Spec) { s.Clock, s.Base, s.RootSize = machine.Instructions, "/cp/root.raw", 2<<30 }

func TestArgs(t *testing.T) {
	tests := []struct {
		name   string
		change func(*vm.Spec)
		want   []string // option and value
	}{
		{"memory of a fork is private", func(*vm.Spec) {}, []string{"-object", "memory-backend-file,id=ram,size=3072M,mem-path=/cp/ram,share=off"}},
		{"memory of a template is shared", func(s *vm.Spec) { s.Shared = true }, []string{"-object", "memory-backend-file,id=ram,size=3072M,mem-path=/cp/ram,share=on"}},
		{"a fork waits", func(s *vm.Spec) { s.Incoming = true }, []string{"-incoming", "defer"}},
		{"the guest sees the name of a disk", func(*vm.Spec) {}, []string{"-device", `{"bus":"port-0","drive":"disk-v0","driver":"virtio-blk-pci","id":"disk-v0","serial":"v0"}`}},
		{"a disk has a slot of its own", func(*vm.Spec) {}, []string{"-device", "pcie-root-port,id=port-0,bus=pcie.0,chassis=1,addr=0x10.0,multifunction=on"}},
		{"a path has a comma", func(*vm.Spec) {}, []string{"-blockdev", `{"driver":"raw","file":{"driver":"file","filename":"/d,1/disk-v0.raw"},"node-name":"disk-v0"}`}},
		{"a path of a server has one", func(s *vm.Spec) { s.NBD = map[string]machine.NBD{"v0": {Socket: "/n,1"}} }, []string{"-blockdev", `{"driver":"raw","file":{"driver":"nbd","export":"v0","reconnect-delay":5,"server":{"path":"/n,1","type":"unix"}},"node-name":"disk-v0"}`}},
		{"only loopback is forwarded", func(*vm.Spec) {}, []string{"-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:0-:80"}},
		{"an emulated guest has a CPU that is not slow to emulate", func(*vm.Spec) {}, []string{"-cpu", "max,erms=off,fsrm=off"}},
		{"a KVM guest sees the host's CPU", func(s *vm.Spec) { s.Accel = machine.KVM }, []string{"-cpu", "host,migratable=on"}},
		{"a guest that counts its time", counted, []string{"-icount", "shift=1,sleep=off"}},
		{"its wall clock", counted, []string{"-rtc", "clock=vm,base=2025-05-07T00:00:00"}},
		{"its disks are memory", counted, []string{"-device", "nvdimm,memdev=disk-v0"}},
		{"that is written through", counted, []string{"-object", "memory-backend-file,id=disk-v0,size=1048576,mem-path=/d,,1/disk-v0.raw,share=on"}},
		{"and has addresses", counted, []string{"-m", "3072M,slots=2,maxmem=7169M"}},
		{"so is its root disk, that of a fork private", counted, []string{"-object", "memory-backend-file,id=root,size=2147483648,mem-path=/cp/root.raw,share=off"}},
		{"nothing is drawn by the host", counted, []string{"-seed", "1"}},
		{"the command line is one argument", func(*vm.Spec) {}, []string{"-append", "a b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := testSpec()
			tt.change(s)
			args := args(s)
			for i := range args[:len(args)-1] {
				if slices.Equal(args[i:i+2], tt.want) {
					return
				}
			}
			t.Errorf("%q is not in %q", tt.want, args)
		})
	}
	own := testSpec()
	counted(own)
	if args := args(own); slices.Contains(args, "virtio-rng-pci") || slices.Contains(args, "virtio-blk-pci,drive=root") {
		t.Errorf("the host answers a guest that counts its time when it likes: %q", args)
	}
	if args := args(testSpec()); slices.Contains(args, "-incoming") || slices.Contains(args, "-S") {
		t.Errorf("a machine to boot waits: %q", args)
	}
}
