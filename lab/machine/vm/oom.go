package vm

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oomWatch finds out whether the kernel killed a process because memory was short. A signal does not say who sent it, but
// the kernel logs whom it kills (mm/oom_kill.c), and counts.
type oomWatch struct {
	log    int // /dev/kmsg, past what was logged before the watch began; -1 where it may not be read
	killed uint64
}

// The files that tell.
const (
	kernelLog = "/dev/kmsg"
	vmstat    = "/proc/vmstat"
)

// watchOOM begins to watch.
func watchOOM() *oomWatch {
	w := &oomWatch{log: -1, killed: oomKills(vmstat)}
	fd, err := unix.Open(kernelLog, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil { // the kernel may keep it from who is not root
		return w
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd) // it was only read
		return w
	}
	w.log = fd
	return w
}

func (w *oomWatch) close() {
	if w.log >= 0 {
		_ = unix.Close(w.log) // it was only read
		w.log = -1
	}
}

// about is what there is to add to the end of a process that nobody here has killed, "" if nothing.
func (w *oomWatch) about(pid int) string {
	if line := w.logged(pid); line != "" {
		return fmt.Sprintf("; the kernel's OOM killer chose it, as memory was short: %q", line)
	}
	if n := oomKills(vmstat) - w.killed; n > 0 && n < 1<<63 {
		return fmt.Sprintf("; perhaps by the kernel's OOM killer, which killed %d while the machine lived: dmesg tells more", n)
	}
	return ""
}

// logged is the line in which the kernel says that it killed a process.
func (w *oomWatch) logged(pid int) (found string) {
	if w.log < 0 {
		return ""
	}
	record := make([]byte, 8<<10) // CONSOLE_EXT_LOG_MAX of Linux: a read of a longer record fails
	for {
		n, err := unix.Read(w.log, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR): // overwritten before it was read: the next one is there
			continue
		case err != nil || n == 0:
			return found
		}
		// A record is "level,sequence,microseconds,flags;text", and lines of key=value (Documentation/ABI/testing/dev-kmsg).
		_, text, _ := strings.Cut(string(record[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		if victim(text) == pid {
			found = text
		}
	}
}

// oomVictim are the two lines with which oom_kill_process names a process: one before it is killed, which may be left out
// as too frequent, and one after.
var oomVictim = regexp.MustCompile(`^oom-kill:.*,pid=(\d+)|Killed process (\d+) `)

// victim is the number of the process that a line of the kernel's log says was killed, 0 without one.
func victim(line string) int {
	m := oomVictim.FindStringSubmatch(line)
	if m == nil {
		return 0
	}
	pid, _ := strconv.Atoi(m[1] + m[2]) // one of them is empty
	return pid
}

// oomKills is how many processes the kernel has killed for want of memory since it booted, in any cgroup; 0 where it does
// not tell.
func oomKills(path string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(count), 10, 64)
			return n
		}
	}
	return 0
}
