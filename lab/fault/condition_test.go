package fault

import (
	"testing"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// CheckConditions compares arguments in registers with values as scenarios write them.
func CheckConditions(t *testing.T, types *kernel.Types) {
	fn, err := types.Func("space_map_write")
	if err != nil {
		t.Fatal(err)
	}
	scope := core.Scope{
		ZFS: core.Open(kernel.New(nil, types, kernel.Layout{}).View(t.Context())),
		// space_map_write(space_map_t *sm, zfs_range_tree_t *rt, maptype_t maptype, uint64_t vdev_id, dmu_tx_t *tx)
		Frame: &kernel.Frame{Func: fn, Registers: machine.Registers{RDX: 1, RCX: 1<<64 - 1, R8: 0xffff888000000000}},
	}
	for _, c := range []struct {
		path, value string
		want        bool
		err         bool
	}{
		{"maptype", "1", true, false},
		{"maptype", "0x1", true, false},
		{"maptype", "SM_FREE", true, false},
		{"maptype", "SM_ALLOC", false, false},
		{"maptype", "true", true, false},
		{"maptype", "SM_NONE_SUCH", false, true},
		{"vdev_id", "18446744073709551615", true, false},
		{"vdev_id", "-1", true, false},
		{"vdev_id", "0xffffffff", false, false},
		{"sm", "NULL", true, false},
		{"tx", "NULL", false, false},
		{"tx", "0xffff888000000000", true, false},
		{"sm.sm_object", "37", false, true},
		{"none", "1", false, true},
	} {
		got, err := Condition{c.path, c.value}.holds(scope)
		if got != c.want || (err != nil) != c.err {
			t.Errorf("%s = %s: %v, %v", c.path, c.value, got, err)
		}
	}
}
