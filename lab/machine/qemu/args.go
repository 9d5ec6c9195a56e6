package qemu

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/machine"
)

// files are the host files of one machine. Disks and memory lie in dir, which may have a long name; sockets in run,
// whose name is short because a UNIX socket address holds 107 bytes at most.
type files struct {
	dir, run string
}

func (f files) ram() string             { return filepath.Join(f.dir, "ram") }
func (f files) overlay() string         { return filepath.Join(f.dir, "root.qcow2") }
func (f files) disk(name string) string { return filepath.Join(f.dir, "disk-"+name+".raw") }
func (f files) console() string         { return filepath.Join(f.dir, "console.log") }
func (f files) log() string             { return filepath.Join(f.dir, "qemu.log") }
func (f files) socket(n string) string  { return filepath.Join(f.run, n+".sock") }
func (f files) state() string           { return filepath.Join(f.dir, "state") }
func (f files) manifest() string        { return filepath.Join(f.dir, "checkpoint.json") }

// saved are the files of a machine that a checkpoint consists of, but for the device state.
func (f files) saved(disks []machine.DiskConfig) []string {
	all := make([]string, 0, 3+len(disks))
	all = append(all, f.ram(), f.overlay(), f.console())
	for _, d := range disks {
		all = append(all, f.disk(d.Name))
	}
	return all
}

// spec is what one QEMU process is started with.
type spec struct {
	machine.Config
	files
	id    string
	accel machine.Accel
	// ram is the file behind the guest's memory. A shared one is written through, so that a checkpoint finds the memory
	// there; a fork maps the checkpoint's file privately.
	ram    string
	shared bool
	// incoming processes wait for a migration stream instead of booting.
	incoming bool
}

// args is the command line, without the name of the program.
func (s *spec) args() []string {
	cpu := "max"
	if s.accel == machine.KVM {
		cpu = "host,migratable=on"
	}
	a := []string{
		"-name", "vdevil-" + s.id, "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", fmt.Sprintf("q35,accel=%s,memory-backend=ram,vmport=off", s.accel),
		"-cpu", cpu, "-smp", strconv.Itoa(s.CPUs), "-m", fmt.Sprintf("%dM", s.Memory>>20),
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=%s,share=%s",
			s.Memory>>20, escape(s.ram), onOff(s.shared)),
		"-kernel", s.Kernel, "-initrd", s.Initrd, "-append", s.Cmdline,
		// A guest that resets itself has come to its end: a trial looks at one life only.
		"-no-reboot",
		// With wait=off a client that comes early can hang QEMU 7.2 for ever: its main loop waits in accept4 for the
		// connection that the monitor's thread has taken already.
		"-qmp", "unix:" + escape(s.socket("qmp")) + ",server=on,wait=on",
		// The console is a pipe and not a file: the lab sees a line as soon as it is printed.
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-netdev", s.netdev(), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci", "-device", "pvpanic-pci",
	}
	a = append(a, drive("root", "qcow2", s.overlay(), "")...)
	for _, d := range s.Disks {
		a = append(a, drive("disk-"+d.Name, "raw", s.disk(d.Name), d.Name)...)
	}
	if s.incoming {
		a = append(a, "-S", "-incoming", "defer")
	}
	return a
}

// netdev lets the host reach the guest's ports and the guest reach nothing. Port 0: the kernel chooses, QEMU tells.
func (s *spec) netdev() string {
	n := "user,id=net,restrict=on"
	for _, p := range s.Ports {
		n += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", p)
	}
	return n
}

func drive(id, format, path, serial string) []string {
	dev := "virtio-blk-pci,drive=" + id
	if serial != "" {
		dev += ",serial=" + serial
	}
	return []string{"-drive", fmt.Sprintf("file=%s,if=none,id=%s,format=%s", escape(path), id, format), "-device", dev}
}

// escape doubles commas, as QEMU's option syntax wants them in file names.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
