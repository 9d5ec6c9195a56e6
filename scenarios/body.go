package scenarios

import (
	"regexp"
	"slices"
	"strings"
)

var (
	slug      = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	identity  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	dataset   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]*(/[A-Za-z0-9_.:-]+)*(@[A-Za-z0-9_.:-]+)?$`)
	absolute  = regexp.MustCompile(`^(/[^/\s]+)+$`)
	diskName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)
	numbering = regexp.MustCompile(`%(0[1-9])?d`)
)

const (
	slugMeans    = "a name of lower-case letters, digits and dashes"
	datasetMeans = "the name of a dataset or snapshot"
)

// body decodes what vars can change, with the vars that are in force.
func (d *decoder) body(top fields, machine Machine) Resolved {
	d.inBody, d.armAt = true, nil
	defer func() { d.inBody = false }()
	r := Resolved{Machine: machine}
	r.Pool = d.decodePool(top.need("pool", "{name: tank, layout: mirror v0 v1}"), machine)
	d.pool = r.Pool.Name
	if top.has("prepare") {
		r.Prepare = d.steps(top.vals["prepare"], "prepare")
	}
	r.Workload = d.steps(top.need("workload", "[sync]"), "workload")
	if exported(r.Workload) {
		d.errorf(top.vals["workload"].line, "the workload ends without the pool, which is asked how it is afterwards", "write - import, or take the last export out")
	}
	if top.has("fault") {
		n := top.vals["fault"]
		r.Fault = d.decodeFault(n, machine)
		if len(d.armAt) == 0 && top.has("workload") {
			d.errorf(n.line, "the workload never lets the fault strike", "write - arm where it may")
		}
	} else if len(d.armAt) > 0 {
		d.errorf(d.armAt[0], "there is no fault to arm", "write fault: or take the step out")
	}
	if len(d.armAt) > 1 {
		d.errorf(d.armAt[1], "the fault is armed twice, first in line %d", "write arm once", d.armAt[0])
	}
	return r
}

// exported says whether the last of some steps to export or import the pool is an export.
func exported(steps []Step) (is bool) {
	for _, s := range steps {
		is = (is || s.Export) && !s.Import && !s.Reboot
	}
	return is
}

// layoutWords are those that zpool create gives a meaning, dRAID's apart, which has numbers in it.
var layoutWords = []string{"mirror", "raidz", "raidz1", "raidz2", "raidz3", "spare", "log", "cache", "special", "dedup"}

func (d *decoder) decodePool(n *node, m Machine) (p Pool) {
	f := d.fields(n, "pool", "pool: {name: tank, layout: mirror v0 v1}", "name", "layout", "options", "properties")
	p.Name = f.match("name", slug, slugMeans, "tank")
	if slices.Contains(layoutWords, p.Name) {
		d.wrong(f.vals["name"], "name of pool: %q is a word of zpool create", "write for example tank", p.Name)
	}
	p.Layout = strings.Fields(f.text("layout", "mirror v0 v1"))
	disks := 0
	for i, word := range p.Layout {
		n := f.vals["layout"]
		isDisk := slices.ContainsFunc(m.Disks, func(disk DataDisk) bool { return disk.Name == word })
		switch {
		case !isDisk && !slices.Contains(layoutWords, word) && !strings.HasPrefix(word, "draid"):
			d.wrong(n, "layout of pool: %q is neither a word of zpool create nor a disk of the machine", "%s", word,
				instead(word, append(m.Names(), layoutWords...)))
		case isDisk && slices.Contains(p.Layout[:i], word):
			d.wrong(n, "layout of pool: disk %s stands there twice", "write each disk once", word)
		}
		if isDisk {
			disks++
		}
	}
	if len(p.Layout) > 0 && disks == 0 && len(m.Disks) > 0 {
		d.wrong(f.vals["layout"], "layout of pool: no disk of the machine is in it", "write for example %s", strings.Join(m.Names(), " "))
	}
	if f.has("options") {
		p.Options = d.settings(f.vals["options"], "options", "options: {ashift: 9}")
	}
	if f.has("properties") {
		p.Properties = d.settings(f.vals["properties"], "properties", "properties: {compression: off}")
	}
	return p
}

// at is item i of a list, or the node itself when it is one value that holds all items.
func (n *node) at(i int) *node {
	if n.kind == list && i < len(n.items) {
		return n.items[i]
	}
	return n
}
