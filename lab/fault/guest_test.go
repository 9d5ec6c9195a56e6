package fault_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/cpu"
	"github.com/vdevil/vdevil/lab/fault/memory"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/trial"
)

// limit is for a guest to do something small, on a host that is busy with other tests.
const limit = 3 * time.Minute

func load(t testing.TB, img *images.Image) *kernel.Types {
	t.Helper()
	types, err := kernel.LoadTypes(t.Context(), filepath.Join(hosttest.Dirs(t).Cache, "types"),
		filepath.Join(img.Modules, "zfs.ko"), filepath.Join(img.Modules, "spl.ko"))
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// spy is a machine that keeps a record of what is done to it.
type spy struct {
	machine.Machine

	mu     sync.Mutex
	writes []write
	set    []machine.Registers // as they were read back
	checks []uint64
	logged []uint64 // errors that were corrected
}

// write is a change of physical memory.
type write struct {
	phys          uint64
	before, after []byte
}

func (s *spy) WritePhys(ctx context.Context, addr uint64, p []byte) error {
	before := make([]byte, len(p))
	if err := s.ReadPhys(ctx, addr, before); err != nil {
		return err
	}
	s.mu.Lock()
	s.writes = append(s.writes, write{addr, before, bytes.Clone(p)})
	s.mu.Unlock()
	return s.Machine.WritePhys(ctx, addr, p)
}

// CorrectedError is only noted.
func (s *spy) CorrectedError(_ context.Context, phys uint64) error {
	s.logged = append(s.logged, phys)
	return nil
}

// MachineCheck is only noted.
func (s *spy) MachineCheck(_ context.Context, phys uint64) error {
	s.checks = append(s.checks, phys)
	return nil
}

func (s *spy) Debug(ctx context.Context) (machine.Debugger, error) {
	d, err := s.Machine.Debug(ctx)
	return spyDebugger{d, s}, err
}

type spyDebugger struct {
	machine.Debugger
	spy *spy
}

func (d spyDebugger) SetRegisters(ctx context.Context, cpu int, r machine.Registers) error {
	if err := d.Debugger.SetRegisters(ctx, cpu, r); err != nil {
		return err
	}
	is, err := d.Registers(ctx, cpu)
	d.spy.set = append(d.spy.set, is)
	return err
}

func (d spyDebugger) ContinueWithout(ctx context.Context, cpu int) (machine.Stop, error) {
	return d.Debugger.(machine.Holder).ContinueWithout(ctx, cpu)
}

// scene is a guest with a pool and what a fault wants to know of it.
type scene struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of one test
	spy  *spy
	g    *guest.Guest
	site fault.Site
}

