package panics

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// The texts that no console at hand shows, from the format strings in the source. Numbers and names are made up.
func TestMessages(t *testing.T) {
	const rt = "zfs: rt={spa=tank vdev_guid=123 ms_id=7 "
	for _, c := range []struct {
		source, text string
		want         string // class, signature, segment, tree; empty for no event
	}{
		{"range_tree.c, 2.0-2.3.3", "PANIC: zfs: removing nonexistent segment from range tree (offset=1f00 size=200)", "panic range-tree-remove-missing 1f00+200"},
		{"range_tree.c, from 2.3.4", "PANIC: " + rt + "ms_allocatable}: removing nonexistent segment from range tree (offset=1f00 size=200)", "panic range-tree-remove-missing 1f00+200 ms_allocatable"},
		{"range_tree.c, from 2.3.4", "PANIC: " + rt + "ms_unflushed_frees}: adding segment (offset=a size=b) overlapping with existing one (offset=c size=d)", "panic range-tree-add-overlap a+b ms_unflushed_frees"},
		{"range_tree.c, from 2.3.4, a tree without a name", "PANIC: zfs: rt=: adding segment (offset=a size=b) overlapping with existing one (offset=c size=d)", "panic range-tree-add-overlap a+b"},
		{"range_tree.c, from 2.3.7 and 2.4.2", "PANIC: " + rt + "ms_freeing}: removing segment (offset=a size=b) not completely overlapped by existing one (offset=c size=d)", "panic range-tree-remove-partial a+b"},
		{"the same under zfs_recover=1", "WARNING: " + rt + "ms_freeing}: removing segment (offset=a size=b) not completely overlapped by existing one (offset=c size=d)", "warned range-tree-remove-partial a+b"},
		{"range_tree.c, 2.3.4-2.3.6 and 2.4.0-2.4.1, bare panic()", "Kernel panic - not syncing: " + rt + "ms_checkpointing}: removing segment (offset=a size=b) not completely overlapped by existing one (offset=c size=d)", "panic range-tree-remove-partial a+b ms_checkpointing"},
		{"range_tree.c, up to 2.3.3", "PANIC: zfs: freeing partial segment of gap tree (offset=a size=b) of (offset=c size=d)", "panic range-tree-gap-partial a+b"},
		{"range_tree.c, from 2.3.4", "WARNING: " + rt + "x}: attempting to decrease fill to or below 0; probable double remove in segment [a:b]", "warned range-tree-gap-decrease"},
		{"range_tree.c, up to 2.3.3", "PANIC: zfs: attempting to increase fill beyond max; probable double add in segment [a:b]", "panic range-tree-gap-increase"},
		{"metaslab.c; decimal", "WARNING: metaslab_free_dva(): bad DVA 7:1024:512", "warned bad-dva 400+200"},
		{"zio.c, 2.1", "PANIC: tank: blkptr at 00000000a44c5bb3 has invalid TYPE 127", "panic bad-blkptr"},
		{"zio.c, 2.3", "PANIC: tank: blkptr at ffff88810a2b3c40 DVA 0 has hole VDEV 3", "panic bad-blkptr"},
		{"zio.c, 2.3", "WARNING: tank: blkptr at ffff88810a2b3c40 has no valid DVAs", "warned bad-blkptr"},
		{"dsl_deadlist.c", "PANIC: blkptr at 0000000012345678 has invalid BLK_BIRTH 0", "panic bad-blkptr"},
		{"dsl_scan.c", "WARNING: error 52 from bpobj_iterate()", "warned zfs-panic"},
		{"dsl_destroy.c", "PANIC: zfs: error 52 was returned while looking up DMU_POOL_DELETED_CLONES in the zap", "panic zfs-panic"},
		{"zfs_dir.c", "WARNING: zfs: link count on 34 is 1, should be at least 2", "warned zfs-panic"},
		{"unknown to this package, but cmn_err(CE_PANIC)", "PANIC: something new", "panic zfs-panic"},
		{"arch/x86/kernel/traps.c: not SPL's PANIC", "PANIC: double fault, error_code: 0x0", "oops oops:double-fault"},
		{"Linux 6.9", "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP", "oops oops:gpf"},
		{"Linux 6.1", "BUG: unable to handle page fault for address: ffffc90000000000", "oops oops:page-fault"},
		{"Linux 4.19", "BUG: unable to handle kernel NULL pointer dereference at 0000000000000068", "oops oops:null-deref"},
		{"mm/page_alloc.c", "BUG: Bad page state in process txg_sync  pfn:12345", "oops oops:bad-page"},
		{"init/do_mounts.c", "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "oops oops:kernel-panic"},
		{"kernel/exit.c", "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009", "oops oops:kernel-panic"},
		{"kernel/hung_task.c, what came before is lost", "Kernel panic - not syncing: hung_task: blocked tasks", "hang hang:hung-task"},
		{"kernel/watchdog_hld.c", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", "hang hang:hard-lockup"},
		{"kernel/rcu/tree_stall.h", "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "hang hang:rcu-stall"},
		{"kernel/hung_task.c", "INFO: task z_fr_iss_2:77 blocked for more than 120 seconds.", "hang hang:hung-task"},
		{"kernel/hung_task.c", "INFO: task kworker/u8:3:77 blocked for more than 120 seconds.", "hang hang:hung-task"},

		{"zio.c", "WARNING: Pool 'tank' has encountered an uncorrectable I/O failure and has been suspended.", "detected pool-suspended"},
		{"zio.c, MMP", "WARNING: Pool 'tank' has been suspended because it may be in use by another host", "detected pool-suspended"},
		{"spa_misc.c, the deadman", "WARNING: Pool 'tank' has a slow I/O", ""},
		{"zil.c", "WARNING: ZFS replay transaction error 5, dataset tank, seq 0x1, txtype 2", ""},
		{"kernel/panic.c, up to 6.17", "WARNING: CPU: 1 PID: 22 at fs/buffer.c:1188 mark_buffer_dirty+0xa4/0xe0", ""},
		{"kernel/panic.c, later", "WARNING: fs/buffer.c:1188 at mark_buffer_dirty+0xa4/0xe0, CPU#1: dd/22", ""},
		{"a person", "the console said PANIC: zfs: adding existent segment to range tree (offset=1 size=2)", ""},
		{"zdb, which does not say PANIC at", "VERIFY3(rs_get_start(rs, rt) <= start) failed (5 <= 4)", ""},
		{"kernel/printk", "INFO: lockdep is turned off.", ""},
		{"sysrq", "sysrq: Trigger a crash", ""},
	} {
		var got string
		for _, e := range Scan([]byte("[   12.345678] " + c.text + "\n[   12.345700] next\n")) {
			got += fmt.Sprintf("%s %s", e.Class, e.Signature())
			if e.Size != 0 {
				got += fmt.Sprintf(" %x+%x", e.Offset, e.Size)
			}
			if e.Tree != "" {
				got += " " + e.Tree
			}
			if e.Text != c.text {
				got += " but the text is " + e.Text
			}
		}
		if got != c.want {
			t.Errorf("%s: %s\ngot  %q\nwant %q", c.source, c.text, got, c.want)
		}
	}
}

func console(t *testing.T, name string) string {
	t.Helper()
	return string(readGolden(t, "testdata/"+name+".txt").console)
}

// between is the part of a console from the line that contains from to before the line that contains to.
func between(t *testing.T, console, from, to string) string {
	t.Helper()
	var out []string
	for l := range strings.Lines(console) {
		if to != "" && len(out) > 0 && strings.Contains(l, to) {
			break
		}
		if len(out) > 0 || strings.Contains(l, from) {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no line contains %q", from)
	}
	return strings.Join(out, "")
}

// A trial stops waiting when Pending turns true, and gives the stack a moment to come.
func TestPending(t *testing.T) {
	var s Scanner
	boot, rest, _ := strings.Cut(console(t, "add-overlap-2.3.2"), "PANIC: ")
	if s.Feed([]byte(boot)); s.Pending() {
		t.Error("pending after a boot")
	}
	line, stack, _ := strings.Cut(rest, "\n")
	if got := s.Feed([]byte("PANIC: " + line + "\n")); len(got) != 0 || !s.Pending() {
		t.Errorf("after the panic line: %d events, pending %t", len(got), s.Pending())
	}
	stack, end, _ := strings.Cut(stack, "</TASK>")
	if got := s.Feed([]byte(stack)); len(got) != 0 || !s.Pending() {
		t.Errorf("inside the stack: %d events, pending %t", len(got), s.Pending())
	}
	got := s.Feed([]byte("</TASK>" + end))
	if len(got) != 1 || s.Pending() || len(s.Flush()) != 0 {
		t.Errorf("after the stack: %d events, pending %t", len(got), s.Pending())
	}
	if got := s.Feed([]byte("[ 1.000000] WARNING: zfs: adding existent segment to range tree (offset=1 size=2)\n")); len(got) != 1 || s.Pending() {
		t.Errorf("a warning is complete by itself: %d events, pending %t", len(got), s.Pending())
	}
	if s.Feed([]byte("[ 2.000000] WARNING: CPU: 1 PID: 22 at fs/buffer.c:1188 mark_buffer_dirty+0xa4/0xe0\n")); s.Pending() {
		t.Error("pending after a kernel warning")
	}
}

func TestFlushTakesHalfAnEvent(t *testing.T) {
	half, _, _ := strings.Cut(console(t, "add-overlap-2.3.2"), "metaslab_free_impl")
	got := Scan([]byte(half))
	if len(got) != 1 || got[0].Signature() != "range-tree-add-overlap@metaslab_free_concrete" {
		t.Errorf("got %+v", got)
	}
	var s Scanner
	s.Feed([]byte("[    5.000000] PANIC: zfs: adding existent segm"))
	if s.Pending() {
		t.Error("half a line is no event")
	}
	if got := s.Flush(); len(got) != 1 || got[0].Condition != CondOther {
		t.Errorf("at the end half a line is what there is: %+v", got)
	}
}

func TestOldKernels(t *testing.T) { // up to 5.10 there was no <TASK>
	c := console(t, "add-overlap-2.3.2")
	for _, tag := range []string{"<TASK>", "</TASK>"} {
		c = strings.Replace(c, "  "+tag+"\n", " \n", 1)
	}
	noBottom := strings.Replace(c, " ret_from_fork+0x1f/0x30", " Code: 48 89", 1)
	for _, c := range []string{c, noBottom} {
		var s Scanner
		if got := s.Feed([]byte(c)); len(got) != 1 || s.Pending() || got[0].Signature() != "range-tree-add-overlap@metaslab_free_concrete" {
			t.Errorf("got %d events, pending %t, of\n%s", len(got), s.Pending(), c)
		}
	}
}

// After Flush the Scanner begins anew.
func TestFlushEndsStacks(t *testing.T) {
	half, _, _ := strings.Cut(console(t, "add-overlap-2.3.2"), "metaslab_free_impl")
	var s Scanner
	s.Feed([]byte(half + "\n"))
	s.Flush()
	s.Feed([]byte(console(t, "add-overlap-journal")))
	if got := s.Flush(); len(got) != 1 || len(got[0].Stack) != 3 {
		t.Errorf("got %+v", got)
	}
}

// twoPanics is the real console of two panics at once, in its parts.
func twoPanics(t *testing.T) (want []Event, message, showing, stack [2]string) {
	c := console(t, "two-panics")
	second := strings.LastIndex(c, "PANIC: ")
	second = strings.LastIndex(c[:second], "\n") + 1
	for i, part := range []string{c[:second], c[second:]} {
		m := strings.Index(part, "Showing stack")
		m = strings.LastIndex(part[:m], "\n") + 1
		d := strings.Index(part, "CPU: ")
		d = strings.LastIndex(part[:d], "\n") + 1
		message[i], showing[i], stack[i] = part[:m], part[m:d], part[d:]
	}
	return unplaced(Scan([]byte(c))), message, showing, stack
}

// unplaced leaves out what tells where lines were.
func unplaced(events []Event) []Event {
	for i := range events {
		events[i].Raw, events[i].Pos = nil, 0
	}
	return events
}

func TestTwoPanicsAtOnce(t *testing.T) {
	want, m, s, d := twoPanics(t)
	if len(want) != 2 || want[0].PID == want[1].PID || want[0].Offset == want[1].Offset {
		t.Fatalf("the golden file does not have two panics: %+v", want)
	}
	warning := between(t, console(t, "kernel-warning"), "cut here", "") // from another CPU, with its own stack
	stranger := strings.ReplaceAll(d[1], "PID: 521", "PID: 77")         // as UBSAN prints it
	tasks := between(t, console(t, "add-overlap-hung-task"), "task:txg_sync", "INFO: task")
	before, _, _ := strings.Cut(d[0], "zio_execute")
	middle := strings.LastIndex(before, "\n") + 1
	for name, lines := range map[string][]string{
		"one after the other":                         {m[0], s[0], d[0], m[1], s[1], d[1]},
		"both messages first":                         {m[0], m[1], s[0], s[1], d[0], d[1]},
		"the second stack first":                      {m[0], m[1], s[0], s[1], d[1], d[0]},
		"the second message inside the first stack":   {m[0], s[0], d[0][:middle], m[1], d[0][middle:], s[1], d[1]},
		"a kernel warning before the stacks":          {m[0], s[0], m[1], warning, s[1], d[0], d[1]},
		"a stack of somebody else before its own":     {m[0], s[0], stranger, d[0], m[1], s[1], d[1]},
		"stacks of tasks before any process is known": {m[0], tasks, s[0], d[0], m[1], s[1], d[1]},
		"other lines between all":                     {strings.ReplaceAll(m[0]+s[0]+d[0]+m[1]+s[1]+d[1], "\n", "\n[  124.500000] eth0: link becomes ready\n")},
	} {
		if got := unplaced(Scan([]byte(strings.Join(lines, "")))); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
}

// With CONFIG_PRINTK_CALLER even stacks mixed line by line come apart.
func TestPrinters(t *testing.T) {
	want, m, s, d := twoPanics(t)
	stamp := func(text, printer string) []string {
		return strings.SplitAfter(strings.ReplaceAll(text, "] ", "]["+printer+"] "), "\n")
	}
	a, b := stamp(m[0]+s[0]+d[0], "  T480"), stamp(m[1]+s[1]+d[1], "  T521")
	var mixed strings.Builder
	for i := range max(len(a), len(b)) {
		for _, lines := range [][]string{a, b} {
			if i < len(lines) {
				mixed.WriteString(lines[i])
			}
		}
	}
	if got := unplaced(Scan([]byte(mixed.String()))); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A log daemon repeats urgent messages on the console; they are still one event.
func TestRepetitions(t *testing.T) {
	c := console(t, "remove-partial-2.3.2")
	want := unplaced(Scan([]byte(c)))
	verify := "VERIFY3(zfs_rs_get_start(rs, rt) <= start) failed (4027904 <= 4027392)"
	at := "PANIC at range_tree.c:502:zfs_range_tree_remove_impl()"
	say := func(text string) string {
		return "\r\nMessage from syslogd@vm at Nov 22 10:30:00 ...\r\n kernel:[   64.107559] " + text + "\r\n"
	}
	journald := "\r\nBroadcast message from systemd-journald@vm (Sun 2026-11-22 10:30:00 UTC):\r\n\r\nkernel[1]: [   64.109553] " + at + "\r\n"
	head, stack, _ := strings.Cut(c, "[   64.109722]")
	stack = "[   64.109722]" + stack
	for name, text := range map[string]string{
		"after all":          c + say(verify) + say(at),
		"by journald":        c + journald,
		"before the stack":   head + say(verify) + say(at) + stack,
		"inside the stack":   strings.Replace(c, "[   64.110344]  spl_panic", say(verify)+say(at)+"[   64.110344]  spl_panic", 1),
		"before the console": say(verify) + say(at) + c,
	} {
		got := unplaced(Scan([]byte(text)))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, got, want)
		}
	}
	if got := Scan([]byte(say(verify) + say(at))); len(got) != 1 || got[0].Condition != CondRemovePartial {
		t.Errorf("what only the daemon said counts too: %+v", got)
	}
	for name, text := range map[string]string{"oops-null-deref": "Oops: 0000 [#1] PREEMPT SMP NOPTI",
		"add-overlap-halt": "Kernel panic - not syncing: zfs: adding existent segment to range tree (offset=14000 size=200)"} {
		c := console(t, name)
		want := unplaced(Scan([]byte(c)))
		head, stack, _ := strings.Cut(c, "] CPU: ")
		at := strings.LastIndex(head, "[")
		for _, c := range []string{c + say(text), head[:at] + say(text) + head[at:] + "] CPU: " + stack} {
			if got := unplaced(Scan([]byte(c))); !reflect.DeepEqual(got, want) {
				t.Errorf("%s repeated:\ngot  %+v\nwant %+v", text, got, want)
			}
		}
	}
	again := strings.ReplaceAll(c, "461", "999")
	if got := Scan([]byte(c + again)); len(got) != 2 {
		t.Errorf("the kernel saying it twice is %d events, want 2", len(got))
	}
}

// What follows from an end is not one more.
func TestConsequences(t *testing.T) {
	fatal := func(text string) string {
		return "[  200.000000] Kernel panic - not syncing: " + text + "\n" + between(t, console(t, "kernel-panic-sysrq"), "CPU: 1", "")
	}
	for _, c := range []struct{ name, console, want string }{
		{"an oops that panic_on_oops makes fatal", console(t, "oops-gpf") + fatal("Fatal exception"), "oops:gpf@metaslab_free_impl"},
		{"the same without the oops", fatal("Fatal exception"), "oops:kernel-panic"},
		{"a panic whose stack the log level hides", "[  100.000000] PANIC: zfs: adding existent segment to range tree (offset=1 size=2)\n" + fatal("sysrq triggered crash"),
			"range-tree-add-overlap oops:kernel-panic"},
		{"hung_task_panic whose reports are lost: the stack is the watchdog's", fatal("hung_task: blocked tasks"), "hang:hung-task"},
		{"a panic whose stack the log level hides, then one that halts", "[  90.000000] PANIC: zfs: adding existent segment to range tree (offset=1 size=2)\n" + console(t, "add-overlap-halt"),
			"range-tree-add-overlap range-tree-add-overlap@metaslab_free_concrete"},
		{"a panic whose stack the log level hides, then a bare one", "[  90.000000] PANIC: zfs: adding existent segment to range tree (offset=1 size=2)\n" + console(t, "kernel-panic-in-tree"),
			"range-tree-add-overlap segment-already-in-tree@metaslab_block_alloc"},
		{"an oops inside another's stack", strings.Replace(console(t, "oops-gpf"), "metaslab_free+0xfa", "metaslab_free+0xfa/0x190 [zfs]\n[   42.780635] invalid opcode: 0000 [#2]\n[   42.780635]  f+0xfa", 1),
			"oops:gpf@metaslab_free_impl oops:invalid-opcode"},
		{"an oops whose stack goes through an interrupt", strings.Replace(console(t, "oops-gpf"), "metaslab_free+0xfa", "f+0x1/0x2\n[   42.780635] RIP: 0010:interrupted+0x1/0x2\n[   42.780635]  metaslab_free+0xfa", 1),
			"oops:gpf@metaslab_free_impl"},
		{"soft lockup", between(t, console(t, "soft-lockup"), "BUG: soft", "rcu: INFO") + fatal("softlockup: hung tasks"), "hang:soft-lockup@spa_sync"},
		{"a panic, then an unrelated crash", console(t, "add-overlap-2.3.2") + fatal("sysrq triggered crash"),
			"range-tree-add-overlap@metaslab_free_concrete oops:kernel-panic"},
		{"spl_panic_halt=1 and a VERIFY", halted(t), "range-tree-remove-partial@metaslab_block_alloc"},
	} {
		var got []string
		for _, e := range Scan([]byte(c.console)) {
			got = append(got, e.Signature())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}

// halted is the console of a VERIFY as spl_panic prints it with spl_panic_halt=1: the kernel panic, with the text of the
// first line, stands where "Showing stack" was.
func halted(t *testing.T) string {
	return strings.Replace(console(t, "remove-partial-2.3.2"), "Showing stack for process 461",
		"Kernel panic - not syncing: VERIFY3(zfs_rs_get_start(rs, rt) <= start) failed (4027904 <= 4027392)", 1)
}

// PANIC() in ZFS's source takes any message (spl_panic in module/os/linux/spl/spl-err.c).
func TestPanicMacro(t *testing.T) {
	got := Scan([]byte("[    1.000000] unrelated\n[    2.000000] bad int len 3\n[    2.000001] PANIC at zap_leaf.c:74:stv()\n"))
	if len(got) != 1 || got[0].Signature() != "zfs-panic@stv" || got[0].Text != "bad int len 3\nPANIC at zap_leaf.c:74:stv()" ||
		got[0].File != "zap_leaf.c" || got[0].Line != 74 || got[0].Func != "stv" {
		t.Errorf("got %+v", got)
	}
}

// From 2.4 on a VERIFY is printed with commas (include/os/linux/spl/sys/debug.h), as in openzfs/zfs#17876.
func TestVerifyOf24(t *testing.T) {
	for _, c := range []struct{ verify, at, want string }{
		{"VERIFY3U(zfs_range_tree_space(smla->smla_rt) + sme->sme_run, <=, smla->smla_sm->sm_size) failed (33558528 <= 33554432)",
			"PANIC at space_map.c:406:space_map_load_callback()", "verify@space_map_load_callback"},
		{"VERIFY3S(error, ==, ENOENT) failed (52 == 2)", "PANIC at dsl_dir.c:97:dsl_dir_f()", "verify@dsl_dir_f"},
		{"VERIFY3U(zfs_rs_get_end(rs, rt), >=, end) failed (4096 >= 8192)", "PANIC at range_tree.c:503:zfs_range_tree_remove_impl()", "range-tree-remove-partial"},
	} {
		got := Scan([]byte("[    2.000000] " + c.verify + "\n[    2.000001] " + c.at + "\n"))
		if len(got) != 1 || got[0].Signature() != c.want || got[0].Text != c.verify+"\n"+c.at {
			t.Errorf("%s: got %+v", c.want, got)
		}
	}
}

// An event whose stack does not come, or does not end, does not wait for ever.
func TestGivesUp(t *testing.T) {
	filler := strings.Repeat("[  300.000000] eth0: link becomes ready\n", maxWait+1)
	whole := console(t, "add-overlap-2.3.2")
	noEnd, _, _ := strings.Cut(whole, "[  407.333734]  </TASK>")
	for _, c := range []struct{ name, console string }{
		{"no stack", "[  100.000000] PANIC: zfs: adding existent segment to range tree (offset=1 size=2)\n"},
		{"a stack without end", noEnd},
		{"behind a kernel warning without stack", "[  100.000000] WARNING: CPU: 1 PID: 22 at fs/buffer.c:1188 f+0x1/0x2\n" + whole},
	} {
		var s Scanner
		if got := s.Feed([]byte(c.console + filler)); len(got) != 1 || s.Pending() {
			t.Errorf("%s: %d events, pending %t", c.name, len(got), s.Pending())
		} else if n := bytes.Count(got[0].Raw, []byte("eth0")); n > maxBetween+1 {
			t.Errorf("%s: %d lines of others", c.name, n)
		}
	}
}

// The first line of a VERIFY belongs to the second one of the same printer, and not to one much later.
func TestVerifyLines(t *testing.T) {
	got := Scan([]byte(`[    1.000000][  T1] VERIFY(a) failed
[    1.000000][  T2] VERIFY(b) failed
[    1.000000][  T2] PANIC at b.c:2:b()
[    1.000000][  T1] PANIC at a.c:1:a()
`))
	if len(got) != 2 || got[0].Text != "VERIFY(b) failed\nPANIC at b.c:2:b()" || got[1].Text != "VERIFY(a) failed\nPANIC at a.c:1:a()" {
		t.Errorf("got %+v", got)
	}
	got = Scan([]byte("VERIFY(of zdb) failed\n" + strings.Repeat("[    1.000000] filler\n", maxBetween) + "of nobody\n[    2.000000] PANIC at c.c:3:c()\n"))
	if len(got) != 1 || got[0].Text != "PANIC at c.c:3:c()" {
		t.Errorf("got %+v", got)
	}
}

func TestBounds(t *testing.T) {
	long := append(bytes.Repeat([]byte("x"), 2*maxLine), "PANIC: zfs: at the start of the third piece"...)
	c := append(append(append(long, '\n'), "[    1.000000] BUG: kernel NULL pointer dereference, address: 0\n"...), bytes.Repeat([]byte("[    1.000000] filler\n"), 10000)...)
	got := Scan(c)
	if len(got) != 2 || got[0].Pos != 2*maxLine || got[1].Pos != len(long)+1 || len(got[1].Raw) > maxRaw {
		t.Errorf("%d events, %+v", len(got), got)
	}
	if one := feed(c, func(int) int { return 1 }); !reflect.DeepEqual(one, got) {
		t.Error("a long line makes the cuts matter")
	}
	got = Scan(append([]byte("PANIC: zfs: x\n"), bytes.Repeat([]byte(" a_function_that_calls_itself+0x123/0x456 [zfs]\n"), 5000)...))
	if len(got) != 1 || len(got[0].Raw) > maxRaw || len(got[0].Stack) > maxStack {
		t.Errorf("%d events of a deep stack", len(got))
	}
}
