package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	xmldef "libvirt.org/go/libvirtxml"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// namespace is that of the lab's element in the metadata of its domains.
const namespace = "https://github.com/vdevil/vdevil"

// owner is that element: whose domain it is. A process is only as good as the computer it is counted on.
type owner struct {
	XMLName xml.Name `xml:"lab"`
	Space   string   `xml:"xmlns,attr"` // libvirt leaves it out when it gives an element back
	Host    string   `xml:"host,attr"`
	Process string   `xml:"process,attr"` // as host.Process writes it
	Machine string   `xml:"machine,attr"`
}

// self is the owner of a machine of this process.
func self(id string) (owner, error) {
	p, err := host.Self()
	if err != nil {
		return owner{}, err
	}
	name, err := os.Hostname()
	return owner{Space: namespace, Host: name, Process: p.String(), Machine: id}, err
}

// files are what QEMU opens besides disks of its own, under names that it may reach.
type files struct {
	kernel, initrd, root, base, ram string

	nbd map[string]string // sockets by the disk's name
}

// domain is what libvirt is told of a machine. What its own words do not reach, the memory in a file of ours and the wait
// for a migration stream, goes through its qemu:commandline.
func (l *launcher) domain(s *vm.Spec, uuid string, f files) (string, error) {
	o, err := self(s.ID)
	if err != nil {
		return "", err
	}
	meta, err := xml.Marshal(o)
	if err != nil {
		return "", err
	}
	typ, cpu := "qemu", &xmldef.DomainCPU{Mode: "maximum"}
	for _, name := range vm.Slow {
		cpu.Features = append(cpu.Features, xmldef.DomainCPUFeature{Policy: "disable", Name: name})
	}
	if s.Accel == machine.KVM {
		typ, cpu = "kvm", &xmldef.DomainCPU{Mode: "host-passthrough", Migratable: "on"}
	}
	spec := *s
	spec.RAM = f.ram
	d := &xmldef.Domain{
		Type: typ, Name: s.Name(), UUID: uuid, Metadata: &xmldef.DomainMetadata{XML: string(meta)},
		Memory: &xmldef.DomainMemory{Value: uint(s.Memory >> 20), Unit: "MiB"},
		VCPU:   &xmldef.DomainVCPU{Value: uint(s.CPUs)},
		OS: &xmldef.DomainOS{
			Type:   &xmldef.DomainOSType{Arch: arch, Machine: l.caps.machine, Type: "hvm"},
			Kernel: f.kernel, Initrd: f.initrd, Cmdline: s.Cmdline,
		},
		Features: &xmldef.DomainFeatureList{
			ACPI: &xmldef.DomainFeature{}, APIC: &xmldef.DomainFeatureAPIC{}, VMPort: &xmldef.DomainFeatureState{State: "off"},
		},
		CPU: cpu,
		// A guest that resets itself has come to its end: a trial looks at one life only.
		OnPoweroff: "destroy", OnReboot: "destroy", OnCrash: "destroy",
		Devices:  devices(s, f),
		SecLabel: l.labels(),
		QEMUCommandline: &xmldef.DomainQEMUCommandline{Args: arguments(
			"-object", spec.MemoryBackend(), "-machine", "memory-backend=ram", "-netdev", s.Netdev(), "-device", vm.NetDevice+slot(0),
			"-device", vm.PvpanicDevice+slot(1),
		)},
		QEMUCapabilities: &xmldef.DomainQEMUCapabilities{Del: []xmldef.DomainQEMUCapabilitiesEntry{{Name: byFeature}}},
	}
	if s.Incoming {
		d.QEMUCommandline.Args = append(d.QEMUCommandline.Args, arguments("-incoming", "defer")...)
	}
	return d.Marshal()
}

// byFeature is what libvirt is told that QEMU cannot do. It would ask for each of 400 features of the CPU in a command of
// its own, which QEMU reads byte by byte, and need twice as long to start a domain. Without it libvirt gets all features in
// one answer, as from older ones (qemuProcessFetchGuestCPU in src/qemu/qemu_process.c).
const byFeature = "cpu-unavailable-features"

// slot is a place for a device of ours. libvirt numbers its own from 1 on, eight root ports in each.
func slot(n int) string { return fmt.Sprintf(",bus=pcie.0,addr=%#x", 0x10+n) }

func arguments(values ...string) []xmldef.DomainQEMUCommandlineArg {
	args := make([]xmldef.DomainQEMUCommandlineArg, len(values))
	for i, v := range values {
		args[i].Value = v
	}
	return args
}

func devices(s *vm.Spec, f files) *xmldef.DomainDeviceList {
	return &xmldef.DomainDeviceList{
		Disks:       disks(s, f),
		Controllers: []xmldef.DomainController{{Type: "usb", Model: "none"}},
		// QEMU connects to us as it starts: not a byte is lost, and the kernel tells which process it is.
		Serials: []xmldef.DomainSerial{{Source: &xmldef.DomainChardevSource{
			UNIX: &xmldef.DomainChardevSourceUNIX{Mode: "connect", Path: s.Socket("console")},
		}}},
		MemBalloon: &xmldef.DomainMemBalloon{Model: "none"},
		RNGs:       []xmldef.DomainRNG{{Model: "virtio", Backend: &xmldef.DomainRNGBackend{BuiltIn: &xmldef.DomainRNGBackendBuiltIn{}}}},
	}
}

