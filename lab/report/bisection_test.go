package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// bisected is a bisection that found a commit next to one that does not compile.
func bisected() Bisection {
	row := func(i int, name string, scored, hits int) Candidate {
		return Candidate{
			Index: i, Name: name, OpenZFS: "2.3.2-g" + name, Trials: scored, Scored: scored, Hits: hits, Rate: float64(hits) / float64(max(1, scored)),
			Commits: []Commit{{Hash: name + strings.Repeat("0", 32), Subject: "do " + name, Author: "Ann", Date: time.Unix(1700000000, 0).UTC()}},
		}
	}
	r := Bisection{
		Scenario: "flip", Arm: "one", State: StageFound, Direction: Introduced, Fork: -1, Last: 3, Confidence: 0.99, Probability: 0.998,
		Candidates: []Candidate{row(0, "aaaaaaaaaa", 7, 0), row(1, "bbbbbbbbbb", 0, 0), row(2, "cccccccccc", 8, 8), row(3, "dddddddddd", 7, 7)},
		Neighbours: [2]int{0, 2}, NeighboursP: 1.2e-4, Credible: []int{2, 1}, Trials: 22, Built: 3,
		Before: Side{7, 0, 0, [2]float64{0, 0.4}}, After: Side{15, 15, 1, [2]float64{0.8, 1}}, Repeat: []string{"vdevil run flip"},
	}
	r.Candidates[1].Untestable = "spa.c:1: error\x1b[2J\nmake: ***"
	r.Candidates[1].Posterior, r.Candidates[2].Posterior = 0.1, 0.898
	c := &r.Candidates[2].Commits[0]
	c.Subject, c.Author = "do \x1b]0;x\a", "Eve\r\nnext"
	c.Also, c.InStack = []string{"eeeeeeeeeeeeeee"}, []string{"range_tree_add_impl"}
	return r
}

func TestBisectionTable(t *testing.T) {
	var b bytes.Buffer
	if err := bisected().Table(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"flip, arm one: introduced between 2.3.2-gaaaaaaaaaa and 2.3.2-gcccccccccc\n",
		"VERSION            COMMITS  TRIALS  HITS  RATE %",
		"old  2.3.2-gaaaaaaaaaa  1        7       0     0 ",
		"cannot be tried",
		"It is one of these, with probability 0.99 or more:\n  0.8980  cccccccccc  2023-11-14  ",
		"the same change is eeeeeeeeee\n",
		"it changes range_tree_add_impl, in the stack of the panic\n",
		"it cannot be tried: spa.c:1: error",
		"Before it 0 of 7 (0 to 40 %), from it on 15 of 15 (80 to 100 %)",
		"Fisher's p = 1.2e-04.\nAgain: vdevil run flip\n",
		"22 trials of 3 candidates, of 4.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.ContainsAny(got, "\x1b\a\r") || strings.Contains(got, "\nnext") {
		t.Errorf("strangers' words reach the terminal:\n%q", got)
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestFindCandidate(t *testing.T) {
	all := bisected().Candidates
	all[3].Commits[0].Hash = "ccc" + all[3].Commits[0].Hash
	tests := []struct {
		word string
		want int
		says string
	}{
		{"aaaa", 0, ""}, {"2.3.2-gdddddddddd", 3, ""}, {"cccccccc", 2, ""}, {"ccc", -1, "give more of the hash"}, {"f", -1, "in none of the candidates"}, {"", -1, "in none"},
	}
	for _, tt := range tests {
		got, err := FindCandidate(all, tt.word)
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %d, %v; want %d, %q", tt.word, got, err, tt.want, tt.says)
		}
	}
}
