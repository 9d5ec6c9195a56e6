package machine

import (
	"math"
	"time"
)

// Scale stretches time limits from the reference, a KVM host with idle cores, to this host. A limit is written as what
// the reference needs, with room, and asked for as Scale.Limit(d).
type Scale float64

// referenceBoot is what a lab guest needs from power-on to a working ssh on the reference.
const referenceBoot = 2500 * time.Millisecond

// unmeasured is assumed under emulation until a boot has been timed: 25 s were measured for it on a 2-core TCG host, and
// as much again is left for a host that is busy.
const unmeasured = 20

// Default is the scale before anything was measured.
func (a Accel) Default() Scale {
	if a == KVM {
		return 1
	}
	return unmeasured
}

// Measured is the scale of a host that took d to boot a guest, never below 1.
func Measured(d time.Duration) Scale {
	return Scale(max(1, float64(d)/float64(referenceBoot)))
}

// Limit stretches d, at most to the longest time that there is.
func (s Scale) Limit(d time.Duration) time.Duration {
	stretched := float64(d) * float64(max(s, 1))
	if stretched >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(stretched)
}
