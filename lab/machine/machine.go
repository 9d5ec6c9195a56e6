// Package machine is a virtual machine seen from outside: power, CPUs, memory, disks and console. It knows nothing of
// ZFS and never talks to software inside; package guest does. Drivers live in sub-packages, what two of them share
// lives here.
//
// A machine is booted once, frozen into a checkpoint, and from then on only forked: a checkpoint never runs again.
package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Accel names what executes the guest's instructions.
type Accel string

// The accelerators that drivers know.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

// Driver starts machines. One driver serves many machines at once.
type Driver interface {
	// Name is the word the user chooses the driver by.
	Name() string
	// Accel says what runs the guests.
	Accel() Accel
	// Version identifies the hypervisor; a checkpoint is only as good as the version that made it.
	Version() string
	// Can says whether the driver can do what not every one can.
	Can(a Ability) bool
	// Boot powers a new machine on and returns at once: a guest may need a minute before it answers.
	Boot(ctx context.Context, c Config) (Machine, error)
	// Fork starts a running machine from a checkpoint. What it writes to memory and disks is its own.
	Fork(ctx context.Context, cp *Checkpoint, o ForkOptions) (Machine, error)
	// Close ends what the driver started ahead of demand. Machines are closed by those who asked for them.
	Close() error
}

// Ability is something that not every driver can do, in words that follow "can".
type Ability string

// The abilities.
const (
	ServesDisks   Ability = "let others than its hypervisor serve disks" // ForkOptions.NBD
	HoldsCPUs     Ability = "hold one CPU while others run"              // Holder
	ReportsMemory Ability = "report damaged memory to its guest"         // MCEInjector
	CountsTime    Ability = "count its guest's time in instructions"     // Config.Clock
	TracesCode    Ability = "tell what code its guest comes to"          // CodeTracer
)

// Clock is what the time of a guest follows.
type Clock string

// The clocks.
const (
	// Realtime is the host's clock.
	Realtime Clock = ""
	// Instructions counts what the one CPU of a guest has executed, Instruction each. While it waits, time goes on at once to the next timer
	// that is set: a guest that sleeps for a week has done so when its timers have been served. The wall clock begins at ClockBase.
	// A disk that the host serves would take any time of such a guest: its disks are persistent memory instead, the data disks in the
	// order of Config.Disks, which has no serial numbers and stays plugged in. What the host has no hand in while such a machine runs
	// is the same in each of its forks, to the instruction.
	Instructions Clock = "icount"
)

// Instruction is how long one takes a machine with Clock Instructions.
const Instruction = 2 * time.Nanosecond

// Root is the guest's name of its root disk.
func (c Clock) Root() string {
	if c == Instructions {
		return "/dev/pmem0"
	}
	return "/dev/vda"
}

// ClockBase is what the wall clock of a guest with Clock Instructions says at power-on, in UTC.
var ClockBase = time.Date(2025, time.May, 7, 0, 0, 0, 0, time.UTC)

// Config says what a machine is made of. Two machines of equal Config are alike to the last virtual device.
type Config struct {
	// Kernel and Initrd are files on the host.
	Kernel string `json:"kernel"`
	Initrd string `json:"initrd"`
	// Root is the guest's root disk, never written: a machine gets an overlay.
	Root string `json:"root"`
	// Cmdline is the kernel's command line.
	Cmdline string `json:"cmdline"`
	CPUs    int    `json:"cpus"`
	Clock   Clock  `json:"clock,omitempty"`
	// Memory is in bytes, a multiple of 1 MiB.
	Memory int64 `json:"memory"`
	// Disks are the data disks; the guest sees each Name as its serial number.
	Disks []DiskConfig `json:"disks"`
	// Ports are the guest's TCP ports that Dial can reach.
	Ports []int `json:"ports"`
}

// DiskConfig is an empty data disk.
type DiskConfig struct {
	// Name is at most 20 bytes, the limit of a virtio-blk serial number.
	Name string `json:"name"`
	// Size is in bytes, a multiple of 512.
	Size int64 `json:"size"`
}

