package panics

import (
	"slices"
	"strings"
)

// printing are the functions that lie between a failed check and its stack on the console.
var printing = map[string]bool{
	"dump_stack": true, "dump_stack_lvl": true, "show_stack": true, "spl_dumpstack": true, "spl_panic": true, "spl_assert": true,
	"vcmn_err": true, "cmn_err": true, "zfs_panic_recover": true, "panic": true, "vpanic": true, "nmi_panic": true,
	"zfs_blkptr_verify": true, "zfs_blkptr_verify_log": true,
}

// printsPanic says whether f only prints or checks on behalf of its caller.
func printsPanic(f Frame) bool { return printing[base(f.Func)] }

// inTrees says whether fn belongs to the range-tree, B-tree or AVL code, whose names had no "zfs_" up to 2.3.0.
func inTrees(fn string) bool {
	fn = strings.TrimPrefix(base(fn), "zfs_")
	return hasPrefix(fn, "range_tree_", "btree_", "rs_", "avl_")
}

// modules are those of OpenZFS but for the SPL. From 2.2 on all of them are one, zfs (module/Kbuild.in).
var modules = map[string]bool{
	"zfs": true, "icp": true, "zavl": true, "zcommon": true, "zlua": true, "znvpair": true, "zunicode": true, "zzstd": true,
}

// helps says whether a function in a module of OpenZFS does on behalf of any caller what a kernel's helper would do. It
// prints, is a container (the trees, and lists, whose header the compiler copies into each file that includes it), is
// the SPL's inline code, a lock, or waits until others have done their work. The last two are as little the place of a
// hang as the SPL's cv_wait, which they call, and have changed names: txg_wait_synced_impl is txg_wait_synced_flags in 2.4.
func helps(f Frame) bool {
	fn := base(f.Func)
	return printsPanic(f) || inTrees(fn) || locks(fn) || fn == "zio_wait" ||
		hasPrefix(fn, "__list_", "list_", "multilist_", "spl_", "txg_wait_")
}

// locks says whether fn takes or gives up a lock of OpenZFS's own. Who holds it and who wants it tells one bug from another,
// and which of these functions a stack shows is the compiler's choice. They are rrwlock.c, the lock of the pool's datasets
// that is made of it (dsl_pool.c), a file system's lock against being unmounted (zfs_znode_impl.h, a macro up to 2.1), that of
// a file's ranges (zfs_rlock.c) and those of the pool's configuration (spa_misc.c).
func locks(fn string) bool {
	return hasPrefix(fn, "rrw_", "rrm_", "dsl_pool_config_", "zfs_enter", "zfs_rangelock_", "spa_config_enter", "spa_config_tryenter", "spa_config_exit")
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// firstOutside is the first frame for which skip is false. Unreliable frames count only when no reliable one is left:
// the unwinder may lose the track above the very function that is wanted, as in openzfs/zfs#17313.
func firstOutside(stack []Frame, skip func(Frame) bool) (Frame, bool) {
	for _, unreliable := range []bool{false, true} {
		for _, f := range stack {
			if f.Unreliable == unreliable && !skip(f) {
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
	f, _ := firstOutside(e.Stack, func(f Frame) bool { return printsPanic(f) || inTrees(f.Func) })
	return base(f.Func)
}

// place is the first function of OpenZFS in a stack, where the kernel fell over or a thread stands still on OpenZFS's
// behalf: what lies above it, helpers of the kernel and of OpenZFS, does the same for many callers. When helpers alone
// are of OpenZFS, it is the first of them, in zfs before spl; when nothing is, there is no place to name.
//
// Unreliable frames are what earlier calls left on the stack. A program that used ZFS a moment ago shows them wherever
// it falls, so they count only where the unwinder found nothing at all.
func place(stack []Frame) string {
	unwound := slices.ContainsFunc(stack, func(f Frame) bool { return !f.Unreliable && !f.pointer })
	for _, ours := range []func(Frame) bool{
		func(f Frame) bool { return modules[f.Module] && !helps(f) },
		func(f Frame) bool { return modules[f.Module] },
		func(f Frame) bool { return f.Module == "spl" },
	} {
		for _, f := range stack {
			if ours(f) && (!f.Unreliable || !unwound) {
				return base(f.Func)
			}
		}
	}
	return ""
}
