package libvirt_test

import (
	"testing"

	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/machine/libvirt/libvirttest"
	"github.com/vdevil/vdevil/lab/machine/machinetest"
)

func TestConformance(t *testing.T) {
	d := libvirttest.Start(t)
	machinetest.Run(t, machinetest.Bench{Lab: labtest.OpenDriver(t, libvirt.Name, d.URI), Restart: d.Restart})
}
