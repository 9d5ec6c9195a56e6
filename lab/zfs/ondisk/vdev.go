package ondisk

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// VDev is a node of the tree of virtual devices. Pool.VDevs are the top-level ones, by their ID; the leaves are devices.
type VDev struct {
	// ID is the index among its siblings, GUID what labels know it by.
	ID, GUID uint64
	// Type is OpenZFS's word: disk, file, mirror, replacing, spare, raidz, draid, dspare, indirect, hole, missing.
	Type string
	// Path is that of a leaf at the time it was imported.
	Path string
	// AShift is the binary logarithm of the smallest allocation, ASize the allocatable size in bytes; of top-level
	// vdevs.
	AShift uint
	ASize  uint64
	// MetaslabArray is the object that lists the space maps, MetaslabShift the binary logarithm of a metaslab's size.
	MetaslabArray uint64
	MetaslabShift uint
	// Parity is the number of parity columns of a raidz or dRAID.
	Parity int
	// Log and Bias ("special", "dedup", "log" or empty) say what a top-level vdev is for.
	Log  bool
	Bias string
	// TopZAP and LeafZAP are objects of the MOS, 0 if there are none.
	TopZAP, LeafZAP uint64
	// CreateTXG is when it was added; DTL the object that says which txgs a leaf has missed.
	CreateTXG, DTL uint64
	// MappingObject and BirthsObject say where the content of a removed (indirect) vdev went, or of one that is being removed.
	MappingObject, BirthsObject uint64
	// PrevIndirect is the vdev that was removed before this one was, 2^64-1 if there is none.
	PrevIndirect uint64
	Children     []*VDev
	// Device is what was given for a leaf, nil when nothing was.
	Device *Device

	problem   error // why it cannot be read, nil if it can
	short     error // that the device which was given is too small, nil if it is not
	noMapping error // why there is no mapping, nil if there is one
	mapping   []mappingEntry
	births    []birth // of an indirect vdev, none where they cannot be read
	// unsaidParity says that the configuration does not tell Parity, as before version 3.
	unsaidParity bool
	expansion    expansion // of a raidz
	draid        *draid    // of a dRAID
	// topGUID and spareID are the dRAID that a distributed spare is of, and which of its spares it is.
	topGUID, spareID uint64
	spareTop         *VDev
	pool             *Pool
}

// The words of the tree that the reader acts on (VDEV_TYPE_* in include/sys/fs/zfs.h).
const (
	vdevIndirect = "indirect"
	vdevRAIDZ    = "raidz"
	vdevDRAID    = "draid"
	vdevSpare    = "dspare" // a distributed spare of a dRAID
	vdevHole     = "hole"
	vdevMissing  = "missing"
)

const (
	maxTreeDepth = 8
	maxAShift    = 16 // ASHIFT_MAX
)

// newVDev makes a vdev, and all below it, of a configuration.
func newVDev(c *nvlist.List, depth int) (*VDev, error) {
	if depth > maxTreeDepth {
		return nil, corrupt("vdevs nested deeper than %d", maxTreeDepth)
	}
	number := func(name string) uint64 { v, _ := c.Uint64(name); return v }
	v := &VDev{
		ID: number("id"), GUID: number("guid"), AShift: uint(min(number("ashift"), 64)), ASize: number("asize"),
		MetaslabArray: number("metaslab_array"), MetaslabShift: uint(min(number("metaslab_shift"), 64)),
		Parity: int(min(number("nparity"), 64)), Log: number("is_log") != 0, TopZAP: number("com.delphix:vdev_zap_top"),
		LeafZAP: number("com.delphix:vdev_zap_leaf"), CreateTXG: number("create_txg"), DTL: number("DTL"),
		MappingObject: number("com.delphix:indirect_object"), BirthsObject: number("com.delphix:indirect_births"),
		topGUID: number("top_guid"), spareID: number("spareid"), PrevIndirect: noIndirectVDev,
	}
	if prev, ok := c.Uint64("com.delphix:prev_indirect_vdev"); ok {
		v.PrevIndirect = prev
	}
	v.Type, _ = c.String("type")
	v.Path, _ = c.String("path")
	v.Bias, _ = c.String("alloc_bias")
	if v.AShift > maxAShift {
		return nil, corrupt("vdev %d has ashift %d", v.ID, v.AShift)
	}
	children, _ := c.Lists("children")
	for _, child := range children {
		w, err := newVDev(child, depth+1)
		if err != nil {
			return nil, err
		}
		v.Children = append(v.Children, w)
	}
	if v.Type == vdevRAIDZ && !c.Has("nparity") {
		v.Parity, v.unsaidParity = 1, true
	}
	v.problem = v.check(c)
	return v, nil
}

