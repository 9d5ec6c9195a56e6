package stats

import "slices"

// Lasted is how long something was watched. It ended with the event that is waited for, or without: then the event may come at any
// later time, and the observation is censored.
type Lasted struct {
	Time  float64
	Event bool
}

// Survival is one step of a survival curve, at a time at which events came.
type Survival struct {
	Time float64
	// Survival is the share for which the event has not come up to this time, this time included.
	Survival float64
	// AtRisk is how many were watched right before, Events to how many of them it came then.
	AtRisk, Events int
}

// KaplanMeier is the product-limit estimate of how long it takes for an event to come (Kaplan and Meier, Journal of the American
// Statistical Association 53, 1958, p. 457). What is censored at the time of an event was still at risk then. Without any event the
// curve has no step: it stays at 1 as long as anything was watched.
func KaplanMeier(all []Lasted) []Survival {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Lasted) int {
		switch {
		case a.Time < b.Time:
			return -1
		case a.Time > b.Time:
			return 1
		}
		return 0
	})
	var steps []Survival
	left := 1.0
	for i := 0; i < len(all); {
		step := Survival{Time: all[i].Time, AtRisk: len(all) - i}
		for ; i < len(all) && all[i].Time == step.Time; i++ {
			if all[i].Event {
				step.Events++
			}
		}
		if step.Events > 0 {
			left *= 1 - float64(step.Events)/float64(step.AtRisk)
			step.Survival = left
			steps = append(steps, step)
		}
	}
	return steps
}
