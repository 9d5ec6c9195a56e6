package core

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/kernel"
)

// ClassInfo describes a class of objects that a fault may strike at random.
type ClassInfo struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// class is a choice among objects, and among their parts.
type class struct {
	ClassInfo
	has   func(Object) bool
	parts func(*ZFS, Object) ([]kernel.Value, error)
}

// structPrefix begins the name of a class by C type.
const structPrefix = "struct:"

func kinds(names ...string) func(Object) bool {
	return func(o Object) bool {
		for _, name := range names {
			if o.Kind == name {
				return true
			}
		}
		return false
	}
}

// ofType are buffers of objects of certain types; such a type may be that of the bonus buffer.
func ofType(types ...string) func(Object) bool {
	return func(o Object) bool {
		for _, t := range types {
			if o.Kind == KindData && o.DMUType == t {
				return true
			}
		}
		return false
	}
}

// contents says whether an object is the data of a file or volume, or a copy of it in the ARC.
func contents(o Object) bool { return (o.Kind == KindData || o.Kind == KindArcData) && !o.Metadata }

func classes() []class {
	info := func(name, doc string) ClassInfo { return ClassInfo{name, doc} }
	return []class{
		{info("zfs", "everything that Objects lists"), func(o Object) bool { return o.Within == "" }, nil},
		{info("arc-data-clean", "contents of files and volumes that are on disk already"), func(o Object) bool { return contents(o) && !o.Dirty }, nil},
		{info("arc-data-dirty", "contents of files and volumes that are still to be written"), func(o Object) bool { return contents(o) && o.Dirty }, nil},
		{info("dbuf-metadata", "buffers of metadata: dnodes, indirect blocks, directories, space maps, everything of the pool itself"),
			func(o Object) bool { return o.Kind == KindData && o.Metadata }, nil},
		{info("dbuf-metadata-dirty", "those of them that are still to be written"), func(o Object) bool { return o.Kind == KindData && o.Metadata && o.Dirty }, nil},
		{info("range-tree", "range trees of metaslabs and the nodes of their B-trees, unused room in them included"), kinds(KindRangeTree, KindBtreeLeaf, KindBtreeCore), nil},
		{info("segment", "segments of range trees, those of size-sorted twins included"), nil, segParts},
		{info("dnode", "dnodes, and those in buffers as they are on disk"), kinds(KindDnode), dnodeParts},
		{info("blkptr", "block pointers in dnodes, indirect blocks, bpobjs and lists of what is to be freed"), nil, blkptrParts},
		{info("spacemap", "buffers of space maps and their headers"), ofType("DMU_OT_SPACE_MAP", "DMU_OT_SPACE_MAP_HEADER"), nil},
		{info("bpobj", "buffers of bpobjs and their headers"), ofType("DMU_OT_BPOBJ", "DMU_OT_BPOBJ_HDR", "DMU_OT_BPOBJ_SUBOBJ"), nil},
		{info("deadlist", "deadlists, their entries, and buffers of their ZAPs"),
			func(o Object) bool {
				return kinds(KindDeadlist, KindDeadlistEntry)(o) || ofType("DMU_OT_DEADLIST", "DMU_OT_DEADLIST_HDR")(o)
			}, nil},
		{info("ddt", "entries of deduplication tables in memory, and buffers of their ZAPs"),
			func(o Object) bool { return kinds(KindDDTEntry)(o) || ofType("DMU_OT_DDT_ZAP")(o) }, nil},
		{info("brt", "block reference tables and their entries in memory"), kinds(KindBRT, KindBRTEntry), nil},
		{info("arc-header", "headers of the ARC"), kinds(KindArcHeader), nil},
		{info("dbuf", "the structs that describe buffers, and dirty records"), kinds(KindDbuf, KindDirty), nil},
		{info("metaslab", "metaslabs and the structs of their space maps"), kinds(KindMetaslab, KindSpaceMap), nil},
		{info("uberblock", "the uberblocks in the spa"), kinds(KindUberblock), nil},
		{info("zio", "I/O in flight"), kinds(KindZio), nil},
	}
}

// Classes are those that Class knows, and that of every C type.
func Classes() []ClassInfo {
	all := classes()
	out := make([]ClassInfo, 0, len(all)+1)
	for _, c := range all {
		out = append(out, c.ClassInfo)
	}
	return append(out, ClassInfo{structPrefix + "TYPE", "every struct of a C type among them, elements of buffers included, like struct:blkptr_t"})
}

// Class are the objects of a class, none if there are none at this instant. What cannot be listed, because it is damaged
// or because a CPU was stopped while it changed a list, is left out; that is an error only where nothing else is found.
func (z *ZFS) Class(name string) ([]Object, error) {
	c, err := z.class(name)
	if err != nil {
		return nil, err
	}
	var out []Object
	var failed error
	for o, err := range z.Objects(context.Background()) {
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if c.has != nil && c.has(o) {
			out = append(out, o)
		}
		if c.parts == nil {
			continue
		}
		parts, err := z.parts(c, o)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("parts of %s: %w", o.Path, err))
		}
		out = append(out, parts...)
	}
	if len(out) > 0 {
		failed = nil
	}
	return out, failed
}

