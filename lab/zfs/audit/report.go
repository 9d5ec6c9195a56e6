package audit

import (
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Kind names what a finding is about. The words are stable.
type Kind string

// The kinds of findings.
const (
	// AllocatedTwice: two blocks lie on the same space, or one block is referred to more often than any table knows.
	AllocatedTwice Kind = "allocated-twice"
	// FreeButReferenced: the space maps say that space is free on which somebody counts.
	FreeButReferenced Kind = "free-but-referenced"
	// FreedTwice: a space map has a FREE of what it holds free. Loading the metaslab panics.
	FreedTwice Kind = "freed-twice-in-space-map"
	// AllocatedTwiceInMap: a space map has an ALLOC of what it holds allocated. Loading the metaslab panics.
	AllocatedTwiceInMap Kind = "allocated-twice-in-space-map"
	// LogContradicts: the same two for an entry of an unflushed log.
	LogContradicts Kind = "log-contradicts"
	// Leaked: space is allocated and nobody refers to it.
	Leaked Kind = "leaked"
	// OutsideMetaslab: an entry of a space map reaches out of its metaslab, or of all vdevs.
	OutsideMetaslab Kind = "entry-outside-metaslab"
	// SpaceMapAccounting: the header or the histogram of a space map does not agree with its entries.
	SpaceMapAccounting Kind = "space-map-accounting"
	// WrongBirth: a block says that it was born in a txg in which it cannot have been.
	WrongBirth Kind = "wrong-birth"
	// Malformed: a block pointer or a dnode says what cannot be.
	Malformed Kind = "malformed"
	// Assertion: something is not as OpenZFS asserts in zdb and in builds for debugging. What most people use does not mind.
	Assertion Kind = "assertion"
	// BadAddress: a block pointer names a place where no block can be.
	BadAddress Kind = "bad-address"
	// BPObjEntry: an entry of a list of blocks to be freed names space that is free, or that somebody else refers to.
	BPObjEntry Kind = "bpobj-entry"
	// BPObjAccounting: the header of such a list does not agree with its entries.
	BPObjAccounting Kind = "bpobj-accounting"
	// DeadlistEntry: an entry of a deadlist names no block that a snapshot holds.
	DeadlistEntry Kind = "deadlist-entry"
	// DeadlistAccounting: the header of a deadlist does not agree with its entries.
	DeadlistAccounting Kind = "deadlist-accounting"
	// DDTCount and BRTCount: a table of shared blocks counts other references than there are.
	DDTCount Kind = "ddt-count"
	BRTCount Kind = "brt-count"
	// SnapshotChain: a dataset is mistaken about the snapshots before or after it.
	SnapshotChain Kind = "snapshot-chain"
	// BrokenTable: a table has entries that no lookup finds.
	BrokenTable Kind = "broken-table"
	// Configuration: the labels or the MOS do not have what an import asks of the pool's configuration.
	Configuration Kind = "configuration"
	// Checksum: no copy of a block has its checksum.
	Checksum Kind = "checksum"
	// Unreadable: a structure cannot be read for another reason.
	Unreadable Kind = "unreadable"
)

// Report is what an audit found out about a pool.
type Report struct {
	Pool string `json:"pool"`
	GUID uint64 `json:"guid"`
	TXG  uint64 `json:"txg"`
	// Checkpoint is the txg of the checkpoint, whose blocks were walked too, 0 if there is none.
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	// Totals are of the pool's own state, without a checkpoint.
	Totals Totals `json:"totals"`
	// Allocated is what the space maps say, in bytes; Capacity what the vdevs have.
	Allocated uint64 `json:"allocated"`
	Capacity  uint64 `json:"capacity"`
	// Findings are sorted by kind and place, at most MaxFindings of a kind. Omitted counts the others.
	Findings []Finding       `json:"findings"`
	Omitted  map[Kind]uint64 `json:"omitted,omitempty"`
	// BadCopies are the devices that do not hold what they should, though the blocks have other good copies. It is
	// counted with Options.Data alone.
	BadCopies []BadCopies `json:"bad_copies,omitempty"`
	// Incomplete says that parts of the pool could not be read, so that what is called leaked may belong to them.
	Incomplete bool `json:"incomplete,omitempty"`
}

// BadCopies counts what a device holds badly.
type BadCopies struct {
	VDev *ondisk.VDev `json:"-"`
	// Blocks is how many places of blocks are bad, Bytes how many bytes they have.
	Blocks uint64 `json:"blocks"`
	Bytes  uint64 `json:"bytes"`
	// First is the place of one of them on the device, in bytes, and what is wrong there.
	First  uint64 `json:"first"`
	Reason string `json:"reason"`
}

// Totals count block pointers as zdb -b does. Sizes are in bytes.
type Totals struct {
	Blocks    uint64 `json:"blocks"`
	Embedded  uint64 `json:"embedded"`
	Ganged    uint64 `json:"ganged"`
	Logical   uint64 `json:"logical"`
	Physical  uint64 `json:"physical"`
	Allocated uint64 `json:"allocated"`
}

// Clean says that there is nothing to report.
func (r *Report) Clean() bool { return len(r.Findings) == 0 }

// MaxFindings is how many findings of a kind a report has at most.
const MaxFindings = 1000

// Finding is one thing that is not as it must be.
type Finding struct {
	Kind Kind `json:"kind"`
	// VDev, Offset and Size say where, in bytes of a top-level vdev, without its labels. Size 0: it has no place.
	VDev   uint32 `json:"vdev"`
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
	// Metaslab is the one that Offset is in.
	Metaslab uint64 `json:"metaslab"`
	// Object is the space map, list or table that the finding is about, 0 if there is none.
	Object uint64 `json:"object,omitempty"`
	// Owners are those who refer to the place. MoreOwners counts those that are left out.
	Owners     []Owner `json:"owners,omitempty"`
	MoreOwners uint64  `json:"more_owners,omitempty"`
	Detail     string  `json:"detail,omitempty"`

	shared bool // it is about references to what a snapshot has
}

// String is one line that names everything.
func (f *Finding) String() string {
	var s strings.Builder
	s.WriteString(string(f.Kind))
	if f.Size > 0 {
		fmt.Fprintf(&s, ": vdev %d, metaslab %d, offset %#x, size %#x", f.VDev, f.Metaslab, f.Offset, f.Size)
	}
	if f.Detail != "" {
		fmt.Fprintf(&s, ": %s", f.Detail)
	}
	for i := range f.Owners {
		fmt.Fprintf(&s, "; %v", &f.Owners[i])
	}
	if f.MoreOwners > 0 {
		fmt.Fprintf(&s, "; and %d more", f.MoreOwners)
	}
	return s.String()
}

// Owner is somebody who refers to a place: a block of an object, an entry of a list or a table.
type Owner struct {
	// Kind is that of ondisk.RefKind, or "deadlist", "dedup table", "block reference table".
	Kind string `json:"kind"`
	// Dataset is the name of the dataset, "MOS" for the pool's own.
	Dataset string `json:"dataset,omitempty"`
	ObjSet  uint64 `json:"objset"`
	Object  uint64 `json:"object"`
	Level   int    `json:"level"`
	// BlkID is the first of Blocks neighbours, or the place in a list.
	BlkID  uint64 `json:"blkid"`
	Blocks uint64 `json:"blocks"`
	// Birth is the logical birth of the first.
	Birth uint64 `json:"birth"`
	// Path is that of a file or directory in its dataset.
	Path string `json:"path,omitempty"`
	// Checkpoint says that the reference is in the checkpointed state of the pool.
	Checkpoint bool `json:"checkpoint,omitempty"`
}

func (o *Owner) String() string {
	var s strings.Builder
	s.WriteString(o.Dataset)
	if o.Checkpoint {
		s.WriteString(" in the checkpoint")
	}
	switch o.Kind {
	case "dnode":
		fmt.Fprintf(&s, " dnode %d", int64(o.Object))
		if o.Path != "" {
			fmt.Fprintf(&s, ", %s", o.Path)
		}
		return strings.TrimSpace(s.String())
	case "tree":
		fmt.Fprintf(&s, " object %d level %d", int64(o.Object), o.Level)
	case "root":
		s.WriteString(" objset")
	case "zil":
		s.WriteString(" intent log")
	default:
		fmt.Fprintf(&s, " %s object %d", o.Kind, int64(o.Object))
	}
	if o.Kind != "root" {
		fmt.Fprintf(&s, " block %d", o.BlkID)
	}
	if o.Blocks > 1 {
		fmt.Fprintf(&s, " and %d behind it", o.Blocks-1)
	}
	fmt.Fprintf(&s, ", born in txg %d", o.Birth)
	if o.Path != "" {
		fmt.Fprintf(&s, ", %s", o.Path)
	}
	return strings.TrimSpace(s.String())
}
