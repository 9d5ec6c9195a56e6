package ondisk

import (
	"maps"
	"slices"
	"strings"
)

// known says whether a feature is understood (module/zcommon/zfeature_common.c). Of a feature that a pool lists among those
// which a reader must know OpenZFS only asks whether it knows it: one that is for writers alone may be among them, as other
// implementations list it (zfeature_is_supported).
func known(feature string) bool {
	switch feature {
	case "org.illumos:lz4_compress", "com.joyent:multi_vdev_crash_dump", "com.delphix:hole_birth",
		"com.delphix:extensible_dataset", "com.delphix:embedded_data", "org.open-zfs:large_blocks",
		"org.zfsonlinux:large_dnode", "org.illumos:sha512", "org.illumos:skein", "org.illumos:edonr",
		"com.delphix:redaction_bookmarks", "com.delphix:redacted_datasets", "com.delphix:bookmark_written",
		"com.delphix:device_removal", "com.datto:bookmark_v2", "com.datto:encryption", "org.freebsd:zstd_compress",
		"com.delphix:head_errlog", "org.openzfs:blake3", "com.klarasystems:vdev_zaps_v2",
		"com.delphix:redaction_list_spill", "org.zfsonlinux:longname", featureGangHeader,
		// The pool is opened and the vdevs are refused, one by one: what lies on others can be read.
		"org.openzfs:draid", "org.openzfs:raidz_expansion",
		// What follows is for writers alone.
		"com.delphix:async_destroy", "com.delphix:empty_bpobj", "com.delphix:spacemap_histogram", "com.delphix:enabled_txg",
		"com.delphix:zpool_checkpoint", "com.delphix:spacemap_v2", "com.delphix:bookmarks", "com.joyent:filesystem_limits",
		"com.delphix:livelist", "com.delphix:log_spacemap", "com.delphix:obsolete_counts", "org.zfsonlinux:userobj_accounting",
		"org.zfsonlinux:project_quota", "org.zfsonlinux:allocation_classes", "com.datto:resilver_defer",
		"org.openzfs:device_rebuild", "org.openzfs:zilsaxattr", "com.fudosecurity:block_cloning",
		"com.truenas:block_cloning_endian", "com.klarasystems:fast_dedup", "com.klarasystems:large_microzap",
		"com.truenas:physical_rewrite":
		return true
	}
	return false
}

// CheckWriters names, as an *UnsupportedError, the active features of which only writers need to know what they are and that
// are not known here, so that nothing is known of the space which they take.
func (p *Pool) CheckWriters() error {
	return checkFeatures(p.Features)
}

// checkFeatures names the active features that are not known.
func checkFeatures(active map[string]uint64) error {
	var bad []string
	for _, f := range slices.Sorted(maps.Keys(active)) {
		if active[f] != 0 && !known(f) {
			bad = append(bad, f)
		}
	}
	if len(bad) > 0 {
		return unsupported("feature %s", strings.Join(bad, ", "))
	}
	return nil
}
