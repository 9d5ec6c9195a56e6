package nights

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

const text = `name: asked
question: Does it?
claim: "It does."
cause: memory
cost: fast
machine: {cpus: 1, memory: 1GiB, disks: {v0: 512MiB}}
pool: {name: tank, layout: v0}
workload: [parameter: {zfs_txg_timeout: 5}, arm]
fault:
  blkptr-dva-flip: {at: zio_free_sync, after: 8}
arms:
  - name: flip
  - name: no-flip
    control: true
    withhold: true
trials: 10
limit: 15s
expect:
  verdict: reproduces
  rate: 0.9
  signature: a@b
`

var first = time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC)

// cellNight is a night of one cell, with hits of n trials on each host.
func cellNight(i int, key Key, hosts map[string][2]int) Night {
	c := &Cell{Where: report.Where{Scenario: "asked", OpenZFS: "2.3.2", Driver: "qemu", Accel: "kvm"}, Arm: "flip", Key: key}
	for _, h := range slices.Sorted(func(yield func(string) bool) {
		for h := range hosts {
			if !yield(h) {
				return
			}
		}
	}) {
		c.Tallies = append(c.Tallies, Tally{Host: h, Lab: "1", Hits: hosts[h][0], Valid: hosts[h][1]})
	}
	return Night{Name: fmt.Sprint("night ", i), Began: first.AddDate(0, 0, i), Cells: []*Cell{c}}
}

// hitsOf10 are nights of ten trials each.
func hitsOf10(hits ...int) (all []Night) {
	for i, n := range hits {
		all = append(all, cellNight(i, Key{Trial: "t"}, map[string][2]int{"h": {n, 10}}))
	}
	return all
}

func repeat(hits, times int) []int { return slices.Repeat([]int{hits}, times) }

// changesOf gives the changes of the one cell, in short: since, state, until.
func changesOf(c report.Cell) (list []string) {
	for _, k := range c.Changes {
		s := fmt.Sprintf("since %d named %d %s", k.Since, k.Named, k.State)
		if k.Until != nil {
			s += fmt.Sprint(" ", *k.Until)
		}
		list = append(list, s)
	}
	return list
}

func TestCourses(t *testing.T) {
	for _, tt := range []struct {
		what  string
		hits  []int
		state report.CellState
		want  []string
	}{
		{"never", repeat(0, 30), report.CellSteady, nil},
		{"half", []int{5, 4, 6, 5, 3, 7, 5, 6, 4, 5}, report.CellSteady, nil},
		{"one weak night", append(repeat(10, 30), 8), report.CellSteady, nil},
		{"all at once", append(repeat(10, 30), 0), report.CellChanged, []string{"since 30 named 30 there"}},
		{"a drop", slices.Concat(repeat(10, 30), []int{7, 8, 7, 6}), report.CellChanged, []string{"since 30 named 31 there"}},
		{"a drop that ended", slices.Concat(repeat(10, 30), repeat(4, 5), repeat(10, 3)), report.CellSteady, []string{"since 30 named 30 gone 35"}},
		{"two, one after the other", slices.Concat(repeat(10, 30), repeat(5, 20), repeat(0, 5)), report.CellChanged,
			[]string{"since 30 named 30 changed again 50", "since 50 named 51 there"}},
		{"there and back by a third rate", slices.Concat(repeat(10, 30), repeat(5, 20), repeat(0, 20), repeat(10, 9)), report.CellSteady,
			[]string{"since 30 named 30 gone 70", "since 50 named 51 gone 70"}},
		{"it comes again", slices.Concat(repeat(0, 30), repeat(10, 3), repeat(0, 30), repeat(10, 3)), report.CellChanged,
			[]string{"since 30 named 30 gone 33", "since 63 named 63 there"}},
		{"new", []int{5}, report.CellNew, nil},
	} {
		r := Compare(hitsOf10(tt.hits...), nil)
		c := r.Cells[0]
		if got := changesOf(c); !slices.Equal(got, tt.want) || c.State != tt.state {
			t.Errorf("%s: %s, %q; want %s, %q (%g)", tt.what, c.State, got, tt.state, tt.want, c.Probability)
		}
		if compared := len(tt.hits) > 1; (r.Compared == 1) != compared {
			t.Errorf("%s: %d cells are compared", tt.what, r.Compared)
		}
	}
}

