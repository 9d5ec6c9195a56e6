package kernel_test

import (
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/labtest"
)

// TestTypes compares what was read from the modules of the default OpenZFS with what its headers say.
func TestTypes(t *testing.T) {
	img, err := labtest.Open(t).Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	types := load(t, img)
	for _, tt := range []struct {
		name string
		kind kernel.Kind
		base kernel.Kind
		size int
	}{
		{"blkptr_t", kernel.Typedef, kernel.Struct, 128},
		{"struct blkptr", kernel.Struct, kernel.Struct, 128},
		{"dnode_phys_t", kernel.Typedef, kernel.Struct, 512},
		{"zio_eck_t", kernel.Typedef, kernel.Struct, 40},
		{"space_map_phys_t", kernel.Typedef, kernel.Struct, 320},
		{"uint64_t", kernel.Typedef, kernel.Int, 8},
		{"enum zio_type", kernel.Enum, kernel.Enum, 4},
		{"avl_tree_t", kernel.Typedef, kernel.Struct, 32},
		{"struct page", kernel.Struct, kernel.Struct, 64},
	} {
		got := named(t, types, tt.name)
		if got.Kind() != tt.kind || got.Base().Kind() != tt.base || got.Size() != tt.size || got.String() != tt.name {
			t.Errorf("%s is %s of kind %d and %d, %d bytes", tt.name, got, got.Kind(), got.Base().Kind(), got.Size())
		}
	}
	for _, tt := range []struct {
		name string
		bit  int
		want string
	}{
		{"blkptr_t", 64 + 9, "blk_dva[0].dva_word[1]"},
		{"blkptr_t", 8 * 48, "blk_prop"},
		{"blkptr_t", 8*96 + 64, "blk_cksum.zc_word[1]"},
		{"dnode_phys_t", 8 * 8, "dn_datablkszsec"},
		{"dnode_phys_t", 8*64 + 64, "dn_blkptr[0].blk_dva[0].dva_word[1]"},
		{"zfs_range_seg32_t", 32, "rs_end"},
		{"arc_buf_hdr_t", 8, "b_dva.dva_word[0]"},
	} {
		if got := kernel.FieldAt(named(t, types, tt.name), tt.bit); got != tt.want {
			t.Errorf("bit %d of %s is %s, want %s", tt.bit, tt.name, got, tt.want)
		}
	}
	for name, want := range map[string]int64{"DMU_OT_SPACE_MAP": 8, "SM_FREE": 1, "ZIO_TYPE_FREE": 3, "NO_SUCH_ENUMERATOR": -1} {
		if got, ok := types.Const(name); ok != (want >= 0) || ok && got != want {
			t.Errorf("%s is %d, %v, want %d", name, got, ok, want)
		}
	}
}

// TestBitFields looks at flags that are neighbours in include/linux/sched.h.
func TestBitFields(t *testing.T) {
	img, err := labtest.Open(t).Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	task := named(t, load(t, img), "struct task_struct")
	first, ok1 := task.Field("in_execve")
	second, ok2 := task.Field("in_iowait")
	if !ok1 || !ok2 || first.BitSize != 1 || second.BitSize != 1 ||
		8*second.Offset+second.BitOffset != 8*first.Offset+first.BitOffset+1 {
		t.Errorf("in_execve is %+v, in_iowait %+v", first, second)
	}
}

// TestDefinitions sees that what one file only declares is known from another.
func TestDefinitions(t *testing.T) {
	img, err := labtest.Open(t).Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	types := load(t, img)
	dnode, _ := named(t, types, "dnode_t").Field("dn_objset")
	spa, ok := dnode.Type.Elem().Field("os_spa")
	if !ok || spa.Type.Elem().Size() < 4096 || spa.Type.Elem().Declared() {
		t.Errorf("dn_objset->os_spa points to %s of %d bytes", spa.Type.Elem(), spa.Type.Elem().Size())
	}
}

func TestFunctions(t *testing.T) {
	img, err := labtest.Open(t).Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	types := load(t, img)
	for name, want := range map[string]string{
		"zio_free_sync":   "zio_t * (zio_t * pio, spa_t * spa, uint64_t txg, const blkptr_t * bp, zio_flag_t flags)",
		"space_map_write": "void (space_map_t * sm, zfs_range_tree_t * rt, maptype_t maptype, uint64_t vdev_id, dmu_tx_t * tx)",
		"dbuf_dirty":      "dbuf_dirty_record_t * (dmu_buf_impl_t * db, dmu_tx_t * tx)", // in two parts, hot and cold
		"txg_sync_thread": "void (void * arg)",                                          // static
	} {
		f, err := types.Func(name)
		if err != nil {
			t.Error(err)
			continue
		}
		params := make([]string, 0, len(f.Params))
		for _, p := range f.Params {
			params = append(params, p.Type.String()+" "+p.Name)
		}
		if got := f.Result.String() + " (" + strings.Join(params, ", ") + ")"; got != want || f.Module != "zfs" || f.Section != ".text" {
			t.Errorf("%s is %s in %s of %s, want %s", name, got, f.Section, f.Module, want)
		}
	}
}
