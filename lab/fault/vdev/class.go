package vdev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Class is a kind of thing that lies on the devices of a pool.
type Class string

// The classes. Those of datasets mean the heads of file systems: what their snapshots alone have is left out.
const (
	Label     Class = "label"      // the configuration in a label
	Uberblock Class = "uberblock"  // the newest, in the rings of all labels
	MOSObjSet Class = "mos-objset" // what the uberblock points at
	MOSDNode  Class = "mos-dnode"  // dnodes of the MOS
	MOSObject Class = "mos"        // data of its objects, space maps left out
	SpaceMap  Class = "space-map"  // also the logs
	ObjSet    Class = "objset"     // the root of a dataset
	DNode     Class = "dnode"      // dnodes of a dataset
	Indirect  Class = "indirect"   // of files
	Directory Class = "directory"
	FileData  Class = "file"
	ZIL       Class = "zil"  // written and not synced yet
	Free      Class = "free" // space that is not allocated
)

// Classes are all of them, as the study of Kadav and Rajimwale has them, with a few more.
func Classes() []Class {
	return []Class{Label, Uberblock, MOSObjSet, MOSDNode, MOSObject, SpaceMap, ObjSet, DNode, Indirect, Directory, FileData, ZIL, Free}
}

// ofDataset says that a class is looked for in datasets.
func (c Class) ofDataset() bool {
	return slices.Contains([]Class{ObjSet, DNode, Indirect, Directory, FileData, ZIL}, c)
}

// thing is what a strike hits: a block with all its places, or what plays its part.
type thing struct {
	name   string
	file   string // in the guest, whose content it is
	places []spot
}

// spot is a contiguous range of a disk.
type spot struct {
	disk         string
	offset, size int64
	copy         int
	parity       bool
	note         string // DVA, or which label
}

// survey finds what lies on the disks of a machine.
type survey struct {
	pool    *ondisk.Pool
	dataset string // empty: all
}

// find gives all things of a class in the order of a walk. Those of which nothing lies on a device, as they are in their
// block pointers, are left out.
func (s *survey) find(ctx context.Context, c Class) (all []thing, err error) {
	switch {
	case c == Label || c == Uberblock:
		all, err = s.labels(ctx, c)
	case c == Free:
		all, err = s.free(ctx)
	case c.ofDataset():
		all, err = s.datasets(ctx, c)
	default:
		all, err = s.visit(ctx, s.pool.MOS, "MOS", c)
	}
	if err == nil && len(all) == 0 {
		err = errors.New("the pool has none")
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", c, err)
	}
	return all, nil
}

// classOf says what a block of an object set is. What is in no class gives an empty one.
func classOf(mos bool, r ondisk.Ref, b ondisk.BlkPtr) Class {
	switch {
	case r.Kind == ondisk.RefRoot && mos:
		return MOSObjSet
	case r.Kind == ondisk.RefRoot:
		return ObjSet
	case r.Kind != ondisk.RefTree:
		return ""
	case r.Object == ondisk.MetaDNode && r.Level == 0 && mos:
		return MOSDNode
	case r.Object == ondisk.MetaDNode && r.Level == 0:
		return DNode
	case r.Object == ondisk.MetaDNode:
		return ""
	case mos && b.Type() == ondisk.TypeSpaceMap:
		return SpaceMap
	case mos && r.Level == 0:
		return MOSObject
	case b.Type() == ondisk.TypePlainFile && r.Level > 0:
		return Indirect
	case b.Type() == ondisk.TypePlainFile:
		return FileData
	case b.Type() == ondisk.TypeDirectory && r.Level == 0:
		return Directory
	}
	return ""
}

// visit finds the blocks of a class in an object set.
func (s *survey) visit(ctx context.Context, o *ondisk.ObjSet, name string, c Class) (all []thing, err error) {
	var files *ondisk.FileSystem
	if c == FileData || c == Indirect || c == Directory {
		if files, err = o.FileSystem(ctx); err != nil {
			return nil, err
		}
	}
	err = o.Visit(ctx, 0, &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		if classOf(o == s.pool.MOS, r, b) != c || b.Embedded() {
			return nil
		}
		t := thing{name: fmt.Sprintf("%s, object %d, level %d, block %d (%s)", name, r.Object, r.Level, r.BlkID, ondisk.TypeName(b.Type()))}
		if r.Kind == ondisk.RefRoot {
			t.name = name + ", root of the object set"
		}
		if files != nil {
			path, err := files.Path(ctx, r.Object)
			if errors.Is(err, ondisk.ErrNotFound) { // deleted while open
				return nil
			}
			if err != nil {
				return err
			}
			path = "/" + name + strings.TrimSuffix(path, "/")
			t.name += " of " + path
			if c != Directory {
				t.file = path
			}
		}
		if t.places, err = s.places(ctx, b); err != nil {
			return err
		}
		all = append(all, t)
		return nil
	}})
	return all, err
}

