package bench

import (
	"reflect"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/cpu"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/fault/vdev"
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
	if _, err := faultOf(&scenarios.Fault{Register: &scenarios.RegisterFault{Trigger: at("at noon")}}, nil); err == nil {
		t.Error("no trigger is called at noon")
	}
}