// TestRow looks at all that is said of a change whose night is not quite known.
func TestRow(t *testing.T) {
	c := Compare(hitsOf10(slices.Concat(repeat(10, 20), []int{9, 7, 6, 7, 8})...), nil).Cells[0]
	if len(c.Changes) != 1 {
		t.Fatalf("%+v", c.Changes)
	}
	k := c.Changes[0]
	if k.Credible[0] != k.Since || k.Since != 20 || !slices.Contains(k.Credible, 21) || slices.Contains(k.Credible, 24) {
		t.Errorf("since %d, credible %v", k.Since, k.Credible)
	}
	if k.Before.Scored != 200 || k.Before.Hits != 200 || k.After.Scored != 50 || k.After.Hits != 37 || k.After.CI95[1] > 0.95 {
		t.Errorf("%+v, then %+v", k.Before, k.After)
	}
	if k.Test != "Fisher" || k.P == nil || *k.P != stats.Fisher(200, 0, 37, 13) || k.Probability < Confidence || len(k.Confounded) > 0 {
		t.Errorf("%+v", k)
	}
}

// TestNext has a change begin on a night before the one that made it certain: what comes after is compared with all nights since it began.
func TestNext(t *testing.T) {
	c := Compare(hitsOf10(slices.Concat(repeat(10, 30), []int{8, 7, 8, 7, 8, 7, 8, 7}, repeat(0, 2))...), nil).Cells[0]
	if got := changesOf(c); !slices.Equal(got, []string{"since 30 named 31 changed again 38", "since 38 named 38 there"}) {
		t.Fatalf("%q", got)
	}
	if k := c.Changes[1]; k.Before.Scored != 80 || k.After.Scored != 20 || c.Present.Scored != 20 {
		t.Errorf("%+v, present %+v", k, c.Present)
	}
}

// TestNamedStaysNamed looks at the same nights again and again as they come: a night adds to what was named, and takes nothing away.
func TestNamedStaysNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	changes, r := 0, &stats.Rates{}
	for range 30 {
		rate := rng.Float64()
		s := &series{}
		for i := range 60 {
			if rng.IntN(20) == 0 {
				rate = rng.Float64()
			}
			s.add(i, &Cell{Tallies: []Tally{{Host: fmt.Sprint(rng.IntN(2)), Valid: 10, Hits: drawn(rng, 10, rate)}}})
		}
		s.sort()
		whole, _ := s.follow(s.boundaries(r, true))
		changes += len(whole)
		for n := 2; n < 60; n += 7 {
			part := &series{}
			for i := range n {
				part.add(i, &Cell{Tallies: s.tallies[i]})
			}
			part.sort()
			so, _ := part.follow(part.boundaries(r, true))
			if want := slices.DeleteFunc(slices.Clone(whole), func(c change) bool { return c.named >= n }); !slices.Equal(so, want) {
				t.Errorf("after %d nights %v are named, after all of them %v", n, so, whole)
			}
		}
	}
	if changes < 30 {
		t.Errorf("%d changes are named", changes)
	}
}

// drawn is how many of n trials hit.
func drawn(rng *rand.Rand, n int, rate float64) (hits int) {
	for range n {
		if rng.Float64() < rate {
			hits++
		}
	}
	return hits
}

