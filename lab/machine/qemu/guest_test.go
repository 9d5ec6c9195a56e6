package qemu_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
)

// limit is for a guest to do something small, on a host that is busy with other tests.
const limit = 2 * time.Minute

func connect(t *testing.T, img *images.Image, m machine.Machine) *guest.Guest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	g, err := guest.Connect(ctx, m, guest.Keys{Login: img.LoginKey, Host: img.HostKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func run(t *testing.T, g *guest.Guest, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := g.Run(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// wait fails the test when a machine does not end.
func wait(t *testing.T, m machine.Machine) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := m.Wait(ctx)
	if ctx.Err() != nil {
		t.Fatal("the machine did not end")
	}
	return err
}

// symbol is a kernel function that runs whenever a process is started, with its name in the second argument.
const symbol = "do_open_execat"

// TestCodeTrigger stops a guest at a code address, freezes it there, and lets a fork of that instant go on.
func TestCodeTrigger(t *testing.T) {
	l := labtest.Open(t)
	img, cp := labtest.Booted(t, l)
	m := labtest.Fork(t, l, cp, machine.ForkOptions{Freezable: true})
	g := connect(t, img, m)
	symbols, err := g.Symbols(t.Context(), symbol)
	if err != nil {
		t.Fatal(err)
	}
	dbg, err := m.Debug(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Debug(t.Context()); err == nil {
		t.Error("a second debugger could attach")
	}
	if err := dbg.Break(t.Context(), symbols[symbol]); err != nil {
		t.Fatal(err)
	}
	// The command cannot end while the machine stands at the trigger, so its session is left behind.
	go func() { _, _ = g.Run(t.Context(), "/bin/true") }()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	stop, err := dbg.Continue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	regs, err := dbg.Registers(t.Context(), stop.CPU)
	if err != nil {
		t.Fatal(err)
	}
	if stop.Addr != symbols[symbol] || regs.RIP != symbols[symbol] {
		t.Fatalf("stopped at %#x with RIP %#x, wanted %#x", stop.Addr, regs.RIP, symbols[symbol])
	}
	checkTranslation(t, m, dbg, stop.CPU, regs.RIP)

	frozen, err := m.Checkpoint(t.Context(), filepath.Join(filepath.Dir(cp.Dir), "test-"+m.ID()), cp.Scale)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(frozen.Dir) })
	for range 2 {
		f := labtest.Fork(t, l, frozen, machine.ForkOptions{})
		if got := run(t, connect(t, img, f), "echo alive"); got != "alive" {
			t.Errorf("a fork of the instant says %q", got)
		}
	}
}

// checkTranslation reads the same bytes through the CPU's page tables and through physical memory.
func checkTranslation(t *testing.T, m machine.Machine, dbg machine.Debugger, cpu int, addr uint64) {
	t.Helper()
	virt, phys := make([]byte, 16), make([]byte, 16)
	if err := dbg.ReadVirt(t.Context(), cpu, addr, virt); err != nil {
		t.Fatal(err)
	}
	pa, err := m.Translate(t.Context(), cpu, addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ReadPhys(t.Context(), pa, phys); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(virt, phys) {
		t.Errorf("%x at virtual %#x, %x at physical %#x", virt, addr, phys, pa)
	}
	if _, err := m.Translate(t.Context(), cpu, 0x1000); err == nil {
		t.Error("an address that is not mapped was translated")
	}
}

func TestMemory(t *testing.T) {
	l := labtest.Open(t)
	_, cp := labtest.Booted(t, l)
	m := labtest.Fork(t, l, cp, machine.ForkOptions{Paused: true})
	// Across pages, and across the unit in which addresses are looked up.
	const at = 64<<20 - 3000
	want := bytes.Repeat([]byte("vdevil"), 1000)
	if err := m.WritePhys(t.Context(), at, want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if err := m.ReadPhys(t.Context(), at, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("memory does not hold what was written")
	}
	if err := m.ReadPhys(t.Context(), 1<<40, got); err == nil {
		t.Error("an address beyond memory could be read")
	}
}

func TestEnd(t *testing.T) {
	l := labtest.Open(t)
	_, cp := labtest.Booted(t, l)
	t.Run("power off is no error", func(t *testing.T) {
		m := labtest.Fork(t, l, cp, machine.ForkOptions{})
		if err := m.PowerOff(); err != nil {
			t.Error(err)
		}
		if err := wait(t, m); err != nil {
			t.Error(err)
		}
		if err := m.Resume(t.Context()); err == nil {
			t.Error("a dead machine resumed")
		}
	})
	t.Run("close leaves nothing and may be called twice", func(t *testing.T) {
		m := labtest.Fork(t, l, cp, machine.ForkOptions{})
		disk := m.Disks()[0].Path
		for range 2 {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Dir(disk)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the machine's directory is still there: %v", err)
		}
	})
	t.Run("a checkpoint needs memory of its own", func(t *testing.T) {
		m := labtest.Fork(t, l, cp, machine.ForkOptions{Paused: true})
		if _, err := m.Checkpoint(t.Context(), filepath.Join(t.TempDir(), "cp"), 1); err == nil || !strings.Contains(err.Error(), "Freezable") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a context that has ended starts nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if m, err := l.Driver().Fork(ctx, cp, machine.ForkOptions{Freezable: true}); err == nil {
			m.Close()
			t.Error("a machine was started")
		}
	})
}

// TestBadStart checks that the error of a QEMU that will not start carries QEMU's own words.
func TestBadStart(t *testing.T) {
	l := labtest.Open(t)
	_, cp := labtest.Booted(t, l)
	c := cp.Config
	c.Kernel = filepath.Join(t.TempDir(), "no-such-kernel")
	m, err := l.Driver().Boot(t.Context(), c)
	if err == nil {
		m.Close()
		t.Fatal("a machine without a kernel started")
	}
	var e *machine.Error
	if !errors.As(err, &e) || !bytes.Contains(e.Log, []byte("no-such-kernel")) {
		t.Errorf("QEMU's words are missing: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(lab.MachinesDir(hosttest.Dirs(t)), "*", "owner"))
	if err != nil {
		t.Fatal(err)
	}
	for _, owner := range left {
		if data, _ := os.ReadFile(filepath.Join(filepath.Dir(owner), "qemu.log")); bytes.Contains(data, []byte("no-such-kernel")) {
			t.Errorf("%s was left behind", filepath.Dir(owner))
		}
	}
}
