package gdb_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/gdb"
)

// Every execution of the instruction is one hit: none lost and none twice, though both CPUs are nearly always at it.
func TestHitsAreExact(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin)
		cpus := map[int]bool{}
		for range 400 {
			stop := s.next()
			if stop.Addr != spin {
				t.Fatalf("stopped at %#x", stop.Addr)
			}
			cpus[stop.CPU] = true
			s.hits[stop.CPU]++
			s.check(stop.CPU)
			r, err := s.Registers(t.Context(), stop.CPU)
			if err != nil {
				t.Fatal(err)
			}
			if r.RIP != spin || r.RBX != uint64(stop.CPU) || r.R15 != r15 {
				t.Fatalf("CPU %d at its hit: %+v", stop.CPU, r)
			}
		}
		if want := g.cpus(); len(cpus) != want {
			t.Errorf("hits on CPUs %v only, of %d", cpus, want)
		}
	})
}

// TestStep expects one CPU to go round the loop, instruction by instruction, while the other one stands, and to be reported when it runs on.
func TestStep(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin)
		stop := s.next()
		other := (stop.CPU + 1) % g.cpus()
		before, besides := s.count(stop.CPU), s.count(other)
		for round := range 3 {
			for _, want := range []uint64{after, after + 1, spin} {
				if err := s.Step(t.Context(), stop.CPU); err != nil {
					t.Fatal(err)
				}
				if r, err := s.Registers(t.Context(), stop.CPU); err != nil || r.RIP != want {
					t.Fatalf("round %d: at %#x, not at %#x, %v", round, r.RIP, want, err)
				}
			}
		}
		if n := s.count(stop.CPU); n != before+3 {
			t.Errorf("it has counted %d", n-before)
		}
		if other != stop.CPU && s.count(other) != besides {
			t.Error("the other one has run")
		}
		reported := false
		for range g.cpus() { // the other one may stand there, too
			reported = reported || s.next().CPU == stop.CPU
		}
		if n := s.count(stop.CPU); !reported || n != before+3 {
			t.Errorf("its arrival by a step was not reported, it has counted %d", n-before)
		}
	})
}

// The same while Continue is interrupted all the time, at any moment.
func TestInterruptedHitsAreExact(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin)
		random := rand.New(rand.NewPCG(1, 2))
		interrupted := 0
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(2000))*time.Microsecond)
			stop, err := s.Continue(ctx)
			cancel()
			switch {
			case err == nil:
				s.hits[stop.CPU]++
				s.check(stop.CPU)
			case errors.Is(err, context.DeadlineExceeded):
				interrupted++
				if st := g.status(); st.Running {
					t.Fatalf("interrupted and %s", st.Status)
				}
			default:
				t.Fatal(err)
			}
		}
		stop := s.next()
		s.hits[stop.CPU]++
		s.check(stop.CPU)
		t.Logf("%d hits, %d interrupted", s.hits, interrupted)
		if interrupted == 0 {
			t.Error("never interrupted")
		}
	})
}

// Having been reported is forgotten when the machine runs, also while no trigger is set.
func TestReportedBefore(t *testing.T) {
	s := setups()[3].start(t).session(spin)
	s.next()
	if err := s.Clear(t.Context(), spin); err != nil {
		t.Fatal(err)
	}
	for s.count(0) == 0 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := s.Continue(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	if err := s.Break(t.Context(), spin); err != nil {
		t.Fatal(err)
	}
	before := s.count(0)
	if s.next(); s.count(0) != before {
		t.Errorf("stopped after %d arrivals", s.count(0)-before+1)
	}
}

func TestInterrupt(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session()
		for s.count(0) == 0 { // a machine under load may need more than one go
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			if _, err := s.Continue(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
			if a, b := s.count(0), s.count(0); a != b {
				t.Fatalf("interrupted, but counts on from %d to %d", a, b)
			}
		}
		before := s.count(0)
		if err := s.Break(t.Context(), after); err != nil {
			t.Fatal(err)
		}
		if stop := s.next(); stop.Addr != after {
			t.Errorf("%+v", stop)
		}
		if s.count(0)+s.count(1) == 0 || s.count(0) < before {
			t.Error("the counter went back")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Continue(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that had ended before: %v", err)
		}
	})
}

// Two triggers in a row: the step over the first ends at the second.
func TestAdjacentTriggers(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin, after)
		var at [2]uint64
		for range 200 {
			stop := s.next()
			want := uint64(spin)
			if at[stop.CPU] == spin {
				want = after
			}
			if stop.Addr != want {
				t.Fatalf("CPU %d went from %#x to %#x", stop.CPU, at[stop.CPU], stop.Addr)
			}
			at[stop.CPU] = stop.Addr
			if stop.Addr == spin {
				s.hits[stop.CPU]++
				s.check(stop.CPU)
			}
		}
	})
}