func TestHosts(t *testing.T) {
	a, b := Key{Trial: "t"}, "b"
	nights := func(n int, of func(i int) map[string][2]int) (all []Night) {
		for i := range n {
			all = append(all, cellNight(i, a, of(i)))
		}
		return all
	}
	t.Run("another host takes over", func(t *testing.T) {
		c := Compare(nights(24, func(i int) map[string][2]int {
			if i < 20 {
				return map[string][2]int{"a": {10, 10}}
			}
			return map[string][2]int{b: {5, 10}}
		}), nil).Cells[0]
		k := c.Changes[0]
		if len(c.Changes) != 1 || k.State != report.ChangeHosts || k.Since != 20 || k.P != nil || len(k.Confounded) != 1 ||
			!strings.Contains(k.Confounded[0], `host "b" did no trial before`) || c.State != report.CellSteady {
			t.Errorf("%s: %+v", c.State, c.Changes)
		}
	})
	t.Run("hosts take turns", func(t *testing.T) {
		c := Compare(nights(40, func(i int) map[string][2]int {
			if i%2 == 0 {
				return map[string][2]int{"a": {10, 10}}
			}
			return map[string][2]int{b: {5, 10}}
		}), nil).Cells[0]
		if len(c.Changes) != 0 {
			t.Errorf("%+v", c.Changes)
		}
	})
	t.Run("shares shift", func(t *testing.T) {
		c := Compare(nights(40, func(i int) map[string][2]int {
			if i < 20 {
				return map[string][2]int{"a": {9, 9}, b: {0, 1}}
			}
			return map[string][2]int{"a": {1, 1}, b: {0, 9}}
		}), nil).Cells[0]
		if len(c.Changes) != 1 || c.Changes[0].State != report.ChangeHosts || c.Changes[0].Test != "Mantel-Haenszel" || *c.Changes[0].P < 0.9 {
			t.Errorf("%+v", c.Changes)
		}
	})
	t.Run("both drop", func(t *testing.T) {
		c := Compare(nights(30, func(i int) map[string][2]int {
			if i < 20 {
				return map[string][2]int{"a": {5, 5}, b: {4, 5}}
			}
			return map[string][2]int{"a": {3, 6}, b: {1, 4}}
		}), nil).Cells[0]
		if len(c.Changes) != 1 || c.Changes[0].State != report.ChangeThere || c.Changes[0].Since != 20 || c.Changes[0].Test != "Mantel-Haenszel" ||
			*c.Changes[0].P > 1e-3 {
			t.Errorf("%+v", c.Changes)
		}
	})
	t.Run("a new lab", func(t *testing.T) {
		all := hitsOf10(append(repeat(10, 20), 0, 0)...)
		for _, n := range all[20:] {
			n.Cells[0].Tallies[0].Lab = "2"
		}
		k := Compare(all, nil).Cells[0].Changes[0]
		if k.State != report.ChangeThere || !slices.Equal(k.Confounded, []string{`lab "2" did no trial before`}) {
			t.Errorf("%+v", k)
		}
	})
}

// trials are some of an arm, done with a text.
func trials(t *testing.T, n *Night, scenario, image, arm string, hits, valid int) {
	t.Helper()
	for i := range valid {
		r := trial.Result{Arm: arm, Number: i + 1, Outcome: trial.Masked, Seconds: 20 + float64(i)/10}
		if i < hits {
			r.Outcome, r.Signature, r.Seconds = trial.Panic, "a@b", 5+float64(i)/10
		}
		s := trial.Spec{
			Version: trial.SpecVersion, Name: "asked", Scenario: scenario, Arm: arm, Number: i + 1, Seed: uint64(i), Image: image, OpenZFS: "2.3.2",
			Driver: "qemu", Accel: "kvm",
		}
		if err := n.Add(s, r, trial.Environment{Host: "h", Version: "1"}); err != nil {
			t.Fatal(err)
		}
	}
}

