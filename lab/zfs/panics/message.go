package panics

import (
	"regexp"
	"strconv"
	"strings"
)

// checks maps the texts of ZFS's checks, in all versions from 2.0 on, to conditions. All but the bare panic()s and the
// VERIFYs come from zfs_panic_recover and are warnings under zfs_recover=1. Groups 1 and 2 are offset and size.
var checks = []struct {
	text      *regexp.Regexp
	condition string
	base      int // of the numbers
}{
	// range_tree.c, up to 2.3.3 and from 2.3.4 on ("zfs: rt={spa=... ms_id=... TREE}: ").
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?adding existent segment to range tree \(offset=([0-9a-f]+) size=([0-9a-f]+)\)`), CondAddOverlap, 16},
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?adding segment \(offset=([0-9a-f]+) size=([0-9a-f]+)\) overlapping with existing one`), CondAddOverlap, 16},
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?removing nonexistent segment from range tree \(offset=([0-9a-f]+) size=([0-9a-f]+)\)`), CondRemoveMissing, 16},
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?removing segment \(offset=([0-9a-f]+) size=([0-9a-f]+)\) not completely overlapped by`), CondRemovePartial, 16},
	{regexp.MustCompile(`^VERIFY3U?\((?:zfs_)?rs_get_(?:start|end)\(rs, rt\),? [<>]=,? (?:start|end)\) failed`), CondRemovePartial, 0},
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?attempting to decrease fill to or below 0`), CondGapDecrease, 0},
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?attempting to increase fill beyond max`), CondGapIncrease, 0},
	{regexp.MustCompile(`^zfs: (?:rt=.*: )?freeing partial segment of gap tree \(offset=([0-9a-f]+) size=([0-9a-f]+)\)`), CondGapPartial, 16},
	{regexp.MustCompile(`^segment already in tree; rs=`), CondInTree, 0},
	// metaslab.c: vdev, offset, size.
	{regexp.MustCompile(`^metaslab_free_dva\(\): bad DVA \d+:(\d+):(\d+)`), CondBadDVA, 10},
	// zio.c and dsl_deadlist.c.
	{regexp.MustCompile(`^(?:\S+: )?blkptr at (?:0x)?[0-9a-f]+ (?:DVA \d+ )?has (?:invalid|hole|no valid) `), CondBadBlkptr, 0},
	{regexp.MustCompile(`^(?:VERIFY|ASSERT)\w*\(.*\) failed|^\(.*\) (?:implies|is equivalent to) \(.*\)`), CondVerify, 0},
	// The other callers of zfs_panic_recover: zfs_dir.c, zfs_znode_os.c, dmu.c, arc.c, dsl_destroy.c, dsl_scan.c, spa_checkpoint.c.
	{regexp.MustCompile(`^zfs: (?:link count on|accessing past end of object|error -?\d+ was returned) `), CondOther, 0},
	{regexp.MustCompile(`^inode \d+ has invalid mode: |^unencrypted block in encrypted object set `), CondOther, 0},
	{regexp.MustCompile(`^error \d+ from (?:bpobj_iterate|traverse_dataset_destroyed)\(\)`), CondOther, 0},
	// Bare panic()s and anything new that says whose it is.
	{regexp.MustCompile(`^zfs: `), CondOther, 0},
}

var (
	treeLabel    = regexp.MustCompile(`^zfs: rt=\{[^}]* (\w+)\}: `)
	reliableTree = regexp.MustCompile(`^ms_(allocatable|checkpointing|unflushed_\w+)$`)
)

// readCheck fills in what the text of a ZFS check tells. It returns false and changes nothing if text is none.
func readCheck(e *Event, text string) bool {
	for _, c := range checks {
		m := c.text.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		e.Condition = c.condition
		if len(m) == 3 {
			e.Offset, _ = strconv.ParseUint(m[1], c.base, 64)
			e.Size, _ = strconv.ParseUint(m[2], c.base, 64)
		}
		if t := treeLabel.FindStringSubmatch(text); t != nil && reliableTree.MatchString(t[1]) {
			e.Tree = t[1]
		}
		return true
	}
	return false
}

var panicAt = regexp.MustCompile(`^PANIC at ([^:\s]+):(\d+):(\w+)\(\)`)

// stuck are the kernel's own reports of no progress. Groups: thread and PID, where the text has them.
var stuck = []struct {
	text      *regexp.Regexp
	condition string
}{
	{regexp.MustCompile(`^INFO: task (.+):(\d+) blocked (?:in I/O wait )?for more than \d+ seconds`), condHung},
	{regexp.MustCompile(`^(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#\d+ stuck for \d+s! \[(.+):(\d+)\]`), "soft-lockup"},
	{regexp.MustCompile(`^(?:NMI )?watchdog: (?:CPU\d+: )?Watchdog detected hard LOCKUP on cpu `), "hard-lockup"},
	{regexp.MustCompile(`^(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls? on CPU`), "rcu-stall"},
	{regexp.MustCompile(`^BUG: workqueue lockup - pool `), "workqueue-lockup"},
	{regexp.MustCompile(`^Kernel panic - not syncing: hung_task: blocked tasks`), condHung},
	{regexp.MustCompile(`^Kernel panic - not syncing: softlockup: hung tasks`), "soft-lockup"},
	{regexp.MustCompile(`^Kernel panic - not syncing: Hard LOCKUP`), "hard-lockup"},
	{regexp.MustCompile(`^Kernel panic - not syncing: RCU Stall`), "rcu-stall"},
}

func readStuck(e *Event, text string) bool {
	for _, c := range stuck {
		m := c.text.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		e.Class, e.Condition = Hang, c.condition
		if len(m) == 3 {
			e.Thread = m[1]
			e.PID, _ = strconv.Atoi(m[2])
		}
		return true
	}
	return false
}

// falls are the first words of x86 and arm64 oopses; since Linux 6.9 some have "Oops: " in front.
var falls = []struct{ prefix, condition string }{
	{"BUG: kernel NULL pointer dereference", "null-deref"},
	{"BUG: unable to handle kernel NULL pointer dereference", "null-deref"},
	{"Unable to handle kernel NULL pointer dereference", "null-deref"},
	{"BUG: unable to handle", "page-fault"},
	{"Unable to handle kernel", "page-fault"},
	{"BUG: stack guard page was hit", "stack-overflow"},
	{"BUG: TASK stack guard page was hit", "stack-overflow"},
	{"BUG: Bad page", "bad-page"},
	{"BUG: Bad rss-counter", "bad-page"},
	{"BUG: KASAN: ", "kasan"},
	{"general protection fault", "gpf"},
	{"kernel BUG at ", "kernel-bug"},
	{"invalid opcode: ", "invalid-opcode"},
	{"divide error: ", "divide-error"},
	{"stack segment: ", "stack-segment"},
	{"double fault: ", "double-fault"},
	{"PANIC: double fault", "double-fault"},
	{"traps: PANIC: double fault", "double-fault"},
	{"int3: ", "int3"},
	{"BUG: ", "bug"},
}

var oopsCode = regexp.MustCompile(`^(?:Internal error: )?Oops: `)

func readFall(e *Event, text string) bool {
	head := strings.TrimPrefix(text, "Oops: ")
	for _, f := range falls {
		if strings.HasPrefix(head, f.prefix) {
			e.Class, e.Condition = Oops, f.condition
			return true
		}
	}
	if oopsCode.MatchString(text) {
		e.Class, e.Condition = Oops, "oops"
		return true
	}
	return false
}