// check says why a vdev of this kind cannot be read, and reads what only that kind has.
func (v *VDev) check(c *nvlist.List) (err error) {
	switch v.Type {
	case "disk", "file", "mirror", "replacing", "spare", vdevIndirect, vdevMissing, vdevSpare:
		return nil
	case vdevHole:
		return corrupt("vdev %d is a hole", v.ID)
	case vdevRAIDZ:
		if v.Parity < 1 || v.Parity > 3 || len(v.Children) <= v.Parity || len(v.Children) > 255 {
			return corrupt("vdev %d is a raidz%d of %d members", v.ID, v.Parity, len(v.Children))
		}
		v.expansion, err = newExpansion(c, len(v.Children), v.Parity)
		return err
	case vdevDRAID:
		v.draid, err = newDRAID(c, len(v.Children), v.Parity)
		return err
	}
	return unsupported("vdev %d is a %s", v.ID, v.Type)
}

// All are the vdev and everything below it.
func (v *VDev) All() iter.Seq[*VDev] {
	return func(yield func(*VDev) bool) { v.all(yield) }
}

func (v *VDev) all(yield func(*VDev) bool) bool {
	if !yield(v) {
		return false
	}
	for _, c := range v.Children {
		if !c.all(yield) {
			return false
		}
	}
	return true
}

// Leaf says that the vdev is a device.
func (v *VDev) Leaf() bool { return v.Type == "disk" || v.Type == "file" }

// Concrete says that space can be allocated from a top-level vdev: it is not a removed one.
func (v *VDev) Concrete() bool {
	return v.Type != vdevIndirect && v.Type != vdevHole && v.Type != vdevMissing
}

// Removing says that a top-level vdev is being removed: what was copied from it so far is allocated there and where its mapping
// says, and is read from the vdev itself.
func (v *VDev) Removing() bool { return v.Concrete() && v.MappingObject != 0 }

// String is a name for messages.
func (v *VDev) String() string {
	switch {
	case v.Leaf() && v.Path != "":
		return v.Path
	case v.Type == vdevSpare && v.Path != "":
		return v.Path
	case v.Type == vdevRAIDZ || v.Type == vdevDRAID:
		return fmt.Sprintf("%s%d-%d", v.Type, v.Parity, v.ID)
	}
	return fmt.Sprintf("%s-%d", v.Type, v.ID)
}

// RawSize is how many bytes size bytes of data take on a vdev when they are written in a txg: rounded up to sectors, with
// parity and padding for a raidz or dRAID, whatever above them in the tree (vdev_psize_to_asize_txg). Only for a raidz that was
// expanded does the txg matter; 0 is before any expansion, which is what the books of datasets reckon with.
func (v *VDev) RawSize(size, txg uint64) uint64 {
	unit := uint64(1) << v.AShift
	sectors := (size + unit - 1) / unit
	switch {
	case v.problem != nil || v.Leaf():
	case v.Type == vdevDRAID:
		return v.draid.rawSize(size, v.AShift)
	case v.Type == vdevRAIDZ:
		parity, data := uint64(v.Parity), uint64(v.width(txg)-v.Parity)
		sectors += parity * ((sectors + data - 1) / data)
		sectors = (sectors + parity) / (parity + 1) * (parity + 1)
	default: // vdev_default_asize
		raw := sectors << v.AShift
		for _, c := range v.Children {
			raw = max(raw, c.RawSize(size, txg))
		}
		return raw
	}
	return sectors << v.AShift
}

// maxIndirection is how many removed vdevs a block may have moved through.
const maxIndirection = 64

