package qemu_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/scenarios"
)

// TestClock expects a guest that counts its time to sleep through an hour in much less, from a day on that does not depend on the
// host's, and its disks to be files that can be read while it runs, but neither unplugged nor had by a server.
func TestClock(t *testing.T) {
	l := labtest.Open(t)
	img, err := l.Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	cp, err := l.Checkpoints().Prepared(t.Context(), img, scenarios.Resolved{
		Scenario: "clock", Pool: scenarios.Pool{Name: "tank", Layout: []string{"v1"}, Properties: map[string]string{"compression": "off"}},
		Machine: scenarios.Machine{CPUs: 1, Memory: 512 << 20, Clock: scenarios.Counted, Disks: []scenarios.DataDisk{{Name: "v0", Size: 64 << 20}, {Name: "v1", Size: 66 << 20}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, g, err := checkpoint.Enter(t.Context(), l.Driver(), img, cp)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	defer g.Close()

	begun := time.Now()
	out, err := g.Printed(t.Context(), "cut -d. -f1 /proc/uptime && sleep 3600 && cut -d. -f1 /proc/uptime && date --utc +%F && blockdev --getsize64 /dev/disk/by-id/virtio-v0")
	if err != nil {
		t.Fatal(err)
	}
	var before, after int
	var day string
	var size int64
	if _, err := fmt.Sscan(string(out), &before, &after, &day, &size); err != nil || after-before < 3600 || time.Since(begun) > time.Hour/2 || day != "2025-05-07" || size != 64<<20 {
		t.Errorf("it said %q after %s, %v", out, time.Since(begun), err)
	}
	if _, err := g.Run(t.Context(), "yes written through | head -c 100000 >/tank/f && zpool sync tank"); err != nil {
		t.Fatal(err)
	}
	disk := m.Disks()[1]
	if data, err := os.ReadFile(disk.Path); err != nil || !bytes.Contains(data, []byte("written through\nwritten through\n")) {
		t.Errorf("nothing was written to %s: %v", disk.Path, err)
	}
	if err := m.Unplug(t.Context(), "v0"); err == nil || !strings.Contains(err.Error(), "stays plugged in") {
		t.Errorf("unplugged: %v", err)
	}
	if _, err := l.Driver().Fork(t.Context(), cp, machine.ForkOptions{NBD: map[string]machine.NBD{"v0": {Socket: "x"}}}); err == nil || !strings.Contains(err.Error(), "no NBD server") {
		t.Errorf("forked with another's disk: %v", err)
	}
}