// parts are those parts of an object that belong to a class.
func (z *ZFS) parts(c class, o Object) ([]Object, error) {
	values, err := c.parts(z, o)
	if err != nil {
		return nil, err
	}
	out := make([]Object, len(values))
	for i, v := range values {
		if out[i], err = z.part(o, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// part is a part of an object as an object.
func (z *ZFS) part(o Object, v kernel.Value) (Object, error) {
	p := o
	p.Kind, p.Type, p.Path, p.Within, p.Detail = KindPart, z.word(v.Type()), v.Path(), o.Path, ""
	p.Addr, p.Size, p.value = v.Addr(), uint64(v.Type().Size()), v
	if z.kind(v.Type()) != "dnode_phys_t" {
		return p, nil
	}
	dmu, err := z.dmuTypes()
	if err != nil {
		return p, err
	}
	kind, err := v.Field("dn_type").Uint()
	p.DMUType, p.Blkid = dmu.name(kind), 0
	p.Object = (uint64(o.Blkid)*o.Size + v.Addr() - o.Addr) / p.Size
	return p, err
}

func (z *ZFS) class(name string) (class, error) {
	if typ, ok := strings.CutPrefix(name, structPrefix); ok {
		return class{
			has: func(o Object) bool { return z.sameType(typ, o.value.Type()) },
			parts: func(z *ZFS, o Object) ([]kernel.Value, error) {
				var out []kernel.Value
				for _, parts := range []func(*ZFS, Object) ([]kernel.Value, error){segParts, dnodeParts, blkptrParts, entryParts, objsetParts} {
					values, err := parts(z, o)
					if err != nil {
						return nil, err
					}
					for _, v := range values {
						if z.sameType(typ, v.Type()) {
							out = append(out, v)
						}
					}
				}
				return out, nil
			},
		}, nil
	}
	var names []string
	for _, c := range classes() {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return class{}, fmt.Errorf("no class %q; there %s", name, are(nearest(name, names)))
}

// of is an array element's type, by the newest of its names.
func (z *ZFS) of(o Object) string {
	t := o.value.Type().Base()
	if o.Kind != KindData || t.Kind() != kernel.Array {
		return ""
	}
	return z.kind(t.Elem())
}

// segParts are the segments in a node of a B-tree.
func segParts(_ *ZFS, o Object) ([]kernel.Value, error) {
	if o.Kind != KindBtreeLeaf && o.Kind != KindBtreeCore {
		return nil, nil
	}
	all := o.value.Field("seg")
	out := make([]kernel.Value, all.Type().Len())
	for i := range out {
		out[i] = all.Index(i)
	}
	return out, all.Err()
}

// dnodeParts are the dnodes in a block of them. A large one takes more than one slot.
func dnodeParts(z *ZFS, o Object) ([]kernel.Value, error) {
	if z.of(o) != "dnode_phys_t" {
		return nil, nil
	}
	var out []kernel.Value
	var n numbers
	for i := 0; i < o.value.Type().Base().Len(); i++ {
		dn := o.value.Index(i)
		if n.uint(dn.Field("dn_type")) != 0 {
			out = append(out, dn)
			i += int(n.uint(dn.Field("dn_extra_slots")))
		}
	}
	return out, n.err
}

// blkptrParts are the block pointers of a buffer or a list that point to something.
func blkptrParts(z *ZFS, o Object) ([]kernel.Value, error) {
	switch o.Kind {
	case KindBplistEntry:
		return []kernel.Value{o.value.Field("bpe_blk")}, nil
	case KindBRTEntry:
		if bp := o.value.Field("bre_bp"); bp.Err() == nil {
			return []kernel.Value{bp}, nil
		}
		return nil, nil
	}
	var all []kernel.Value
	switch z.of(o) {
	case "dnode_phys_t":
		dnodes, err := dnodeParts(z, o)
		if err != nil {
			return nil, err
		}
		for _, dn := range dnodes {
			count, err := dn.Field("dn_nblkptr").Uint()
			if err != nil {
				return nil, err
			}
			for i := range int(min(count, 3)) { // DN_MAX_NBLKPTR
				all = append(all, dn.Field("dn_blkptr").Index(i))
			}
		}
	case "blkptr_t":
		for i := range o.value.Type().Base().Len() {
			all = append(all, o.value.Index(i))
		}
	}
	var out []kernel.Value
	for _, bp := range all {
		p, err := bp.Bytes()
		if err != nil {
			return nil, err
		}
		if !hole(p) {
			out = append(out, bp)
		}
	}
	return out, nil
}

// hole says whether a block pointer has no address.
func hole(bp []byte) bool {
	const dvas = 3 * 16
	for _, b := range bp[:min(dvas, len(bp))] {
		if b != 0 {
			return false
		}
	}
	return true
}

// entryParts are the entries of a block of a space map.
func entryParts(z *ZFS, o Object) ([]kernel.Value, error) {
	if o.Kind != KindDbuf || o.DMUType != "DMU_OT_SPACE_MAP" || o.Level > 0 {
		return nil, nil
	}
	all, err := z.entryItems(place{Value: o.value})
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	var out []kernel.Value
	for i := range all.len() {
		v, err := all.at(i)
		if err != nil {
			return nil, err
		}
		out = append(out, v.Value)
	}
	return out, nil
}

// objsetParts are the roots of object sets in buffers.
func objsetParts(z *ZFS, o Object) ([]kernel.Value, error) {
	if z.of(o) != "objset_phys_t" {
		return nil, nil
	}
	out := make([]kernel.Value, o.value.Type().Base().Len())
	for i := range out {
		out[i] = o.value.Index(i)
	}
	return out, nil
}
