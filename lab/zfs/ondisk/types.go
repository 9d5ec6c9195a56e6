package ondisk

import "fmt"

// DMU object types (dmu_object_type_t in include/sys/dmu.h).
const (
	TypeNone       uint8 = 0
	TypeBPObj      uint8 = 5
	TypeSpaceMap   uint8 = 8
	TypeIntentLog  uint8 = 9
	TypeDNode      uint8 = 10
	TypeObjSet     uint8 = 11
	TypeDSLDir     uint8 = 12
	TypeDSLDataset uint8 = 16
	TypeZNode      uint8 = 17
	TypePlainFile  uint8 = 19
	TypeDirectory  uint8 = 20
	TypeZVol       uint8 = 23
	TypeSA         uint8 = 44
)

const types = 54 // DMU_OT_NUMTYPES

// Types made later say in bits what the old ones say in a table (DMU_OT in include/sys/dmu.h).
const (
	newType     = 0x80
	newMetadata = 0x40
	newByteswap = 0x1f
	byteswapZAP = 4
	newTypes    = 10 // DMU_BSWAP_NUMFUNCS
)

// TypeName is what zdb calls a DMU object type.
func TypeName(t uint8) string {
	if !validType(t) {
		return fmt.Sprintf("unknown type %d", t)
	}
	if t&newType != 0 {
		return newNames()[t&newByteswap]
	}
	return typeNames()[t]
}

// validType says that there is such a type (DMU_OT_IS_VALID in include/sys/dmu.h).
func validType(t uint8) bool {
	if t&newType != 0 {
		return t&newByteswap < newTypes
	}
	return t < types
}

// IsMetadata says that blocks of a type are metadata at all levels (ot_metadata of the table dmu_ot in
// module/zfs/dmu.c).
func IsMetadata(t uint8) bool {
	if t&newType != 0 {
		return t&newMetadata != 0
	}
	switch t {
	case 19, 23, 25, 26, 49:
		return false
	}
	return true
}

// IsZAP says that objects of a type hold a ZAP, and nothing else.
func IsZAP(t uint8) bool {
	if t&newType != 0 {
		return t&newByteswap == byteswapZAP
	}
	switch t {
	case 1, 13, 14, 15, 20, 21, 22, 24, 27, 28, 31, 32, 37, 38, 39, 40, 41, 42, 43, 45, 46, 47, 48, 50, 52:
		return true
	}
	return false
}

// newNames are the functions that swap bytes of new types (enum dmu_object_byteswap in include/sys/dmu.h).
func newNames() [newTypes]string {
	return [...]string{"uint8", "uint16", "uint32", "uint64", "zap", "dnode", "objset", "znode", "oldacl", "acl"}
}

// typeNames are the descriptions in the table dmu_ot of module/zfs/dmu.c.
func typeNames() [types]string {
	return [...]string{
		"unallocated", "object directory", "object array", "packed nvlist", "packed nvlist size", "bpobj",
		"bpobj header", "SPA space map header", "SPA space map", "ZIL intent log", "DMU dnode", "DMU objset",
		"DSL directory", "DSL directory child map", "DSL dataset snap map", "DSL props", "DSL dataset",
		"ZFS znode", "ZFS V0 ACL", "ZFS plain file", "ZFS directory", "ZFS master node", "ZFS delete queue",
		"zvol object", "zvol prop", "other uint8[]", "other uint64[]", "other ZAP", "persistent error log",
		"SPA history", "SPA history offsets", "Pool properties", "DSL permissions", "ZFS ACL", "ZFS SYSACL",
		"FUID table", "FUID table size", "DSL dataset next clones", "scan work queue",
		"ZFS user/group/project used", "ZFS user/group/project quota", "snapshot refcount tags",
		"DDT ZAP algorithm", "DDT statistics", "System attributes", "SA master node", "SA attr registration",
		"SA attr layouts", "scan translations", "deduplicated block", "DSL deadlist map", "DSL deadlist map hdr",
		"DSL dir clones", "bpobj subobj",
	}
}
