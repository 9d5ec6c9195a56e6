package scenarios

import "slices"

// vdevClasses are the kinds of things on a pool's devices that a fault can look for.
var vdevClasses = []string{
	"label", "uberblock", "mos-objset", "mos-dnode", "mos", "space-map", "objset", "dnode", "indirect", "directory", "file",
	"zil", "free",
}

// inDatasets are those of them that datasets have.
var inDatasets = []string{"objset", "dnode", "indirect", "directory", "file", "zil"}

// mostDamage is how much of a place is overwritten at most, in bytes: a block of the usual largest size.
const mostDamage = 128 << 10

func (d *decoder) decodeVdev(n *node, m Machine) *VdevFault {
	f := d.fields(n, "vdev", "fault: {vdev: {class: space-map, copies: all, flip: {bits: 1}}}",
		"class", "dataset", "blocks", "copies", "disk", "offset", "flip", "zero", "garbage")
	v := &VdevFault{}
	switch f.one("class: space-map", "class", "disk") {
	case "class":
		d.decodeVdevClass(f, v)
	case "disk":
		v.Disk = d.oneOf(f.vals["disk"], f.name("disk"), m.Names()...)
		v.Offset = int64(f.integer("offset", "4194304", 0, 1<<50))
		for _, key := range []string{"dataset", "blocks", "copies"} {
			if f.has(key) {
				d.errorf(f.n.entry(key).line, "%s goes with a class, not with a place on a disk", "take it out, or write class: in place of disk", f.name(key))
			}
		}
	}
	switch how := f.one("flip: {bits: 1}", "flip", "zero", "garbage"); how {
	case "flip":
		v.Flip = d.fields(f.vals[how], how, "flip: {bits: 1}", "bits").integer("bits", "1", 1, 512*8)
	case "zero":
		v.Zero = d.fields(f.vals[how], how, "zero: {bytes: 512}", "bytes").integer("bytes", "512", 1, mostDamage)
	case "garbage":
		v.Garbage = d.fields(f.vals[how], how, "garbage: {bytes: 512}", "bytes").integer("bytes", "512", 1, mostDamage)
	}
	return v
}

func (d *decoder) decodeVdevClass(f fields, v *VdevFault) {
	v.Blocks = 1
	v.Class = d.oneOf(f.vals["class"], f.name("class"), vdevClasses...)
	v.AllCopies = d.oneOf(f.need("copies", "all"), f.name("copies"), "one", "all") == "all"
	if f.has("blocks") {
		v.Blocks = f.integer("blocks", "1", 1, 100_000)
	}
	if f.has("dataset") {
		// With a var for a class the dataset is there for those that want it.
		if v.Class != "" && !slices.Contains(inDatasets, v.Class) && len(references(f.vals["class"].text)) == 0 {
			d.wrong(f.vals["dataset"], "dataset of vdev: %s does not belong to a dataset", "take it out", v.Class)
		}
		v.Dataset = d.dataset(f.vals["dataset"], f.name("dataset"), "tank/d")
	}
	if f.has("offset") {
		d.errorf(f.n.entry("offset").line, "offset of vdev goes with a disk, not with a class", "take it out, or write disk: in place of class")
	}
}
