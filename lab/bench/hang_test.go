package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// A thread of the guest, as sched_show_task prints it, by a function and a place in it.
const (
	waits = `[  100.000000] task:%s state:D stack:0     pid:%d   ppid:2      flags:0x00004000
[  100.000001] Call Trace:
[  100.000002]  <TASK>
[  100.000003]  __schedule+0x34d/0xa00
[  100.000004]  schedule+0x5a/0xd0
[  100.000005]  cv_wait_common+0xf0/0x130 [spl]
[  100.000006]  %s [zfs]
[  100.000007]  </TASK>
`
	hungTask = `[  100.000000] INFO: task %s:%d blocked for more than 120 seconds.
[  100.000000]       Tainted: P           OE      6.1.0 #1
[  100.000000] "echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.
`
)

func thread(name string, pid int, place string) string { return fmt.Sprintf(waits, name, pid, place) }

func report(pid int, place string) string {
	const name = "perl"
	return fmt.Sprintf(hungTask, name, pid) + thread(name, pid, place)
}

// answers are what a guest's kernel prints each time that it is asked for blocked threads; the last one stands for all that
// follow.
func (s *stage) answers(dumps ...string) (asked <-chan struct{}) {
	answered := make(chan struct{}, 100)
	s.machine.OnSysRq = func(key rune) {
		switch key {
		case 'w':
			s.machine.Print("[  100.000000] sysrq: Show Blocked State\n" + dumps[0])
			dumps = dumps[min(1, len(dumps)-1):]
		case 'h':
			s.machine.Print("[  100.000000] sysrq: HELP : loglevel(0-9)\n")
			answered <- struct{}{}
		}
	}
	return answered
}

const (
	getpage = "zfs_rangelock_enter_impl+0x31a/0x5e0 [zfs]\n[  100.000006]  zfs_getpage+0x79/0x310"
	quiesce = "txg_quiesce+0x169/0x1d0"
)

// TestLook expects the stacks of a trial that came to its limit, and the name of its hang from a thread that stood still.
func TestLook(t *testing.T) {
	for name, c := range map[string]struct {
		dumps     []string
		signature string
		reason    string
	}{
		"a thread stands still": {[]string{thread("perl", 77, getpage)}, "hang:hung-task@zfs_getpage", "thread perl:77 stands still"},
		"the first is of no OpenZFS": {
			[]string{thread("sh", 7, "do_wait+0x1/0x2")[:50] + "\n" + thread("perl", 77, getpage)}, "hang:hung-task@zfs_getpage", "perl:77",
		},
		"one goes on, one stands still": {
			[]string{thread("txg_quiesce", 9, quiesce) + thread("perl", 77, getpage), thread("perl", 77, getpage)}, "hang:hung-task@zfs_getpage", "perl:77",
		},
		"it goes on":        {[]string{thread("perl", 77, getpage), thread("perl", 77, quiesce)}, "", "had not ended"},
		"another one waits": {[]string{thread("perl", 77, getpage), thread("perl", 78, getpage)}, "", "had not ended"},
		"nothing waits":     {[]string{""}, "", "had not ended"},
		"it goes round in circles": {
			[]string{"[  100.000001] NMI backtrace for cpu 1\n[  100.000002] CPU: 1 PID: 77 Comm: perl\n[  100.000003]  zfs_write+0x517/0xbf0 [zfs]\n"}, "", "had not ended",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, nil, func(*stage) []scenarios.Step { return []scenarios.Step{{Run: "sleep infinity"}} })
			s.trial.resolved.Limit = time.Second
			s.answers(c.dumps...)
			r := s.run(func() {})
			if r.Outcome != trial.Hang || r.Signature != c.signature || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s %q because %q", r.Outcome, r.Signature, r.Reason)
			}
			stacks, err := os.ReadFile(filepath.Join(r.Bundle, "stack.txt"))
			if err != nil || c.signature != "" && !strings.Contains(string(stacks), getpage) ||
				c.signature == "" && !strings.Contains(string(stacks), c.dumps[len(c.dumps)-1]) {
				t.Errorf("stack.txt, %v: %s", err, stacks)
			}
		})
	}
}

// TestProve expects a trial to end when it is proved that a thread hangs, though its limit is far, and not before.
func TestProve(t *testing.T) {
	t.Run("it stands still", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, nil, hanging)
		s.answers(thread("perl", 77, getpage))
		r := s.run(func() {
			s.reached()
			s.machine.Print(report(77, getpage))
		})
		if r.Outcome != trial.Hang || r.Signature != "hang:hung-task@zfs_getpage" || !strings.Contains(r.Reason, "perl:77 stands still") {
			t.Errorf("got %s %q because %q", r.Outcome, r.Signature, r.Reason)
		}
	})
	t.Run("only the second one does", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, nil, hanging)
		asked := s.answers("", thread("perl", 78, getpage))
		r := s.run(func() {
			s.reached()
			s.machine.Print(report(77, getpage))
			<-asked
			s.machine.Print(report(78, getpage))
		})
		if r.Outcome != trial.Hang || !strings.Contains(r.Reason, "perl:78 stands still") {
			t.Errorf("got %s %q because %q", r.Outcome, r.Signature, r.Reason)
		}
	})
}

// TestSlow expects no hang where a thread was reported that goes on, or that waits for a txg, and the workload ends.
func TestSlow(t *testing.T) {
	for name, c := range map[string]struct{ place, later string }{
		"it goes on":          {getpage, quiesce},
		"it waits for a txg":  {"txg_wait_synced_impl+0x1/0x2 [zfs]\n[  100.000006]  dsl_sync_task_common+0x1/0x2", "txg_wait_synced_impl+0x1/0x2"},
		"it is not OpenZFS's": {"do_wait+0x1/0x2", "do_wait+0x1/0x2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, nil, func(s *stage) []scenarios.Step {
				return []scenarios.Step{{Run: "echo here >" + s.fifo + "; read line <" + s.fifo + ".back"}}
			})
			if err := syscall.Mkfifo(s.fifo+".back", 0o600); err != nil {
				t.Fatal(err)
			}
			s.guest.Program("zpool", "cat "+healthyPool(t))
			asked := s.answers(thread("perl", 77, c.later))
			r := s.run(func() {
				s.reached()
				text := report(77, c.place)
				if name == "it is not OpenZFS's" {
					text = strings.ReplaceAll(strings.ReplaceAll(text, " [zfs]", ""), " [spl]", "")
				}
				s.machine.Print(text)
				if name == "it goes on" {
					<-asked
				}
				if err := os.WriteFile(s.fifo+".back", []byte("go on\n"), 0); err != nil {
					t.Error(err)
				}
			})
			if r.Outcome != trial.Masked {
				t.Errorf("got %s %q because %q", r.Outcome, r.Signature, r.Reason)
			}
		})
	}
}

// healthyPool is a file with what zpool status says of a sound pool.
func healthyPool(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../zfs/status/testdata/status/healthy.txt")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