// asks is a night of the scenario, as it is done by a run.
func asks(t *testing.T, i int, scenario, image string, hits int) Night {
	t.Helper()
	n := Night{Name: fmt.Sprint("night ", i), Began: first.AddDate(0, 0, i)}
	trials(t, &n, scenario, image, "flip", hits, 10)
	trials(t, &n, scenario, image, "no-flip", 0, 10)
	s, err := scenarios.Parse("asked.yaml", []byte(scenario))
	if err != nil {
		t.Fatal(err)
	}
	v := verdict.Summary{Scenario: "asked", OpenZFS: "2.3.2", Verdict: scenarios.DoesNotReproduce, Expected: s.Expect.Verdict}
	switch {
	case hits > 5:
		v.Verdict = scenarios.Reproduces
	case hits > 0:
		v.Verdict = verdict.Inconclusive
	}
	n.Judge(s, v, image, "qemu", "kvm")
	return n
}

// TestEdits has the second of two nights done, or expected, in another way.
func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		what, old, now, image string
		cells, asked          []string
	}{
		{"nothing", "", "", "i", nil, nil},
		{"what is said for people", "Does it?", "Will it?  # a remark", "i", nil, nil},
		{"the number of trials", "trials: 10", "trials: 20", "i", nil, nil},
		{"the order of keys", "cause: memory\ncost: fast", "cost: fast\ncause: memory", "i", nil, nil},
		{"a parameter", "zfs_txg_timeout: 5", "zfs_txg_timeout: 1", "i", []string{"the scenario's text"}, []string{"the scenario's text"}},
		{"the limit", "limit: 15s", "limit: 16s", "i", []string{"the scenario's text"}, []string{"the scenario's text"}},
		{"the stated rate", "rate: 0.9", "rate: 0.8", "i", nil, []string{"the expectation"}},
		{"the expected verdict", "verdict: reproduces", "verdict: does not reproduce", "i", nil, []string{"the expectation"}},
		{"the signature", "a@b", "a@c", "i", []string{"what counts as a hit"}, []string{"what counts as a hit"}},
		{"the image", "", "", "other", []string{"the image"}, []string{"the image"}},
	} {
		other := strings.Replace(text, tt.old, tt.now, 1)
		r := Compare([]Night{asks(t, 0, text, "i", 10), asks(t, 1, other, tt.image, 0)}, nil)
		for _, c := range r.Cells {
			var got []string
			if c.Edited != nil {
				got = c.Edited.What
			}
			if !slices.Equal(got, tt.cells) || (c.State == report.CellEdited) != (tt.cells != nil) || (tt.cells == nil) != (r.Compared == 2) {
				t.Errorf("%s: %s %s %q, %d are compared", tt.what, c.Arm, c.State, got, r.Compared)
			}
		}
		if q := r.Questions[0]; !slices.Equal(q.Edited, tt.asked) || q.Changed != (tt.asked == nil) {
			t.Errorf("%s: %+v", tt.what, q)
		}
		if flip := r.Cells[0]; tt.cells != nil && tt.what != "the signature" {
			e := flip.Edited
			if e.Before.Hits != 10 || e.After.Hits != 0 || e.After.Scored != 10 || e.P > 1.1e-5 || e.Q != 2*e.P || e.Night != 1 || e.Last != 0 {
				t.Errorf("%s: %+v", tt.what, e)
			}
			if len(flip.Changes) > 0 || flip.Points[0].Pooled {
				t.Errorf("%s: nights of another key are compared: %+v", tt.what, flip)
			}
		}
	}
}

// TestWithheld has an arm whose fault is withheld, or is not: nothing else differs.
func TestWithheld(t *testing.T) {
	with := strings.Replace(text, "after: 8}\n", "after: \"${n}\"}\nvars: {n: \"8\"}\n", 1)
	without := strings.Replace(with, "- name: flip\n", "- name: flip\n    vars: {n: \"9\"}\n", 1)
	without = strings.Replace(without, "    withhold: true\n", "", 1)
	var keys [2]Key
	for i, text := range []string{with, without} {
		n := &Night{}
		trials(t, n, text, "i", "no-flip", 0, 1)
		keys[i] = n.Cells[0].Key
	}
	if got := keys[1].edits(keys[0]); !slices.Equal(got, []string{"the scenario's text"}) {
		t.Errorf("%q", got)
	}
}

