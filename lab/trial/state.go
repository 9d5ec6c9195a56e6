package trial

import (
	"time"

	"github.com/vdevil/vdevil/lab/oracle"
)

// Cut is a power cut that took a workload's disks away: they are tried in a guest that has never seen it. The workload is recorded
// once, and its timing is not the seed's, so that states of two records differ.
type Cut struct {
	// States is how many states of the record are tried; the trial's number says which of them this is.
	States int `json:"states"`
	// Lying disks answer a flush without doing anything; their caches hold Cache bytes.
	Lying bool  `json:"lying,omitempty"`
	Cache int64 `json:"cache,omitempty"`
	// Promises is for how long files were written with fsync beside the workload, by the guest's clock.
	Promises time.Duration `json:"promises_ns"`
	// Record tells records apart.
	Record string `json:"record"`
}

// State is a state in which a cut could have left the disks, and what became of the pool in it.
type State struct {
	// Kind says how it was chosen: boundary, subset or torn. At is the moment of the cut: so many events had happened.
	Kind string `json:"kind"`
	At   int    `json:"at"`
	// Unflushed is how many writes were at the mercy of the cut, Kept how many of them are there.
	Unflushed int `json:"unflushed"`
	Kept      int `json:"kept"`
	// TornSectors is how many sectors of the last write are there, of a torn state.
	TornSectors int64 `json:"torn_sectors,omitempty"`
	// Unreadable is which damage kept the disks from being audited. After is what the audit found once the pool had been
	// imported, its logs replayed, and exported; what it found before is in the result.
	Unreadable string   `json:"unreadable,omitempty"`
	After      []string `json:"after,omitempty"`
	// ReadOnly and ReadWrite say why an import failed.
	ReadOnly  string `json:"read_only,omitempty"`
	ReadWrite string `json:"read_write,omitempty"`
	// Damaged is what zpool status names.
	Damaged []string `json:"damaged,omitempty"`
	// Promises is how many files had been promised, Broken which of them are not as promised.
	Promises int             `json:"promises"`
	Broken   oracle.Findings `json:"broken,omitempty"`
}

// Inconsistent says that more than what the cut may take was lost. A broken promise is not part of it: where a flush is worth
// nothing a pool is consistent, only older than the guest was told.
func (r *Result) Inconsistent() bool {
	s := r.State
	return r.Outcome.Crash() || len(r.Audit)+len(s.After)+len(s.Damaged) > 0 || r.Signature+s.Unreadable+s.ReadOnly+s.ReadWrite != ""
}