// Disk is a data disk of a machine: a raw, sparse file on the host. Reading it while the machine runs gives what the
// guest has written so far; writing it is what a vdev fault does.
type Disk struct {
	Name string `json:"name"`
	// Path is empty for a disk of an NBD server that has no file behind it.
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// Contents are disks as ForkOptions.Disks, for a fork that goes on with what another machine has left.
func Contents(disks []Disk) map[string]string {
	files := map[string]string{}
	for _, d := range disks {
		files[d.Name] = d.Path
	}
	return files
}

// ForkOptions are what one fork differs in from the next.
type ForkOptions struct {
	// Freezable forks keep their memory in a copy of their own, so that Checkpoint can be called on them. The copy
	// costs time and space in proportion to the memory in use.
	Freezable bool
	// Paused forks start with their CPUs stopped.
	Paused bool
	// For says what the fork is for, in a line for people who look at what runs on this computer.
	For string
	// Next is how many more forks of the same checkpoint will be asked for; some may be made ready ahead.
	Next int
	// Disks are raw files to begin with in place of the checkpoint's data disks, by name. They are copied; each must have
	// the size of the disk it replaces. The guest is not told: it must not have read the disk before.
	Disks map[string]string
	// NBD are data disks that servers have, by name, in place of raw files. A server that goes away is waited for; after
	// ReconnectDelay the guest gets errors. Such a fork is not Freezable.
	NBD map[string]NBD
}

// NBD is a disk that a server has, exported under the disk's name.
type NBD struct {
	// Socket is the server's UNIX socket.
	Socket string
	// File is the raw file behind the server, if there is one: Disks tells it.
	File string
}

// ReconnectDelay is how long the requests of a guest wait for an NBD server that has gone away, in seconds.
const ReconnectDelay = 5

// Releaser is a driver that restores machines ahead, see ForkOptions.Next.
type Releaser interface {
	// Release lets go of those of a checkpoint that nobody is about to fork.
	Release(cp *Checkpoint) error
}

// Memory is the guest's physical memory.
type Memory interface {
	// ReadPhys fills p from guest-physical address addr.
	ReadPhys(ctx context.Context, addr uint64, p []byte) error
	// WritePhys writes p at guest-physical address addr behind the guest's back. Under TCG code that was translated
	// before does not change: write code through a Debugger.
	WritePhys(ctx context.Context, addr uint64, p []byte) error
	// Translate walks the page tables of a CPU, 0 being the first. An address that is not mapped is an error.
	Translate(ctx context.Context, cpu int, virt uint64) (phys uint64, err error)
}

// Machine is a running virtual machine. All methods are safe for concurrent use.
type Machine interface {
	Memory
	// ID is short and unique on this host, for file names and messages.
	ID() string
	// Console is everything the guest printed, boot included.
	Console() *Console
	// Command is the command line that started the machine, for people who want to repeat it.
	Command() []string
	// Dial connects to a TCP port of the guest that Config.Ports names.
	Dial(ctx context.Context, port int) (net.Conn, error)
	// Disks are the data disks, in the order of Config.Disks.
	Disks() []Disk
	// Unplug takes a data disk out of the running guest's slot and returns when the guest has let go of it. A guest that
	// is paused, or still booting, does not. Plug puts the disk back as it was left; a Checkpoint is only taken of a machine
	// that has all of its disks.
	Unplug(ctx context.Context, disk string) error
	Plug(ctx context.Context, disk string) error
	// Pause stops all CPUs; Resume lets them go on.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Debug stops the machine and attaches a debugger. A machine has at most one.
	Debug(ctx context.Context) (Debugger, error)
	// Checkpoint freezes the machine into dir, which must not exist, and ends it. It works on a booted machine and on
	// a freezable fork, also while a Debugger holds it at a breakpoint. The scale is for those who will run forks of it.
	Checkpoint(ctx context.Context, dir string, scale Scale) (*Checkpoint, error)
	// PowerOff cuts the power: no flush, no notice to the guest.
	PowerOff() error
	// Done is closed when the machine has ended, for whatever reason.
	Done() <-chan struct{}
	// Wait blocks until the machine has ended; the error is nil after PowerOff, Close or an orderly shutdown.
	Wait(ctx context.Context) error
	// Close ends the machine and deletes its disks and sockets, at the latest when the driver is closed. Closing twice is
	// harmless.
	Close() error
}

// MCEInjector is a Machine that can report damaged memory to its guest, as a memory controller does.
type MCEInjector interface {
	// MachineCheck raises an uncorrected error of the memory at a guest-physical address on all CPUs, by a machine-check exception.
	MachineCheck(ctx context.Context, phys uint64) error
	// CorrectedError logs an error that the controller has corrected in the registers of the first CPU. Linux polls them, every five
	// minutes unless check_interval of its machinecheck devices says otherwise, and counts what it finds.
	CorrectedError(ctx context.Context, phys uint64) error
}

// SysRqSender is a Machine with a keyboard, by which its guest's kernel can be asked what no command in the guest would
// answer any more (Documentation/admin-guide/sysrq.rst). The answer comes on the console, later.
type SysRqSender interface {
	// SysRq presses Alt, SysRq and a key. It returns when the hypervisor has taken the keys.
	SysRq(ctx context.Context, key rune) error
}

// Ringer is a Machine whose guest can stop it, by executing the instruction at the address of its bell. The machine stands at that very
// instruction then and goes on by LetGo alone: Pause and Resume leave it where it is, and so does a Debugger.
type Ringer interface {
	// HasBell says whether the machine can have one, which those with Clock Instructions can.
	HasBell() bool
	// Hang puts the bell at a virtual address, where there is a nop. Forks of a checkpoint that is taken then have it.
	Hang(ctx context.Context, addr uint64) error
	// Rung returns when the machine stands at the bell, at once if it does already.
	Rung(ctx context.Context) error
	// LetGo lets it go on.
	LetGo(ctx context.Context) error
	// Elapsed is how long the guest has run by its own time, to 10 ns, where the machine goes on from the stop that it stands at, or was at
	// last, and from the one before: each lets the guest's time jump to its next timer. It is the same at the same stop of each fork.
	Elapsed(ctx context.Context) (now, before time.Duration, err error)
	// SetAlarm has a machine that stands at its bell interrupted at an instant to come, by a non-maskable interrupt: a trigger at the
	// entry of its handler stops it there. What was executed until then is what the machine would have executed without. One that is
	// jumped over comes with the jump.
	SetAlarm(ctx context.Context, at time.Duration) error
	// SetTicks gives it, in place of the alarm, a timer of which the guest does not know, which is due from an instant on as often as
	// that, so that the time does not jump further.
	SetTicks(ctx context.Context, from, every time.Duration) error
}

// CodeTracer is a Machine that can tell what code its guest comes to, which an emulated CPU translates before it executes it.
type CodeTracer interface {
	// TraceCode calls see with the virtual address of each piece of code that a CPU comes to for the first time in this machine, which ends
	// at a branch or before; of some again. See is called by one goroutine. What runs already as it begins may have been missed. Stop
	// returns when all that was come to before it has been seen, also of a machine that has ended.
	TraceCode(ctx context.Context, see func(addr uint64)) (stop func(ctx context.Context) error, err error)
}

// Stepper is a Debugger of a machine with one CPU that can execute single instructions.
type Stepper interface {
	// Step executes so many, without interrupts.
	Step(ctx context.Context, n int) error
}

// Debugger controls the CPUs of a machine. While it is attached and Continue is not running, the machine stands still.
type Debugger interface {
	// Break and Clear set and remove a code trigger at a virtual address.
	Break(ctx context.Context, addr uint64) error
	Clear(ctx context.Context, addr uint64) error
	// Continue runs the machine until a code trigger is hit. When ctx ends first the machine is stopped where it is and
	// the context's error returned.
	Continue(ctx context.Context) (Stop, error)
	// Registers are those of a CPU that stands still; SetRegisters changes them.
	Registers(ctx context.Context, cpu int) (Registers, error)
	SetRegisters(ctx context.Context, cpu int, r Registers) error
	// ReadVirt and WriteVirt access memory as a CPU sees it, code included.
	ReadVirt(ctx context.Context, cpu int, addr uint64, p []byte) error
	WriteVirt(ctx context.Context, cpu int, addr uint64, p []byte) error
	// Close removes all triggers, lets the machine run and detaches.
	Close() error
}

// Holder is a Debugger that can let some CPUs run while another one stands still, as a hypervisor does that takes a CPU away.
type Holder interface {
	// ContinueWithout is Continue with a CPU that stands where it is all the while.
	ContinueWithout(ctx context.Context, cpu int) (Stop, error)
}

// Stop says where a machine was stopped by a code trigger.
type Stop struct {
	CPU  int    `json:"cpu"`
	Addr uint64 `json:"addr"`
}

// Registers are the integer registers of an x86-64 CPU.
type Registers struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RIP                                    uint64
}