// attempts reads size bytes at an offset of the vdev in all ways there are, the likeliest first: each copy of a mirror,
// each reconstruction of a raidz. Which of them is right only a checksum can tell. birth is the txg in which they were written.
func (v *VDev) attempts(ctx context.Context, offset, size, birth uint64, depth int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		switch {
		case v.problem != nil:
			yield(nil, v.problem)
		case v.Type == vdevIndirect:
			v.indirectAttempts(ctx, offset, size, birth, depth, yield)
		case v.striped():
			v.stripeAttempts(ctx, offset, size, birth, depth, yield)
		case v.Leaf() || v.Type == vdevMissing:
			yield(v.readLeaf(ctx, offset, size))
		case v.Type == vdevSpare:
			if c, err := v.spareOf(offset, depth); err != nil {
				yield(nil, err)
			} else {
				c.attempts(ctx, offset, size, birth, depth+spareStep)(yield)
			}
		default:
			v.mirrorAttempts(ctx, offset, size, birth, depth, yield)
		}
	}
}

// missing is the error of a device that was not given, or is too small.
func (v *VDev) missing() error {
	if v.short != nil {
		return fmt.Errorf("%w: %w", ErrMissing, v.short)
	}
	return fmt.Errorf("%w: %v", ErrMissing, v)
}

// striped says that the vdev spreads blocks, with parity, over its members.
func (v *VDev) striped() bool { return v.Type == vdevRAIDZ || v.Type == vdevDRAID }

func (v *VDev) readLeaf(ctx context.Context, offset, size uint64) ([]byte, error) {
	if v.Device == nil {
		return nil, v.missing()
	}
	if offset > 1<<62 && -offset > bootSize { // but a scratch area, which is before offset 0
		return nil, corrupt("offset %#x", offset)
	}
	p := make([]byte, size)
	if err := v.Device.read(ctx, p, dataStart+offset); err != nil {
		return nil, err
	}
	return p, nil
}

func (v *VDev) mirrorAttempts(ctx context.Context, offset, size, birth uint64, depth int, yield func([]byte, error) bool) {
	if len(v.Children) == 0 {
		yield(nil, fmt.Errorf("%w: %v has no members", ErrMissing, v))
		return
	}
	for _, c := range v.Children {
		for p, err := range c.attempts(ctx, offset, size, birth, depth) {
			if !yield(p, err) {
				return
			}
		}
	}
}

// Damage is a place on a device that does not hold what it should.
type Damage struct {
	// VDev is nil when the block pointer names no possible place.
	VDev *VDev
	// Offset is on the device, in bytes, labels included; Size is how much of the block lies there.
	Offset, Size uint64
	// Err is ErrChecksum when the content differs, ErrMissing when the device was not given, or the error of the read.
	Err error
}

func (d Damage) String() string {
	if d.VDev == nil {
		return d.Err.Error()
	}
	return fmt.Sprintf("%v at %d, %d bytes: %v", d.VDev, d.Offset, d.Size, d.Err)
}

// compare reads all places where data, known to be right and written in txg birth, should lie at an offset of the vdev.
func (v *VDev) compare(ctx context.Context, offset uint64, data []byte, birth uint64, depth int) []Damage {
	size := uint64(len(data))
	switch {
	case v.problem != nil:
		return []Damage{{VDev: v, Offset: offset, Size: size, Err: v.problem}}
	case v.Type == vdevIndirect:
		return v.indirectCompare(ctx, offset, data, birth, depth)
	case v.striped():
		return v.stripeCompare(ctx, offset, data, birth, depth)
	case v.Type == vdevSpare:
		c, err := v.spareOf(offset, depth)
		if err != nil {
			return []Damage{{VDev: v, Offset: offset, Size: size, Err: err}}
		}
		return c.compare(ctx, offset, data, birth, depth+spareStep)
	case v.Leaf() || v.Type == vdevMissing:
		p, err := v.readLeaf(ctx, offset, size)
		if err == nil && !bytes.Equal(p, data) {
			err = ErrChecksum
		}
		if err != nil {
			return []Damage{{VDev: v, Offset: dataStart + offset, Size: size, Err: err}}
		}
		return nil
	}
	var all []Damage
	for _, c := range v.Children {
		all = append(all, c.compare(ctx, offset, data, birth, depth)...)
	}
	return all
}