func TestBreakAndClear(t *testing.T) {
	g := setups()[3].start(t)
	s := g.session(spin)
	s.next()
	for range 2 { // twice is the same as once
		if err := s.Break(t.Context(), after); err != nil {
			t.Fatal(err)
		}
	}
	if stop := s.next(); stop.Addr != after {
		t.Fatalf("%+v", stop)
	}
	// Set again where the CPU stands, a trigger is not hit again.
	for range 2 {
		if err := s.Clear(t.Context(), after); err != nil {
			t.Fatal(err)
		}
		if err := s.Break(t.Context(), after); err != nil {
			t.Fatal(err)
		}
	}
	if stop := s.next(); stop.Addr != spin {
		t.Fatalf("%+v", stop)
	}
	if err := s.Clear(t.Context(), spin); err != nil {
		t.Fatal(err)
	}
	if err := s.Clear(t.Context(), spin); err == nil {
		t.Error("a trigger that was not there was removed")
	}
	for range 3 {
		if stop := s.next(); stop.Addr != after {
			t.Fatalf("%+v", stop)
		}
	}
	// Set for the first time where the CPU stands, it is hit at once.
	if err := s.SetRegisters(t.Context(), 0, at(t, s, spin)); err != nil {
		t.Fatal(err)
	}
	if err := s.Break(t.Context(), spin); err != nil {
		t.Fatal(err)
	}
	before := s.count(0)
	if stop := s.next(); stop.Addr != spin || s.count(0) != before {
		t.Errorf("%+v after counting from %d to %d", stop, before, s.count(0))
	}
}

// at are the registers of the first CPU with another address to execute.
func at(t *testing.T, s *session, rip uint64) machine.Registers {
	t.Helper()
	r, err := s.Registers(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.RIP = rip
	return r
}

func TestRegisters(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin)
		stop := s.next()
		r, err := s.Registers(t.Context(), stop.CPU)
		if err != nil {
			t.Fatal(err)
		}
		const first = 0x8000000000000001
		r.RAX, r.RCX, r.RDX, r.RSI, r.RDI, r.RBP, r.RSP = first, first+1, first+2, first+3, first+4, first+5, first+6
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14 = first+7, first+8, first+9, first+10, first+11, first+12, first+13
		r.RBX = 5
		if err := s.SetRegisters(t.Context(), stop.CPU, r); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Registers(t.Context(), stop.CPU); err != nil || got != r {
			t.Errorf("wrote %+v and read %+v, %v", r, got, err)
		}
		cpu := stop.CPU
		for stop = s.next(); stop.CPU != cpu; stop = s.next() {
			continue
		}
		if n := s.word(counters + 8*5); n != 1 {
			t.Errorf("the guest does not use the registers written: counted %d times", n)
		}
		for _, cpu := range []int{-1, g.cpus()} {
			if _, err := s.Registers(t.Context(), cpu); err == nil {
				t.Errorf("CPU %d has registers", cpu)
			}
			if err := s.SetRegisters(t.Context(), cpu, r); err == nil {
				t.Errorf("CPU %d takes registers", cpu)
			}
			if err := s.WriteVirt(t.Context(), cpu, counters, make([]byte, 1)); err == nil {
				t.Errorf("CPU %d takes memory", cpu)
			}
		}
	})
}

func TestMemory(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin)
		cpu := s.next().CPU
		// Longer than a packet, of no round size, through another address of the same memory.
		random := rand.New(rand.NewPCG(3, 4))
		want := make([]byte, 10007)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		got := make([]byte, len(want))
		if err := s.WriteVirt(t.Context(), cpu, 0x20001, want); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadVirt(t.Context(), cpu, alias+0x20001, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("what was read is not what was written")
		}
		if err := s.ReadVirt(t.Context(), cpu, 0x20000, got[:1]); err != nil || got[0] != 0 {
			t.Errorf("the byte before what was written is %#x, %v", got[0], err)
		}
		if err := s.ReadVirt(t.Context(), cpu, nothing, nil); err != nil {
			t.Errorf("nothing read from nowhere: %v", err)
		}
		var refusal *gdb.Error
		if err := s.ReadVirt(t.Context(), cpu, nothing, got); !errors.As(err, &refusal) || refusal.Code != "E14" {
			t.Errorf("reading what is not mapped: %v", err)
		}
		if err := s.WriteVirt(t.Context(), cpu, nothing, want); !errors.As(err, &refusal) || refusal.Code != "E14" {
			t.Errorf("writing what is not mapped: %v", err)
		}
		// Code that has been executed before: make it count elsewhere.
		if err := s.WriteVirt(t.Context(), cpu, spin+4, []byte{0x80}); err != nil {
			t.Fatal(err)
		}
		for stop := s.next(); stop.CPU != cpu; stop = s.next() {
			continue
		}
		if n := s.word(0x680 + 8*uint64(cpu)); n != 1 {
			t.Errorf("the guest does not execute the code written: counted %d times", n)
		}
	})
}

