package ondisk

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// Versions that brought kinds of vdevs, and log devices (include/sys/fs/zfs.h).
const (
	versionSLogs = 7
	versionHoles = 26
)

// Demands are what an import asks of the configuration, in the MOS and in labels, of the uberblock, and of what tells where the
// content of removed vdevs went, and does not find, in sentences. Nothing else in a pool depends on it, so that a pool with such a
// fault may be consistent, and yet cannot be imported.
func (p *Pool) Demands(ctx context.Context) (all []string) {
	d := &demands{Pool: p}
	d.config(ctx)
	d.uberblock(ctx)
	d.removals(ctx)
	d.dtls(ctx)
	d.dedupLogs(ctx)
	d.newestLabel()
	used := map[uint64]bool{}
	for v := range p.vdevs() {
		used[v.GUID] = used[v.GUID] || v.Device != nil
	}
	for _, m := range p.members {
		if used[m.guid] {
			d.labels(m)
		}
	}
	return d.all
}

// poolName are the names that pools may have, but for the three that are reserved (pool_namecheck in module/zcommon/zfs_namecheck.c).
var poolName = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9_.: ]*$`)

type demands struct {
	*Pool
	all []string
}

func (d *demands) miss(format string, args ...any) {
	if len(d.all) < maxWalkProblems {
		d.all = append(d.all, fmt.Sprintf(format, args...))
	}
}

// config looks at the configuration in the MOS as spa_ld_trusted_config does (module/zfs/spa.c).
func (d *demands) config(ctx context.Context) {
	if _, ok := d.Config.Uint64("txg"); !ok {
		d.miss("the configuration in the MOS has no txg: an import panics")
	}
	if _, ok := d.Config.Uint64("hostid"); !ok && d.Config.Has("hostid") {
		d.miss("the hostid in the configuration in the MOS is no number: an import panics")
	}
	if _, ok := d.Config.String("hostname"); !ok && d.Config.Has("hostname") {
		d.miss("the hostname in the configuration in the MOS is no text: an import panics")
	}
	root, _ := d.Config.List("vdev_tree") // treeOfMOS has seen it
	if t, _ := root.String("type"); t != "root" {
		d.miss("the root of the vdevs in the configuration of the MOS is of type %q", t)
	}
	var sum uint64
	d.tree(root, "the configuration in the MOS", 0, 0, &sum)
	if sum != d.Uberblock.GUIDSum {
		d.miss("the sum of the GUIDs of all vdevs is %d by the configuration in the MOS and %d by the uberblock: an import takes devices to be missing",
			sum, d.Uberblock.GUIDSum)
	}
	if guid, _ := root.Uint64("guid"); guid != d.GUID {
		d.miss("the root of the vdevs in the configuration of the MOS has GUID %d, the labels say that the pool has %d", guid, d.GUID)
	}
	d.zaps(ctx, root)
}

// uberblock looks at what an uberblock says beside where the MOS is.
func (d *demands) uberblock(ctx context.Context) {
	u := &d.Uberblock
	if u.TXG >= 1<<63 {
		d.miss("the uberblock is of txg %d, after which there are hardly any: an import fails or panics", u.TXG)
	}
	if u.CheckpointTXG == 0 && u.Root.LogicalBirth > u.TXG {
		d.miss("the uberblock of txg %d has a MOS of txg %d: builds with assertions, and zdb, panic", u.TXG, u.Root.LogicalBirth)
	}
	then, err := d.Checkpoint(ctx)
	there := err == nil
	// An uberblock keeps the txg that it had as a checkpoint when the pool was rewound to it, with a later one for its own, until the
	// next txg. Whoever imports it claims intent logs as of then, and drops those that had not been claimed (spa_min_claim_txg, zil_claim).
	if c := u.CheckpointTXG; c != 0 && (c >= u.TXG || u.Root.LogicalBirth > c || there) {
		d.miss("the uberblock of txg %d, whose MOS is of txg %d, says that the pool was rewound to a checkpoint of txg %d, which it was not: an import "+
			"drops intent logs, and builds with assertions, and zdb, panic", u.TXG, u.Root.LogicalBirth, c)
	}
	if there && (then.TXG == 0 || then.Timestamp == 0 || then.TXG != then.CheckpointTXG || then.TXG >= u.TXG) {
		d.miss("the uberblock of the checkpoint is of txg %d, at %d s, and says that it is of txg %d, that of the pool is of txg %d: builds with assertions "+
			"panic when they import the pool, or rewind it", then.TXG, then.Timestamp, then.CheckpointTXG, u.TXG)
	}
	expanding := slices.ContainsFunc(d.VDevs, func(v *VDev) bool { return v != nil && v.expansion.running })
	if _, state := u.Reflow(); state == scratchValid && !expanding {
		d.miss("the uberblock says that a raidz is being expanded, and its start is to be copied (vdev_raidz_reflow_copy_scratch), and none is: an import panics")
	}
}

// tree looks at a vdev of a configuration, and what is below it, as vdev_alloc does, and adds up the GUIDs.
func (d *demands) tree(c *nvlist.List, where string, index uint64, depth int, sum *uint64) {
	t, _ := c.String("type")
	id, hasID := c.Uint64("id")
	guid, hasGUID := c.Uint64("guid")
	*sum += guid
	name := fmt.Sprintf("vdev %d (%s) in %s", index, t, where)
	switch {
	case !knownVDev(t):
		d.miss("%s is of no type that there is", name)
	case !hasID || id != index:
		d.miss("%s says that it is number %d", name, id)
	case !hasGUID || guid == 0 && t != vdevHole && t != vdevMissing:
		d.miss("%s has no GUID", name)
	default:
		if what := d.tooNew(c, t); what != "" {
			d.miss("%s %s, which pools of version %d have not", name, what, d.Uberblock.Version)
		}
	}
	if t == "disk" || t == "file" {
		return
	}
	children, _ := c.Lists("children")
	if len(children) == 0 && slices.Contains([]string{"root", "mirror", vdevRAIDZ, vdevDRAID, "replacing", "spare"}, t) {
		d.miss("%s has nothing below it", name)
	}
	for i, child := range children {
		if depth < maxTreeDepth {
			d.tree(child, where, uint64(i), depth+1, sum)
		}
	}
}

// tooNew is what a vdev of a type is, or has, that no pool of the version can have; empty if there is nothing.
func (d *demands) tooNew(c *nvlist.List, t string) string {
	log, _ := c.Uint64("is_log")
	parity, _ := c.Uint64("nparity")
	version := d.Uberblock.Version
	switch {
	case log != 0 && version < versionSLogs:
		return "is a log"
	case t == vdevHole && version < versionHoles:
		return "is a hole"
	case t == vdevRAIDZ && (parity > 1 && version < raidz2Version || parity > 2 && version < raidz3Version):
		return fmt.Sprintf("has %d parities", parity)
	}
	return ""
}

// knownVDev says that there is a type of vdevs (vdev_ops_table in module/zfs/vdev.c).
func knownVDev(t string) bool {
	return slices.Contains([]string{"root", "raidz", "draid", "dspare", "mirror", "replacing", "spare", "disk", "file", "missing", "hole", "indirect"}, t)
}

// zaps looks at the tables of vdevs, which are objects of the MOS, and in a list of such.
func (d *demands) zaps(ctx context.Context, root *nvlist.List) {
	listed := map[uint64]bool{}
	known, err := d.numbersUnder(ctx, "com.delphix:vdev_zap_map")
	if err != nil {
		d.miss("the list of the vdevs' tables: %v", err)
		return
	}
	for _, id := range known {
		listed[id] = true
	}
	_, err = d.Directory.Lookup(ctx, "com.delphix:vdev_zap_map")
	switch says := d.Config.Has("com.delphix:has_per_vdev_zaps"); {
	case isNotFound(err) && says:
		d.miss("the configuration in the MOS says that vdevs have tables, of which there is no list: an import panics")
	case err == nil && !says:
		d.miss("the configuration in the MOS does not say that vdevs have tables, of which there is a list: zdb and builds with assertions panic")
	}
	var visit func(c *nvlist.List, depth int)
	visit = func(c *nvlist.List, depth int) {
		for _, name := range []string{"com.delphix:vdev_zap_root", "com.delphix:vdev_zap_top", "com.delphix:vdev_zap_leaf"} {
			id, _ := c.Uint64(name)
			if id == 0 {
				continue
			}
			if _, err := d.MOS.ZAP(ctx, id); err != nil {
				d.miss("%s of the configuration in the MOS is object %d: %v", name, id, err)
			} else if !listed[id] {
				d.miss("%s of the configuration in the MOS is object %d, which the list of the vdevs' tables lacks", name, id)
			}
		}
		children, _ := c.Lists("children")
		for _, child := range children {
			if depth < maxTreeDepth {
				visit(child, depth+1)
			}
		}
	}
	visit(root, 0)
}

// labels looks at those of a device: first as whoever looks for pools does (zpool_read_label and add_config in
// lib/libzutil/zutil_import.c), then as vdev_validate does (module/zfs/vdev.c).
func (d *demands) labels(m *member) {
	scanned := m.scanned()
	if scanned == nil {
		d.miss("no label of %s is one that a search for pools takes: each lacks its GUID, the txg or a state", m.device.Name)
		return
	}
	for _, name := range []string{"pool_guid", "top_guid", "txg", "version"} {
		if _, ok := scanned.Uint64(name); !ok {
			d.miss("the label of %s has no %s", m.device.Name, name)
		}
	}
	if name, ok := scanned.String("name"); !ok {
		d.miss("the label of %s has no name of the pool", m.device.Name)
	} else if !poolName.MatchString(name) || slices.Contains([]string{"mirror", vdevRAIDZ, vdevDRAID}, name) {
		d.miss("the label of %s calls the pool %q, which is no name of a pool: an import wants another one", m.device.Name, name)
	}
	if scanned.Has("hostid") {
		if _, ok := scanned.String("hostname"); !ok {
			d.miss("the label of %s has a hostid and no hostname", m.device.Name)
		}
	}
	if tree, ok := scanned.List("vdev_tree"); !ok {
		d.miss("the label of %s has no vdevs", m.device.Name)
	} else {
		id, _ := tree.Uint64("id")
		top, _ := scanned.Uint64("top_guid")
		if guid, _ := tree.Uint64("guid"); guid != top {
			d.miss("the label of %s is that of a member of vdev %d, and tells of vdev %d", m.device.Name, top, guid)
		}
		if !tree.Has("ashift") {
			d.miss("the label of %s does not say how large sectors are (ashift): an import may take the device to be another", m.device.Name)
		}
		d.tree(tree, "the label of "+m.device.Name, id, 1, new(uint64))
	}
	validated := m.validated(d.Uberblock.TXG)
	if validated == nil {
		d.miss("all labels of %s are younger than the uberblock, of txg %d: an import does not take the device", m.device.Name, d.Uberblock.TXG)
		return
	}
	d.validate(m, validated)
}

func (d *demands) validate(m *member, label *nvlist.List) {
	if guid, _ := label.Uint64("pool_guid"); guid != d.GUID {
		d.miss("a label of %s is of pool %d", m.device.Name, guid)
	}
	if split, ok := label.Uint64("split_guid"); ok && split == d.GUID {
		d.miss("%s was split off into another pool", m.device.Name)
	}
	if _, ok := label.Uint64("state"); !ok {
		d.miss("a label of %s has no state", m.device.Name)
	}
	top, ok := label.Uint64("top_guid")
	if !ok {
		d.miss("a label of %s has no top_guid", m.device.Name)
	}
	guid, _ := label.Uint64("guid")
	if top := slices.IndexFunc(d.VDevs, func(t *VDev) bool { return t != nil && t.GUID == m.guid && t.GUID == top }); guid != m.guid && top < 0 {
		d.miss("a label of %s is that of vdev %d", m.device.Name, guid)
	}
	if d.Uberblock.Version >= featureVersion {
		if _, ok := label.List("features_for_read"); !ok {
			d.miss("a label of %s does not tell the features that are needed to read the pool", m.device.Name)
		}
	}
}

// scanned is the label that a search for pools takes: the first that has what it must, nil if none has.
func (m *member) scanned() *nvlist.List {
	for _, l := range m.labels {
		guid, _ := l.Config.Uint64("guid")
		state, ok := l.Config.Uint64("state")
		txg, _ := l.Config.Uint64("txg")
		if guid != 0 && ok && state <= stateCache && (txg != 0 || state == stateSpare || state == stateCache) {
			return l.Config
		}
	}
	return nil
}

// validated is the label that an import compares with the configuration: the newest that is not younger than the uberblock, or the
// first without a txg if it comes before all others (vdev_label_read_config in module/zfs/vdev_label.c).
func (m *member) validated(txg uint64) (best *nvlist.List) {
	var bestTXG uint64
	for _, l := range m.labels {
		if l.Config == nil {
			continue
		}
		switch n, _ := l.Config.Uint64("txg"); {
		case n == 0 && best == nil:
			return l.Config
		case n <= txg && n > bestTXG:
			best, bestTXG = l.Config, n
		}
	}
	return best
}
