package ondisk

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// selections are the ways to take one device for each member, the likeliest first. Of several devices that say to be the same
// member the one counts that has gone furthest: the others are what it was earlier, or another way to it, and the order in
// which they were given means nothing. Where they have come equally far their content decides: each is tried.
func selections(all []*member) [][]*member {
	var first []*member
	byGUID := map[uint64]int{}
	for _, m := range all {
		i, ok := byGUID[m.guid]
		switch {
		case !ok:
			byGUID[m.guid] = len(first)
			first = append(first, m)
		case m.compare(first[i]) > 0:
			first[i] = m
		}
	}
	ways := [][]*member{first}
	for _, m := range all {
		if i := byGUID[m.guid]; m != first[i] && m.compare(first[i]) == 0 {
			other := slices.Clone(first)
			other[i] = m
			ways = append(ways, other)
		}
	}
	return ways
}

// noteDoubles tells of the devices that were not selected.
func noteDoubles(all, selected []*member) (notes []string) {
	byGUID := map[uint64]*member{}
	for _, m := range selected {
		byGUID[m.guid] = m
	}
	for _, m := range all {
		switch used := byGUID[m.guid]; {
		case m == used:
		case m.compare(used) == 0:
			notes = append(notes, fmt.Sprintf("%s and %s are the same member of the pool, at the same txg: only the first is read",
				used.device.Name, m.device.Name))
		default:
			notes = append(notes, fmt.Sprintf("%s and %s are the same member of the pool, at txg %d and %d: only the first, which is the newer, is read",
				used.device.Name, m.device.Name, used.newest().TXG, m.newest().TXG))
		}
	}
	return notes
}

// newest is the uberblock that an import would take if there were no other device.
func (m *member) newest() (newest Uberblock) {
	for _, l := range m.labels {
		for i := range l.Ring {
			if u := &l.Ring[i].Uberblock; u.compare(&newest) > 0 {
				newest = *u
			}
		}
	}
	return newest
}

func (m *member) compare(other *member) int {
	a, b := m.newest(), other.newest()
	return cmp.Or(a.compare(&b), cmp.Compare(m.txg, other.txg))
}

// badLabels is a sentence about the labels that cannot be read, empty if there are none.
func (m *member) badLabels() string {
	var bad []string
	for _, l := range m.labels {
		if l.Err != nil {
			bad = append(bad, strconv.Itoa(l.Index))
		}
	}
	if len(bad) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of the %d labels of %s cannot be read (%s): it may have been cut off, enlarged or written over there; an import "+
		"needs one, and the next txg writes all of them", len(bad), labels, m.device.Name, strings.Join(bad, ", "))
}

// attach gives the leaves their devices, by GUID. One that is smaller than the configuration says is none: OpenZFS does not open
// it (vdev_open in module/zfs/vdev.c).
func (p *Pool) attach(members []*member) {
	byGUID := map[uint64]*Device{}
	for _, m := range members {
		byGUID[m.guid] = &m.device
	}
	for _, v := range p.VDevs {
		if v != nil {
			v.attach(byGUID, v.ASize&^(1<<v.MetaslabShift-1))
		}
	}
	p.linkSpares()
}

// attach is Pool.attach for a vdev and what is below it. least is how many bytes a vdev must have that can be allocated: of a
// top-level one those of its metaslabs, of one below it what follows from that (vdev_get_min_asize).
func (v *VDev) attach(byGUID map[uint64]*Device, least uint64) {
	v.short = nil
	if v.Leaf() {
		v.Device = byGUID[v.GUID]
		if d := v.Device; d != nil && d.allocatable() < least {
			v.Device = nil
			v.short = fmt.Errorf("%s has %d bytes, and by its label at least %d: it was cut off, or not copied in whole", d.Name, d.Size,
				least+dataStart+labels/2*labelSize)
		}
	}
	for _, c := range v.Children {
		n := least
		switch {
		case v.draid != nil:
			n = v.draid.least(least)
		case v.Type == vdevRAIDZ:
			n = (least + uint64(len(v.Children)) - 1) / uint64(len(v.Children))
		}
		c.attach(byGUID, n)
	}
}

// allocatable is how many bytes of a device can be allocated: what lies between the labels, of which the last count from a
// multiple of their size.
func (d *Device) allocatable() uint64 {
	const outside = dataStart + labels/2*labelSize
	return max(uint64(d.Size)&^(labelSize-1), outside) - outside
}

// noteDevices adds what should be known about the devices that are in use, or would be.
func (p *Pool) noteDevices(members []*member) {
	used := map[uint64]bool{} // by GUIDs of vdevs that the pool has
	for v := range p.vdevs() {
		used[v.GUID] = used[v.GUID] || v.Device != nil
		if v.short != nil {
			p.Notes = append(p.Notes, v.short.Error())
		}
	}
	for _, m := range members {
		_, known := used[m.guid]
		text := m.badLabels()
		switch {
		case !known:
			name, _ := m.config.String("name")
			p.Notes = append(p.Notes, fmt.Sprintf("%s is not read: by its label it is member %d of pool %s with the GUID of this one, which has no such member",
				m.device.Name, m.guid, name))
		case text != "" && used[m.guid]:
			p.Notes = append(p.Notes, text)
		}
	}
}

// shorts are the errors of devices that are too small.
func (p *Pool) shorts() (all []error) {
	for v := range p.vdevs() {
		if v.short != nil {
			all = append(all, v.short)
		}
	}
	return all
}
