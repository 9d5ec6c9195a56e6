package core

import (
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// Bits of an object type that is not in the table (DMU_OT_NEWTYPE and DMU_OT_METADATA in include/sys/dmu.h, on-disk
// format).
const (
	newType      = 0x80
	metadataType = 0x40
)

// Special block ids and objects (include/sys/dmu.h), as signed numbers: that is how paths write them.
const (
	bonusBlkid  = -1
	spillBlkid  = -2
	metaDnode   = 0
	projectUsed = -3
)

// dmuTypes are the types of objects (dmu_object_type_t).
type dmuTypes struct {
	names    map[uint64]string
	metadata map[uint64]bool
}

// dmuTypes reads the table of types, once.
func (z *ZFS) dmuTypes() (*dmuTypes, error) {
	if z.dmu != nil {
		return z.dmu, nil
	}
	enum, err := z.typed("dmu_object_type_t")
	if err != nil {
		return nil, err
	}
	d := &dmuTypes{names: map[uint64]string{}, metadata: map[uint64]bool{}}
	for name, value := range enum.Enumerators() {
		if _, ok := d.names[uint64(value)]; !ok {
			d.names[uint64(value)] = name
		}
	}
	table := z.view.Var("dmu_ot")
	if err := table.Err(); err != nil {
		return nil, err
	}
	for i := range table.Type().Base().Len() {
		is, err := table.Index(i).Field("ot_metadata").Uint()
		if err != nil {
			return nil, err
		}
		d.metadata[uint64(i)] = is != 0
	}
	z.dmu = d
	return d, nil
}

// name is the enumerator, "DMU_OT_SPACE_MAP".
func (d *dmuTypes) name(t uint64) string {
	if name, ok := d.names[t]; ok {
		return name
	}
	return fmt.Sprint(t)
}

// isMetadata is DMU_OT_IS_METADATA.
func (d *dmuTypes) isMetadata(t uint64) bool {
	if t&newType != 0 {
		return t&metadataType != 0
	}
	return d.metadata[t]
}

// blockOf is the type of what the blocks of an object are arrays of, where they are of one type.
func blockOf(dmuType string) string {
	switch dmuType {
	case "DMU_OT_DNODE":
		return "dnode_phys_t"
	case "DMU_OT_BPOBJ":
		return "blkptr_t"
	case "DMU_OT_SPACE_MAP", "DMU_OT_BPOBJ_SUBOBJ", "DMU_OT_OBJECT_ARRAY":
		return "uint64_t"
	case "DMU_OT_OBJSET":
		return "objset_phys_t"
	}
	return "uint8_t"
}

// bonusOf is the type of a bonus buffer.
func bonusOf(dmuType string) string {
	switch dmuType {
	case "DMU_OT_SPACE_MAP_HEADER":
		return "space_map_phys_t"
	case "DMU_OT_BPOBJ_HDR":
		return "bpobj_phys_t"
	case "DMU_OT_DSL_DIR":
		return "dsl_dir_phys_t"
	case "DMU_OT_DSL_DATASET":
		return "dsl_dataset_phys_t"
	case "DMU_OT_DEADLIST_HDR":
		return "dsl_deadlist_phys_t"
	}
	return ""
}

// dataType is the type of size bytes of data at a level of an object.
func (z *ZFS) dataType(dn *dnode, level uint64, blkid int64, size uint64) (kernel.Type, error) {
	dmu, err := z.dmuTypes()
	if err != nil {
		return kernel.Type{}, err
	}
	name := "uint8_t"
	switch {
	case level > 0:
		name = "blkptr_t"
	case dn == nil || blkid == spillBlkid:
	case blkid == bonusBlkid:
		if bonus := bonusOf(dmu.name(dn.bonusType)); bonus != "" && z.has(bonus) && z.named[bonus].Size() <= int(size) {
			return z.named[bonus], nil
		}
	default:
		name = blockOf(dmu.name(dn.dmuType))
	}
	elem, err := z.typed(name)
	if err != nil {
		return kernel.Type{}, err
	}
	if elem.Size() == 0 || size%uint64(elem.Size()) != 0 {
		if elem, err = z.typed("uint8_t"); err != nil {
			return kernel.Type{}, err
		}
	}
	return z.types.ArrayOf(elem, int(size)/elem.Size()), nil
}
