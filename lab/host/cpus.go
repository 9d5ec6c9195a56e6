package host

import (
	"fmt"
	"os"
	"time"
)

// window is over how long CPUs are measured: a trial that has just begun shows within it what it needs.
const window = 3 * time.Second

// CPUs measures how busy the host is. The zero value is ready for use, by one at a time.
type CPUs struct {
	file  string // empty for the kernel's
	since time.Time
	idle  uint64 // at that time
}

// ticks is how many times a second the kernel counts, for programs (USER_HZ).
const ticks = 100

// Spare says whether one CPU or more had nothing to do since it was asked last. Asked again too soon it says no, and so it does
// when it is asked for the first time, or where nothing can be measured.
func (c *CPUs) Spare() bool {
	passed := time.Since(c.since)
	if passed < window {
		return false
	}
	idle, err := c.count()
	if err != nil {
		return false
	}
	free := float64(idle-c.idle) / ticks / passed.Seconds()
	first := c.since.IsZero()
	c.since, c.idle = time.Now(), idle
	return !first && free >= 1
}

// count is how long all CPUs together have had nothing to do, in ticks; what waits for a disk has not (proc_stat(5)).
func (c *CPUs) count() (idle uint64, err error) {
	file := c.file
	if file == "" {
		file = "/proc/stat"
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var user, nice, system uint64
	if _, err := fmt.Fscanf(f, "cpu %d %d %d %d", &user, &nice, &system, &idle); err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return idle, nil
}
