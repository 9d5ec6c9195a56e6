package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVictim(t *testing.T) {
	for line, want := range map[string]int{
		// mm/oom_kill.c: dump_oom_summary, __oom_kill_process.
		"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/lab,task_memcg=/lab,task=qemu-system-x86,pid=4711,uid=0": 4711,
		"Memory cgroup out of memory: Killed process 4712 (qemu-system-x86) total-vm:1kB, anon-rss:1kB, file-rss:0kB":                                     4712,
		"Out of memory: Killed process 4713 (qemu-system-x86) total-vm:1kB":                                                                               4713,
		"oom_reaper: reaped process 4714 (qemu-system-x86), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB":                                                0,
		"audit: pid=4715": 0,
	} {
		if got := victim(line); got != want {
			t.Errorf("%d in %q, want %d", got, line, want)
		}
	}
}

func TestOOMKills(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vmstat")
	if err := os.WriteFile(path, []byte("drop_slab 1\noom_kill 17\nnuma_hit 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := oomKills(path); n != 17 {
		t.Errorf("%d kills", n)
	}
	if n := oomKills(path + "-missing"); n != 0 {
		t.Errorf("%d kills from no file", n)
	}
}

// TestOOMAbout expects a process that nobody names to be let rest, unless there was a victim whose name is not known.
func TestOOMAbout(t *testing.T) {
	w := watchOOM()
	defer w.close()
	if text := w.about(os.Getpid()); strings.Contains(text, "chose it") {
		t.Errorf("this process lives: %s", text)
	}
	w = &oomWatch{log: -1, killed: oomKills(vmstat) - 1}
	if text := w.about(os.Getpid()); !strings.Contains(text, "perhaps by the kernel's OOM killer") {
		t.Errorf("got %q", text)
	}
}
