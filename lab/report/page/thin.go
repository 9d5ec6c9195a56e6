package page

import (
	"fmt"
	"sort"
	"strings"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/trial"
)

// group is a list of arms whose trials are in the page: those of a cell, or the states of a study.
type group struct {
	place    Place
	scenario string // as shown
	column   string
	env      trial.Environment
	arms     []armTrials
}

type armTrials struct {
	name    string
	control bool
	results []trial.Result
}

func groups(cells []report.Cell, studies []report.Study) []group {
	list := make([]group, 0, len(cells)+len(studies))
	for _, c := range cells {
		g := group{
			place: Place{c.Run, c.Summary.Scenario, c.Summary.OpenZFS}, scenario: c.Summary.Scenario, column: c.Column, env: c.Environment,
		}
		for _, a := range c.Summary.Arms {
			g.arms = append(g.arms, armTrials{a.Name, a.Control, a.Results})
		}
		list = append(list, g)
	}
	for _, s := range studies {
		list = append(list, group{
			place: Place{s.Run, s.Scenario, s.OpenZFS}, scenario: s.Scenario, column: s.OpenZFS + " power cut", arms: []armTrials{{s.Arm, false, s.States}},
		})
	}
	return list
}

// ending is how trials of an arm ended alike.
type ending struct {
	group, arm int
	outcome    trial.Outcome
	signature  string
}

// shown are the trials that the page has, and why these.
type shown struct {
	all, number int
	// odd is how many did not end as most of their arm, oddShown how many of them are shown; first is how many of each ending are shown
	// whatever they are, -1 for all.
	odd, oddShown, first int
	cut                  bool       // not even those
	keep                 [][][]bool // by group, arm, place in the arm's list
	// early are the first few of an ending, and all odd ones: they have their console in the page.
	early [][][]bool
}

// consoles is how many trials of each ending show their console in a page that has not room for all; alsoAll is up to which number of
// trials it has.
const (
	consoles = 3
	alsoAll  = 1000
)

// thin chooses at most so many trials. Those that ended as most of their arm are left out first, the last ones before the first.
func thin(list []group, most int) shown {
	counts := map[ending]int{}
	usual := map[[2]int]ending{}
	each(list, func(e ending, _ int) {
		counts[e]++
		of := [2]int{e.group, e.arm}
		if before, ok := usual[of]; !ok || counts[e] > counts[before] {
			usual[of] = e
		}
	})
	s := shown{first: -1}
	for e, n := range counts {
		s.all += n
		if usual[[2]int{e.group, e.arm}] != e {
			s.odd += n
		}
	}
	with := func(n int, odd bool) (total int) { // trials when the first n of each ending are shown, and all odd ones
		for e, all := range counts {
			if odd && usual[[2]int{e.group, e.arm}] != e {
				total += all
			} else {
				total += min(n, all)
			}
		}
		return total
	}
	allOdd := true
	if s.all > most {
		allOdd = with(1, true) <= most
		s.first = max(1, sort.Search(s.all, func(n int) bool { return with(n+1, allOdd) > most }))
	}
	seen := map[ending]int{}
	s.keep, s.early = make([][][]bool, len(list)), make([][][]bool, len(list))
	for g := range list {
		s.keep[g], s.early[g] = make([][]bool, len(list[g].arms)), make([][]bool, len(list[g].arms))
		for a := range list[g].arms {
			n := len(list[g].arms[a].results)
			s.keep[g][a], s.early[g][a] = make([]bool, n), make([]bool, n)
		}
	}
	each(list, func(e ending, i int) {
		seen[e]++
		odd := usual[[2]int{e.group, e.arm}] != e
		if s.first >= 0 && seen[e] > s.first && (!odd || !allOdd) {
			return
		}
		if s.number == most {
			s.cut = true
			return
		}
		s.number++
		if odd {
			s.oddShown++
		}
		s.keep[e.group][e.arm][i] = true
		s.early[e.group][e.arm][i] = odd || seen[e] <= consoles || s.all <= alsoAll
	})
	return s
}

// each calls do for every trial with its ending and its place in the list of its arm.
func each(list []group, do func(e ending, i int)) {
	for g := range list {
		for a := range list[g].arms {
			for i, r := range list[g].arms[a].results {
				do(ending{g, a, r.Outcome, r.Signature}, i)
			}
		}
	}
}

// said says how many trials are shown of how many, and why these.
func (s shown) said() string {
	if s.number == s.all {
		return fmt.Sprintf("All %s trials are in this page.", count(s.all))
	}
	why := fmt.Sprintf("the first %s of each ending in each arm", count(s.first))
	switch {
	case s.oddShown == s.odd && s.odd > 0:
		why = fmt.Sprintf("all %s that did not end as most of their arm, and of the others the first %s of each arm", count(s.odd), count(s.first))
	case s.odd > 0:
		why += fmt.Sprintf("; %s of the %s that did not end as most of their arm are among them", count(s.oddShown), count(s.odd))
	}
	if s.cut {
		why += ", as far as there is room"
	}
	return fmt.Sprintf("%s of %s trials are in this page: %s. Verdicts, rates, plots and signatures are of all.", count(s.number), count(s.all), why)
}

// count is a number with commas.
func count(n int) string {
	text := fmt.Sprint(n)
	var b strings.Builder
	for i, digit := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}
