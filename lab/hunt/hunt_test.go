package hunt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/ops"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

func search(t *testing.T, trials int) *Search {
	t.Helper()
	track, err := scenarios.Find([]string{"random-operations"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Search{
		Asked: campaign.Ask(track)[0], Draw: 3, Count: 12, Trials: trials, Driver: "qemu", Accel: "tcg", Seed: 7,
		Images: []trial.Image{{ID: "a", OpenZFS: "2.3.2"}, {ID: "b", OpenZFS: "2.3.9"}},
	}
	if err := s.Plan(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPlans expects all pairs of features to meet soon, all arms to take turns, and the same programs on both versions.
func TestPlans(t *testing.T) {
	const trials = 100
	s := search(t, trials)
	want, news := s.Next(campaign.Results{})
	if len(want) != 2*trials || len(news) != 0 {
		t.Fatalf("%d trials, %d news", len(want), len(news))
	}
	arms := map[string]int{}
	for i := 0; i < len(want); i += 2 {
		a, b := want[i].Spec, want[i+1].Spec
		arms[a.Arm]++
		if a.Scenario != b.Scenario || a.OpenZFS == b.OpenZFS || a.Number != b.Number {
			t.Fatalf("trial %d is %s and %s", i, a.Title(), b.Title())
		}
		_, r, err := a.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if p, err := ops.Parse(r.Workload[0].Operations); err != nil || len(p) < 13 {
			t.Errorf("the program is %q, %v", p, err)
		}
	}
	if len(arms) != 4 || arms[want[0].Spec.Arm] != trials/4 {
		t.Errorf("the arms have %v trials", arms)
	}
	done := campaign.Results{}
	for _, w := range want {
		done[w.ID] = trial.Result{Arm: w.Spec.Arm, Number: w.Spec.Number, Outcome: trial.Masked}
	}
	sum, err := s.Summary(done, nil)
	if err != nil {
		t.Fatal(err)
	}
	features := len(s.Features)
	if len(sum.Pairs) != features*(features-1)/2 || sum.Trials != 2*trials || len(sum.Findings) != 0 {
		t.Errorf("%+v", sum)
	}
	// Three pairs a program: 2*100*3 over 190 pairs.
	if least, most := sum.Pairs[0].Times, sum.Pairs[len(sum.Pairs)-1].Times; least < 2 || most > 8 {
		t.Errorf("pairs have met %d to %d times", least, most)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Search
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if err := again.Plan(); err != nil {
		t.Fatal(err)
	}
	if left, _ := again.Next(done); len(left) != 0 {
		t.Errorf("read back, %d trials are wanted that were done", len(left))
	}
}

// TestLong expects every second program to be long and of half the features, and each arm to have as many of both.
func TestLong(t *testing.T) {
	s := search(t, 16)
	s = &Search{Asked: s.Asked, Draw: 3, Count: 12, Long: 40, Trials: 16, Driver: s.Driver, Accel: s.Accel, Seed: 7, Images: s.Images[:1]}
	if err := s.Plan(); err != nil {
		t.Fatal(err)
	}
	long := map[string]int{}
	for n, chain := range s.plans {
		p := chain[0]
		_, r, err := p.want.Spec.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		program, err := ops.Parse(r.Workload[0].Operations)
		if err != nil {
			t.Fatal(err)
		}
		switch least, features := len(program), len(p.features); {
		case n%2 == 0 && (features != 3 || least < 12 || least >= 40), n%2 == 1 && (features != (len(s.Features)+1)/2 || least < 40):
			t.Errorf("program %d has %d operations of %d features", n, least, features)
		case n%2 == 1:
			long[p.want.Spec.Arm]++
		}
	}
	for arm, times := range long {
		if times != 2 {
			t.Errorf("arm %s has %d long programs", arm, times)
		}
	}
	if len(long) != 4 {
		t.Errorf("long programs in %v", long)
	}
}

// TestFindings expects trials that ended alike to be one finding, told once, with what they have in common.
func TestFindings(t *testing.T) {
	s := search(t, 40)
	want, _ := s.Next(campaign.Results{})
	done := campaign.Results{}
	begun := time.Unix(0, 0)
	var said []string
	put := func(i int, r trial.Result) {
		t.Helper()
		r.Arm, r.Number, r.Seconds, r.Started = want[i].Spec.Arm, want[i].Spec.Number, 1, begun.Add(time.Duration(i)*time.Second)
		done[want[i].ID] = r
		_, news := s.Next(done)
		for _, e := range news[len(said):] {
			said = append(said, Tell(e))
		}
	}
	panicked := trial.Result{Outcome: trial.Panic, Signature: "range-tree-add-overlap@metaslab_free_concrete", Text: "adding existent segment"}
	latent := trial.Result{Outcome: trial.Latent, Audit: []string{"leaked: x", "ddt-count: y", "leaked: z"}}
	broken := trial.Result{Outcome: trial.Broken, Reason: `"clone tank/c tank/a@s" must succeed: no`}
	put(0, trial.Result{Outcome: trial.Masked})
	put(2, panicked)
	put(3, trial.Result{Outcome: trial.Invalid, Reason: "no room"})
	put(4, latent)
	put(6, panicked)
	put(8, latent)
	put(10, latent)
	put(12, broken)
	put(5, latent) // another version
	if want := []string{"new: range-tree-add-overlap@metaslab_free_concrete, in ", "new: latent ddt-count leaked, in ", "new: broken clone, in "}; len(said) != 3 ||
		!strings.HasPrefix(said[0], want[0]) || !strings.HasPrefix(said[1], want[1]) || !strings.HasPrefix(said[2], want[2]) {
		t.Errorf("told %q", said)
	}
	track, err := scenarios.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	// What each group was found by first is wanted again, before all else, and counts for that finding alone.
	next, _ := s.Next(done)
	for i, w := range next[:2*4] {
		r := trial.Result{Arm: w.Spec.Arm, Number: w.Spec.Number, Started: begun.Add(time.Hour), Outcome: trial.Masked}
		if w.Spec.Scenario == want[2].Spec.Scenario && w.Spec.OpenZFS == want[2].Spec.OpenZFS {
			if r = panicked; i%2 == 0 {
				r = trial.Result{Outcome: trial.Invalid}
			}
		}
		done[w.ID] = r
	}
	if left, _ := s.Next(done); len(left) != 80-9 || left[0].Spec.Number > 40 {
		t.Errorf("%d trials are wanted after that, the first is number %d", len(left), left[0].Spec.Number)
	}
	sum, err := s.Summary(done, track)
	if err != nil {
		t.Fatal(err)
	}
	if f := sum.Findings[1]; f.Again != (Again{1, 1}) || sum.Findings[0].Again != (Again{0, 2}) {
		t.Errorf("again %+v and %+v", f.Again, sum.Findings[0].Again)
	}
	if sum.Trials != 9 || sum.Invalid != 1 || len(sum.Findings) != 4 {
		t.Fatalf("%+v", sum)
	}
	if f := sum.Findings[0]; f.Group != "latent ddt-count leaked" || f.Trials != 3 || f.OpenZFS != "2.3.2" || f.First.Number != want[4].Spec.Number || len(f.Known) > 0 {
		t.Errorf("%+v", f)
	}
	if f := sum.Findings[1]; f.Trials != 2 || !slices.Contains(f.Known, "legacy-dedup-gang") {
		t.Errorf("%+v", f)
	}
	var b bytes.Buffer
	if err := sum.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"9 of 80 programs, 1 invalid, 4 findings\n", "\nlatent ddt-count leaked on OpenZFS 2.3.9: 1 trials", ": leaked: x; ddt-count: y; leaked: z\n", ": adding existent segment\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
	if _, err := json.Marshal(sum); err != nil {
		t.Error(err)
	}
}

// TestFewest expects what comes again to be made small, in turns with the programs that follow, and what does not to be left.
func TestFewest(t *testing.T) {
	s := search(t, 16)
	s = &Search{Asked: s.Asked, Draw: 3, Count: 12, Trials: 16, Minimize: true, Driver: s.Driver, Accel: s.Accel, Seed: 7, Images: s.Images[:1]}
	if err := s.Plan(); err != nil {
		t.Fatal(err)
	}
	done := campaign.Results{}
	var said []string
	programs, turns := 0, 0
	last := false
	for n := 0; ; n++ {
		want, news := s.Next(done)
		for _, e := range news[len(said):] {
			said = append(said, Tell(e))
		}
		if len(want) == 0 {
			break
		}
		w := want[0] // as one who does them one at a time
		_, r, err := w.Spec.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		result := trial.Result{Arm: w.Spec.Arm, Number: w.Spec.Number, Started: time.Unix(int64(n), 0), Outcome: trial.Masked}
		program := slices.ContainsFunc(s.programs(done), func(p plan) bool { return p.want.ID == w.ID })
		switch {
		case program && w.Spec.Number == 9: // a panic that does not come again
			result.Outcome, result.Signature = trial.Oops, "oops:x@y"
		case strings.Contains(r.Workload[0].Operations, "write "):
			result.Outcome, result.Audit = trial.Latent, []string{"leaked: x"}
		}
		done[w.ID] = result
		if program {
			programs++
			if programs > 1 && !last {
				turns++
			}
		}
		last = program
	}
	sum, err := s.Summary(done, nil)
	if err != nil {
		t.Fatal(err)
	}
	if programs != 16 || sum.Trials != 16 || turns < 5 {
		t.Errorf("%d programs, %d in the summary, %d of them after something else", programs, sum.Trials, turns)
	}
	if len(sum.Findings) != 2 || sum.Findings[1].Minimum != nil || sum.Findings[1].Again != (Again{0, repeats}) {
		t.Fatalf("%+v", sum.Findings)
	}
	m := sum.Findings[0].Minimum
	if m == nil || !m.Over || m.Operations != 2 || m.Hits != confirm || !strings.Contains(m.Program, "write ") || m.Trials < 2*confirm || m.Trials+programs > len(done) {
		t.Errorf("the fewest: %+v", m)
	}
	if end := said[len(said)-1]; !slices.Contains(said, "latent leaked: the least are 2 operations, 5 of 5 trials hit") || !slices.Contains(said, "new: oops:x@y, in "+sum.Findings[1].First.Arm+"/9") {
		t.Errorf("told in the end %q, in all %q", end, said)
	}
	var b bytes.Buffer
	if err := sum.Write(&b); err != nil || !strings.Contains(b.String(), " operations do it, 5 of 5 trials:\n    # OpenZFS 2.3.2; latent\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestFollowed expects a program that came to code first to be followed by others of the same features, until one brings nothing new, and
// what only repeats a program to be first nowhere.
func TestFollowed(t *testing.T) {
	asked := search(t, 1).Asked
	s := &Search{
		Asked: asked, Features: []ops.Feature{"dedup", "reflink", "snapshot"}, Draw: 2, Count: 12, Trials: 8, Follow: true,
		Driver: "qemu", Accel: "tcg", Seed: 7, Images: []trial.Image{{ID: "a", OpenZFS: "2.3.2"}, {ID: "b", OpenZFS: "2.3.9"}},
	}
	if err := s.Plan(); err != nil {
		t.Fatal(err)
	}
	done := campaign.Results{}
	put := func(w campaign.Want, functions ...string) []string {
		t.Helper()
		r := trial.Result{
			Arm: w.Spec.Arm, Number: w.Spec.Number, Outcome: trial.Masked, Started: time.Unix(int64(len(done)), 0),
			Code: &trial.Code{Functions: 9, Reached: len(functions), First: functions},
		}
		s.Note(done, w, &r)
		done[w.ID] = r
		return r.Code.First
	}
	base, _ := s.Next(done)
	if len(base) != 16 {
		t.Fatalf("%d programs", len(base))
	}
	put(base[0], "a", "b")
	if want, _ := s.Next(done); len(want) != 15 || want[0].Spec.Number != 1 {
		t.Fatalf("one of the first programs is followed: %d are wanted", len(want))
	}
	features := func(w campaign.Want) []ops.Feature {
		for _, p := range s.programs(done) {
			if p.want.ID == w.ID {
				return p.features
			}
		}
		return nil
	}
	// following are the programs that are wanted because of others.
	following := func() (all []campaign.Want, more int) {
		want, _ := s.Next(done)
		for _, w := range want {
			if w.Spec.Number > s.Trials {
				all = append(all, w)
			}
		}
		return all, len(want) - len(all)
	}
	// The fourth program on the first version, of which nothing is new on the second.
	if first := put(base[6], "a", "b", "c"); !slices.Equal(first, []string{"c"}) {
		t.Fatalf("it was the first at %v", first)
	}
	want, more := following()
	if len(want) != 1 || more != 14 {
		t.Fatalf("%d programs follow, %d others are wanted", len(want), more)
	}
	next := want[0]
	if next.Spec.Arm != base[6].Spec.Arm || next.Spec.OpenZFS != "2.3.2" || next.Spec.Scenario == base[6].Spec.Scenario || !slices.Equal(features(next), features(base[6])) {
		t.Fatalf("what follows is %s of %v", next.Spec.Title(), features(next))
	}
	numbers := map[int]bool{}
	for _, p := range s.programs(done) {
		for _, w := range append(p.again[:], p.want) {
			if w.Spec.OpenZFS == "2.3.2" && numbers[w.Spec.Number] {
				t.Errorf("%s is there twice", w.Spec.Title())
			}
			numbers[w.Spec.Number] = numbers[w.Spec.Number] || w.Spec.OpenZFS == "2.3.2"
		}
	}
	put(next, "d")
	if want, _ = following(); len(want) != 1 || want[0].Spec.Number == next.Spec.Number || !slices.Equal(features(want[0]), features(base[6])) {
		t.Fatalf("what follows the one that follows is %+v", want)
	}
	last := want[0]
	if first := put(last, "a", "d"); len(first) != 0 {
		t.Errorf("it was the first at %v", first)
	}
	if first := put(s.plans[6][0].again[0], "e"); first != nil {
		t.Errorf("what repeats a program was the first at %v", first)
	}
	if first := put(base[7], "a"); !slices.Equal(first, []string{"a"}) { // on the other version
		t.Errorf("it was the first at %v", first)
	}
	sum, err := s.Summary(done, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Trials != 5 || sum.Planned != 19 || !slices.Equal(sum.Code, []Code{{"2.3.2", 9, 4, 2}, {"2.3.9", 9, 1, 0}}) {
		t.Errorf("%+v", sum)
	}
	var b strings.Builder
	if err := sum.Write(&b); err != nil || !strings.Contains(b.String(), "\n4 of 9 functions of OpenZFS 2.3.2 were come to; 2 programs followed one that was the first at some\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
	again := &Search{}
	text, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(text, again)
	}
	if err == nil {
		err = again.Plan()
	}
	if err != nil {
		t.Fatal(err)
	}
	left, _ := s.Next(done)
	resumed, _ := again.Next(done)
	if !slices.EqualFunc(left, resumed, func(a, b campaign.Want) bool { return a.ID == b.ID }) {
		t.Errorf("read back, %d trials are wanted in place of %d", len(resumed), len(left))
	}
}

// TestTurns expects what is looked for in several ways to take turns where one trial runs at a time.
func TestTurns(t *testing.T) {
	list := func(name string) (all []campaign.Want) {
		for n := range 3 {
			all = append(all, campaign.Want{ID: fmt.Sprint(name, n)})
		}
		return all
	}
	first := ""
	for turn := range 6 {
		all := inTurns(turn, list("a"), nil, list("b"))
		if len(all) != 6 {
			t.Fatalf("%d are left of 6", len(all))
		}
		first += all[0].ID
	}
	if first != "a0b0a0b0a0b0" {
		t.Errorf("in turns the first are %s", first)
	}
}
