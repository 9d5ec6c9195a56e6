package audit

// Advice is what an administrator should know about a kind of finding.
type Advice struct {
	// Effect says what OpenZFS does about it, Remedy what to do.
	Effect, Remedy string
}

// Sentences that several kinds share.
const (
	rescue = "Do not import the pool read-write. Import it with zpool import -o readonly=on, which loads no space map and frees nothing, " +
		"copy the data to another pool, and make this one anew."
	recoverable = "With the module parameter zfs_recover=1 the panic becomes a warning and the entry is ignored. A read-only import " +
		"(zpool import -o readonly=on) loads no space map: copy the data to another pool, and make this one anew."
	addText = "\"adding existent segment to range tree\" (up to 2.3.3), \"adding segment ... overlapping with existing one\" (since 2.3.4)"
	copyOff = "Copy the data to another pool, and make this one anew."
)

// Advice about findings of a kind.
func (k Kind) Advice() Advice { return advice[k] }

var advice = map[Kind]Advice{
	AllocatedTwice: {
		"The space holds what was written last; who else refers to it reads wrong data or a checksum error. When both owners " +
			"are deleted the space is freed twice, which panics: " + addText + ".",
		"Delete none of the owners. Compare the files named with a backup: at most one of them is good, unless they were meant to be " +
			"the same. " + copyOff,
	},
	FreeButReferenced: {
		"The space will be given to the next who writes, over data that is in use; a scrub sees it only after that. Freeing what " +
			"lies there now panics, since the space is free already.", rescue,
	},
	FreedTwice: {
		"Loading the metaslab panics, at every first allocation in it after an import: " + addText + ". The import itself may " +
			"succeed, and a scrub finds nothing.", recoverable,
	},
	AllocatedTwiceInMap: {
		"Loading the metaslab panics: \"removing nonexistent segment from range tree\", or, when only a part is allocated, a failed " +
			"VERIFY, which up to 2.3.6 and 2.4.1 no parameter softens.", recoverable,
	},
	LogContradicts: {
		"An import fails or panics, or loading the metaslab does; the detail says which. The texts are those of entries of a space map that " +
			"free what is free or allocate what is allocated.", recoverable,
	},
	Leaked:          {"The space cannot be used any more. Nothing else follows.", "None is needed. Only a new pool gets the space back."},
	OutsideMetaslab: {"Loading the metaslab, or an import if the entry is in a log, fails a check and panics, or corrupts memory.", rescue},
	SpaceMapAccounting: {
		"The pool shows wrong numbers of free space, and prefers wrong metaslabs; where more is freed than the header has allocated, " +
			"loading the metaslab fails a VERIFY.", copyOff,
	},
	WrongBirth: {
		"A birth decides whether a snapshot shares a block. With a wrong one it is freed while a snapshot still refers to it, or never.",
		"Delete neither the files named nor snapshots of them. " + copyOff,
	},
	Malformed: {
		"OpenZFS refuses to read what a block pointer of an unknown type, function or size leads to, and panics when it frees it: \"blkptr at ... has invalid TYPE\". " +
			"What else the detail names is used as it is.",
		"Do not delete what is named. " + rescue,
	},
	Assertion: {
		"zdb, and a module that was built with --enable-debug, panic when they come to it. The modules of distributions are built without assertions and " +
			"work as if nothing were there, also when they import, write and free.",
		"The pool can be used as it is. To have zdb work on it, make what is named anew, or copy the data to another pool. Whoever wrote it that way, another implementation of ZFS perhaps, should know.",
	},
	BadAddress: {"Reading the block fails. Freeing it panics.", "Do not delete what is named. " + rescue},
	BPObjEntry: {
		"The list is being worked off: an import frees the space in the background, under somebody who uses it, or a second time, " +
			"which panics: " + addText + ".",
		"zfs_free_bpobj_enabled=0, set before the import, keeps the list from being worked off. " + rescue,
	},
	DeadlistEntry: {
		"When the snapshot before the dataset is destroyed, the entry is freed: space that is free or somebody else's, or the same " +
			"space twice, which panics: " + addText + ".",
		"Destroy no snapshot of the dataset, nor the dataset. " + copyOff,
	},
	BPObjAccounting:    wrongSums,
	DeadlistAccounting: wrongSums,
	DDTCount: {
		"With too small a count the block is freed while files still refer to it, and a second time when these are deleted. With too " +
			"large a count it is never freed.", "Do not delete the files named. " + copyOff,
	},
	BRTCount: {
		"With too small a count the block is freed while a clone of it (cp --reflink, copy_file_range) still refers to it, and a " +
			"second time when that is deleted. With too large a count it is never freed.",
		"Do not delete the files named. " + copyOff,
	},
	SnapshotChain: {
		"By the txg of the snapshot before it a dataset decides whether the snapshot has a block that is overwritten: with a wrong one it " +
			"frees what the snapshot has, and after a rollback a second time, which panics: " + addText + ". A link that leads nowhere can fail the import.",
		"Delete and overwrite nothing in what is named, and do not roll it back. " + rescue,
	},
	BrokenTable: {
		"OpenZFS acts as if the entry did not exist, or follows a chain to what is no entry. Where a table of shared blocks counts references " +
			"to a block, the block is freed while files still refer to it, and a second time when these are deleted, which panics: " + addText + ".",
		"Delete no files that were cloned or deduplicated. " + copyOff,
	},
	Configuration: {
		"An import refuses the pool, or takes the device named for missing, or panics. What the pool holds is not touched by that.",
		"Where only one device is named and others have what it has, import the pool without it and replace it. Else keep the devices as they are, " +
			"and restore from a backup; zpool import -T with a txg from before, read-only, may succeed.",
	},
	Checksum: {
		"ZFS finds this too: it reports errors of checksums, and repairs what it has a good copy of elsewhere.",
		"See zpool status -v. Restore the files from a backup.",
	},
	Unreadable: {"What is below the structure is not seen by this audit, and perhaps not by ZFS.", "Give all devices of the pool. " + rescue},
}

var wrongSums = Advice{"Numbers of used space are wrong. When a snapshot is destroyed, sums may become negative, which fails a VERIFY.", copyOff}
