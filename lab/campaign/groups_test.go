package campaign

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/bench"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
)

// released is a bench that notes which groups it is told of.
type released struct {
	On
	groups []string
}

func (b *released) Release(group string) error {
	b.groups = append(b.groups, group)
	return b.On.Release(group)
}

// TestRelease expects a bench to be told once, when no trial of a group is to come, those of other parts set aside.
func TestRelease(t *testing.T) {
	t.Run("all", func(t *testing.T) { releases(t, Shard{}) })
	t.Run("a part", func(t *testing.T) { releases(t, Shard{Part: 1, Of: 2}) })
}

func releases(t *testing.T, part Shard) {
	s := newStage(t, func(_ int, m *scripttest.Machine) { dying(m) })
	b := &released{On: s.runner.Bench.(On)}
	s.runner.Bench, s.runner.Shard = b, part
	done := Results{}
	s.runner.Options = func(w Want) bench.Options {
		if len(b.groups) > 0 {
			t.Error("released while trials begin")
		}
		return bench.Options{Bundle: filepath.Join(s.dir, w.Bundle)}
	}
	over, err := s.runner.Run(t.Context(), done)
	if err != nil || len(b.groups) != 1 || len(done) == 0 || over != (part.Of < 2) {
		t.Errorf("released %q after %d trials, over %v, %v", b.groups, len(done), over, err)
	}
}

// groups is a bench of which each arm has a group of its own.
type groups struct {
	preparing, doing chan string // told of what begins
	prepare, do      chan bool   // each lets one go
	stuck            string      // arm whose first trial is never prepared
}

func (g *groups) Group(s trial.Spec) string { return s.Arm }

func (g *groups) Release(string) error { return nil }

func (g *groups) Prepare(ctx context.Context, s trial.Spec) (Trial, error) {
	g.preparing <- s.Arm
	let := g.prepare
	if s.Arm == g.stuck && s.Number == 1 {
		let = nil
	}
	select {
	case <-let:
		return grouped{g, s}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type grouped struct {
	*groups
	spec trial.Spec
}

func (g grouped) Do(context.Context, bench.Options) (trial.Result, error) {
	g.doing <- g.spec.Arm
	<-g.do
	return trial.Result{Arm: g.spec.Arm, Number: g.spec.Number}, nil
}

// begin has a runner do trials, each named by arm and number, until none is wanted.
func (g *groups) begin(t *testing.T, r *Runner, wanted func(Results) []trial.Spec) (over <-chan bool) {
	t.Helper()
	g.preparing, g.doing, g.prepare, g.do = make(chan string), make(chan string), make(chan bool), make(chan bool)
	r.Bench, r.Stream = g, &Stream{}
	r.Options = func(Want) bench.Options { return bench.Options{} }
	r.Search = script{func(done Results) (want []Want) {
		for _, s := range wanted(done) {
			if w := WantOf(s); done[w.ID].Number == 0 {
				want = append(want, w)
			}
		}
		return want
	}}
	ended := make(chan bool, 1)
	go func() {
		over, err := r.Run(t.Context(), Results{})
		if err != nil {
			t.Error(err)
		}
		ended <- over
	}()
	return ended
}

// finish lets everything go.
func (g *groups) finish(t *testing.T, over <-chan bool) {
	t.Helper()
	for {
		select {
		case <-g.preparing:
		case <-g.doing:
		case g.prepare <- true:
		case g.do <- true:
		case all := <-over:
			if !all {
				t.Error("something is wanted")
			}
			return
		}
	}
}

func specOf(arm string, number int) trial.Spec { return trial.Spec{Arm: arm, Number: number} }

// TestNextGroup expects what the second group starts from to be made while that of the first is, and no two to make the same.
func TestNextGroup(t *testing.T) {
	g := &groups{}
	over := g.begin(t, &Runner{Jobs: 2}, func(Results) []trial.Spec {
		return []trial.Spec{specOf("a", 1), specOf("a", 2), specOf("b", 1), specOf("b", 2)}
	})
	both := []string{<-g.preparing, <-g.preparing}
	slices.Sort(both)
	if !slices.Equal(both, []string{"a", "b"}) {
		t.Errorf("prepared at once: %q", both)
	}
	g.finish(t, over)
}

// TestGroupAgain expects what a group starts from to be made by another trial where the one that was to make it is not wanted any
// more.
func TestGroupAgain(t *testing.T) {
	g := &groups{stuck: "b"}
	over := g.begin(t, &Runner{Jobs: 2}, func(done Results) []trial.Spec {
		if len(done) == 0 {
			return []trial.Spec{specOf("a", 1), specOf("b", 1)}
		}
		return []trial.Spec{specOf("a", 1), specOf("b", 2)}
	})
	g.finish(t, over)
}

// TestSpare expects more trials than jobs as long as CPUs have time, and no more than three times as many.
func TestSpare(t *testing.T) {
	for _, c := range []struct{ spare, want int }{{0, 1}, {1, 2}, {100, 3}} {
		g, asked := &groups{}, 0
		over := g.begin(t, &Runner{Jobs: 1, again: time.Millisecond, Spare: func() bool { asked++; return asked <= c.spare }},
			func(Results) []trial.Spec {
				return []trial.Spec{specOf("a", 1), specOf("b", 1), specOf("c", 1), specOf("d", 1), specOf("e", 1)}
			})
		begun := 0
		for quiet := false; !quiet; {
			select {
			case <-g.preparing:
				begun++
			case <-time.After(200 * time.Millisecond):
				quiet = true
			}
		}
		if begun != c.want {
			t.Errorf("%d run at once with time for %d more, want %d", begun, c.spare, c.want)
		}
		g.finish(t, over)
	}
}
