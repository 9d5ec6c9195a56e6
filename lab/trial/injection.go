package trial

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"time"
)

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
	// ECC is what the memory's ECC did: corrected (nothing changed), detected, silent, or miscorrected: it took the damage for
	// another one, and turned more bits over. SECDED is what that code would
	// have done, where the memory has no ECC.
	ECC    string `json:"ecc,omitempty"`
	SECDED string `json:"secded,omitempty"`
	// Amiss says that a disk has answered a request otherwise than an honest one would, whether bytes differ or not.
	Amiss bool `json:"amiss,omitempty"`
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
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // paths are full of "->"
	err := enc.Encode(struct {
		plain
		BitsChanged int `json:"bits_changed"`
	}{plain(i), i.BitsChanged()})
	return text.Bytes(), err
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
