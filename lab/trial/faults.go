package trial

import (
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/scenarios"
)

// faultOf makes the fault that a scenario describes.
func faultOf(f *scenarios.Fault) fault.Fault {
	if f.BlkptrDVAFlip != nil {
		return memory.DVAFlip{At: f.BlkptrDVAFlip.At, After: f.BlkptrDVAFlip.After}
	}
	return vdev.Bitrot{Disks: f.VdevBitrot.Disks, Extents: f.VdevBitrot.Extents, Bytes: f.VdevBitrot.Bytes}
}
