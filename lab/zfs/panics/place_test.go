package panics

import (
	"strings"
	"testing"
)

// fell is an oops as arch/x86/kernel/dumpstack.c prints it, with a line of the caller's for each line of its stack.
func fell(pointer string, trace ...string) string {
	return "BUG: kernel NULL pointer dereference, address: 0000000000000018\nOops: 0000 [#1] PREEMPT SMP\n" +
		"CPU: 1 PID: 812 Comm: dd Tainted: P           OE      6.1.0 #1\nRIP: 0010:" + pointer + "\nCode: 90\nRSP: 0018:ffa0000000aa0b10 EFLAGS: 00010246\n" +
		"Call Trace:\n " + strings.Join(trace, "\n ") + "\nModules linked in: zfs(POE) spl(OE)\n---[ end trace 0000000000000000 ]---\n"
}

// hung is a task as kernel/hung_task.c and sched_show_task print it.
func hung(comm string, trace ...string) string {
	return "INFO: task " + comm + ":812 blocked for more than 120 seconds.\n" +
		"      Tainted: P           OE      6.1.0 #1\n\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.\n" +
		"task:" + comm + "              state:D stack:0     pid:812   ppid:1      flags:0x00004002\n" +
		"Call Trace:\n <TASK>\n __schedule+0x34d/0xa00\n schedule+0x5a/0xd0\n " + strings.Join(trace, "\n ") + "\n </TASK>\n"
}

