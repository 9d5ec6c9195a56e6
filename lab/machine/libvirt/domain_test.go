package libvirt

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	xmldef "libvirt.org/go/libvirtxml"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

func testSpec() *vm.Spec {
	return &vm.Spec{
		Config: machine.Config{
			Kernel: "/k", Initrd: "/i", Root: "/r", Cmdline: "a <b>", CPUs: 2, Memory: 3 << 30, Ports: []int{22, 80},
			Disks: []machine.DiskConfig{{Name: "v0", Size: 1 << 20}},
		},
		Files: vm.Files{Dir: "/d,1", Run: "/run"}, ID: "0a", Accel: machine.TCG, RAM: "/cp/ram",
	}
}

// TestDomain reads what libvirt would be told.
func TestDomain(t *testing.T) {
	l := &launcher{caps: capabilities{machine: "pc-q35-7.2", models: []string{"none", "dac", "apparmor"}}, user: vm.Owner{UID: 7, GID: 8}}
	tests := []struct {
		name   string
		change func(*vm.Spec)
		holds  func(*xmldef.Domain) bool
	}{
		{"the type of the machine has its version", func(*vm.Spec) {}, func(d *xmldef.Domain) bool {
			return d.OS.Type.Machine == "pc-q35-7.2" && d.Type == "qemu" && d.CPU.Mode == "maximum" &&
				len(d.CPU.Features) == 2 && d.CPU.Features[0] == xmldef.DomainCPUFeature{Policy: "disable", Name: "erms"}
		}},
		{"a KVM guest sees the host's CPU", func(s *vm.Spec) { s.Accel = machine.KVM }, func(d *xmldef.Domain) bool {
			return d.Type == "kvm" && d.CPU.Mode == "host-passthrough"
		}},
		{"memory of a fork is private", func(*vm.Spec) {}, func(d *xmldef.Domain) bool {
			return slices.Contains(words(d), "memory-backend-file,id=ram,size=3072M,mem-path=/cp/ram,share=off")
		}},
		{"a fork waits", func(s *vm.Spec) { s.Incoming = true }, func(d *xmldef.Domain) bool {
			return slices.Contains(words(d), "-incoming")
		}},
		{"a machine to boot does not", func(*vm.Spec) {}, func(d *xmldef.Domain) bool {
			return !slices.Contains(words(d), "-incoming")
		}},
		{"the command line is what it was", func(*vm.Spec) {}, func(d *xmldef.Domain) bool { return d.OS.Cmdline == "a <b>" }},
		{"the guest sees the name of a disk", func(*vm.Spec) {}, func(d *xmldef.Domain) bool {
			return d.Devices.Disks[1].Serial == "v0" && d.Devices.Disks[1].Source.File.File == "/d,1/disk-v0.raw"
		}},
		{"the chain of the root disk is spelled out", func(s *vm.Spec) { s.Base = "/cp/root.qcow2" }, func(d *xmldef.Domain) bool {
			first := d.Devices.Disks[0].BackingStore
			return first.Source.File.File == "/cp/root.qcow2" && first.Format.Type == "qcow2" && first.BackingStore.Source.File.File == "/r" &&
				first.BackingStore.BackingStore.Format == nil
		}},
		{"QEMU runs as its user, and libvirt leaves files alone", func(*vm.Spec) {}, func(d *xmldef.Domain) bool {
			return slices.Contains(d.SecLabel, xmldef.DomainSecLabel{Type: "static", Model: "dac", Relabel: "no", Label: "+7:+8"}) &&
				slices.Contains(d.SecLabel, xmldef.DomainSecLabel{Type: "none", Model: "apparmor"}) && len(d.SecLabel) == 2
		}},
		{"a guest that resets itself has ended", func(*vm.Spec) {}, func(d *xmldef.Domain) bool { return d.OnReboot == "destroy" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := testSpec()
			tt.change(s)
			text, err := l.domain(s, "u", files{kernel: s.Kernel, initrd: s.Initrd, root: s.Root, base: s.Base, ram: s.RAM})
			if err != nil {
				t.Fatal(err)
			}
			var d xmldef.Domain
			if err := d.Unmarshal(text); err != nil {
				t.Fatal(err)
			}
			if !tt.holds(&d) {
				t.Error(text)
			}
		})
	}
}

func words(d *xmldef.Domain) (values []string) {
	for _, a := range d.QEMUCommandline.Args {
		values = append(values, a.Value)
	}
	return values
}

// TestOwner checks that a domain can be traced to this process.
func TestOwner(t *testing.T) {
	o, err := self("0a")
	if err != nil {
		t.Fatal(err)
	}
	text, err := xml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), namespace) {
		t.Errorf("%s is in no namespace of ours", text)
	}
	var back owner
	if err := xml.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	p, err := host.ParseProcess(back.Process)
	if err != nil || !p.Alive() || back.Machine != "0a" || back.Host == "" {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestTarget(t *testing.T) {
	for n, want := range map[int]string{0: "vda", 25: "vdz", 26: "vdaa", 51: "vdaz", 52: "vdba"} {
		if got := target(n); got != want {
			t.Errorf("disk %d is %s, want %s", n, got, want)
		}
	}
}
