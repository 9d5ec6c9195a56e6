package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
)

// process is a row of the process table.
type process struct {
	host.Process
	Parent  int
	Session int
	Worked  int      // clock ticks on a CPU in user mode, a hundred a second; in a guest counts
	Args    []string // at least one, be it empty
}

// processes are those of the whole computer that run and satisfy want. Those that have ended and that nobody has waited
// for are left out.
func processes(want func(process) bool) (list []process) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, path := range stats {
		if p, ok := readProcess(filepath.Dir(path)); ok && p.Alive() && want(p) {
			list = append(list, p)
		}
	}
	return list
}

// readProcess parses the stat file of proc(5): parent, session, time on a CPU and start time are its fields 4, 6, 14
// and 22, counted from the last parenthesis on, since field 2 may hold anything. ok is false for a process that has ended meanwhile.
func readProcess(dir string) (p process, ok bool) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, false
	}
	args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return p, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return p, false
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return p, false
	}
	p.PID, _ = strconv.Atoi(filepath.Base(dir)) // the caller's pattern lets digits through alone
	p.Started = started
	p.Parent, _ = strconv.Atoi(fields[1])
	p.Session, _ = strconv.Atoi(fields[3])
	p.Worked, _ = strconv.Atoi(fields[11])
	p.Args = strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
	return p, true
}

// qemus are the QEMU processes that a process has started.
func qemus(parent int) []process {
	return processes(func(p process) bool {
		return p.Parent == parent && p.Program() == "qemu-system-x86_64"
	})
}

// GomegaString makes a list of processes fit into a message.
func (p process) GomegaString() string { return fmt.Sprintf("process %d (%s)", p.PID, p.Program()) }

// Program is the name it was started by, without a directory.
func (p process) Program() string { return filepath.Base(p.Args[0]) }

// busy says whether a QEMU has executed its guest's instructions for long: being restored takes part of a second.
func (p process) busy() bool { return p.Worked >= 100 }

// alive are those of list that still run.
func alive(list []process) []process {
	return slices.DeleteFunc(slices.Clone(list), func(p process) bool { return !p.Alive() })
}
