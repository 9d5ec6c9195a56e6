package ops

// Request is what the helper in a guest is asked for, and Answer what it says to it; a file of this package's makes one of the other.
type Request struct {
	Do      string     `json:"do"`
	Path    string     `json:"path,omitempty"`
	From    string     `json:"from,omitempty"`
	Offset  int64      `json:"offset,omitempty"`
	At      int64      `json:"at,omitempty"` // in From
	Size    int64      `json:"size,omitempty"`
	Seed    uint64     `json:"seed,omitempty"`
	Label   string     `json:"label,omitempty"`
	Byte    string     `json:"byte,omitempty"`
	Value   string     `json:"value,omitempty"`
	Command [][]string `json:"command,omitempty"`
}

// Answer is how a request went: the zero value is success.
type Answer struct {
	// Error is why it was refused, Errno the number of that if it was a system call, Status that of a command.
	Error  string `json:"error,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Status int    `json:"status,omitempty"`
	// Sum is the SHA-256 of what was read, in hexadecimal.
	Sum string `json:"sum,omitempty"`
}

// Place is what operations need to know of where they are done.
type Place struct {
	Pool string
	// Seed is that of the trial, which random contents come from.
	Seed uint64
	// Disk is the path of a disk in the guest.
	Disk func(name string) string
}
