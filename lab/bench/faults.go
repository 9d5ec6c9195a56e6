package bench

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/cpu"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/fault/memory/dram"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/scenarios"
)

// faultOf makes the fault that a scenario describes. The rack has the disks of the machine that a fault needs there.
func faultOf(f *scenarios.Fault, rack *vdev.Rack) (fault.Fault, error) {
	switch {
	case f.Device != nil:
		return deviceFault(f.Device, rack), nil
	case f.BlkptrDVAFlip != nil:
		return memory.DVAFlip{At: f.BlkptrDVAFlip.At, After: f.BlkptrDVAFlip.After}, nil
	case f.VdevBitrot != nil:
		return vdev.Bitrot{Disks: f.VdevBitrot.Disks, Extents: f.VdevBitrot.Extents, Bytes: f.VdevBitrot.Bytes}, nil
	case f.Vdev != nil:
		v := f.Vdev
		return vdev.Structure{
			Class: vdev.Class(v.Class), Dataset: v.Dataset, Disk: v.Disk, Offset: v.Offset, Blocks: v.Blocks, All: v.AllCopies,
			Damage: vdev.Damage{Bits: v.Flip, Zero: v.Zero, Garbage: v.Garbage},
		}, nil
	case f.Forge != nil:
		return vdev.Forge{Forgery: f.Forge.Forgery, Dataset: f.Forge.Dataset, File: f.Forge.File}, nil
	case f.Memory != nil:
		return memoryFault(f.Memory)
	case f.Register != nil:
		t, err := Trigger(f.Register.Trigger)
		return cpu.Flip{Trigger: t, Argument: f.Register.Argument, Register: f.Register.Register, Bit: f.Register.Bit}, err
	case f.Hold != nil:
		out := cpu.Hold{For: f.Hold.For, Until: f.Hold.Until, Anywhere: fault.Anywhere{In: f.Hold.In, Arrivals: f.Hold.Arrivals}}
		if f.Hold.In != nil {
			return out, nil
		}
		var err error
		out.Trigger, err = Trigger(f.Hold.Trigger)
		return out, err
	}
	return nil, fmt.Errorf("no fault of kind %q is known", f.Kind())
}

// Trigger makes the trigger that a scenario describes.
func Trigger(s scenarios.Trigger) (fault.Trigger, error) {
	t, err := fault.ParseTrigger(s.At)
	if err != nil {
		return t, err
	}
	t.Hit = s.Hit
	for _, path := range slices.Sorted(maps.Keys(s.When)) {
		t.When = append(t.When, fault.Condition{Path: path, Value: s.When[path]})
	}
	return t, nil
}

// needs are what a driver must be able to do for a fault, beyond what all can.
func needs(f *scenarios.Fault) machine.Ability {
	switch {
	case f == nil:
	case f.Device != nil:
		return machine.ServesDisks
	case f.Hold != nil:
		return machine.HoldsCPUs
	case f.Memory != nil && f.Memory.ECC != "none":
		return machine.ReportsMemory
	}
	return ""
}

func deviceFault(f *scenarios.DeviceFault, rack *vdev.Rack) fault.Fault {
	out := vdev.Requests{
		Rack: rack, Disks: f.Disks, Class: vdev.Class(f.Class), Dataset: f.Dataset,
		Rule: vdev.Rule{Nth: f.Nth, Times: f.Times, Probability: f.Probability},
	}
	for op := nbd.Read; op <= nbd.Zero; op++ {
		if op.String() == f.Op {
			out.Rule.Ops = []nbd.Op{op}
		}
	}
	switch f.Do {
	case "swapped":
		return vdev.Swapped{Rack: rack, Disks: f.Disks}
	case "power-cut":
		return vdev.PowerCut{Rack: rack}
	case "lost-write":
		out.Rule.Action = vdev.Lose{}
	case "torn-write":
		out.Rule.Action = vdev.Tear{Sectors: f.Sectors}
	case "misdirected-write":
		out.Rule.Action = vdev.Misdirect{By: f.By}
	case "reordered-write":
		out.Rule.Action = vdev.Reorder{Writes: f.Writes}
	case "stale-read":
		out.Rule.Action = vdev.Stale{}
	case "lying-flush":
		out.Rule.Action = vdev.Lie{}
	case "latency":
		out.Rule.Action = vdev.Delay{By: f.Late}
	case "error":
		out.Rule.Action = vdev.Fail{Errno: syscall.EIO}
	case "gone":
		out.Rule.Action = vdev.Leave{For: f.For}
	}
	return out
}

func partsFault(f *scenarios.MemoryFault) (fault.Fault, error) {
	out := memory.Parts{
		Preset: f.Part.Preset, Mode: dram.Mode(f.Part.Mode), Lasting: f.Part.Lasting, Every: f.Part.Every, ECC: memory.ECC(f.ECC),
	}
	if f.Rate != nil {
		out.TimeScale = f.Rate.TimeScale
		return out, nil
	}
	var err error
	out.Trigger, err = Trigger(f.Trigger)
	return out, err
}

func memoryFault(f *scenarios.MemoryFault) (fault.Fault, error) {
	if f.Part != nil {
		return partsFault(f)
	}
	out := memory.Fault{Targets: f.Targets, Class: f.Class, ECC: memory.ECC(f.ECC)}
	switch {
	case f.Flip != nil:
		out.Damage = memory.Flip{Bits: f.Flip.Bits, Adjacent: f.Flip.Adjacent, Only: f.Flip.Bit}
	case f.Stuck != nil:
		out.Damage = memory.Stuck{Bit: f.Stuck.Bit, Value: f.Stuck.Value, Every: f.Stuck.Every}
	case f.Write != nil:
		data, err := hex.DecodeString(f.Write.Bytes)
		if err != nil {
			return nil, fmt.Errorf("bytes to write: %w", err)
		}
		out.Damage = memory.Write{Bytes: data}
	case f.Copy != nil:
		out.Damage = memory.Copy{From: f.Copy.From}
	case f.Row != nil:
		out.Damage = memory.Row{Bits: f.Row.Bits}
	}
	if f.Rate != nil {
		out.Rate = &memory.Rate{FITPerMbit: f.Rate.FITPerMbit, TimeScale: f.Rate.TimeScale}
		return out, nil
	}
	var err error
	out.Trigger, err = Trigger(f.Trigger)
	return out, err
}
