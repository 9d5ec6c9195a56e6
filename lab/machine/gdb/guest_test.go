package gdb_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/gdb"
	"github.com/vdevil/vdevil/lab/machine/qmp"
	"github.com/vdevil/vdevil/lab/machine/qmp/qmptest"
)

// Addresses in the guest.
const (
	spin     = 0x80ac // incq counters(,%rbx,8), where %rbx is the number of the CPU
	after    = 0x80b4 // nop; jmp spin
	counters = 0x600
	alias    = 0xc0000000 // another virtual address of physical 0
	nothing  = 0x40000000 // not mapped
	r15      = 0x1122334455667788
)

// program is the guest's firmware from its first byte on. Every CPU goes to 64-bit mode and counts for ever.
var program = bytes.Join([][]byte{
	//                                                            00 start: (real mode; cs is f000 in the first CPU, 0800 in others)
	{0xfa},                            // 00 cli
	{0xfc},                            // 01 cld
	{0x8c, 0xc8},                      // 02 mov  %cs,%ax
	{0x3d, 0x00, 0xf0},                // 04 cmp  $0xf000,%ax
	{0x75, 0x32},                      // 07 jne  3b
	{0x31, 0xc0},                      // 09 xor  %ax,%ax         copy this program to 8000
	{0x8e, 0xc0},                      // 0b mov  %ax,%es
	{0x31, 0xf6},                      // 0d xor  %si,%si
	{0xbf, 0x00, 0x80},                // 0f mov  $0x8000,%di
	{0xb9, 0x00, 0x02},                // 12 mov  $0x200,%cx
	{0x2e, 0xf3, 0xa4},                // 15 rep movsb %cs:(%si),%es:(%di)
	{0x8e, 0xd8},                      // 18 mov  %ax,%ds         page tables at 1000, 2000, 3000; the rest of memory is 0
	{0xc7, 0x06, 0x00, 0x10, 3, 0x20}, // 1a movw $0x2003,0x1000
	{0xc7, 0x06, 0x00, 0x20, 3, 0x30}, // 20 movw $0x3003,0x2000  0 GiB
	{0xc7, 0x06, 0x18, 0x20, 3, 0x30}, // 26 movw $0x3003,0x2018  3 GiB, by the same table
	{0xc7, 0x06, 0x00, 0x30, 0x83, 0}, // 2c movw $0x83,0x3000    2 MiB of memory
	{0x66, 0xc7, 0x06, 0xb8, 0x3f, 0x83, 0x00, 0xe0, 0xfe},       // 32 movl $0xfee00083,0x3fb8  local APIC
	{0xea, 0x40, 0x80, 0x00, 0x00},                               // 3b ljmp $0,$0x8040
	{0x31, 0xc0},                                                 // 40 xor  %ax,%ax
	{0x8e, 0xd8},                                                 // 42 mov  %ax,%ds
	{0x66, 0x0f, 0x01, 0x16, 0xc8, 0x80},                         // 44 lgdtl 0x80c8
	{0x66, 0xb8, 0x20, 0x00, 0x00, 0x00},                         // 4a mov  $0x20,%eax      PAE
	{0x0f, 0x22, 0xe0},                                           // 50 mov  %eax,%cr4
	{0x66, 0xb8, 0x00, 0x10, 0x00, 0x00},                         // 53 mov  $0x1000,%eax
	{0x0f, 0x22, 0xd8},                                           // 59 mov  %eax,%cr3
	{0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0},                         // 5c mov  $0xc0000080,%ecx  EFER
	{0x66, 0xb8, 0x00, 0x01, 0x00, 0x00},                         // 62 mov  $0x100,%eax       LME
	{0x66, 0x31, 0xd2},                                           // 68 xor  %edx,%edx
	{0x0f, 0x30},                                                 // 6b wrmsr
	{0x66, 0xb8, 0x01, 0x00, 0x00, 0x80},                         // 6d mov  $0x80000001,%eax  PG, PE
	{0x0f, 0x22, 0xc0},                                           // 73 mov  %eax,%cr0
	{0x66, 0xea, 0x7e, 0x80, 0x00, 0x00, 8, 0},                   // 76 ljmpl $8,$0x807e
	{0xbb, 0x01, 0x00, 0x00, 0x00},                               // 7e mov  $1,%ebx           (64-bit mode)
	{0xf0, 0x48, 0x0f, 0xc1, 0x1c, 0x25, 0x00, 0x07, 0x00, 0x00}, // 83 lock xadd %rbx,0x700
	{0x85, 0xdb},                                                 // 8d test %ebx,%ebx
	{0x75, 0x11},                                                 // 8f jne  a2
	{0xb8, 0x00, 0x03, 0xe0, 0xfe},                               // 91 mov  $0xfee00300,%eax
	{0xc7, 0x00, 0x00, 0x45, 0x0c, 0x00},                         // 96 movl $0xc4500,(%rax)   INIT for the others
	{0xc7, 0x00, 0x08, 0x46, 0x0c, 0x00},                         // 9c movl $0xc4608,(%rax)   start them at 8000
	{0x49, 0xbf, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11}, // a2 mov $0x1122334455667788,%r15
	{0x48, 0xff, 0x04, 0xdd, 0x00, 0x06, 0x00, 0x00},             // ac spin: incq 0x600(,%rbx,8)
	{0x90},          // b4 after: nop
	{0xeb, 0xf5},    // b5 jmp  spin
	{0x90},          // b7
	make([]byte, 8), // b8 GDT: nothing,
	{0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00}, // c0 64-bit code
	{0x0f, 0x00, 0xb8, 0x80, 0x00, 0x00},             // c8 limit and base of the GDT
}, nil)

