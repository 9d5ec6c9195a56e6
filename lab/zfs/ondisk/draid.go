package ondisk

import (
	"encoding/binary"
	mathbits "math/bits"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// draid is how a dRAID spreads blocks (include/sys/vdev_draid.h). A group is a number of neighbouring columns with parity of
// their own; a slice is as many groups as fill some lines of all members but the spare ones; a line is 16 MiB of each member.
// Each slice has the members in another order, the last ones in it being its share of the distributed spares.
type draid struct {
	group, data, spares, groups uint64
	members                     uint64
	orders                      []byte // permutations of all members
}

const (
	maxDRAID = 255
	// draidLine is how many bytes of a member are in one group before the next begins (VDEV_DRAID_ROWHEIGHT).
	draidLine = 16 << 20
	// draidSeed is the first half of the seed of all permutations (VDEV_DRAID_SEED).
	draidSeed = 0xd7a1d5eed
)

// newDRAID reads the configuration of a dRAID (vdev_draid_init in module/zfs/vdev_draid.c).
func newDRAID(c *nvlist.List, members, parity int) (*draid, error) {
	number := func(name string) uint64 { v, _ := c.Uint64(name); return v }
	d := &draid{
		data: number("draid_ndata"), spares: number("draid_nspares"), groups: number("draid_ngroups"), members: uint64(members),
	}
	if parity < 1 || parity > 3 || members < 2 || members > maxDRAID || d.data < 1 || d.data > maxDRAID || d.spares > maxDRAID ||
		d.groups < 1 || d.groups > maxDRAID || d.data+uint64(parity)+d.spares > d.members {
		return nil, corrupt("a dRAID%d of %d members, %d of data in a group, %d spare, %d groups", parity, members, d.data, d.spares, d.groups)
	}
	d.group = d.data + uint64(parity)
	if d.group*d.groups%(d.members-d.spares) != 0 {
		return nil, corrupt("%d groups of %d do not fill %d members of a dRAID", d.groups, d.group, d.members-d.spares)
	}
	var err error
	d.orders, err = draidOrders(members)
	return d, err
}

// draidOrders makes the permutations of the members (vdev_draid_generate_perms).
func draidOrders(members int) ([]byte, error) {
	count := 256
	if members >= 32 {
		count = 512
	}
	m := draidMaps[members-2]
	all := make([]byte, count*members)
	last := make([]byte, members)
	for i := range last {
		last[i] = byte(i)
	}
	seed := [2]uint64{draidSeed, m.seed}
	for i := range count {
		order := all[i*members : (i+1)*members]
		copy(order, last)
		for j := members - 1; j > 0; j-- {
			k := draidRandom(&seed) % uint64(j+1)
			order[j], order[k] = order[k], order[j]
		}
		last = order
	}
	sum, err := checksum.NewHasher(checksum.Salt{}).Sum(checksum.Fletcher4, all, binary.LittleEndian)
	if err == nil && sum[0] != m.sum {
		err = corrupt("the permutations of %d members have the sum %#x instead of %#x", members, sum[0], m.sum)
	}
	return all, err
}

// draidRandom is xoroshiro128++ (module/zfs/vdev_draid_rand.c).
func draidRandom(s *[2]uint64) uint64 {
	s0, s1 := s[0], s[1]
	result := mathbits.RotateLeft64(s0+s1, 17) + s0
	s1 ^= s0
	s[0], s[1] = mathbits.RotateLeft64(s0, 49)^s1^s1<<21, mathbits.RotateLeft64(s1, 28)
	return result
}

// member is the one that has a place in the order of a slice (vdev_draid_get_perm, vdev_draid_permute_id).
func (d *draid) member(slice, place uint64) int {
	n := slice % uint64(len(d.orders))
	order := n / d.members * d.members
	return int((uint64(d.orders[order+place]) + n%d.members) % d.members)
}

// groupSize is how many bytes of the vdev a group has before the next begins.
func (d *draid) groupSize() uint64 { return d.group * draidLine }

// sliceSize is how many bytes of a member a slice has.
func (d *draid) sliceSize() uint64 { return d.groupSize() * d.groups / (d.members - d.spares) }

// rawSize is what a block takes: whole rows of a group (vdev_draid_psize_to_asize).
func (d *draid) rawSize(size uint64, ashift uint) uint64 {
	data := d.data << ashift
	return (size + data - 1) / data * d.group << ashift
}

// least is how many bytes of each member a dRAID with so many bytes needs (vdev_draid_min_asize): its share, and what is reserved
// for an expansion.
func (d *draid) least(size uint64) uint64 {
	disks := d.members - d.spares
	return 2*draidLine + (size+disks-1)/disks
}

// draidRows is the map of a block: one row in each group that it lies in, two at most (vdev_draid_map_alloc).
func (v *VDev) draidRows(offset, size uint64) []row {
	d := v.draid
	left := d.groupSize() - offset%d.groupSize() // in the group
	first := size
	if d.rawSize(size, v.AShift) > left {
		first = left / d.group * d.data
	}
	rows := []row{v.draidRow(offset, first, 0)}
	if first < size {
		rows = append(rows, v.draidRow(offset+left, size-first, first))
	}
	return rows
}

// draidRow is the part of a block in one group (vdev_draid_map_alloc_row). All columns are written in full, with zeroes behind
// the data of short ones.
func (v *VDev) draidRow(offset, size, at uint64) row {
	d := v.draid
	disks := d.members - d.spares
	group := offset / d.groupSize()
	start := group * d.group % disks
	slice := group / d.groups
	// vdev_draid_logical_to_physical
	line := slice*(d.group*d.groups/disks) + group%d.groups*d.group/disks
	within := offset >> v.AShift % (draidLine >> v.AShift * d.group) / d.group
	physical := line*draidLine + within<<v.AShift
	q, big := shares(size>>v.AShift, d.group, uint64(v.Parity))
	height := q
	if big > 0 {
		height++
	}
	columns := make(row, d.group)
	for i := range columns {
		c := uint64(i)
		place, on := start+c, physical
		if place >= disks { // the group goes on in the next line
			place, on = place-disks, on+draidLine
		}
		sectors := q
		if c < big {
			sectors++
		}
		columns[i] = column{
			child: d.member(slice, place), offset: on, size: sectors << v.AShift, at: at, full: height << v.AShift, sector: offset>>v.AShift + c,
		}
		if c >= uint64(v.Parity) {
			at += columns[i].size
		}
	}
	return columns
}

// spareOf is the member of its dRAID on which a distributed spare has what lies at an offset of it (vdev_draid_spare_get_child).
func (v *VDev) spareOf(offset uint64, depth int) (*VDev, error) {
	top := v.spareTop
	if top == nil || top.problem != nil || v.spareID >= top.draid.spares {
		return nil, corrupt("%v is no spare of a dRAID", v)
	}
	if depth > maxIndirection {
		return nil, corrupt("distributed spares stand in for each other in circles")
	}
	d := top.draid
	return top.Children[d.member(offset/d.sliceSize(), d.members-1-v.spareID)], nil
}

// linkSpares finds the dRAID that each distributed spare is of.
func (p *Pool) linkSpares() {
	draids := map[uint64]*VDev{}
	for v := range p.vdevs() {
		if v.Type == vdevDRAID {
			draids[v.GUID] = v
		}
	}
	for v := range p.vdevs() {
		if v.Type == vdevSpare {
			v.spareTop = draids[v.topGUID]
		}
		if v.Type != vdevDRAID {
			continue
		}
		for _, c := range v.Children {
			n := 0
			for w := range c.All() {
				if w.Type == vdevSpare {
					n++
				}
			}
			if n > maxChildSpares && v.problem == nil {
				v.problem = unsupported("%d distributed spares stand in for one member of %v", n, v)
			}
		}
	}
}

const (
	// maxChildSpares is how many distributed spares may stand in for one member at once. Where they lie on members that spares
	// stand in for, these are read, too, and so on: both limits keep that finite in a pool that somebody made up.
	maxChildSpares = 3
	// spareStep counts a distributed spare as so many removed vdevs, the depth of which is limited.
	spareStep = maxIndirection / 6
)
