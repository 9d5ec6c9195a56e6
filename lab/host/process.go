package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Process identifies a process for as long as the computer runs: a PID alone is used again.
type Process struct {
	PID int `json:"pid"`
	// Started is in clock ticks since boot, field 22 of /proc/PID/stat, see proc(5).
	Started uint64 `json:"started"`
}

// Self is the calling process.
func Self() (Process, error) { return ProcessOf(os.Getpid()) }

// ProcessOf is the process that has a PID now.
func ProcessOf(pid int) (Process, error) {
	started, err := startTime("/proc", pid)
	return Process{PID: pid, Started: started}, err
}

// Alive says whether the process still runs. One that has ended but was not waited for does not.
func (p Process) Alive() bool {
	started, err := startTime("/proc", p.PID)
	return err == nil && started == p.Started
}

// String is the form ParseProcess reads, made for file names.
func (p Process) String() string { return fmt.Sprintf("%d-%d", p.PID, p.Started) }

// ParseProcess reads what String wrote.
func ParseProcess(s string) (Process, error) {
	pid, started, ok := strings.Cut(s, "-")
	if !ok {
		return Process{}, fmt.Errorf("process %q: want PID-STARTED", s)
	}
	var p Process
	var err error
	if p.PID, err = strconv.Atoi(pid); err != nil {
		return Process{}, fmt.Errorf("process %q: %w", s, err)
	}
	if p.Started, err = strconv.ParseUint(started, 10, 64); err != nil {
		return Process{}, fmt.Errorf("process %q: %w", s, err)
	}
	return p, nil
}

// startTime parses the stat file of a process. The name in field 2 may hold spaces and parentheses, so that fields are
// counted from the last parenthesis on.
func startTime(proc string, pid int) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("start time of process %d: short stat file", pid)
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
