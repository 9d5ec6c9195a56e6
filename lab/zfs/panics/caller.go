package panics

import (
	"regexp"
	"strings"
)

// printing are the functions that lie between a failed check and its stack on the console.
var printing = map[string]bool{
	"dump_stack": true, "dump_stack_lvl": true, "show_stack": true, "spl_dumpstack": true, "spl_panic": true,
	"vcmn_err": true, "cmn_err": true, "zfs_panic_recover": true, "panic": true, "vpanic": true, "nmi_panic": true,
	"zfs_blkptr_verify": true, "zfs_blkptr_verify_log": true,
}

// printsPanic says whether fn only prints or checks on behalf of its caller.
func printsPanic(fn string) bool { return printing[base(fn)] }

// inTrees says whether fn belongs to the range-tree, B-tree or AVL code, whose names had no "zfs_" up to 2.3.0.
func inTrees(fn string) bool {
	fn = strings.TrimPrefix(base(fn), "zfs_")
	for _, p := range []string{"range_tree_", "btree_", "rs_", "avl_"} {
		if strings.HasPrefix(fn, p) {
			return true
		}
	}
	return false
}

// firstOutside is the first frame for which skip is false. Unreliable frames count only when no reliable one is left:
// the unwinder may lose the track above the very function that is wanted, as in openzfs/zfs#17313.
func firstOutside(stack []Frame, skip func(string) bool) (Frame, bool) {
	for _, unreliable := range []bool{false, true} {
		for _, f := range stack {
			if f.Unreliable == unreliable && !skip(f.Func) {
				return f, true
			}
		}
	}
	return Frame{}, false
}

// caller is the function that handed the bad data to the check that fired.
func caller(e *Event) string {
	if e.Func != "" && !inTrees(e.Func) {
		return base(e.Func)
	}
	f, _ := firstOutside(e.Stack, func(fn string) bool { return printsPanic(fn) || inTrees(fn) })
	return base(f.Func)
}

var threadNumber = regexp.MustCompile(`(/.*|_\d+)$`)

// threadName drops what numbers a thread of a pool: "z_fr_iss_2" is z_fr_iss, "kworker/u8:1" is kworker.
func threadName(comm string) string { return threadNumber.ReplaceAllString(comm, "") }
