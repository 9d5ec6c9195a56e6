package bench

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/cpu"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/scenarios"
)

// faultOf makes the fault that a scenario describes.
func faultOf(f *scenarios.Fault) (fault.Fault, error) {
	switch {
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

func memoryFault(f *scenarios.MemoryFault) (fault.Fault, error) {
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