// TestAdd divides the trials by where they were done.
func TestAdd(t *testing.T) {
	n := &Night{}
	for i, e := range []trial.Environment{{Host: "a", Version: "1"}, {Host: "b", Version: "1"}, {Host: "a", Version: "2"}, {Host: "a", Version: "1"}} {
		outcome := trial.Masked
		if i == 3 {
			outcome = trial.Invalid
		}
		s := trial.Spec{Name: "asked", Scenario: text, Arm: "no-flip", Number: i + 1}
		if err := n.Add(s, trial.Result{Outcome: outcome, Seconds: float64(i)}, e); err != nil {
			t.Fatal(err)
		}
	}
	want := []Tally{
		{Host: "a", Lab: "1", Valid: 1, Invalid: 1, OtherSeconds: []float64{0}}, {Host: "b", Lab: "1", Valid: 1, OtherSeconds: []float64{1}},
		{Host: "a", Lab: "2", Valid: 1, OtherSeconds: []float64{2}},
	}
	if len(n.Cells) != 1 || !n.Cells[0].Control || !reflect.DeepEqual(n.Cells[0].Tallies, want) {
		t.Errorf("%+v", n.Cells[0])
	}
}

// TestEditTakenBack has the nights before an edit compared again when it is taken back.
func TestEditTakenBack(t *testing.T) {
	all := hitsOf10(append(repeat(10, 20), 10, 10, 0)...)
	all[20].Cells[0].Key.Image, all[21].Cells[0].Key.Image = "x", "x"
	c := Compare(all, nil).Cells[0]
	if e := c.Edited; e == nil || e.Night != 22 || e.Last != 21 || e.Earlier != 20 {
		t.Errorf("%+v", e)
	}
	if got := changesOf(c); !slices.Equal(got, []string{"since 22 named 22 there"}) {
		t.Errorf("%q", got)
	}
}

func TestVerdicts(t *testing.T) {
	edited := strings.Replace(text, "verdict: reproduces", "verdict: does not reproduce", 1)
	for _, tt := range []struct {
		what    string
		texts   []string // the last one is that of all nights after it
		hits    []int
		changed bool
		since   int
	}{
		{"the same", nil, []int{10, 10, 10}, false, 0},
		{"another one tonight", nil, []int{10, 10, 0}, true, 2},
		{"and it stays", nil, []int{10, 0, 3, 0}, true, 1},
		{"and is back", nil, []int{10, 0, 10}, false, 0},
		{"and comes again", nil, []int{10, 0, 10, 0}, true, 3},
		{"it is not known tonight", nil, []int{10, 0, 3}, false, 0},
		{"it was not known before", nil, []int{3, 4, 0}, false, 0},
		{"the expectation took note of it", []string{text, text, edited}, []int{10, 0, 0}, false, 0},
		{"and then it changes again", []string{text, text, edited}, []int{10, 0, 0, 10}, true, 3},
	} {
		all := make([]Night, 0, len(tt.hits))
		for i, hits := range tt.hits {
			with := text
			if len(tt.texts) > 0 {
				with = tt.texts[min(i, len(tt.texts)-1)]
			}
			all = append(all, asks(t, i, with, "i", hits))
		}
		r := Compare(all, nil)
		q := r.Questions[0]
		if q.Changed != tt.changed || q.Changed && *q.Since != tt.since || (len(r.Unexpected()) > 0) != tt.changed {
			t.Errorf("%s: %+v", tt.what, q)
		}
	}
}

// TestUnexpected has a rate change, and single trials too, without a verdict that does.
func TestUnexpected(t *testing.T) {
	all := make([]Night, 0, 25)
	for i := range 20 {
		all = append(all, asks(t, i, text, "i", 10))
	}
	for i := range 5 {
		all = append(all, asks(t, 20+i, text, "i", 6))
	}
	r := Compare(all, nil)
	if c := r.Cells[0]; c.Arm != "flip" || c.State != report.CellChanged {
		t.Fatalf("%+v", c)
	}
	if list := r.Unexpected(); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}

