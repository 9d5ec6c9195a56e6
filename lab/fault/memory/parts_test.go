package memory

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/fault/memory/dram"
	"github.com/vdevil/vdevil/lab/machine"
)

// broken is the fake machine's memory as modules of which parts fail, and which an ECC guards. A bank has one row, and rank 1 is
// beyond the end of memory.
func broken(f *fake, ecc ECC, withhold bool) *failing {
	f.ram = [64 << 10]byte{}
	return &failing{
		Parts:  Parts{ECC: ecc, Every: time.Millisecond},
		site:   fault.Site{Machine: f, Rand: rand.New(rand.NewPCG(1, 2)), Withhold: withhold},
		module: dram.Of(uint64(len(f.ram)), ecc.word(), ecc.checkBits()), end: uint64(len(f.ram)), checker: f,
	}
}

// lanes says how many bytes of each device of 8 bits are not 0.
func lanes(ram []byte) (n [8]int) {
	for i, b := range ram {
		if b != 0 {
			n[i%8]++
		}
	}
	return n
}

// TestParts expects what fails together to be wrong in the lane of its device, and the ECC to have its say word by word.
func TestParts(t *testing.T) {
	for name, c := range map[string]struct {
		ecc   ECC
		part  dram.Fault
		lane  int // that has wrong bytes
		wrong [2]int
		alarm bool
		worst Result
	}{
		"a cell":                       {NoECC, dram.Fault{Mode: dram.Bit, Device: 3, Line: 2, Beat: 5}, 3, [2]int{1, 1}, false, Silent},
		"a cell, SECDED":               {SECDED, dram.Fault{Mode: dram.Bit, Device: 3, Line: 2, Beat: 5}, 3, [2]int{}, false, Corrected},
		"a cell of check bits":         {SECDED, dram.Fault{Mode: dram.Bit, Device: 8, Line: 2, Beat: 5}, 3, [2]int{}, false, Corrected},
		"a row":                        {NoECC, dram.Fault{Mode: dram.Row, Device: 6}, 6, [2]int{1000, 1024}, false, Silent},
		"a row, chipkill":              {Chipkill, dram.Fault{Mode: dram.Row, Device: 6}, 6, [2]int{}, false, Corrected},
		"a transfer":                   {NoECC, dram.Fault{Mode: dram.Burst, Device: 1, Beat: 13}, 1, [2]int{5, 8}, false, Silent},
		"a word beyond all memory":     {NoECC, dram.Fault{Mode: dram.Word, Rank: 1}, 0, [2]int{}, false, ""},
		"a bank, of which most is not": {NoECC, dram.Fault{Mode: dram.Bank, Device: 0}, 0, [2]int{1000, 1024}, false, Silent},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			b := broken(f, c.ecc, false)
			got := tally{words: map[Result]int{}, would: map[Result]int{}}
			if err := b.fail(t.Context(), c.part, &got); err != nil {
				t.Fatal(err)
			}
			for lane, n := range lanes(f.ram[:]) {
				want := c.wrong
				if lane != c.lane {
					want = [2]int{}
				}
				if n < want[0] || n > want[1] {
					t.Errorf("lane %d has %d wrong bytes", lane, n)
				}
			}
			if worst(got.words) != c.worst || len(f.checks) > 0 != c.alarm || len(f.logged) > 0 != (c.worst == Corrected) {
				t.Errorf("%s, machine checks %x, logged %x", got.String(), f.checks, f.logged)
			}
		})
	}
}

// TestRowBelowSECDED expects a device that is random in a whole row to be corrected, detected and miscorrected, and an alarm for the
// first word that is detected.
func TestRowBelowSECDED(t *testing.T) {
	f := newFake()
	b := broken(f, SECDED, false)
	got := tally{words: map[Result]int{}, would: map[Result]int{}}
	if err := b.fail(t.Context(), dram.Fault{Mode: dram.Row, Device: 2, Seed: 5}, &got); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Result{Corrected, Detected, Miscorrected} {
		if got.words[r] == 0 || !strings.Contains(got.String(), string(r)) {
			t.Errorf("none is %s: %s", r, got.String())
		}
	}
	if len(f.checks) != 1 || f.checks[0] >= 8<<10 {
		t.Errorf("machine checks %x", f.checks)
	}
}

// TestShown expects what is shown of a fault to be a word that has changed, if there is one.
func TestShown(t *testing.T) {
	f := newFake()
	b := broken(f, SECDED, false)
	got := tally{words: map[Result]int{}, would: map[Result]int{}}
	for _, part := range []dram.Fault{{Mode: dram.Bit}, {Mode: dram.Row, Device: 2, Seed: 5}} {
		if err := b.fail(t.Context(), part, &got); err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(got.before, got.after); same != (part.Mode == dram.Bit) {
			t.Errorf("of a %s shown is %x, then %x", part.Mode, got.before, got.after)
		}
	}
}

// TestWithheldPart expects nothing to change.
func TestWithheldPart(t *testing.T) {
	f := newFake()
	b := broken(f, NoECC, true)
	got := tally{words: map[Result]int{}, would: map[Result]int{}}
	if err := b.fail(t.Context(), dram.Fault{Mode: dram.Row}, &got); err != nil {
		t.Fatal(err)
	}
	if got.wrong == 0 || f.ram != [64 << 10]byte{} {
		t.Errorf("%s", got.String())
	}
}

// TestLastingPart expects what the guest writes to be wrong again, and what a transient fault has hit to stay as it is written.
func TestLastingPart(t *testing.T) {
	for _, lasting := range []bool{true, false} {
		f := newFake()
		b := broken(f, NoECC, false)
		part := dram.Fault{Mode: dram.Row, Device: 2, Lasting: lasting, Seed: 5}
		b.parts = []dram.Fault{part}
		if err := b.fail(t.Context(), part, &tally{words: map[Result]int{}, would: map[Result]int{}}); err != nil {
			t.Fatal(err)
		}
		was := f.ram
		f.mu.Lock()
		clear(f.ram[:])
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if !b.wait(ctx, 20*time.Millisecond) {
			t.Fatal("the machine has ended")
		}
		f.mu.Lock()
		if same := bytes.Equal(f.ram[:], was[:]); same != lasting {
			t.Errorf("lasting %v: it is wrong again: %v", lasting, same)
		}
		f.mu.Unlock()
	}
}

// ending is a machine that cannot be let go, and ends so.
type ending struct {
	*fake
	end error
}

func (ending) Resume(context.Context) error { return errors.New("connection reset by peer") }
func (e ending) Wait(context.Context) error { return e.end }

// TestReleased expects a kernel that falls over at once to have been hit, and a hypervisor that dies to be trouble.
func TestReleased(t *testing.T) {
	for _, end := range []error{nil, machine.ErrDied} {
		m := newFake().moment(t)
		m.Site.Machine = ending{newFake(), end}
		if err := release(t.Context(), m); (err != nil) != (end != nil) {
			t.Errorf("it ended with %v, and the strike with %v", end, err)
		}
	}
}
