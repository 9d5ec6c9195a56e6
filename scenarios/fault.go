package scenarios

import (
	"reflect"
	"strings"
	"time"
)

// Fault is one way to damage the machine. Exactly one field is set.
type Fault struct {
	BlkptrDVAFlip *BlkptrDVAFlip `json:"blkptr-dva-flip,omitempty"`
	VdevBitrot    *VdevBitrot    `json:"vdev-bitrot,omitempty"`
	Vdev          *VdevFault     `json:"vdev,omitempty"`
	Forge         *Forge         `json:"forge,omitempty"`
	Memory        *MemoryFault   `json:"memory,omitempty"`
	Register      *RegisterFault `json:"register,omitempty"`
	Hold          *HoldFault     `json:"hold,omitempty"`
	Device        *DeviceFault   `json:"device,omitempty"`
}

// Kind is the fault's word in a file, empty of nil.
func (f *Fault) Kind() string {
	if f == nil {
		return ""
	}
	return set(*f)
}

// set is the word of the one field of a struct that is not zero: its name in JSON, which is that in a file.
func set(one any) string {
	v := reflect.ValueOf(one)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			word, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return word
		}
	}
	return ""
}

// BlkptrDVAFlip flips one bit of the offset in the first DVA of the block pointer that the guest kernel is freeing.
type BlkptrDVAFlip struct {
	// At is the kernel function that the trigger waits for.
	At string `json:"at"`
	// After is the number of hits to let pass before a strike may be chosen.
	After int `json:"after"`
}

// VdevBitrot overwrites random bytes in places that hold what the workload wrote. The places are chosen once and then
// damaged on each of the disks, so that two sides of a mirror lose the same blocks.
type VdevBitrot struct {
	Disks   []string `json:"disks"`
	Extents int      `json:"extents"` // places
	Bytes   int      `json:"bytes"`   // in each place
}

// VdevFault damages what lies on the disks, by what it is, or at an offset of a disk. Class, or Disk and Offset, is set;
// and exactly one of Flip, Zero and Garbage.
type VdevFault struct {
	// Class is a kind of thing on a pool's devices, Dataset the one it is looked for in, empty for all.
	Class   string `json:"class,omitempty"`
	Dataset string `json:"dataset,omitempty"`
	// Blocks is how many of the class are hit, AllCopies whether every copy of each is, or one.
	Blocks    int  `json:"blocks,omitempty"`
	AllCopies bool `json:"all_copies,omitempty"`
	// Offset is in bytes.
	Disk   string `json:"disk,omitempty"`
	Offset int64  `json:"offset,omitempty"`

	// Flip turns over so many bits of a sector; Zero and Garbage are bytes to overwrite. 0 is not set.
	Flip    int `json:"flip,omitempty"`
	Zero    int `json:"zero,omitempty"`
	Garbage int `json:"garbage,omitempty"`
}

// DeviceFault makes disks answer requests wrongly, from arming until the workload ends or the power is cut.
type DeviceFault struct {
	// Disks are the ones, each for itself.
	Disks []string `json:"disks"`
	// Do is what is done: one of deviceActions.
	Do string `json:"do"`

	// Op, Class and Dataset say which requests are met: the operation, and what lies, when the fault is armed, where it goes to.
	// Empty is any.
	Op      string `json:"op,omitempty"`
	Class   string `json:"class,omitempty"`
	Dataset string `json:"dataset,omitempty"`
	// Nth is the first one that is met, counted from 1; Times how many are, at most. 0 is no limit. Probability is that of each, 0 for certain.
	Nth         int     `json:"nth,omitempty"`
	Times       int     `json:"times,omitempty"`
	Probability float64 `json:"probability,omitempty"`

	// Sectors of 512 bytes are what a torn write has done.
	Sectors int `json:"sectors,omitempty"`
	// By is how many bytes a misdirected write goes astray.
	By int64 `json:"by,omitempty"`
	// Writes is how many overtake a reordered one.
	Writes int `json:"writes,omitempty"`
	// Late is by how much an answer is, For how long a disk is gone; 0 is for good.
	Late time.Duration `json:"late_ns,omitempty"`
	For  time.Duration `json:"for_ns,omitempty"`
	// Cache is how many bytes of writes a disk holds that no flush has hurried, Keep the share of them that a power cut spares.
	Cache int64   `json:"cache,omitempty"`
	Keep  float64 `json:"keep,omitempty"`
}

