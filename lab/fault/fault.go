// Package fault defines what a fault is: one way to damage a machine from outside. A fault is armed, strikes when its
// trigger fires, and leaves a record of every strike, the injection. The faults themselves are in sub-packages, by what
// they hit.
package fault

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
)

// Site is where a fault strikes.
type Site struct {
	Machine machine.Machine
	Guest   *guest.Guest
	// Written is what the workload has written, by path in the guest.
	Written map[string][]byte
	// Rand is the trial's: all choices of a fault come from it.
	Rand *rand.Rand
	// Kernel gives the types and the layout of the running guest, which are loaded on first use: while the guest runs, as it
	// is asked for its addresses.
	Kernel func(ctx context.Context) (*kernel.Kernel, error)
	// Over is closed when the workload has come to its end: faults that go on for the length of a trial end then. Nil
	// lets them go on until the context of the strike ends.
	Over <-chan struct{}
	// Withhold makes it a control: trigger and pause as in earnest, but nothing is changed.
	Withhold bool
}

// Fault is one way to damage a machine.
type Fault interface {
	// Name is the kind that a scenario file says.
	Name() string
	// Arm makes the fault ready and returns the strike. When Arm returns the trigger is in place.
	Arm(ctx context.Context, s Site) (Strike, error)
}

// Strike waits for the trigger, does the damage and says what it changed. It is called once, while the workload runs. It
// must be called even when it is no longer wanted, with a context that has ended, to take the trigger away. An error
// means that the fault was not delivered.
type Strike func(ctx context.Context) ([]Injection, error)

// Injection is the record of one strike.
type Injection struct {
	Fault string    `json:"fault"`
	Time  time.Time `json:"time"`
	// Target is the typed place that was hit, as C would name it, or file and offset for what lies on a disk.
	Target string `json:"target"`
	// Trigger says what made it strike; Hit is the number of its arrival at a place in code, counted as the trigger counts,
	// and Arguments are those of the function there.
	Trigger   string            `json:"trigger"`
	Hit       int               `json:"hit,omitempty"`
	Arguments map[string]string `json:"arguments,omitempty"`
	// Withheld strikes of control arms changed nothing.
	Withheld bool `json:"withheld,omitempty"`
	// Virt and Phys are the guest addresses of the first byte of Before; zero for disks.
	Virt uint64 `json:"virt,omitempty"`
	Phys uint64 `json:"phys,omitempty"`
	// Disk and Offset are the place on a disk, in bytes; File is whose content lies there.
	Disk   string `json:"disk,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	File   string `json:"file,omitempty"`
	// Before and After are the bytes at that place; of a register the most significant comes first.
	Before Bytes `json:"before"`
	After  Bytes `json:"after"`
	// ECC is what the memory's ECC did: corrected (nothing changed), detected or silent. SECDED is what that code would
	// have done, where the memory has no ECC.
	ECC    string `json:"ecc,omitempty"`
	SECDED string `json:"secded,omitempty"`
	// Reapplied is how often a stuck bit had to be set to its value again.
	Reapplied int `json:"reapplied,omitempty"`
	// Effect says what the change means, as far as the fault knows.
	Effect string `json:"effect,omitempty"`
}

// BitsChanged is the number of bits in which After differs from Before.
func (i Injection) BitsChanged() int {
	n := 0
	for k := range min(len(i.Before), len(i.After)) {
		n += bits.OnesCount8(i.Before[k] ^ i.After[k])
	}
	return n
}

// MarshalJSON adds the number of changed bits, which readers of a bundle look for first.
func (i Injection) MarshalJSON() ([]byte, error) {
	type plain Injection
	return json.Marshal(struct {
		plain
		BitsChanged int `json:"bits_changed"`
	}{plain(i), i.BitsChanged()})
}

// Bytes are written in hexadecimal.
type Bytes []byte

// MarshalText encodes in hexadecimal.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// UnmarshalText decodes hexadecimal.
func (b *Bytes) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(string(t))
	return err
}
