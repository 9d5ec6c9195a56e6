package scenarios

import "regexp"

// Forgeries are the names that the fault forge knows.
func Forgeries() []string {
	all := []string{"none"}
	for _, in := range []string{"spacemap", "log"} {
		for _, what := range []string{"duplicate-free", "duplicate-alloc", "alloc-free", "free-allocated", "partial-free", "outside", "header"} {
			all = append(all, in+"-"+what)
		}
	}
	return append(all, "log-stray", "log-lost", "deadlist-duplicate", "bpobj-duplicate", "birth", "snapshot-txg", "shared-block", "pointer-type", "ddt-refcount", "brt-refcount", "brt-lost")
}

var inDataset = regexp.MustCompile(`^/.`)

func (d *decoder) decodeForge(n *node) *Forge {
	f := d.fields(n, "forge", "fault: {forge: {name: spacemap-duplicate-free}}", "name", "dataset", "file")
	v := &Forge{Forgery: d.oneOf(f.need("name", "spacemap-duplicate-free"), f.name("name"), Forgeries()...)}
	if f.has("dataset") {
		v.Dataset = d.dataset(f.vals["dataset"], f.name("dataset"), "tank/d")
	}
	if f.has("file") {
		v.File = d.match(f.vals["file"], f.name("file"), inDataset, "a path from the root of the dataset", "/f1")
		if v.Dataset == "" {
			d.wrong(f.vals["file"], "file of forge stands without a dataset", "write dataset: tank/d too")
		}
	}
	return v
}