// firmware is a ROM of 64 KiB with the program at its beginning.
func firmware() []byte {
	rom := make([]byte, 64<<10)
	copy(rom, program)
	copy(rom[0xfff0:], []byte{0xea, 0x00, 0x00, 0x00, 0xf0}) // where CPUs begin: ljmp $0xf000,$0
	return rom
}

// guest is a machine that has not executed anything yet.
type guest struct {
	t       *testing.T
	qemu    *qmptest.QEMU
	monitor *qmp.Client
	options gdb.Options
}

// setup is what tests are repeated on.
type setup struct {
	name    string
	args    []string
	options gdb.Options
}

// setups are all ways to run two CPUs that this host has.
func setups() []setup {
	s := []setup{
		{"threads", []string{"-accel", "tcg,thread=multi", "-smp", "2"}, gdb.Options{}},
		{"round robin", []string{"-accel", "tcg,thread=single", "-smp", "2"}, gdb.Options{}},
		{"debug registers", []string{"-accel", "tcg", "-smp", "2"}, gdb.Options{Hardware: true}},
		{"one CPU", []string{"-accel", "tcg", "-smp", "1"}, gdb.Options{}},
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		f.Close()
		s = append(s, setup{"kvm", []string{"-accel", "kvm", "-smp", "2"}, gdb.Options{Hardware: true}})
	}
	return s
}

// each runs a test on every setup.
func each(t *testing.T, test func(t *testing.T, g *guest)) {
	for _, s := range setups() {
		t.Run(s.name, func(t *testing.T) { test(t, s.start(t)) })
	}
}

// plain is the setup for what does not depend on how CPUs are run.
func plain(t *testing.T) *guest { return setups()[0].start(t) }

func (s setup) start(t *testing.T) *guest {
	t.Helper()
	rom := filepath.Join(t.TempDir(), "rom")
	if err := os.WriteFile(rom, firmware(), 0o600); err != nil {
		t.Fatal(err)
	}
	q := qmptest.Start(t, append([]string{"-machine", "pc", "-m", "16M", "-bios", rom, "-S"}, s.args...)...)
	return &guest{t: t, qemu: q, monitor: q.Dial(t), options: s.options}
}

// attach opens the stub and attaches to it.
func (g *guest) attach() *gdb.Client {
	g.t.Helper()
	path := filepath.Join(g.qemu.Dir, "gdb")
	out, err := g.monitor.HMP(g.t.Context(), "gdbserver unix:"+path+",server=on,wait=off")
	if err != nil {
		g.t.Fatal(out, err)
	}
	c, err := gdb.Dial(g.t.Context(), path, g.options)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

func (g *guest) status() (s struct {
	Status  string
	Running bool
}) {
	g.t.Helper()
	if err := g.monitor.Execute(g.t.Context(), "query-status", nil, &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// session is a guest under a client, with its hits counted.
type session struct {
	*gdb.Client
	t    *testing.T
	hits [2]uint64
}

func (g *guest) session(triggers ...uint64) *session {
	g.t.Helper()
	s := &session{Client: g.attach(), t: g.t}
	for _, addr := range triggers {
		if err := s.Break(g.t.Context(), addr); err != nil {
			g.t.Fatal(err)
		}
	}
	return s
}

// next continues to the next hit.
func (s *session) next() machine.Stop {
	s.t.Helper()
	stop, err := s.Continue(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return stop
}

// count returns how often a CPU has executed the instruction at spin.
func (s *session) count(cpu int) uint64 {
	s.t.Helper()
	return s.word(counters + 8*uint64(cpu))
}

func (s *session) word(addr uint64) (n uint64) {
	s.t.Helper()
	var p [8]byte
	if err := s.ReadVirt(s.t.Context(), 0, addr, p[:]); err != nil {
		s.t.Fatal(err)
	}
	for i, b := range p {
		n |= uint64(b) << (8 * i)
	}
	return n
}

// check compares the hits counted with what the guest has counted, when CPU at is at spin and has just been reported.
func (s *session) check(at int) {
	s.t.Helper()
	for cpu, hits := range s.hits {
		want := hits
		if cpu == at {
			want-- // it has not executed the instruction yet
		}
		if got := s.count(cpu); got != want {
			s.t.Fatalf("after hits %d, the last on CPU %d, CPU %d has counted %d", s.hits, at, cpu, got)
		}
	}
}

// cpus is the number of CPUs, as QEMU's monitor knows it.
func (g *guest) cpus() int {
	g.t.Helper()
	var cpus []struct{}
	if err := g.monitor.Execute(g.t.Context(), "query-cpus-fast", nil, &cpus); err != nil {
		g.t.Fatal(err)
	}
	return len(cpus)
}

// peek reads the counter of the first CPU past the stub, from a machine that may run.
func (g *guest) peek() uint64 {
	g.t.Helper()
	out, err := g.monitor.HMP(g.t.Context(), fmt.Sprintf("xp /1gd %#x", counters))
	if err != nil {
		g.t.Fatal(err)
	}
	_, digits, _ := strings.Cut(out, ":")
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}