func TestKnown(t *testing.T) {
	list, err := scenarios.ParseKnown("known.yaml", []byte(`
- {scenario: "ask*", verdict: does not reproduce, reason: "an issue", until: 2026-12-31}
- {scenario: asked, openzfs: "2.4.*", verdict: reproduces, reason: "typing error", until: 2026-12-31}
- {scenario: asked, arm: flip, rate: 0, reason: "rate", until: 2026-12-31}
- {scenario: asked, arm: flip, rate: 0.9, reason: "was", until: 2026-12-31}
- {scenario: asked, verdict: does not reproduce, reason: "old", until: 2026-10-31}
- {scenario: asked, verdict: reproduces, reason: "was", until: 2026-12-31}
`))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]Night, 0, 8)
	for i := range 5 {
		all = append(all, asks(t, i, text, "i", 10))
	}
	for i := range 3 {
		all = append(all, asks(t, 5+i, text, "i", 0))
	}
	r := Compare(all, list)
	want := []report.KnownState{report.KnownHolds, report.KnownUnseen, report.KnownHolds, report.KnownGone, report.KnownExpired, report.KnownGone}
	for i, k := range r.Known {
		if k.State != want[i] || (len(k.Gone) > 0) != (want[i] == report.KnownGone) {
			t.Errorf("line %d: %s, gone %v; want %s", k.Line, k.State, k.Gone, want[i])
		}
	}
	if q := r.Questions[0]; !q.Changed || q.Known != "an issue" || len(r.Unexpected()) > 0 {
		t.Errorf("%+v", q)
	}
	if k := r.Cells[0].Changes[0]; k.Known != "rate" {
		t.Errorf("%+v", k)
	}
	if r := Compare(all, list[1:]); len(r.Unexpected()) != 1 {
		t.Error("what is not known, or was, is not unexpected")
	}
	all[7] = asks(t, 7, text, "i", 3) // inconclusive
	if r := Compare(all, list[:1]); r.Known[0].State != report.KnownOpen {
		t.Errorf("%+v", r.Known[0])
	}
}

// TestKnownRate has a rate that was rounded, and one that a single night seems to miss.
func TestKnownRate(t *testing.T) {
	for _, tt := range []struct {
		what string
		hits []int
		rate float64
		want report.KnownState
	}{
		{"rounded", repeat(10, 30), 0.9, report.KnownHolds},
		{"missed tonight", append(repeat(5, 10), 10), 0.5, report.KnownHolds},
		{"another one", repeat(10, 30), 0.5, report.KnownGone},
	} {
		known := []scenarios.Known{{Scenario: "asked", OpenZFS: "*", Arm: "*", Rate: &tt.rate, Until: first.AddDate(1, 0, 0)}}
		nights := hitsOf10(tt.hits...)
		if k := Compare(nights, known).Known[0]; k.State != tt.want {
			t.Errorf("%s: %s", tt.what, k.State)
		}
		nights = append(nights, Night{Began: first.AddDate(0, 0, 99)})
		if k := Compare(nights, known).Known[0]; k.State != report.KnownUnseen {
			t.Errorf("%s: not done tonight, and it is %s", tt.what, k.State)
		}
	}
}