// ErrDied is wrapped by the errors of a machine that ended by itself.
var ErrDied = errors.New("the machine died")

// Error is trouble with a machine, with the evidence: what the guest and the hypervisor said last.
type Error struct {
	Op      string // what was being done
	Err     error
	Console []byte // tail of the guest's console
	Log     []byte // tail of the hypervisor's own messages
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v", e.Op, e.Err)
	if len(e.Log) > 0 {
		s += fmt.Sprintf("\nhypervisor: %s", e.Log)
	}
	if len(e.Console) > 0 {
		s += fmt.Sprintf("\nconsole ends:\n%s", e.Console)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// PartSuffix is what the directory of a checkpoint ends in while it is being made.
const PartSuffix = ".part"

// Checkpoint is a machine frozen at an instant: memory, device state, disks. Its directory is complete by itself and
// never changes; many forks read it at once.
type Checkpoint struct {
	Dir     string    `json:"-"`
	Config  Config    `json:"config"`
	Driver  string    `json:"driver"`
	Version string    `json:"version"`
	Accel   Accel     `json:"accel"`
	Made    time.Time `json:"made"`
	// Scale was measured when the machine was booted.
	Scale Scale `json:"scale"`
	// Bell is the address of the machine's, see Ringer; 0 without one.
	Bell uint64 `json:"bell,omitempty"`
}
