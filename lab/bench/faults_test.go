package bench

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/cpu"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/fault/memory/dram"
	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/nbd"
	"github.com/vdevil/vdevil/scenarios"
)

func TestFaultOf(t *testing.T) {
	bit := 9
	at := func(at string) scenarios.Trigger { return scenarios.Trigger{At: at} }
	for _, c := range []struct {
		in   scenarios.Fault
		want fault.Fault
	}{
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{
				Trigger: scenarios.Trigger{At: "zio_free_sync", Hit: 8, When: map[string]string{"txg": "42", "spa.spa_name": "tank"}},
				Targets: []string{"blkptr"}, Flip: &scenarios.Flip{Bits: 1, Bit: &bit}, ECC: "secded",
			}},
			memory.Fault{
				Trigger: fault.Trigger{At: "zio_free_sync", Hit: 8, When: []fault.Condition{{Path: "spa.spa_name", Value: "tank"}, {Path: "txg", Value: "42"}}},
				Targets: []string{"blkptr"}, Damage: memory.Flip{Bits: 1, Only: &bit}, ECC: memory.SECDED,
			},
		},
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{Trigger: at("now"), Class: "ram", Row: &scenarios.Row{Bits: 8}, ECC: "none"}},
			memory.Fault{Class: "ram", Damage: memory.Row{Bits: 8}, ECC: memory.NoECC},
		},
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{Trigger: at("txg+3"), Targets: []string{"a"}, Write: &scenarios.WriteBytes{Bytes: "00ff"}, ECC: "none"}},
			memory.Fault{Trigger: fault.Trigger{TXG: fault.TXG{Number: 3, Relative: true}}, Targets: []string{"a"}, Damage: memory.Write{Bytes: []byte{0, 255}}, ECC: memory.NoECC},
		},
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{Trigger: at("2s"), Targets: []string{"a"}, Copy: &scenarios.Copy{From: "b"}, ECC: "none"}},
			memory.Fault{Trigger: fault.Trigger{After: 2 * time.Second}, Targets: []string{"a"}, Damage: memory.Copy{From: "b"}, ECC: memory.NoECC},
		},
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{
				Rate: &scenarios.Rate{FITPerMbit: 50000, TimeScale: 10}, Class: "zfs", Stuck: &scenarios.Stuck{Value: 1, Every: time.Second}, ECC: "chipkill",
			}},
			memory.Fault{Rate: &memory.Rate{FITPerMbit: 50000, TimeScale: 10}, Class: "zfs", Damage: memory.Stuck{Value: 1, Every: time.Second}, ECC: memory.Chipkill},
		},
		{
			scenarios.Fault{Vdev: &scenarios.VdevFault{Class: "dnode", Dataset: "tank/d", Blocks: 2, AllCopies: true, Garbage: 64}},
			vdev.Structure{Class: vdev.DNode, Dataset: "tank/d", Blocks: 2, All: true, Damage: vdev.Damage{Garbage: 64}},
		},
		{
			scenarios.Fault{Vdev: &scenarios.VdevFault{Disk: "v1", Offset: 512, Flip: 3}},
			vdev.Structure{Disk: "v1", Offset: 512, Damage: vdev.Damage{Bits: 3}},
		},
		{
			scenarios.Fault{Device: &scenarios.DeviceFault{
				Disks: []string{"v0"}, Do: "torn-write", Op: "write", Class: "file", Dataset: "tank/d", Nth: 2, Times: 1, Probability: 0.5, Sectors: 3,
			}},
			vdev.Requests{
				Disks: []string{"v0"}, Class: vdev.FileData, Dataset: "tank/d",
				Rule: vdev.Rule{Ops: []nbd.Op{nbd.Write}, Nth: 2, Times: 1, Probability: 0.5, Action: vdev.Tear{Sectors: 3}},
			},
		},
		{
			scenarios.Fault{Device: &scenarios.DeviceFault{Disks: []string{"v0", "v1"}, Do: "swapped"}},
			vdev.Swapped{Disks: []string{"v0", "v1"}},
		},
		{scenarios.Fault{Device: &scenarios.DeviceFault{Do: "power-cut", Cache: 1 << 20}}, vdev.PowerCut{}},
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{Trigger: at("2s"), Part: &scenarios.Part{Mode: "row", Lasting: true, Every: time.Second}, ECC: "secded"}},
			memory.Parts{Trigger: fault.Trigger{After: 2 * time.Second}, Mode: dram.Row, Lasting: true, Every: time.Second, ECC: memory.SECDED},
		},
		{
			scenarios.Fault{Memory: &scenarios.MemoryFault{Rate: &scenarios.Rate{TimeScale: 9}, Part: &scenarios.Part{Preset: "jaguar-ddr2"}, ECC: "none"}},
			memory.Parts{TimeScale: 9, Preset: "jaguar-ddr2", ECC: memory.NoECC},
		},
		{
			scenarios.Fault{Register: &scenarios.RegisterFault{Trigger: at("space_map_write"), Argument: "maptype", Bit: 3}},
			cpu.Flip{Trigger: fault.Trigger{At: "space_map_write"}, Argument: "maptype", Bit: 3},
		},
	} {
		got, err := faultOf(&c.in, nil)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %+v, %v; want %+v", got, err, c.want)
		}
		if got.Name() != c.in.Kind() {
			t.Errorf("%s is called %s", c.in.Kind(), got.Name())
		}
	}
	for _, word := range []string{
		"lost-write", "torn-write", "misdirected-write", "reordered-write", "stale-read", "lying-flush", "latency", "error", "gone",
	} {
		f, err := faultOf(&scenarios.Fault{Device: &scenarios.DeviceFault{Do: word}}, nil)
		if r, ok := f.(vdev.Requests); err != nil || !ok || r.Rule.Action.Name() != word {
			t.Errorf("%s is %+v, %v", word, f, err)
		}
	}
	if _, err := faultOf(&scenarios.Fault{Register: &scenarios.RegisterFault{Trigger: at("at noon")}}, nil); err == nil {
		t.Error("no trigger is called at noon")
	}
}

// TestParts expects a file to be able to name all parts and presets that there are.
func TestParts(t *testing.T) {
	parts := make([]string, 0, len(dram.Modes())+len(dram.Presets))
	for _, m := range dram.Modes() {
		parts = append(parts, "mode: "+string(m))
	}
	for name := range dram.Presets {
		parts = append(parts, "preset: "+name)
	}
	for _, part := range parts {
		file := strings.Replace(text, "workload:\n", "fault: {memory: {at: now, part: {"+part+"}}}\nworkload:\n  - arm\n", 1)
		if _, err := scenarios.Parse("scripted.yaml", []byte(file)); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}
