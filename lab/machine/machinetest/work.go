package machinetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/nbd"
)

func (s suite) console(t *testing.T) {
	m := s.fork(t, machine.ForkOptions{})
	c := m.Console()
	if boot := string(c.Bytes()[:c.Start()]); !strings.Contains(boot, "Linux version") {
		t.Errorf("the boot is not in the console of a fork: %q", boot)
	}
	run(t, s.connect(t, m), "echo spoken from within >/dev/console") // which dials, too
	printed(t, m, c.Start(), "spoken from within")
	file, err := os.ReadFile(filepath.Join(filepath.Dir(m.Disks()[0].Path), "console.log"))
	if err != nil || !bytes.Contains(file, []byte("spoken from within")) {
		t.Errorf("the file of the console ends with %q, %v", file[max(0, len(file)-100):], err)
	}
}

// pause stops a guest that counts.
func (s suite) pause(t *testing.T) {
	m := s.fork(t, machine.ForkOptions{})
	g := s.connect(t, m)
	run(t, g, "nohup sh -c 'i=0; while :; do i=$((i+1)); echo count $i >/dev/console; done' >/dev/null 2>&1 &")
	c := m.Console()
	printed(t, m, c.Start(), "count 2")
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What was printed before is on its way for a moment; two looks at all of memory take a while.
	all := make([]byte, 256<<20)
	read := func() []byte {
		if err := m.ReadPhys(t.Context(), 64<<20, all); err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(all)
	}
	first := read()
	length := c.Len()
	if second := read(); !bytes.Equal(first, second) {
		t.Error("memory changes while the machine stands still")
	}
	if c.Len() != length {
		t.Error("the guest prints while the machine stands still")
	}
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	printed(t, m, length, "count")
}

