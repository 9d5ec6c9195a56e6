package ondisk

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// dtls looks at the space maps that say which txgs devices have missed (vdev_dtl_load in module/zfs/vdev.c).
func (d *demands) dtls(ctx context.Context) {
	for v := range d.vdevs() {
		if !v.Leaf() || v.DTL == 0 {
			continue
		}
		s, err := d.SpaceMap(ctx, v.DTL, 0, 0)
		if err == nil {
			for _, e := range s.Entries(ctx) {
				if err = e; err != nil {
					break
				}
			}
		}
		if err != nil {
			d.miss("what %v has missed (its DTL) cannot be read, so that an import fails or panics: %v", v, err)
		}
	}
}

// dedupLogs looks which of the two logs of a dedup table is being moved to the table: one of them always is (ddt_log_load in
// module/zfs/ddt_log.c).
func (d *demands) dedupLogs(ctx context.Context) {
	all, err := d.DDTs(ctx)
	if err != nil {
		return // an audit tells
	}
	logs, flushing := map[checksum.Algorithm]int{}, map[checksum.Algorithm]int{}
	for _, t := range all {
		if !t.Log {
			continue
		}
		logs[t.Checksum]++
		if t.Flushing {
			flushing[t.Checksum]++
		} else if t.Checkpoint != nil {
			d.miss("%s has a place up to which it was flushed, and is not being flushed: an import panics", t.Name)
		}
	}
	for a := checksum.Off; a <= checksum.BLAKE3; a++ {
		if logs[a] == 2 && flushing[a] != 1 {
			d.miss("%d of the two logs of the dedup table of %v are being flushed, and one must be: an import panics", flushing[a], a)
		}
	}
}

// newestLabel looks at how many top-level vdevs the newest label of all says that there are: whoever looks for pools takes that many,
// whatever other labels know of (get_configs in lib/libzutil/zutil_import.c).
func (d *demands) newestLabel() {
	var newest, txg = (*member)(nil), uint64(0)
	for _, m := range d.members {
		if l := m.validated(d.Uberblock.TXG); l != nil {
			if n, _ := l.Uint64("txg"); newest == nil || n > txg {
				newest, txg = m, n
			}
		}
	}
	if newest == nil {
		return
	}
	d.names(txg)
	says, ok := newest.validated(d.Uberblock.TXG).Uint64("vdev_children")
	if root, _ := d.Config.List("vdev_tree"); ok {
		if tops, _ := root.Lists("children"); says != uint64(len(tops)) {
			d.miss("the label of %s says that there are %d top-level vdevs, of which there are %d: an import leaves some out, or looks for what is not there, "+
				"in as much memory as that many take", newest.device.Name, says, len(tops))
		}
	}
}

// names looks whether the labels of a txg call the pool by one name. An import takes that of any of the newest ones (get_configs in
// lib/libzutil/zutil_import.c).
func (d *demands) names(txg uint64) {
	var first *member
	var called string
	for _, m := range d.members {
		label := m.validated(d.Uberblock.TXG)
		if label == nil {
			continue
		}
		n, _ := label.Uint64("txg")
		name, ok := label.String("name")
		if n != txg || !ok {
			continue
		}
		if first == nil {
			first, called = m, name
		}
		if name != called {
			d.miss("the label of %s calls the pool %s, that of %s %s: an import takes one or the other", first.device.Name, called, m.device.Name, name)
			return
		}
	}
}

// DatasetTables opens what a dataset names beside its content and cannot be opened without: small tables, and what it is a clone of.
// It gives an error about the first that is not there.
func (p *Pool) DatasetTables(ctx context.Context, d *DSLDataset) error {
	for _, t := range []struct {
		name   string
		object uint64
		ofHead bool // whether what is no snapshot has such
	}{{"holds", d.UserRefs, false}, {"properties", d.Props, false}, {"clones", d.NextClones, true}, {"names of snapshots", d.SnapNames, true}} {
		if t.object == 0 {
			continue
		}
		if !t.ofHead && !d.Snapshot() {
			return fmt.Errorf("the %s of %s: %w", t.name, d.Name, corrupt("object %d, and only snapshots have such", t.object))
		}
		if _, err := p.MOS.ZAP(ctx, t.object); err != nil {
			return fmt.Errorf("the %s of %s: %w", t.name, d.Name, err)
		}
	}
	if d.Snapshot() {
		return nil
	}
	dir, err := p.DSLDir(ctx, d.Dir)
	if err != nil || dir.Origin == 0 {
		return err
	}
	origin, err := p.DSLDataset(ctx, dir.Origin)
	if err == nil && !origin.Snapshot() {
		err = corrupt("dataset %d is no snapshot", dir.Origin)
	}
	if err != nil {
		return fmt.Errorf("what %s is a clone of: %w", d.Name, err)
	}
	return nil
}
