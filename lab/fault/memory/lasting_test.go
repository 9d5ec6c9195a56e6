package memory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/trial"
)

// limit is for what happens at once.
const limit = time.Minute

// lasting arms a fault that hits the first byte of the kernel's code and runs its strike beside the test.
func lasting(t *testing.T, f *fake, what Fault) (over context.CancelFunc, done chan []trial.Injection) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ended, over := context.WithCancel(ctx)
	what.Class, what.ECC = classText, NoECC
	k := f.kernel()
	strike, err := what.Arm(ctx, fault.Site{
		Machine: f, Rand: rand.New(rand.NewPCG(1, 2)), Over: ended.Done(),
		Kernel: func(context.Context) (*kernel.Kernel, error) { return k, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan []trial.Injection, 1)
	go func() {
		all, err := strike(ctx)
		if err != nil {
			t.Error(err)
		}
		done <- all
	}()
	return over, done
}

// A stuck bit is set again whenever the guest has changed it, and what the guest does to the bits beside it stays.
func TestStuck(t *testing.T) {
	for _, first := range []byte{0, 0xff} {
		f := newFake()
		f.written = make(chan uint64, 1)
		for i := 0xa000; i < 0xc000; i++ {
			f.ram[i] = first
		}
		bit := 5
		over, done := lasting(t, f, Fault{Damage: Stuck{Bit: &bit, Value: 1, Every: time.Millisecond}})
		if first == 0 {
			<-f.written
		}
		// Which byte it is, the record tells in the end; so the guest writes all of them.
		const rounds = 3
		for range rounds {
			f.mu.Lock()
			for i := 0xa000; i < 0xc000; i++ {
				f.ram[i] = 0x42
			}
			f.mu.Unlock()
			if addr := <-f.written; f.ram[addr] != 0x62 {
				t.Errorf("%#x is %#x, want 0x62", addr, f.ram[addr])
			}
		}
		over()
		all := <-done
		if len(all) != 1 || all[0].Reapplied != rounds || all[0].SECDED != "corrected" || all[0].After[0] != first|0x20 {
			t.Errorf("%+v", all)
		}
		if f.paused != 0 {
			t.Errorf("paused %d times more than resumed", f.paused)
		}
	}
}

func TestCampaign(t *testing.T) {
	f := newFake()
	f.written = make(chan uint64)
	// 8 KiB of code are 1/16 Mbit: one strike a millisecond.
	over, done := lasting(t, f, Fault{Rate: &Rate{1e9, 3600 * 16 * 1000}, Damage: Flip{Bits: 1}})
	const strikes = 5
	for range strikes {
		<-f.written
	}
	over()
	var all []trial.Injection
	for all == nil {
		select {
		case <-f.written: // one that was under way
		case all = <-done:
		}
	}
	if len(all) < strikes || f.paused != 0 {
		t.Errorf("%d injections, paused %d times too often", len(all), f.paused)
	}
	places := map[uint64]bool{}
	for n, i := range all {
		places[i.Virt] = true
		if want := fmt.Sprintf("strike %d at 1e+09 FIT per Mbit, time scale 5.76e+07", n+1); i.Trigger != want || i.BitsChanged() != 1 {
			t.Errorf("%+v", i)
		}
	}
	if len(places) < 2 {
		t.Error("all strikes hit one place")
	}
}