// Forge damages the metadata of the pool, with valid checksums, where the guest reads it after the next reboot.
type Forge struct {
	// Forgery is one of Forgeries.
	Forgery string `json:"forgery"`
	// Dataset and File, a path in it, say what is hit; empty means any.
	Dataset string `json:"dataset,omitempty"`
	File    string `json:"file,omitempty"`
}

// Trigger says when a fault strikes.
type Trigger struct {
	// At is "now", a duration after arming, "txg 42", "txg+3", or a place in the guest's code: a function, a function
	// with an offset ("space_map_write+0x12"), an address.
	At string `json:"at"`
	// Hit counts those arrivals at a place in code at which When holds, from 1.
	Hit int `json:"hit,omitempty"`
	// When gives paths the values that they must have, all of them.
	When map[string]string `json:"when,omitempty"`
}

// MemoryFault damages what the guest has in memory: once, when the trigger fires, or again and again at a Rate. Exactly
// one of Part, Targets and Class is set, and beside the latter two one of Flip, Stuck, Write, Copy and Row.
type MemoryFault struct {
	Trigger
	Rate *Rate `json:"rate,omitempty"`
	// Targets are paths of places with a type, all hit alike, Class is the name of a class of memory that a place is
	// drawn from.
	Targets []string `json:"target,omitempty"`
	Class   string   `json:"class,omitempty"`

	Flip  *Flip       `json:"flip,omitempty"`
	Stuck *Stuck      `json:"stuck,omitempty"`
	Write *WriteBytes `json:"write,omitempty"`
	Copy  *Copy       `json:"copy,omitempty"`
	Row   *Row        `json:"row,omitempty"`
	// Part of a memory module fails, wherever it lies.
	Part *Part `json:"part,omitempty"`
	// ECC is none, secded or chipkill.
	ECC string `json:"ecc"`
}

// Part says which part of a memory module fails: one that a Preset draws by how often each does, or a Mode.
type Part struct {
	Preset  string `json:"preset,omitempty"`
	Mode    string `json:"mode,omitempty"`
	Lasting bool   `json:"lasting,omitempty"`
	// Every is how often what a lasting fault covers is looked at.
	Every time.Duration `json:"every_ns"`
}

// Rate makes strikes come at random until the workload ends.
type Rate struct {
	// FITPerMbit are faults in 10^9 hours of 2^20 bits; 0 beside a Part, whose preset has them.
	FITPerMbit float64 `json:"fit_per_mbit,omitempty"`
	TimeScale  float64 `json:"time_scale"`
}

// Flip turns bits over: Bits of them at random places, next to each other if Adjacent, or the one numbered Bit.
type Flip struct {
	Bits     int  `json:"bits"`
	Adjacent bool `json:"adjacent,omitempty"`
	Bit      *int `json:"bit,omitempty"`
}

// Stuck holds a bit at a value: it is looked at again after every period until the workload ends. Bit nil is a random one.
type Stuck struct {
	Bit   *int          `json:"bit,omitempty"`
	Value int           `json:"value"`
	Every time.Duration `json:"every_ns"`
}

// WriteBytes overwrites the beginning of the target.
type WriteBytes struct {
	// Bytes are in hexadecimal.
	Bytes string `json:"bytes"`
}

// Copy overwrites the target with what stands at the path From.
type Copy struct {
	From string `json:"from"`
}

// Row turns a run of neighbouring bits over, in the physical row of 8 KiB that holds the target.
type Row struct {
	Bits int `json:"bits"`
}

// RegisterFault flips a bit of a CPU's register at a place in code. Exactly one of Argument and Register is set.
type RegisterFault struct {
	Trigger
	// Argument is the parameter of the function that the register holds at its entry.
	Argument string `json:"argument,omitempty"`
	Register string `json:"register,omitempty"`
	Bit      int    `json:"bit"`
}

// HoldFault lets a CPU stand at a place in code while the others go on: at the Trigger, or, with In set, at a place that is drawn in each
// trial.
type HoldFault struct {
	Trigger
	// In are patterns of functions' names, Arrivals at which one is drawn.
	In       []string `json:"in,omitempty"`
	Arrivals int      `json:"arrivals,omitempty"`
	// For is how long, by the host's clock.
	For time.Duration `json:"for_ns"`
	// Until is a place in code; another CPU that comes there ends it before. Empty is none.
	Until string `json:"until,omitempty"`
}