// open boots nothing: it forks, makes a pool, and reads the kernel's layout.
func open(t *testing.T) *scene {
	t.Helper()
	l := labtest.Open(t)
	img, cp := labtest.Booted(t, l)
	types := load(t, img)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	m := &spy{Machine: labtest.Fork(t, l, cp, machine.ForkOptions{})}
	g, err := guest.Connect(ctx, m, guest.Keys{Login: img.LoginKey, Host: img.HostKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	spec := guest.PoolSpec{
		Name: "tank", Layout: []string{"mirror", "v0", "v1"}, Options: map[string]string{"ashift": "9"},
		Properties: map[string]string{"compression": "off", "recordsize": "32k", "atime": "off"},
	}
	if err := g.CreatePool(ctx, spec); err != nil {
		t.Fatal(err)
	}
	layout, err := kernel.ReadLayout(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(m, types, layout)
	return &scene{t: t, ctx: ctx, spy: m, g: g, site: fault.Site{
		Machine: m, Guest: g, Rand: rand.New(rand.NewPCG(1, 2)),
		Kernel: func(context.Context) (*kernel.Kernel, error) { return k, nil },
	}}
}

func (s *scene) run(command string) string {
	s.t.Helper()
	out, err := s.g.Run(s.ctx, command)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// strike arms a fault, does what makes it strike, and waits for that.
func (s *scene) strike(f fault.Fault, command string) []trial.Injection {
	s.t.Helper()
	strike, err := f.Arm(s.ctx, s.site)
	if err != nil {
		s.t.Fatal(err)
	}
	go func() { _, _ = s.g.Run(s.ctx, command) }() // what was struck may never return
	done, err := strike(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

// TestMemoryFlip flips a bit of a block pointer that is being freed.
func TestMemoryFlip(t *testing.T) {
	s := open(t)
	const file = "dd if=/dev/urandom of=/tank/f%d bs=32k count=64 status=none; "
	s.run(fmt.Sprintf(file, 1) + fmt.Sprintf(file, 2) + "zpool sync tank")
	bit := 9
	f := memory.Fault{
		Trigger: fault.Trigger{At: "zio_free_sync", Hit: 5, When: []fault.Condition{
			{Path: "spa.spa_name", Value: "tank"}, {Path: "blkptr.blk_dva[0].dva_word[0]", Value: "0x40"},
		}},
		Targets: []string{"blkptr.blk_dva[0].dva_word[1]"}, Damage: memory.Flip{Bits: 1, Only: &bit}, ECC: memory.NoECC,
	}
	s.site.Withhold = true
	withheld := s.strike(f, "rm /tank/f1; zpool sync tank")
	if len(s.spy.writes) != 0 || len(withheld) != 1 || !withheld[0].Withheld || withheld[0].BitsChanged() != 0 {
		t.Fatalf("withheld, but %d writes and %+v", len(s.spy.writes), withheld)
	}
	s.site.Withhold = false
	s.run("zpool sync tank")
	done := s.strike(f, "rm /tank/f2; zpool sync tank")
	if len(done) != 1 || len(s.spy.writes) != 1 {
		t.Fatalf("%d injections and %d writes, want one", len(done), len(s.spy.writes))
	}
	i, w := done[0], s.spy.writes[0]
	if w.phys != i.Phys || !bytes.Equal(w.before, i.Before) || !bytes.Equal(w.after, i.After) || len(w.after) != 8 {
		t.Errorf("the record is %+v, written was %+v", i, w)
	}
	if i.BitsChanged() != 1 || i.Before[1]^i.After[1] != 1<<(9-8) {
		t.Errorf("%x became %x, want bit 9 to differ", i.Before, i.After)
	}
	if want := fmt.Sprintf("%#x", i.Virt-8); i.Arguments["bp"] != want {
		t.Errorf("argument bp is %s, struck was the block pointer at %s", i.Arguments["bp"], want)
	}
	if i.Hit != 5 || i.Target != "blkptr.blk_dva[0].dva_word[1] bit 9" || i.SECDED != "corrected" || i.ECC != "" || i.Fault != "memory" {
		t.Errorf("%+v", i)
	}
	t.Logf("%+v", i)
}

// TestTXG stops at the sync of a txg, and at any instant for what ECC does.
func TestTXG(t *testing.T) {
	s := open(t)
	s.site.Withhold = true
	f := memory.Fault{
		Trigger: fault.Trigger{TXG: fault.TXG{Number: 2, Relative: true}},
		Targets: []string{"spa.spa_uberblock.ub_timestamp"}, Damage: memory.Flip{Bits: 1}, ECC: memory.NoECC,
	}
	const ask = `awk '$3 == "C" {txg = $1} END {print txg}' /proc/spl/kstat/zfs/tank/txgs`
	before := number(t, s.run(ask))
	done := s.strike(f, "zpool sync tank; zpool sync tank; zpool sync tank")
	after := number(t, s.run("zpool sync tank; "+ask))
	struck := number(t, done[0].Arguments["txg"])
	if struck < before+2 || struck > after {
		t.Errorf("struck in txg %d, the pool went from %d to %d", struck, before, after)
	}
	if _, err := (fault.Trigger{TXG: fault.TXG{Number: before}}).Arm(s.ctx, s.site); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("a txg of the past: %v", err)
	}

	// A trigger that is no longer wanted is taken away, and the guest lives.
	strike, err := memory.Fault{Trigger: fault.Trigger{At: "spa_change_guid"}, Targets: f.Targets, Damage: f.Damage, ECC: f.ECC}.Arm(s.ctx, s.site)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(s.ctx)
	end()
	if _, err := strike(ended); err == nil || !strings.Contains(err.Error(), "0 of 0 arrivals at spa_change_guid") {
		t.Errorf("a trigger that did not come: %v", err)
	}
	s.run("zpool sync tank")

	s.site.Withhold = false
	target := memory.Fault{Targets: []string{"spa.spa_uberblock.ub_timestamp"}}
	for _, c := range []struct {
		ecc                    memory.ECC
		bits                   int
		result                 string
		changed, check, writes int
		logged                 int
	}{
		{memory.SECDED, 1, "corrected", 0, 0, 0, 1},
		{memory.SECDED, 2, "detected", 2, 1, 1, 0},
	} {
		s.spy.writes, s.spy.checks, s.spy.logged = nil, nil, nil
		target.ECC, target.Damage = c.ecc, memory.Flip{Bits: c.bits, Adjacent: true}
		i := s.strike(target, "true")[0]
		if i.ECC != c.result || i.BitsChanged() != c.changed || len(s.spy.checks) != c.check || len(s.spy.writes) != c.writes || len(s.spy.logged) != c.logged {
			t.Errorf("%s, %d bits: %+v, machine checks %x, writes %v", c.ecc, c.bits, i, s.spy.checks, s.spy.writes)
		}
	}
	// Three look like one of the others, or are noticed: that depends on which.
	s.spy.writes, s.spy.checks = nil, nil
	target.ECC, target.Damage = memory.SECDED, memory.Flip{Bits: 3, Adjacent: true}
	if i := s.strike(target, "true")[0]; i.ECC != "miscorrected" && i.ECC != "detected" || i.BitsChanged() < 2 || len(s.spy.checks) != map[string]int{"detected": 1}[i.ECC] {
		t.Errorf("three bits: %+v, machine checks %x", i, s.spy.checks)
	}
}

// TestTargets strikes at any instant what no function is called with.
func TestTargets(t *testing.T) {
	s := open(t)
	same := func(i trial.Injection) {
		t.Helper()
		is := make([]byte, len(i.After))
		if err := s.spy.ReadPhys(s.ctx, i.Phys, is); err != nil || !bytes.Equal(is, i.After) {
			t.Errorf("%s: %x is there, %v; want %x", i.Target, is, err, i.After)
		}
	}
	i := s.strike(memory.Fault{
		Targets: []string{"spa.spa_ubsync"}, Damage: memory.Copy{From: "spa.spa_uberblock"}, ECC: memory.NoECC,
	}, "true")
	if len(i) != 1 || !strings.HasSuffix(i[0].Target, ` overwritten with spa("tank").spa_uberblock`) || i[0].SECDED != "silent" {
		t.Errorf("%+v", i)
	}
	if i := s.strike(memory.Fault{Class: "kernel-text", Damage: memory.Flip{Bits: 1}, ECC: memory.NoECC}, "true"); len(i) != 1 || i[0].BitsChanged() != 1 {
		t.Errorf("%+v", i)
	} else {
		same(i[0])
	}
	writes := len(s.spy.writes)
	for _, class := range []string{"ram", "zfs", "arc-header", "struct:metaslab_t"} {
		f := memory.Fault{Trigger: fault.Trigger{After: time.Millisecond}, Class: class, Damage: memory.Flip{Bits: 3, Adjacent: true}, ECC: memory.NoECC}
		s.site.Withhold = true // the test wants the guest to live
		bits := 0
		for _, i := range s.strike(f, "true") {
			bits += i.BitsChanged()
			same(i)
			if !i.Withheld || i.Phys == 0 || i.Virt == 0 || i.Target == "" {
				t.Errorf("%s: %+v", class, i)
			}
			t.Log(i.Target)
		}
		if bits != 0 || len(s.spy.writes) != writes {
			t.Errorf("%s: %d bits changed though it was withheld", class, bits)
		}
	}
	// Most of the guest's memory is free. What is drawn is not, the guest says so too.
	const buddy = 1 << 10 // KPF_BUDDY of include/uapi/linux/kernel-page-flags.h
	for range 5 {
		i := s.strike(memory.Fault{Class: "ram", Damage: memory.Flip{Bits: 1}, ECC: memory.NoECC}, "true")[0]
		flags := s.run(fmt.Sprintf("dd if=/proc/kpageflags bs=8 skip=%d count=1 status=none | od -An -tu8", i.Phys/4096))
		if n := number(t, flags); n&buddy != 0 {
			t.Errorf("%s is free, its flags are %#x", i.Target, n)
		}
	}
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRegisterFlip flips a bit of an argument, and one of what the first instructions have left.
func TestRegisterFlip(t *testing.T) {
	s := open(t)
	const command = "dd if=/dev/urandom of=/tank/f bs=32k count=4 status=none; zpool sync tank"
	// Allocations and frees are written in turns, so the second hit that counts is not the second arrival.
	alloc := fault.Trigger{At: "space_map_write", Hit: 2, When: []fault.Condition{{Path: "maptype", Value: "SM_ALLOC"}}}
	done := s.strike(cpu.Flip{Trigger: alloc, Argument: "maptype", Bit: 0}, command)
	if len(done) != 1 || len(s.spy.set) != 1 {
		t.Fatalf("%d injections, registers set %d times; want one", len(done), len(s.spy.set))
	}
	i := done[0]
	if i.Arguments["maptype"] != "SM_ALLOC" || s.spy.set[0].RDX != 1 || i.BitsChanged() != 1 || i.After[7] != 1 || i.Hit != 2 {
		t.Errorf("rdx is %#x; %+v", s.spy.set[0].RDX, i)
	}
	t.Logf("%+v", i)
}

// TestHold expects the CPU that comes to a place to stand there while the other one goes on, and both to go on when that is withheld. Two
// loops write down the guest's time, one on each CPU: of a busy host both may be away for seconds, but then neither goes on meanwhile.
func TestHold(t *testing.T) {
	const command = `rm -f /dev/shm/stop /dev/shm/cpu?
for c in 0 1; do taskset -c $c sh -c "while [ ! -e /dev/shm/stop ]; do cat /proc/uptime >>/dev/shm/cpu$c; done" & done
sleep 0.5; dd if=/dev/urandom of=/tank/f bs=32k count=4 status=none; zpool sync tank; sleep 0.5; touch /dev/shm/stop; wait`
	s := open(t)
	const long = 2 * time.Second
	for name, f := range map[string]cpu.Hold{
		"at a function": {Trigger: fault.Trigger{At: "spa_sync"}, For: long},
		"somewhere":     {Anywhere: fault.Anywhere{In: []string{"spa_syn[c]"}, Arrivals: 1}, For: long},
		"until":         {Trigger: fault.Trigger{At: "spa_sync"}, For: 10 * long, Until: "vfs_read"},
		"withheld":      {Trigger: fault.Trigger{At: "spa_sync"}, For: 3 * long},
	} {
		t.Run(name, func(t *testing.T) {
			s.site.Withhold = name == "withheld"
			over := make(chan struct{})
			strike, err := f.Arm(s.ctx, s.site)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer close(over)
				_, _ = s.g.Run(s.ctx, command)
			}()
			done, err := strike(s.ctx)
			if err != nil || len(done) != 1 {
				t.Fatalf("%+v, %v", done, err)
			}
			<-over
			held := -1
			if _, err := fmt.Sscanf(done[0].Target, "CPU %d at ", &held); err != nil || held < 0 || held > 1 {
				t.Fatalf("%+v", done[0])
			}
			of := func(cpu int) []time.Duration { return uptimes(t, s.run(fmt.Sprintf("cat /dev/shm/cpu%d", cpu))) }
			from, to := longest(of(held))
			meanwhile := 0
			for _, at := range of(1 - held) {
				if from < at && at < to {
					meanwhile++
				}
			}
			t.Logf("%s; away for %s, the other CPU wrote %d lines meanwhile", done[0].Effect, to-from, meanwhile)
			switch name {
			case "until", "withheld":
				if to-from > f.For/2 || name == "until" && !strings.Contains(done[0].Effect, "came to vfs_read") {
					t.Errorf("%+v: away for %s", done[0], to-from)
				}
			default:
				if to-from < long/2 || meanwhile < 5 {
					t.Errorf("%+v: away for %s, the other CPU wrote %d lines meanwhile", done[0], to-from, meanwhile)
				}
			}
		})
	}
}

// uptimes reads lines of /proc/uptime.
func uptimes(t *testing.T, lines string) (times []time.Duration) {
	t.Helper()
	for line := range strings.Lines(lines) {
		first, _, _ := strings.Cut(line, " ")
		at, err := strconv.ParseFloat(first, 64)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Duration(at*float64(time.Second)))
	}
	return times
}

// longest finds the longest time between two that follow each other.
func longest(times []time.Duration) (from, to time.Duration) {
	for i := 1; i < len(times); i++ {
		if times[i]-times[i-1] > to-from {
			from, to = times[i-1], times[i]
		}
	}
	return from, to
}

// TestWithTypes runs what wants no guest but the types of its modules.
func TestWithTypes(t *testing.T) {
	l := labtest.Open(t)
	img, _ := labtest.Booted(t, l)
	types := load(t, img)
	fault.CheckConditions(t, types)
	fault.CheckPlaces(t, types)
}