func (s suite) memory(t *testing.T) {
	m := s.fork(t, machine.ForkOptions{Paused: true})
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

// symbol is a kernel function that runs whenever a process is started, with its name in the second argument.
const symbol = "do_open_execat"

// trigger stops a guest at a code address, freezes it there, and lets forks of that instant go on.
func (s suite) trigger(t *testing.T) {
	m := s.fork(t, machine.ForkOptions{Freezable: true})
	g := s.connect(t, m)
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
	if err := m.Resume(t.Context()); err == nil {
		t.Error("the machine was let go behind its debugger's back")
	}
	if err := dbg.Break(t.Context(), symbols[symbol]); err != nil {
		t.Fatal(err)
	}
	// The command cannot end while the machine stands at the trigger, so its session is left behind.
	go func() { _, _ = g.Run(t.Context(), "/bin/true") }()
	stop, err := dbg.Continue(limited(t))
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
	frozen := s.freeze(t, m)
	for range 2 {
		f := labtestFork(t, s, frozen)
		if got := run(t, s.connect(t, f), "echo alive"); got != "alive" {
			t.Errorf("a fork of the instant says %q", got)
		}
	}
}

// code has a guest start a program, and looks for what its kernel does then. A CPU that is not emulated translates no code.
func (s suite) code(t *testing.T) {
	driver := s.Lab.Driver()
	if can := driver.Can(machine.TracesCode); can != (driver.Accel() == machine.TCG) {
		t.Fatalf("whether the driver can trace code: %v, with %s", can, driver.Accel())
	}
	m := s.fork(t, machine.ForkOptions{})
	seen := map[uint64]bool{}
	stop, err := m.(machine.CodeTracer).TraceCode(limited(t), func(addr uint64) { seen[addr] = true })
	if err != nil {
		t.Fatal(err)
	}
	g := s.connect(t, m)
	symbols, err := g.Symbols(t.Context(), symbol) // which starts some
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(limited(t)); err != nil {
		t.Fatal(err)
	}
	if seen[symbols[symbol]] != driver.Can(machine.TracesCode) {
		t.Errorf("%s at %#x is among %d addresses that were seen: %v", symbol, symbols[symbol], len(seen), seen[symbols[symbol]])
	}
	before := len(seen)
	run(t, g, "ls -l /proc/self/fd")
	if len(seen) != before {
		t.Error("what comes after the end of the trace is seen")
	}
	off := s.fork(t, machine.ForkOptions{})
	stop, err = off.(machine.CodeTracer).TraceCode(limited(t), func(uint64) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := off.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := stop(limited(t)); err != nil {
		t.Errorf("of a machine that has ended: %v", err)
	}
}

// freeze takes a checkpoint that is removed with the test.
func (s suite) freeze(t *testing.T, m machine.Machine) *machine.Checkpoint {
	t.Helper()
	dir := filepath.Join(lab.MachinesDir(hosttest.Dirs(t)), "test-"+m.ID()) // where gc finds it
	if err := host.Claim(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	frozen, err := m.Checkpoint(t.Context(), filepath.Join(dir, "checkpoint"), s.cp.Scale)
	if err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	return frozen
}

func labtestFork(t *testing.T, s suite, cp *machine.Checkpoint) machine.Machine {
	t.Helper()
	s.cp = cp
	return s.fork(t, machine.ForkOptions{})
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

// live freezes a guest that has a file in memory, one on its root disk and one on a data disk, and looks for them in two
// forks of which one has been changed.
func (s suite) live(t *testing.T) {
	const write = "echo %[1]s >/dev/shm/word; echo %[1]s >/var/tmp/word; sync /var/tmp/word; " +
		"printf %%-512s %[1]s | dd of=/dev/disk/by-id/virtio-v0 oflag=direct status=none"
	const read = "echo 3 >/proc/sys/vm/drop_caches; cat /dev/shm/word /var/tmp/word; head -c 6 /dev/disk/by-id/virtio-v0"
	say := func(word string) string { return strings.NewReplacer("%[1]s", word, "%%", "%").Replace(write) }
	m := s.fork(t, machine.ForkOptions{Freezable: true})
	run(t, s.connect(t, m), say("before"))
	frozen := s.freeze(t, m)
	one, other := labtestFork(t, s, frozen), labtestFork(t, s, frozen)
	first, second := s.connect(t, one), s.connect(t, other)
	run(t, first, say("change"))
	if got := strings.Fields(run(t, first, read)); strings.Join(got, " ") != "change change change" {
		t.Errorf("the fork that was changed reads %q", got)
	}
	if got := strings.Fields(run(t, second, read)); strings.Join(got, " ") != "before before before" {
		t.Errorf("the other fork reads %q", got)
	}
}

func (s suite) disks(t *testing.T) {
	size := s.cp.Config.Disks[0].Size
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte("from outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := s.cp.Config.Disks[0].Name
	if m, err := s.Lab.Driver().Fork(t.Context(), s.cp, machine.ForkOptions{Disks: map[string]string{name: path}}); err == nil {
		m.Close()
		t.Error("a disk of another size was taken")
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	m := s.fork(t, machine.ForkOptions{Disks: map[string]string{name: path}})
	if got := run(t, s.connect(t, m), "head -c 12 /dev/disk/by-id/virtio-"+name); got != "from outside" {
		t.Errorf("the guest reads %q", got)
	}
}

// unplugged takes a disk from a guest that has written to it, and gives it back.
func (s suite) unplugged(t *testing.T) {
	m := s.fork(t, machine.ForkOptions{Freezable: true})
	g := s.connect(t, m)
	name := s.cp.Config.Disks[0].Name
	device := "/dev/disk/by-id/virtio-" + name
	until := func(there string) { // udev takes a moment
		run(t, g, "timeout 60 sh -c 'until test "+there+" "+device+"; do sleep 0.1; done'")
	}
	run(t, g, "printf %-512s before | dd of="+device+" oflag=direct status=none")
	for _, wrong := range []error{m.Plug(t.Context(), name), m.Unplug(t.Context(), "no-such-disk"), m.Plug(t.Context(), "no-such-disk")} {
		if wrong == nil {
			t.Error("what cannot be was done")
		}
	}
	if err := m.Unplug(limited(t), name); err != nil {
		t.Fatal(err)
	}
	until("! -e")
	if err := m.Unplug(t.Context(), name); err == nil {
		t.Error("a disk was unplugged twice")
	}
	if _, err := m.Checkpoint(t.Context(), filepath.Join(t.TempDir(), "cp"), s.cp.Scale); err == nil || !strings.Contains(err.Error(), "plug it in first") {
		t.Errorf("a checkpoint without a disk: %v", err)
	}
	if err := m.Plug(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	until("-e")
	read := "head -c 6 " + device
	if got := run(t, g, read); got != "before" {
		t.Errorf("the guest reads %q when the disk is back", got)
	}
	f := labtestFork(t, s, s.freeze(t, m))
	if got := run(t, s.connect(t, f), read); got != "before" {
		t.Errorf("a fork of it reads %q", got)
	}
}

// network has a disk behind a server that is not QEMU's.
func (s suite) network(t *testing.T) {
	dir := filepath.Join(hosttest.Dirs(t).Run, "nbd-"+strconv.Itoa(os.Getpid()))
	if err := host.Claim(dir); err != nil { // its name is short enough for a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	server, err := nbd.Listen(t.Context(), filepath.Join(dir, "nbd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	disk := s.cp.Config.Disks[0]
	file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	_, err = file.WriteAt([]byte("from a server"), 0)
	if err = errors.Join(err, file.Truncate(disk.Size), server.Export(disk.Name, nbd.Export{Size: disk.Size, Handler: nbd.File{File: file}})); err != nil {
		t.Fatal(err)
	}
	m := s.fork(t, machine.ForkOptions{NBD: map[string]machine.NBD{disk.Name: {Socket: server.Path()}}})
	g := s.connect(t, m)
	if got := run(t, g, "head -c 13 /dev/disk/by-id/virtio-"+disk.Name); got != "from a server" {
		t.Errorf("the guest reads %q", got)
	}
}

// together has eight forks at once, each with something of its own in memory.
func (s suite) together(t *testing.T) {
	const forks, at = 8, 300 << 20
	type result struct {
		m   machine.Machine
		err error
	}
	results := make(chan result, forks)
	for range forks {
		go func() {
			m, err := s.Lab.Driver().Fork(t.Context(), s.cp, machine.ForkOptions{Paused: true})
			results <- result{m, err}
		}()
	}
	var all []machine.Machine
	for range forks {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		t.Cleanup(func() { r.m.Close() })
		all = append(all, r.m)
	}
	for _, m := range all {
		if err := m.WritePhys(t.Context(), at, []byte(m.ID())); err != nil {
			t.Error(err)
		}
	}
	for _, m := range all {
		got := make([]byte, len(m.ID()))
		if err := m.ReadPhys(t.Context(), at, got); err != nil || string(got) != m.ID() {
			t.Errorf("machine %s holds %q, %v", m.ID(), got, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		gone(t, m)
	}
	m := s.fork(t, machine.ForkOptions{Paused: true})
	fresh := make([]byte, 16)
	if err := m.ReadPhys(t.Context(), at, fresh); err != nil {
		t.Fatal(err)
	}
	for _, other := range all {
		if bytes.Contains(fresh, []byte(other.ID())) {
			t.Errorf("the checkpoint was written to: %q", fresh)
		}
	}
}
