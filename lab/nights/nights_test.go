package nights

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/report"
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
func changesOf(c report.Trend) (list []string) {
	for _, k := range c.Changes {
		s := fmt.Sprintf("since %d named %d %s", k.Since, k.Named, k.State)
		if k.Until != nil {
			s += fmt.Sprint(" ", *k.Until)
		}
		list = append(list, s)
	}
	return list
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
			if !slices.Equal(got, tt.cells) || (c.State == report.TrendEdited) != (tt.cells != nil) || (tt.cells == nil) != (r.Compared == 2) {
				t.Errorf("%s: %s %s %q, %d are compared", tt.what, c.Arm, c.State, got, r.Compared)
			}
		}
		q := r.Questions[0]
		if !slices.Equal(q.Edited, tt.asked) || q.Changed != (tt.asked == nil) {
			t.Errorf("%s: %+v", tt.what, q)
		}
		if told := len(q.Lines) == 2 && strings.Contains(q.Lines[0], tt.old) && strings.Contains(q.Lines[1], tt.now); told != slices.Contains(tt.asked, "the scenario's text") {
			t.Errorf("%s: the lines that differ are %q", tt.what, q.Lines)
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
		if err := n.Add(s, trial.Result{Outcome: outcome, Seconds: 60, Spans: []trial.Span{{Name: "fork", Seconds: 9}, {Name: trial.Workload, Seconds: float64(i)}}}, e); err != nil {
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

func TestStates(t *testing.T) {
	all := hitsOf10(10, 10, 10)
	lost := cellNight(3, Key{Trial: "t"}, nil)
	lost.Cells[0].Tallies = []Tally{{Host: "h", Invalid: 4}}
	r := Compare(append(slices.Clone(all), lost), nil)
	if c := r.Cells[0]; c.State != report.TrendLost || c.Points[3].Invalid != 4 || r.Compared != 0 {
		t.Errorf("%+v", c)
	}
	r = Compare(append(slices.Clone(all), Night{Name: "empty", Began: first.AddDate(0, 0, 9)}), nil)
	if c := r.Cells[0]; c.State != report.TrendAbsent || r.Compared != 0 || c.Present.Scored != 30 {
		t.Errorf("%+v", c)
	}
	// Nights may be given in any order.
	if c := Compare([]Night{all[2], all[0], lost, all[1]}, nil).Cells[0]; c.State != report.TrendLost {
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