func disks(s *vm.Spec, f files) []xmldef.DomainDisk {
	// The chain is spelled out: the names in the files' headers are ones that QEMU need not be able to reach.
	chain := &xmldef.DomainDiskBackingStore{Format: &xmldef.DomainDiskFormat{Type: "raw"}, Source: source(f.root), BackingStore: &xmldef.DomainDiskBackingStore{}}
	if f.base != "" {
		chain = &xmldef.DomainDiskBackingStore{Format: &xmldef.DomainDiskFormat{Type: "qcow2"}, Source: source(f.base), BackingStore: chain}
	}
	all := make([]xmldef.DomainDisk, 1, 1+len(s.Disks))
	all[0] = disk(0, "qcow2", source(s.Overlay()), "")
	all[0].BackingStore = chain
	for i, d := range s.Disks {
		from := source(s.Disk(d.Name))
		if socket := f.nbd[d.Name]; socket != "" {
			from = export(d.Name, socket)
		}
		all = append(all, disk(i+1, "raw", from, d.Name))
	}
	return all
}

func disk(number int, format string, from *xmldef.DomainDiskSource, serial string) xmldef.DomainDisk {
	return xmldef.DomainDisk{
		Device: "disk", Serial: serial, Source: from, BackingStore: &xmldef.DomainDiskBackingStore{},
		Driver: &xmldef.DomainDiskDriver{Name: "qemu", Type: format, Discard: "ignore"},
		Target: &xmldef.DomainDiskTarget{Dev: target(number), Bus: "virtio"},
	}
}

func source(path string) *xmldef.DomainDiskSource {
	return &xmldef.DomainDiskSource{File: &xmldef.DomainDiskSourceFile{File: path}}
}

// export is a disk that an NBD server has.
func export(name, socket string) *xmldef.DomainDiskSource {
	return &xmldef.DomainDiskSource{Network: &xmldef.DomainDiskSourceNetwork{
		Protocol: "nbd", Name: name, Hosts: []xmldef.DomainDiskSourceHost{{Transport: "unix", Socket: socket}},
		Reconnect: &xmldef.DomainDiskSourceNetworkReconnect{Delay: strconv.Itoa(machine.ReconnectDelay)},
	}}
}

// target is the name that libvirt orders disks by: vda ... vdz, vdaa ...
func target(number int) string {
	name := ""
	for n := number + 1; n > 0; n = (n - 1) / 26 {
		name = string(rune('a'+(n-1)%26)) + name
	}
	return "vd" + name
}

// labels say as whom QEMU runs. libvirt is to leave the owners of files alone: some of them are shared by many machines
// and outlive them. AppArmor's profile would be made from the devices above and leave out the memory and the sockets, so
// that one is done without; seccomp's filter stays.
func (l *launcher) labels() []xmldef.DomainSecLabel {
	var labels []xmldef.DomainSecLabel
	for _, model := range l.caps.models {
		switch model {
		case "dac":
			labels = append(labels, xmldef.DomainSecLabel{
				Type: "static", Model: model, Relabel: "no", Label: fmt.Sprintf("+%d:+%d", l.user.UID, l.user.GID),
			})
		case "none":
		default:
			labels = append(labels, xmldef.DomainSecLabel{Type: "none", Model: model})
		}
	}
	return labels
}

// reachable gives the files of a machine names that QEMU can open. The lab's cache is closed to others, so that a QEMU of
// another user gets hard links in the machine's directory, which it may enter.
func (l *launcher) reachable(s *vm.Spec) (files, error) {
	f := files{kernel: s.Kernel, initrd: s.Initrd, root: s.Root, base: s.Base, ram: s.RAM, nbd: map[string]string{}}
	for name, disk := range s.NBD {
		f.nbd[name] = disk.Socket
	}
	if l.user.UID == os.Getuid() {
		return f, nil
	}
	for name, socket := range f.nbd {
		f.nbd[name] = filepath.Join(s.Dir, "nbd-"+name)
		if err := errors.Join(os.Link(socket, f.nbd[name]), os.Chown(socket, l.user.UID, l.user.GID)); err != nil {
			return f, fmt.Errorf("the NBD server of disk %s: %w", name, err)
		}
	}
	for _, path := range []*string{&f.kernel, &f.initrd, &f.root, &f.base, &f.ram} {
		if *path == "" || filepath.Dir(*path) == s.Dir {
			continue
		}
		name := filepath.Join(s.Dir, "shared-"+filepath.Base(*path))
		if err := os.Link(*path, name); err != nil {
			return f, fmt.Errorf("%w; libvirt's QEMU runs as user %d and gets at it through %s alone, which must be on the file "+
				"system of the lab's cache: set XDG_CACHE_HOME to a directory there", err, l.user.UID, filepath.Dir(s.Dir))
		}
		*path = name
	}
	return f, nil
}
