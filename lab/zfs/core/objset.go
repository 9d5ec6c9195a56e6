package core

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/kernel"
)

// objset is an open object set.
type objset struct {
	value kernel.Value
	spa   kernel.Value
	// name is the dataset's, or mos; number its object in the MOS, 0 for the MOS itself.
	name    string
	number  uint64
	dataset kernel.Value // not of the MOS

	nodes []*dnode // once asked for, by object
	byID  map[int64]*dnode
}

// dnode is one in memory.
type dnode struct {
	value  kernel.Value
	objset *objset
	// object is as paths write it: accounts of users, groups and projects are negative.
	object             int64
	dmuType, bonusType uint64
}

// dsName is the name of a dataset, of a snapshot only if the kernel has looked it up since it was opened; otherwise ok is
// false and the name ends in the object number.
func dsName(ds kernel.Value) (name string, ok bool, err error) {
	const deepest = 256
	var parts []string
	for dd := ds.Field("ds_dir"); ; dd = dd.Field("dd_parent") {
		null, err := dd.IsNull()
		if err != nil {
			return "", false, err
		}
		if null {
			break
		}
		part, err := dd.Field("dd_myname").CString()
		if err != nil {
			return "", false, err
		}
		if parts = append(parts, part); len(parts) > deepest {
			return "", false, fmt.Errorf("%s: its directories have no root", ds.Path())
		}
	}
	slices.Reverse(parts)
	name = strings.Join(parts, "/")
	var n numbers
	snapshot, number := n.uint(ds.Field("ds_is_snapshot")), n.uint(ds.Field("ds_object"))
	if n.err != nil || snapshot == 0 {
		return name, true, n.err
	}
	snap, err := ds.Field("ds_snapname").CString()
	if err != nil || snap != "" {
		return name + "@" + snap, true, err
	}
	return name + "@" + strconv.FormatUint(number, 10), false, nil
}

// newObjset reads what an open object set is.
func (z *ZFS) newObjset(v, spa kernel.Value) (*objset, error) {
	os := &objset{value: v, spa: spa, name: "mos"}
	if ds := v.Field("os_dsl_dataset"); ds.Err() == nil {
		switch null, err := ds.IsNull(); {
		case err != nil:
			return nil, err
		case !null:
			os.dataset = ds.Deref()
			var named bool
			if os.name, named, err = dsName(os.dataset); err != nil {
				return nil, err
			}
			if os.number, err = os.dataset.Field("ds_object").Uint(); err != nil {
				return nil, err
			}
			arg := strconv.FormatUint(os.number, 10)
			if named {
				arg = strconv.Quote(os.name)
			}
			os.value = v.Rename(fmt.Sprintf("%s.objset(%s)", spa.Path(), arg))
			os.dataset = os.dataset.Rename(fmt.Sprintf("%s.dataset(%s)", spa.Path(), arg))
			return os, nil
		}
	}
	os.value = v.Rename(spa.Path() + `.objset("mos")`)
	return os, v.Field("os_dsl_dataset").Err()
}

// dnodes are those of an object set, special ones first.
func (z *ZFS) dnodes(os *objset) ([]*dnode, error) {
	if os.nodes != nil {
		return os.nodes, nil
	}
	t, err := z.typed("dnode_t")
	if err != nil {
		return nil, err
	}
	var nodes []*dnode
	add := func(v kernel.Value) error {
		var n numbers
		dn := &dnode{objset: os, object: int64(n.uint(v.Field("dn_object"))), dmuType: n.uint(v.Field("dn_type")), bonusType: n.uint(v.Field("dn_bonustype"))}
		dn.value = v.Rename(fmt.Sprintf("%s.dnode[%d]", os.value.Path(), dn.object))
		nodes = append(nodes, dn)
		return n.err
	}
	for _, name := range []string{"os_meta_dnode", "os_userused_dnode", "os_groupused_dnode", "os_projectused_dnode"} {
		p := os.value.Field(name).Field("dnh_dnode")
		null, err := p.IsNull()
		if err != nil {
			return nil, err
		}
		if !null {
			if err := add(p.Deref()); err != nil {
				return nil, err
			}
		}
	}
	for v, err := range os.value.Field("os_dnodes").List(t) {
		if err == nil {
			err = add(v)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(nodes, func(a, b *dnode) int { return cmp.Compare(a.object, b.object) })
	os.nodes, os.byID = nodes, map[int64]*dnode{}
	for _, dn := range nodes {
		os.byID[dn.object] = dn
	}
	return nodes, nil
}

// dirty says whether a dnode is on the list of those to be written in some transaction group (dn_dirty_link).
func (z *ZFS) dirty(dn *dnode) (bool, error) {
	links := dn.value.Field("dn_dirty_link")
	if err := links.Err(); err != nil {
		return false, err
	}
	for i := range links.Type().Base().Len() {
		next, err := links.Index(i).Field("next", "list_next").Uint()
		if err != nil {
			return false, err
		}
		// A node on no list has a poisoned pointer (LIST_POISON1), which is no address of the kernel's half, or a null one.
		if next>>47 == 1<<17-1 {
			return true, nil
		}
	}
	return false, nil
}

// objsetOf finds the open object set of a value.
func (z *ZFS) objsetOf(v kernel.Value) (*objset, error) {
	b, err := z.allBuffers()
	if err != nil {
		return nil, err
	}
	if os, ok := b.objsets[v.Addr()]; ok {
		return os, nil
	}
	return nil, fmt.Errorf("%s: no buffer belongs to this object set", v.Path())
}

// objsetCall is spa.objset("name").
func (z *ZFS) objsetCall(from place, args []argument) (place, error) {
	b, err := z.allBuffers()
	if err != nil {
		return from, err
	}
	var names []string
	for _, os := range b.sets {
		if os.spa.Addr() != from.Addr() {
			continue
		}
		if named(args, os.name, os.number) {
			return place{Value: os.value}, nil
		}
		names = append(names, strconv.Quote(os.name))
	}
	if len(args) != 1 {
		return from, errors.New(`objset wants one name or number`)
	}
	return from, absent("no open object set %s; there %s", args[0], are(names))
}

// named says whether the only argument is a name or number.
func named(args []argument, name string, number uint64) bool {
	return len(args) == 1 && (args[0].isText && args[0].text == name || !args[0].isText && uint64(args[0].number) == number)
}

// dnodeItems are objset.dnode[i].
func (z *ZFS) dnodeItems(from place) (items, error) {
	os, err := z.objsetOf(from.Value)
	if err != nil {
		return items{}, err
	}
	nodes, err := z.dnodes(os)
	if err != nil {
		return items{}, err
	}
	values := map[int64]kernel.Value{}
	for _, dn := range nodes {
		values[dn.object] = dn.value
	}
	return keyed("dnode", values), nil
}

// dnodeOf finds a dnode among those of its object set.
func (z *ZFS) dnodeOf(v kernel.Value) (*dnode, error) {
	var n numbers
	set, object := n.uint(v.Field("dn_objset")), int64(n.uint(v.Field("dn_object")))
	if n.err != nil {
		return nil, n.err
	}
	os, err := z.objsetOf(v.Field("dn_objset").Deref())
	if err != nil {
		return nil, err
	}
	if _, err := z.dnodes(os); err != nil {
		return nil, err
	}
	if dn, ok := os.byID[object]; ok && dn.value.Addr() == v.Addr() {
		return dn, nil
	}
	return nil, fmt.Errorf("%s: object set %#x has no such dnode %d", v.Path(), set, object)
}
