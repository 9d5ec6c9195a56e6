package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// args is the command line, without the name of the program.
func args(s *vm.Spec) []string {
	cpu := "max," + strings.Join(vm.Slow, "=off,") + "=off"
	if s.Accel == machine.KVM {
		cpu = "host,migratable=on"
	}
	board, memory := fmt.Sprintf("q35,accel=%s,memory-backend=ram,vmport=off", s.Accel), fmt.Sprintf("%dM", s.Memory>>20)
	counted := s.Clock == machine.Instructions
	if counted {
		board += ",nvdimm=on"
		memory += fmt.Sprintf(",slots=%d,maxmem=%dM", len(s.Disks)+1, s.Memory>>20+room(s))
	}
	a := []string{
		"-name", s.Name(), "-nodefaults", "-no-user-config", "-display", "none",
		// Guests are corrupted on purpose, and one may come out of QEMU: it starts no program then, and becomes nobody else.
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", board, "-cpu", cpu, "-smp", strconv.Itoa(s.CPUs), "-m", memory,
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
		"-device", vm.PvpanicDevice,
	}
	if !counted {
		a = append(a, "-device", "virtio-rng-pci",
			"-blockdev", object(blockNode("root", "qcow2", file(s.Overlay()))), "-device", "virtio-blk-pci,drive=root")
	}
	for i, d := range s.Disks {
		if counted {
			a = append(a, "-object", s.DiskBackend(d), "-device", "nvdimm,memdev="+diskID(d.Name))
			continue
		}
		from := file(s.Disk(d.Name))
		if nbd, ok := s.NBD[d.Name]; ok {
			from = export(d.Name, nbd.Socket)
		}
		a = append(a, "-blockdev", object(blockNode(diskID(d.Name), "raw", from)),
			"-device", rootPort(i), "-device", object(disk(i, d.Name)))
	}
	if counted {
		a = append(a,
			// QEMU tells the guest's kernel of the last one first, which is pmem0 then.
			"-object", s.RootBackend(), "-device", "nvdimm,memdev=root",
			"-icount", "shift=1,sleep=off", "-rtc", "clock=vm,base="+machine.ClockBase.Format("2006-01-02T15:04:05"),
			// Its random numbers are those of the CPU, always the same: virtio-rng answers when the host likes.
			"-seed", "1")
	}
	if s.Incoming {
		a = append(a, "-S", "-incoming", "defer")
	}
	return a
}

// room is what disks need of a guest's addresses as memory, in MiB: each begins at a multiple of 1 GiB.
func room(s *vm.Spec) int64 {
	mib := s.RootSize>>20 + 1<<10
	for _, d := range s.Disks {
		mib += d.Size>>20 + 1<<10
	}
	return mib
}

// properties are an object of QEMU's, as its monitor and its command line take it.
type properties map[string]any

func object(p properties) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has strings and numbers only
	}
	return string(text)
}

// blockNode is what a disk device reads and writes.
func blockNode(name, format string, from properties) properties {
	return properties{"node-name": name, "driver": format, "file": from}
}

func file(path string) properties { return properties{"driver": "file", "filename": path} }

// export is a disk that an NBD server has.
func export(name, socket string) properties {
	return properties{
		"driver": "nbd", "server": properties{"type": "unix", "path": socket}, "export": name,
		"reconnect-delay": machine.ReconnectDelay,
	}
}

// rootPort is the slot of a data disk: pcie.0 itself has no hot-plug. Eight are functions of one device, above those that
// QEMU numbers by itself.
func rootPort(number int) string {
	port := fmt.Sprintf("pcie-root-port,id=port-%d,bus=pcie.0,chassis=%d,addr=%#x.%d", number, number+1, 0x10+number/8, number%8)
	if number%8 == 0 {
		port += ",multifunction=on"
	}
	return port
}

// diskID names a data disk for QEMU, both the device and what is behind it.
func diskID(name string) string { return "disk-" + name }

// disk is the device of a data disk; the guest sees the name as its serial number.
func disk(number int, name string) properties {
	return properties{
		"driver": "virtio-blk-pci", "id": diskID(name), "bus": fmt.Sprintf("port-%d", number), "drive": diskID(name), "serial": name,
	}
}