// The place of an oops or a hang is OpenZFS's, not that of a helper, and never what the thread is called.
func TestPlaces(t *testing.T) {
	for _, c := range []struct{ name, console, want string }{
		{"a check of the kernel that OpenZFS's copy has run into", fell("usercopy_abort+0x6c/0x6e", "<TASK>", "__check_object_size.cold+0x16/0x84",
			"zfs_uiomove_iter+0x5c/0x120 [zfs]", "dmu_write_uio_dnode+0xa0/0x160 [zfs]", "vfs_write+0xc4/0x3f0", "</TASK>"), "oops:null-deref@zfs_uiomove_iter"},
		{"a copy of the kernel", fell("memcpy_erms+0x6/0x10", "zap_leaf_array_create.isra.0+0x6c/0x110 [zfs]"), "oops:null-deref@zap_leaf_array_create"},
		{"a lock of the kernel", fell("mutex_lock+0x1c/0x30", "dbuf_rele_and_unlock+0x3a/0x640 [zfs]"), "oops:null-deref@dbuf_rele_and_unlock"},
		{"a list of OpenZFS's, which is the kernel's", fell("__list_del_entry_valid.cold+0xf/0x4c", "__list_del_entry+0x9/0x20 [zfs]", "list_remove+0x1a/0x40 [zfs]",
			"multilist_sublist_remove+0x10/0x20 [zfs]", "arc_change_state+0x1f0/0x560 [zfs]"), "oops:null-deref@arc_change_state"},
		{"the SPL", fell("spl_kmem_cache_alloc+0x4c/0x620 [spl]", "zio_create+0x3c/0x430 [zfs]"), "oops:null-deref@zio_create"},
		{"a tree that is a module of its own, up to 2.1", fell("avl_insert+0x20/0xd0 [zavl]", "dnode_next_offset+0x4c/0x620 [zfs]"), "oops:null-deref@dnode_next_offset"},
		{"another module, up to 2.1", fell("nvlist_lookup_common+0x20/0xd0 [znvpair]", "spa_config_parse+0x4c/0x620 [zfs]"), "oops:null-deref@nvlist_lookup_common"},
		{"a call of nothing", strings.Replace(fell("x", "zio_execute+0x8f/0xe0 [zfs]"), "0010:x", "0010:0x0", 1), "oops:null-deref@zio_execute"},
		{"a thread of the SPL, without OpenZFS above it", fell("complete+0x4/0x70", "taskq_thread+0x23f/0x4f0 [spl]", "kthread+0xd7/0x100"), "oops:null-deref@taskq_thread"},
		{"helpers alone", fell("strlen+0x4/0x70", "zfs_btree_find+0x23f/0x4f0 [zfs]", "spl_thread+0x4/0x5 [spl]"), "oops:null-deref@zfs_btree_find"},
		{"a program that used ZFS a moment ago", fell("ext4_readdir+0x4/0x70", "<TASK>", "? zfsdev_ioctl+0x9e/0xd0 [zfs]", "iterate_dir+0x4/0x70", "</TASK>"), "oops:null-deref"},
		{"a stack that the unwinder cannot follow", fell("strlen+0x4/0x70", "? strlen+0x4/0x70", "? zap_lookup+0x9e/0xd0 [zfs]"), "oops:null-deref@zap_lookup"},
		{"an interrupt's handler above ZFS", fell("tcp_v4_rcv+0x4/0x70", "<IRQ>", "net_rx_action+0x9/0x10", "</IRQ>", "<TASK>", "asm_common_interrupt+0x22/0x40",
			"RIP: 0010:fletcher_4_avx2_native+0x20/0x90 [zfs]", "abd_fletcher_4_iter+0x9/0x10 [zfs]", "</TASK>"), "oops:null-deref"},
		{"ZFS in an interrupt's handler", fell("_raw_spin_lock+0x4/0x70", "<IRQ>", "vdev_disk_io_rw_completion+0x9/0x10 [zfs]", "</IRQ>", "<TASK>", "arc_read+0x9/0x10 [zfs]", "</TASK>"),
			"oops:null-deref@vdev_disk_io_rw_completion"},
		{"arm64", strings.Replace(fell("x", "lr : zio_wait+0x3c/0x430 [zfs]", "zio_write+0x3c/0x430 [zfs]"), "RIP: 0010:x", "pc : __pi_memcpy+0x110/0x240", 1), "oops:null-deref@zio_write"},
		{"Linux 4.9", fell("[<ffffffffc0a12345>]  [<ffffffffc0a12345>] zil_commit+0x1c/0x30 [zfs]", "[<ffffffffc0a54321>] zfs_fsync+0x3a/0x640 [zfs]"), "oops:null-deref@zil_commit"},

		{"a range lock", hung("perl", "cv_wait_common+0xaa/0x130 [spl]", "zfs_rangelock_enter_impl+0x5e7/0x5f0 [zfs]", "zfs_getpage+0x79/0x310 [zfs]"), "hang:hung-task@zfs_getpage"},
		{"the same for another program, compiled in another way", hung("dd", "cv_wait_common+0xaa/0x130 [spl]", "zfs_rangelock_enter_reader+0x1e7/0x2f0 [zfs]",
			"zfs_rangelock_enter_impl+0x5e7/0x5f0 [zfs]", "zfs_rangelock_enter+0x7/0x10 [zfs]", "zfs_getpage+0x79/0x310 [zfs]"), "hang:hung-task@zfs_getpage"},
		{"the same lock, held by another", hung("dd", "cv_wait_common+0xaa/0x130 [spl]", "zfs_rangelock_enter_writer+0x1e7/0x2f0 [zfs]", "zfs_rangelock_enter_impl+0x5e7/0x5f0 [zfs]",
			"zfs_write+0x79/0x310 [zfs]"), "hang:hung-task@zfs_write"},
		{"a lock of the pool's configuration", hung("zpool", "cv_wait_common+0xaa/0x130 [spl]", "spa_config_enter_impl+0xc0/0x110 [zfs]", "spa_config_enter+0x1/0x2 [zfs]",
			"spa_vdev_state_exit+0x9/0x10 [zfs]"), "hang:hung-task@spa_vdev_state_exit"},
		{"the lock of the pool's datasets", hung("zfs", "cv_wait_common+0xaa/0x130 [spl]", "rrw_enter_read_impl+0xc0/0x110 [zfs]", "dsl_pool_config_enter+0x1/0x2 [zfs]",
			"dsl_pool_hold+0x9/0x10 [zfs]"), "hang:hung-task@dsl_pool_hold"},
		{"a txg, 2.3", hung("zfs", "cv_wait_common+0xaa/0x130 [spl]", "txg_wait_synced_impl+0xc0/0x110 [zfs]", "txg_wait_synced+0xc/0x40 [zfs]", "spa_export_common+0x1c9/0x290 [zfs]"), "hang:hung-task@spa_export_common"},
		{"a txg, 2.4", hung("zfs", "cv_wait_common+0xaa/0x130 [spl]", "txg_wait_synced_flags+0xc0/0x110 [zfs]", "txg_wait_synced+0xc/0x40 [zfs]", "spa_export_common+0x1c9/0x290 [zfs]"), "hang:hung-task@spa_export_common"},
		{"I/O", hung("txg_sync", "io_schedule_timeout+0x4c/0x80", "__cv_timedwait_io+0x15/0x20 [spl]", "zio_wait+0x120/0x240 [zfs]", "arc_read+0x326/0x580 [zfs]"), "hang:hung-task@arc_read"},
		{"a lock of a file system being unmounted", hung("ls", "cv_wait_common+0xaa/0x130 [spl]", "rrw_enter_read_impl+0xc0/0x110 [zfs]", "rrm_enter+0x1/0x2 [zfs]", "zfs_enter+0x9/0x10 [zfs]",
			"zfs_readdir+0x4c/0x620 [zfs]"), "hang:hung-task@zfs_readdir"},
		{"a file's lock of the kernel, held by another", hung("rm", "rwsem_down_write_slowpath+0x1c9/0x290", "do_unlinkat+0x9e/0xd0"), "hang:hung-task"},
		{"a stack that nobody printed", "INFO: task z_fr_iss_2:77 blocked for more than 120 seconds.\n", "hang:hung-task"},
		{"a CPU that is interrupted where it spins", "rcu: INFO: rcu_sched self-detected stall on CPU\nCPU: 0 PID: 489 Comm: txg_sync Tainted: P  OE 5.10 #1\nCall Trace:\n <IRQ>\n" +
			" rcu_dump_cpu_stacks+0x9/0x10\n </IRQ>\n asm_sysvec_apic_timer_interrupt+0x12/0x20\nRIP: 0010:dbuf_hold_impl+0x20/0x90 [zfs]\nRSP: 0018:ffa\n dbuf_hold+0x1/0x2 [zfs]\nModules linked in: zfs\n",
			"hang:rcu-stall@dbuf_hold_impl"},
	} {
		got := Scan([]byte(c.console))
		if len(got) != 1 || got[0].Signature() != c.want {
			t.Errorf("%s: got %+v\nwant %s", c.name, got, c.want)
		}
	}
}

// The stack of an oops begins where the kernel fell over.
func TestStackBeginsWithThePointer(t *testing.T) {
	got := Scan([]byte(fell("usercopy_abort+0x6c/0x6e", "__check_object_size.cold+0x16/0x84", "zfs_uiomove_iter+0x5c/0x120 [zfs]")))
	if len(got) != 1 || len(got[0].Stack) != 3 {
		t.Fatalf("got %+v", got)
	}
	if f := got[0].Stack[0]; f.Func != "usercopy_abort" || f.Offset != 0x6c || f.Size != 0x6e || f.Module != "" || f.Unreliable {
		t.Errorf("got %+v", f)
	}
}