func TestDurations(t *testing.T) {
	all := make([]Night, 0, 12)
	for i := range 12 {
		n := asks(t, i, text, "i", 10)
		for _, c := range n.Cells {
			for k, tally := range c.Tallies {
				for j := range tally.HitSeconds {
					if i == 11 {
						tally.HitSeconds[j] *= 3
					}
					tally.HitSeconds[j] += float64(i) / 100
				}
				c.Tallies[k] = tally
			}
		}
		all = append(all, n)
	}
	r := Compare(all, nil)
	d := r.Cells[0].Durations
	if d == nil || d.Of != "hits" || d.Host != "h" || d.Since != 11 || d.Before.Trials != 110 || d.After.Trials != 10 || d.P > 1e-5 || d.Q != 2*d.P ||
		d.After.Seconds < 2.5*d.Before.Seconds {
		t.Errorf("%+v", d)
	}
	if d := r.Cells[1].Durations; d == nil || d.Of != "others" || d.P < 0.5 {
		t.Errorf("%+v", d)
	}
	// The rate drops, and what still hits takes longer: the sides are those of the rate.
	for i := range all {
		all[i] = hitsOf10(10)[0]
		all[i].Began = first.AddDate(0, 0, i)
		if t := &all[i].Cells[0].Tallies[0]; i < 8 {
			t.HitSeconds = slices.Repeat([]float64{5}, 10)
		} else {
			t.Hits, t.HitSeconds = 3, slices.Repeat([]float64{9}, 3)
		}
	}
	if d := Compare(all, nil).Cells[0].Durations; d == nil || d.Since != 8 || d.Before != (report.Median{Trials: 80, Seconds: 5}) || d.After.Trials != 12 || d.P > 1e-6 {
		t.Errorf("%+v", d)
	}
	// A slow host comes in: on the one that was there before nothing took longer.
	for i := range all {
		all[i] = cellNight(i, Key{}, nil)
		for _, h := range []string{"a", "b"} {
			tally := Tally{Host: h, Lab: "1", Valid: 4, OtherSeconds: []float64{10, 11, 12, 13}}
			if h == "b" {
				tally = Tally{Host: h, Lab: "1", Valid: 9, OtherSeconds: []float64{50, 51, 52, 53, 54, 55, 56, 57, 58}}
			}
			if h == "a" || i > 10 {
				all[i].Cells[0].Tallies = append(all[i].Cells[0].Tallies, tally)
			}
		}
	}
	if d := Compare(all, nil).Cells[0].Durations; d == nil || d.Host != "a" || d.Of != "others" || d.Before.Trials != 44 || d.After.Trials != 4 || d.P < 0.5 {
		t.Errorf("%+v", d)
	}
	if c := Compare(hitsOf10(5, 5), nil).Cells[0]; c.Durations != nil {
		t.Errorf("nothing was timed: %+v", c.Durations)
	}
}

func TestStates(t *testing.T) {
	all := hitsOf10(10, 10, 10)
	lost := cellNight(3, Key{Trial: "t"}, nil)
	lost.Cells[0].Tallies = []Tally{{Host: "h", Invalid: 4}}
	r := Compare(append(slices.Clone(all), lost), nil)
	if c := r.Cells[0]; c.State != report.CellLost || c.Points[3].Invalid != 4 || r.Compared != 0 {
		t.Errorf("%+v", c)
	}
	r = Compare(append(slices.Clone(all), Night{Name: "empty", Began: first.AddDate(0, 0, 9)}), nil)
	if c := r.Cells[0]; c.State != report.CellAbsent || r.Compared != 0 || c.Present.Scored != 30 {
		t.Errorf("%+v", c)
	}
	// Nights may be given in any order.
	if c := Compare([]Night{all[2], all[0], lost, all[1]}, nil).Cells[0]; c.State != report.CellLost {
		t.Errorf("%+v", c)
	}
	var b bytes.Buffer
	if r := Compare(nil, nil); r.Table(&b) != nil || r.WriteJSON(&b) != nil || strings.Contains(b.String(), "null") {
		t.Errorf("%s", b.String())
	}
}

func TestAddRefuses(t *testing.T) {
	n := &Night{}
	for what, s := range map[string]trial.Spec{
		"a trial of an atlas": {Name: "asked", Scenario: text, Arm: "flip", Strike: &trial.Strike{}},
		"no arm":              {Name: "asked", Scenario: text, Arm: "flop"},
		"no scenario":         {Name: "asked", Scenario: "name: [", Arm: "flip"},
	} {
		if err := n.Add(s, trial.Result{}, trial.Environment{}); err == nil || len(n.Cells) > 0 {
			t.Errorf("%s: %v, %v", what, err, n.Cells)
		}
	}
}
