package host

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSpare expects a CPU to be spare only when one had nothing to do for the whole of the time measured.
func TestSpare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stat")
	const before = 5000
	for _, c := range []struct {
		name  string
		since time.Duration // when it was asked before, 0 for never
		idle  uint64
		text  string // instead of the kernel's
		want  bool
	}{
		{name: "never asked", idle: before + 100000},
		{name: "asked too soon", since: time.Second, idle: before + 1000},
		{name: "one of the CPUs is idle", since: 10 * time.Second, idle: before + 1005, want: true},
		{name: "two halves are not one", since: 10 * time.Second, idle: before + 900},
		{name: "all are busy", since: 10 * time.Second, idle: before},
		{name: "not to be read", since: 10 * time.Second, text: "intr 1 2 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == "" {
				c.text = fmt.Sprintf("cpu  700 1 200 %d 30 0 1 0 0 0\ncpu0 350 0 100 2500 15 0 0 0 0 0\n", c.idle)
			}
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cpus := CPUs{file: file, idle: before}
			if c.since > 0 {
				cpus.since = time.Now().Add(-c.since)
			}
			if got := cpus.Spare(); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
	var real CPUs
	if idle, err := real.count(); err != nil || idle == 0 {
		t.Errorf("this computer's CPUs were idle for %d ticks, %v", idle, err)
	}
}
