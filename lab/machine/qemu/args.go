package qemu

import (
	"fmt"
	"strconv"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// args is the command line, without the name of the program.
func args(s *vm.Spec) []string {
	cpu := "max"
	if s.Accel == machine.KVM {
		cpu = "host,migratable=on"
	}
	a := []string{
		"-name", s.Name(), "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", fmt.Sprintf("q35,accel=%s,memory-backend=ram,vmport=off", s.Accel),
		"-cpu", cpu, "-smp", strconv.Itoa(s.CPUs), "-m", fmt.Sprintf("%dM", s.Memory>>20),
		"-object", s.MemoryBackend(),
		"-kernel", s.Kernel, "-initrd", s.Initrd, "-append", s.Cmdline,
		// A guest that resets itself has come to its end: a trial looks at one life only.
		"-no-reboot",
		// With wait=off a client that comes early can hang QEMU 7.2 for ever: its main loop waits in accept4 for the
		// connection that the monitor's thread has taken already.
		"-qmp", "unix:" + vm.Escape(s.Socket("qmp")) + ",server=on,wait=on",
		// The console is a pipe and not a file: the lab sees a line as soon as it is printed.
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-netdev", s.Netdev(), "-device", vm.NetDevice,
		"-device", "virtio-rng-pci", "-device", vm.PvpanicDevice,
	}
	a = append(a, drive("root", "qcow2", "file="+vm.Escape(s.Overlay()), "")...)
	for _, d := range s.Disks {
		file := "file=" + vm.Escape(s.Disk(d.Name))
		if socket := s.NBD[d.Name]; socket != "" {
			file = fmt.Sprintf("file.driver=nbd,file.server.type=unix,file.server.path=%s,file.export=%s,file.reconnect-delay=%d",
				vm.Escape(socket), d.Name, machine.ReconnectDelay)
		}
		a = append(a, drive("disk-"+d.Name, "raw", file, d.Name)...)
	}
	if s.Incoming {
		a = append(a, "-S", "-incoming", "defer")
	}
	return a
}

func drive(id, format, file, serial string) []string {
	dev := "virtio-blk-pci,drive=" + id
	if serial != "" {
		dev += ",serial=" + serial
	}
	return []string{"-drive", fmt.Sprintf("%s,if=none,id=%s,format=%s", file, id, format), "-device", dev}
}
