// Package panics reads what a guest kernel printed on its console and finds in it the ends that matter to the lab:
// checks of ZFS that fired, falls of the kernel elsewhere, and threads that stopped moving. It works on bytes alone; it
// knows no machine and decides nothing about a trial.
//
// An Event is one such end: its message and the stack that belongs to it. Its signature names it so that the same end
// has the same name in every OpenZFS version:
//
//	signature = condition [ "@" caller ]                 a ZFS check, fatal (Panic) or not (Warned), or what ZFS reports
//	          | "oops:" condition [ "@" function ]       the kernel fell over
//	          | "hang:" condition [ "@" function ]       a thread or CPU did not move
//
// The condition says what was wrong (see the Cond constants) and is never taken from the wording of a message. The
// caller is the first function outside the range-tree, B-tree and AVL code and outside what prints the panic; without a
// stack, as after a warning, it is missing together with its "@". The function of an oops or a hang is the first one of
// OpenZFS that is no helper (see place), whatever the thread is called; it is missing when the stack was not printed, or
// nothing in it is OpenZFS's. Compiler suffixes such as ".isra.0" are cut off.
package panics

import (
	"slices"
	"strings"
)

// Class says what kind of end an event is; the words are those of the outcomes of a trial.
type Class string

// The classes.
const (
	// Panic is a ZFS check that fired: spl_panic, zfs_panic_recover, or a bare panic() in ZFS's own code.
	Panic Class = "panic"
	// Warned is a check that would have panicked, had zfs_recover not been set.
	Warned Class = "warned"
	// Oops is the kernel falling over elsewhere.
	Oops Class = "oops"
	// Hang is a thread or CPU that the kernel reports as stuck.
	Hang Class = "hang"
	// Detected is damage that ZFS reports and stops at.
	Detected Class = "detected"
)

// Conditions of the classes Panic and Warned. module/zfs/range_tree.c unless said otherwise.
const (
	// CondAddOverlap: a segment was added that overlaps one already there.
	CondAddOverlap = "range-tree-add-overlap"
	// CondRemoveMissing: nothing of a segment to be removed was there.
	CondRemoveMissing = "range-tree-remove-missing"
	// CondRemovePartial: only a part of a segment to be removed was there.
	CondRemovePartial = "range-tree-remove-partial"
	// CondGapDecrease, CondGapIncrease and CondGapPartial: the same kinds of trouble in a tree with gaps (scan queues).
	CondGapDecrease = "range-tree-gap-decrease"
	CondGapIncrease = "range-tree-gap-increase"
	CondGapPartial  = "range-tree-gap-partial"
	// CondInTree: zfs_range_tree_verify_not_present found the segment.
	CondInTree = "segment-already-in-tree"
	// CondBadDVA: a DVA outside its vdev reached metaslab.c.
	CondBadDVA = "bad-dva"
	// CondBadBlkptr: zfs_blkptr_verify (zio.c) or dsl_deadlist.c refused a block pointer.
	CondBadBlkptr = "bad-blkptr"
	// CondVerify: any other VERIFY or ASSERT.
	CondVerify = "verify"
	// CondOther: any other message of ZFS's panics.
	CondOther = "zfs-panic"
)

// condHung is the condition of a thread that is blocked.
const condHung = "hung-task"

// CondSuspended is the condition of class Detected: a pool was suspended (zio_suspend, zio.c). Nothing is written to it
// until somebody clears it.
const CondSuspended = "pool-suspended"

// Event is one end found on a console.
type Event struct {
	Class     Class  `json:"class"`
	Condition string `json:"condition"`
	// Caller is what stands behind the "@" of the signature; empty when unknown.
	Caller string `json:"caller"`
	// Tree names the range tree, from OpenZFS 2.3.4 on, and only where the name can be trusted: trees that
	// zfs_range_tree_swap exchanges (ms_freeing, ms_freed, ms_defer) carry each other's names.
	Tree string `json:"tree"`
	// Func, File and Line say where a VERIFY, ASSERT or PANIC() stands in the source.
	Func string `json:"func"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Text is the message as printed, one line or more, without time stamps and terminal codes.
	Text string `json:"text"`
	// Offset and Size are in bytes, of the segment or DVA that the message names; both 0 when it names none.
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
	// Thread and PID are those of the thread that printed the stack, or that hangs. PID is 0 when unknown.
	Thread string `json:"thread"`
	PID    int    `json:"pid"`
	// Stack is innermost first, as printed; where the kernel printed the registers of an interrupted or fallen CPU, the
	// function of the instruction pointer stands at its place, which is the first one in an oops.
	Stack []Frame `json:"stack"`
	// Raw is every console line that belongs to the event, unchanged, at most 64 KiB.
	Raw []byte `json:"raw"`
	// Pos is the offset of Raw's first line from the first byte that the Scanner was fed.
	Pos int `json:"pos"`
}

// Frame is one line of a stack.
type Frame struct {
	Func string `json:"func"`
	// Offset of the return address in the function and Size of the function, in bytes.
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
	// Module is empty for the kernel itself.
	Module string `json:"module"`
	// Unreliable frames ("? " in the text) are addresses found on the stack that the unwinder did not pass through.
	Unreliable bool `json:"unreliable"`

	pointer bool // was read from the instruction pointer, not by the unwinder
}

// Signature is the version-independent name of the event; the package comment gives its grammar.
func (e Event) Signature() string {
	s := e.Condition
	switch e.Class {
	case Oops:
		s = "oops:" + s
	case Hang:
		s = "hang:" + s
	case Panic, Warned, Detected:
	}
	if e.Caller != "" {
		s += "@" + e.Caller
	}
	return s
}

// Scan finds all events of a whole console.
func Scan(console []byte) []Event {
	var s Scanner
	return append(s.Feed(console), s.Flush()...)
}

// Blocked finds all tasks in what a kernel printed that was asked for those that are blocked (SysRq-w, show_state_filter in
// kernel/sched/core.c). They are events like the kernel's own reports of hung tasks and have the same signatures, though
// nothing says how long they have been blocked.
func Blocked(console []byte) []Event {
	s := Scanner{tasks: true}
	events := append(s.Feed(console), s.Flush()...)
	return slices.DeleteFunc(events, func(e Event) bool { return e.Condition != condHung })
}

// base is a function's name without what the compiler added: "metaslab_free_impl.isra.0" is metaslab_free_impl.
func base(fn string) string {
	name, _, _ := strings.Cut(fn, ".")
	return name
}
