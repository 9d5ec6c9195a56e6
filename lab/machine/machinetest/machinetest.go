// Package machinetest is what every driver must do, tried in real guests. A driver shows it with one line:
//
//	func TestConformance(t *testing.T) { machinetest.Run(t, machinetest.Bench{Lab: labtest.Open(t)}) }
package machinetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
)

// Bench is a driver at work.
type Bench struct {
	Lab *lab.Lab
	// Restart stops the daemon that a driver needs, calls away, and starts it again. Drivers without one leave it out.
	Restart func(t testing.TB, away func())
}

// Run tries everything. It needs minutes where guests are emulated.
func Run(t *testing.T, b Bench) {
	img, cp := labtest.Booted(t, b.Lab)
	s := suite{Bench: b, img: img, cp: cp}
	t.Run("boot", s.boot)
	t.Run("bad start", s.badStart)
	t.Run("console and dial", s.console)
	t.Run("pause", s.pause)
	t.Run("memory", s.memory)
	t.Run("code trigger", s.trigger)
	t.Run("code", s.code)
	t.Run("live checkpoint", s.live)
	t.Run("exchanged disks", s.disks)
	t.Run("a disk of an NBD server", s.network)
	t.Run("a disk unplugged", s.unplugged)
	t.Run("side by side", s.together)
	t.Run("restored ahead", s.ahead)
	t.Run("ends", s.ends)
	t.Run("refusals", s.refusals)
	t.Run("cancelled", s.cancelled)
	if b.Restart != nil {
		t.Run("daemon restarted", s.restarted)
	}
}

type suite struct {
	Bench
	img *images.Image
	cp  *machine.Checkpoint
}

// limit is for a guest to do something small, on a host that is busy with other tests.
const limit = 2 * time.Minute

// poll is how often a directory is looked for.
const poll = 20 * time.Millisecond

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func (s suite) fork(t *testing.T, o machine.ForkOptions) machine.Machine {
	t.Helper()
	return labtest.Fork(t, s.Lab, s.cp, o)
}

func (s suite) connect(t *testing.T, m machine.Machine) *guest.Guest {
	t.Helper()
	g, err := guest.Connect(limited(t), m, guest.Keys{Login: s.img.LoginKey, Host: s.img.HostKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func run(t *testing.T, g *guest.Guest, command string) string {
	t.Helper()
	out, err := g.Run(limited(t), command)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// wait fails the test when a machine does not end.
func wait(t *testing.T, m machine.Machine) error {
	t.Helper()
	ctx := limited(t)
	err := m.Wait(ctx)
	if ctx.Err() != nil {
		t.Fatalf("the machine did not end; it printed:\n%s", m.Console().Tail(4096))
	}
	return err
}

// printed waits until the guest has printed a text since the offset.
func printed(t *testing.T, m machine.Machine, from int, text string) {
	t.Helper()
	r, got := m.Console().Reader(limited(t), from), []byte{}
	for buf := make([]byte, 4096); !strings.Contains(string(got), text); {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("%q was not printed: %v; the console ends with %s", text, err, m.Console().Tail(1024))
		}
		got = append(got, buf[:n]...)
	}
}

// gone fails the test when something is left of a machine. Its files may stay until the driver's daemon has done with them.
func gone(t *testing.T, m machine.Machine) {
	t.Helper()
	again := time.NewTicker(poll)
	defer again.Stop()
	for ctx, dir := limited(t), filepath.Dir(m.Disks()[0].Path); exists(dir); {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the directory %s is still there", dir)
		}
	}
	if pid, ok := processOf(m); ok {
		t.Errorf("process %d still runs", pid)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// processOf finds the QEMU of a machine in the process table, by the name that all drivers give it.
func processOf(m machine.Machine) (pid int, ok bool) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, path := range lines {
		line, err := os.ReadFile(path)
		program, args, _ := strings.Cut(string(line), "\x00")
		if err == nil && strings.HasPrefix(filepath.Base(program), "qemu-system-") && strings.Contains(args, "vdevil-"+m.ID()) {
			pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid, err == nil
		}
	}
	return 0, false
}
