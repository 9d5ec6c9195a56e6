package bisect

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/report"
)

// TestSideBySide has several trials run at once, as the runner has them: those that are not wanted any more are broken off. A build
// that is broken off is lost.
func TestSideBySide(t *testing.T) {
	for _, rate := range []float64{1, 0.5, 0.2} {
		for _, jobs := range []int{2, 4} {
			t.Run(fmt.Sprintf("rate %g with %d jobs", rate, jobs), func(t *testing.T) {
				w := world{rate: changes(37, 0, rate), chance: uint64(jobs)}
				b := newBisect(t, 60, nil)
				r := sideBySide(b, w, jobs)
				s := b.Summary(r.done)
				if s.State != report.StageFound || !slices.Equal(s.Credible, []int{38}) {
					t.Fatalf("%s: %v", s.State, s.Credible)
				}
				alone := newBisect(t, 60, nil)
				one := sideBySide(alone, w, 1)
				t.Logf("%.2f h, alone %.2f h; %d builds, %d broken off", r.seconds/3600, one.seconds/3600, r.builds, r.lost)
				if r.seconds >= 0.9*one.seconds {
					t.Errorf("%d jobs took %.0f s, one %.0f s", jobs, r.seconds, one.seconds)
				}
				if one.lost > 0 {
					t.Errorf("one job alone broke %d builds off", one.lost)
				}
				if r.lostHead > 1 {
					t.Errorf("%d builds of what was the best candidate were broken off", r.lostHead)
				}
			})
		}
	}
}

// ran is how trials side by side went.
type ran struct {
	done           campaign.Results
	seconds        float64
	builds         int
	lost, lostHead int // builds that were broken off, and such of a candidate that was the first in the list when it was begun
}

func sideBySide(b *Bisect, w world, jobs int) ran {
	type job struct {
		want campaign.Want
		ends float64
		head bool
	}
	r := ran{done: campaign.Results{}}
	built := map[string]float64{} // since when
	var running []job
	for {
		want, _ := b.Next(r.done)
		running = slices.DeleteFunc(running, func(j job) bool {
			gone := !slices.ContainsFunc(want, func(w campaign.Want) bool { return w.ID == j.want.ID })
			if at := built[j.want.Spec.Image]; gone && at > r.seconds {
				delete(built, j.want.Spec.Image)
				r.lost++
				if j.head {
					r.lostHead++
				}
			}
			return gone
		})
		for i, wanted := range want {
			at, begun := built[wanted.Spec.Image]
			if len(running) == jobs || begun && at > r.seconds ||
				slices.ContainsFunc(running, func(j job) bool { return j.want.ID == wanted.ID }) {
				continue
			}
			if !begun {
				built[wanted.Spec.Image] = r.seconds + b.Cost.Build
				at = built[wanted.Spec.Image]
				r.builds++
			}
			running = append(running, job{wanted, max(r.seconds, at) + b.Cost.Trial, i == 0})
		}
		if len(running) == 0 {
			return r
		}
		slices.SortStableFunc(running, func(a, b job) int { return int(a.ends - b.ends) })
		first := running[0]
		running = running[1:]
		r.seconds = first.ends
		r.done[first.want.ID] = w.do(b, first.want.Spec)
	}
}