// A jump to itself is at its trigger again after each step.
func TestJumpToItself(t *testing.T) {
	s := plain(t).session(after)
	cpu := s.next().CPU
	if err := s.WriteVirt(t.Context(), cpu, after, []byte{0xeb, 0xfe}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if stop := s.next(); stop.Addr != after {
			t.Errorf("%+v", stop)
		}
	}
}

func TestClose(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin, after)
		s.next()
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Continue(t.Context()); !errors.Is(err, gdb.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := s.Registers(t.Context(), 0); !errors.Is(err, gdb.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		// With a trigger left it would count once more and stop.
		first := g.peek()
		for g.peek() < first+1000 {
			if st := g.status(); !st.Running {
				t.Fatalf("after Close the machine is %s", st.Status)
			}
		}
		// The next client finds it running and stops it.
		again := g.session()
		if a, b := again.count(0), again.count(0); a < first+1000 || a != b {
			t.Errorf("second client sees %d and %d", a, b)
		}
		if err := again.Break(t.Context(), spin); err != nil {
			t.Fatal(err)
		}
		if stop := again.next(); stop.Addr != spin {
			t.Errorf("%+v", stop)
		}
	})
}

func TestCloseDuringContinue(t *testing.T) {
	g := plain(t)
	s := g.session()
	ended := make(chan error)
	go func() {
		_, err := s.Continue(t.Context())
		ended <- err
	}()
	for !g.status().Running {
		continue
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, gdb.ErrClosed) {
		t.Errorf("Continue: %v", err)
	}
	if st := g.status(); !st.Running {
		t.Errorf("the machine is %s", st.Status)
	}
}

func TestQEMUKilled(t *testing.T) {
	g := plain(t)
	s := g.session()
	ended := make(chan error)
	go func() {
		_, err := s.Continue(t.Context())
		ended <- err
	}()
	for !g.status().Running {
		continue
	}
	if err := g.qemu.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, gdb.ErrClosed) {
		t.Errorf("Continue: %v", err)
	}
	if err := s.Break(t.Context(), spin); !errors.Is(err, gdb.ErrClosed) {
		t.Errorf("Break: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A pause from elsewhere is not a hit, and what it hides comes to light.
func TestPauseFromElsewhere(t *testing.T) {
	g := plain(t)
	s := g.session()
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, err := s.Continue(ctx)
		ended <- err
	}()
	for !g.status().Running {
		continue
	}
	if err := g.monitor.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.Break(t.Context(), spin); err != nil {
		t.Fatal(err)
	}
	s.next()
}

// A CPU that is held executes nothing while the others do, is not reported meanwhile, and goes on afterwards with nothing lost.
func TestContinueWithout(t *testing.T) {
	each(t, func(t *testing.T, g *guest) {
		s := g.session(spin)
		held := s.next().CPU
		if g.cpus() == 1 {
			if _, err := s.ContinueWithout(t.Context(), held); err == nil {
				t.Error("the only CPU was held")
			}
			return
		}
		s.hits[held]++
		for range 100 {
			stop, err := s.ContinueWithout(t.Context(), held)
			if err != nil || stop.CPU == held || stop.Addr != spin {
				t.Fatalf("%+v, %v", stop, err)
			}
			s.hits[stop.CPU]++
			if got := s.count(held); got != s.hits[held]-1 {
				t.Fatalf("the CPU that was held has counted to %d", got)
			}
		}
		if err := s.Clear(t.Context(), spin); err != nil {
			t.Fatal(err)
		}
		other, before := 1-held, s.count(1-held)
		for s.count(other) == before {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			if _, err := s.ContinueWithout(ctx, held); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		if got := s.count(held); got != s.hits[held]-1 {
			t.Errorf("the CPU that was held has counted to %d", got)
		}
		if err := s.Break(t.Context(), after); err != nil {
			t.Fatal(err)
		}
		for s.next().CPU != held {
		}
		if got := s.count(held); got != s.hits[held] {
			t.Errorf("the CPU that was held went on with %d instead of %d", got, s.hits[held])
		}
		if _, err := s.ContinueWithout(t.Context(), 2); err == nil {
			t.Error("a CPU was held that there is not")
		}
	})
}
