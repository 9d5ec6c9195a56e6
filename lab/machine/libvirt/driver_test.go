package libvirt_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/machine/libvirt/libvirttest"
	"github.com/vdevil/vdevil/lab/machine/machinetest"
)

func TestConformance(t *testing.T) {
	d := libvirttest.Start(t)
	machinetest.Run(t, machinetest.Bench{Lab: labtest.OpenDriver(t, libvirt.Name, d.URI), Restart: d.Restart})
}

// TestQuestions counts what libvirt asks QEMU when it starts a domain: it can go through a CPU feature by feature, which
// takes longer than everything else.
func TestQuestions(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	d := libvirttest.Start(t, `log_filters = "2:qemu.qemu_monitor"`, `log_outputs = "2:file:`+log+`"`)
	l := labtest.OpenDriver(t, libvirt.Name, d.URI)
	_, cp := labtest.Booted(t, l)
	labtest.Fork(t, l, cp, machine.ForkOptions{Paused: true})
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	const few = 10
	if n := bytes.Count(text, []byte(`SEND_MSG: `)); n == 0 {
		t.Error("libvirt logs no command")
	}
	if n := bytes.Count(text, []byte(`msg={"execute":"qom-get"`)); n > few {
		t.Errorf("libvirt asked for %d properties", n)
	}
}
