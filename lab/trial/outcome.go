// Package trial is what a trial is, as data: the Spec that decides it, the Result with its Outcome, the Injections of its
// fault, and the Environment that it was done in. It does nothing and knows of no machine.
package trial

import "slices"

// Outcome is what happened in one trial, exactly one class.
type Outcome string

// The outcomes, worst first.
const (
	Panic    Outcome = "panic"    // a ZFS check fired
	Oops     Outcome = "oops"     // the kernel fell over elsewhere
	Hang     Outcome = "hang"     // no progress: a thread stands still, or the limit came
	Corrupt  Outcome = "corrupt"  // wrong bytes were read and ZFS reported nothing
	Broken   Outcome = "broken"   // what the scenario says must hold did not
	Latent   Outcome = "latent"   // nothing was seen, but the disks are inconsistent
	Warned   Outcome = "warned"   // would have panicked, had zfs_recover not been set
	Detected Outcome = "detected" // ZFS reported damage that it could not repair
	Healed   Outcome = "healed"   // ZFS reported damage and repaired it
	Masked   Outcome = "masked"   // no effect
	Invalid  Outcome = "invalid"  // the lab's own trouble, or the fault was not delivered
)

// Outcomes are all classes, worst first.
func Outcomes() []Outcome {
	return []Outcome{Panic, Oops, Hang, Corrupt, Broken, Latent, Warned, Detected, Healed, Masked, Invalid}
}

// Worst is the outcome that stands when several things happened.
func Worst(a, b Outcome) Outcome {
	order := Outcomes()
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}

// Crash says whether the guest's kernel stopped working as it should: what counts as a hit where a scenario names no
// signature.
func (o Outcome) Crash() bool { return o == Panic || o == Oops || o == Hang }
