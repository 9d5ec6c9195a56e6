package qemu_test

import (
	"testing"

	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine/machinetest"
)

func TestConformance(t *testing.T) { machinetest.Run(t, machinetest.Bench{Lab: labtest.Open(t)}) }