func (s *survey) places(ctx context.Context, b ondisk.BlkPtr) ([]spot, error) {
	places, err := s.pool.Places(ctx, b)
	if err != nil {
		return nil, err
	}
	dvas := b.DVAs()
	all := make([]spot, 0, len(places))
	for _, p := range places {
		d := dvas[min(p.Copy, len(dvas)-1)]
		note := fmt.Sprintf("DVA[%d]=<%d:%x:%x>", p.Copy, d.VDev(), d.Offset(), d.ASize())
		if p.Parity {
			note += " parity"
		}
		at, err := onDisk(p.VDev, p.Offset)
		if err != nil {
			return nil, err
		}
		at.size, at.copy, at.parity, at.note = int64(p.Size), p.Copy, p.Parity, note
		all = append(all, at)
	}
	return all, nil
}

// datasets finds the blocks of a class in file systems.
func (s *survey) datasets(ctx context.Context, c Class) (all []thing, err error) {
	datasets, err := s.pool.Datasets(ctx)
	if err != nil {
		return nil, err
	}
	met := false
	for _, d := range datasets {
		if d.Snapshot() || strings.Contains(d.Name, "$") || s.dataset != "" && d.Name != s.dataset {
			continue
		}
		met = true
		o, err := s.pool.OpenDataset(ctx, d)
		if err != nil {
			return nil, err
		}
		if o.Type != ondisk.ObjSetZFS {
			continue
		}
		var found []thing
		if c == ZIL {
			found, err = s.log(ctx, o, d.Name)
		} else {
			found, err = s.visit(ctx, o, d.Name, c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name, err)
		}
		all = append(all, found...)
	}
	if !met {
		return nil, fmt.Errorf("there is no dataset %s", cmp.Or(s.dataset, "but ZFS's own"))
	}
	return all, nil
}

// log finds the blocks of an intent log that were written. Only their beginning is sure to be covered by the checksum.
func (s *survey) log(ctx context.Context, o *ondisk.ObjSet, name string) (all []thing, err error) {
	for z := range o.ZILBlocks(ctx) {
		if z.Err != nil { // the one that was not written yet
			break
		}
		t := thing{name: fmt.Sprintf("%s, block %d of the intent log, %d records", name, z.Seq, len(z.Records))}
		if t.places, err = s.places(ctx, z.Ptr); err != nil {
			return nil, err
		}
		for i := range t.places {
			t.places[i].size = min(t.places[i].size, sector)
		}
		all = append(all, t)
	}
	return all, ctx.Err()
}

// Where the configuration and the ring of uberblocks lie in a label, and how long they are (vdev_label_t in
// include/sys/vdev_impl.h).
const (
	configStart = 16 << 10
	configSize  = 112 << 10
	ringStart   = 128 << 10
	ringSize    = 128 << 10
)

// labels finds configurations, which is one thing, or uberblocks, the newest first.
func (s *survey) labels(ctx context.Context, c Class) (all []thing, err error) {
	if c == Label {
		all = []thing{{name: "configuration"}}
	} else {
		for _, u := range s.pool.Uberblocks {
			all = append(all, thing{name: fmt.Sprintf("uberblock of txg %d", u.TXG)})
		}
	}
	for _, v := range s.leaves() {
		labels, err := ondisk.ReadLabels(ctx, *v.Device)
		if err != nil {
			return nil, err
		}
		for _, l := range labels {
			note := fmt.Sprintf("label %d", l.Index)
			if c == Label {
				at, err := onDisk(v, l.Offset+configStart)
				if err != nil {
					return nil, err
				}
				at.size, at.note = configSize, note
				all[0].places = append(all[0].places, at)
				continue
			}
			for _, slot := range l.Ring {
				i := slices.IndexFunc(s.pool.Uberblocks, func(u ondisk.Uberblock) bool { return u.TXG == slot.Uberblock.TXG })
				at, err := onDisk(v, slot.Offset)
				if i < 0 || err != nil {
					return nil, errors.Join(err, ctx.Err())
				}
				at.size, at.note = ondisk.UberblockSize, fmt.Sprintf("%s, slot %d", note, slot.Index)
				all[i].places = append(all[i].places, at)
			}
		}
	}
	return all, nil
}

// leaves are the devices of the pool that are there.
func (s *survey) leaves() (all []*ondisk.VDev) {
	for _, top := range s.pool.VDevs {
		if top == nil {
			continue
		}
		for v := range top.All() {
			if v.Leaf() && v.Device != nil {
				all = append(all, v)
			}
		}
	}
	return all
}
