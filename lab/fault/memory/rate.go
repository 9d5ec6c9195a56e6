package memory

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Rate makes strikes come at random: how often memory fails in the field, and how much faster time goes in the trial. Devices of
// 1 Gbit have some 66 faults in 10^9 hours (see package dram), which is 0.065 per Mbit: 1 GiB fails once in 214 years, which
// a time scale of 6.8e9 makes once a second of the trial. The 25,000 to 70,000 per Mbit of Schroeder, Pinheiro and Weber ("DRAM Errors in the Wild",
// SIGMETRICS 2009) are errors that were logged, of which one fault gives any number.
type Rate struct {
	// FITPerMbit is the number of faults in 10^9 hours of 2^20 bits.
	FITPerMbit float64
	// TimeScale is how many hours of the field one hour of the trial stands for.
	TimeScale float64
}

// perSecond is the number of errors to expect in a second of the trial.
func (r Rate) perSecond(bytes uint64) float64 {
	mbit := float64(bytes) * 8 / (1 << 20)
	return r.FITPerMbit / 1e9 * mbit / 3600 * r.TimeScale
}

// gap draws the time to the next error of that much memory: errors are independent, so gaps are distributed
// exponentially. Memory without errors has a gap that nobody lives to see the end of.
func (r Rate) gap(rand *rand.Rand, bytes uint64) time.Duration {
	const longest = math.MaxInt64
	d := rand.ExpFloat64() / r.perSecond(bytes) * float64(time.Second)
	if !(d < longest) { // also when it is no number
		return longest
	}
	return time.Duration(d)
}

func (r Rate) String() string {
	return fmt.Sprintf("%g FIT per Mbit, time scale %g", r.FITPerMbit, r.TimeScale)
}
