package cpu

import (
	"bytes"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/machine"
)

func TestFind(t *testing.T) {
	r := machine.Registers{RDX: 1, R9: 2, R15: 3, RIP: 4}
	for name, want := range map[string]uint64{"rdx": 1, "r9": 2, "r15": 3, "rip": 4, "rax": 0} {
		got, err := find(&r, name)
		if err != nil || *got != want {
			t.Fatalf("%s: %v", name, err)
		}
		if *got ^= 1 << 63; name == "rdx" && r.RDX != 1<<63|1 {
			t.Error("rdx is a copy")
		}
	}
	for _, name := range []string{"edx", "RDX", "r16", ""} {
		if _, err := find(&r, name); err == nil {
			t.Errorf("there is no register %q", name)
		}
	}
}

func TestWord(t *testing.T) {
	if got, want := word(0x0102), []byte{0, 0, 0, 0, 0, 0, 1, 2}; !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestArmRefusesTime(t *testing.T) {
	for _, trigger := range []fault.Trigger{{}, {After: time.Second}, {TXG: fault.TXG{Number: 4}}} {
		if _, err := (Flip{Trigger: trigger, Register: "rdx"}).Arm(t.Context(), fault.Site{}); err == nil {
			t.Errorf("%s is no place in code", trigger)
		}
	}
}
