package nights

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/stats"
	"github.com/vdevil/vdevil/scenarios"
)

// seen is a cell in a night, by the night's index.
type seen struct {
	night int
	cell  *Cell
}

// Compare says what changed over nights, in the order in which they began; the last one is tonight. known is the user's list of what is
// known to deviate.
func Compare(all []Night, known []scenarios.Known) report.Comparison {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Night) int { return a.Began.Compare(b.Began) })
	r := report.Comparison{Hazard: Hazard, Confidence: Confidence}
	cells, order := map[name][]seen{}, []name(nil)
	for i, n := range all {
		r.Nights = append(r.Nights, report.Night{Name: n.Name, Began: n.Began})
		for _, c := range n.Cells {
			of := name{c.Where, c.Arm}
			if cells[of] == nil {
				order = append(order, of)
			}
			cells[of] = append(cells[of], seen{i, c})
		}
	}
	slices.SortStableFunc(order, compareNames)
	for _, of := range order {
		cell, compared := follow(cells[of], len(all)-1)
		r.Cells = append(r.Cells, cell)
		if compared {
			r.Compared++
		}
	}
	r.FalseAlarms = FalseAlarms * float64(r.Compared) / 100
	r.Questions = questions(all)
	r.Known = apply(known, &r)
	r.Corrected = correct(r.Cells)
	return r
}

func compareNames(a, b name) int {
	return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), compareWhere(a.Where, b.Where), cmp.Compare(a.arm, b.arm))
}

// compareWhere has versions in the order of their numbers.
func compareWhere(a, b report.Where) int {
	return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), scenarios.CompareVersions(a.OpenZFS, b.OpenZFS), cmp.Compare(a.OpenZFS, b.OpenZFS),
		cmp.Compare(a.Driver, b.Driver), cmp.Compare(a.Accel, b.Accel))
}

// follow is one cell over its nights. compared says that there are valid trials of tonight and of an earlier night to compare.
func follow(list []seen, tonight int) (cell report.Trend, compared bool) {
	now := list[len(list)-1]
	key := now.cell.Key
	cell = report.Trend{Where: now.cell.Where, Arm: now.cell.Arm, Control: now.cell.Control, State: report.TrendSteady}
	s := &series{}
	for _, one := range list {
		p := report.Point{Night: one.night, Pooled: one.cell.Key == key}
		var c stats.Counts
		for _, t := range one.cell.Tallies {
			c, p.Invalid = c.Plus(stats.Counts{Hits: t.Hits, Scored: t.Valid}), p.Invalid+t.Invalid
		}
		p.Side = side(c)
		cell.Points = append(cell.Points, p)
		if p.Pooled {
			s.add(one.night, one.cell)
		}
	}
	s.sort()
	valid := cell.Points[len(cell.Points)-1].Scored > 0
	cell.Edited = edited(list, cell.Points)
	if len(s.all) > 0 {
		c := s.course(&stats.Rates{})
		cell.Changes, cell.Probability, cell.Present = c.rows, c.probability, side(between(s.all, c.start, s.last()))
		if now.night == tonight && valid {
			cell.Durations = s.durations(c)
		}
	} else {
		cell.Present = side(stats.Counts{})
	}
	there := slices.ContainsFunc(cell.Changes, func(c report.RateChange) bool { return c.State == report.ChangeThere })
	switch {
	case now.night != tonight:
		cell.State = report.TrendAbsent
	case !valid:
		cell.State = report.TrendLost
	case len(list) == 1:
		cell.State = report.TrendNew
	case cell.Edited != nil && cell.Edited.Night == tonight:
		cell.State = report.TrendEdited
	case there:
		cell.State = report.TrendChanged
	}
	return cell, now.night == tonight && valid && len(s.all) > 1
}

// edited says when the last key became it, nil when the cell always had it. What the edit did is seen by the last night with the other
// key and the cell's last night, each by itself.
func edited(list []seen, points []report.Point) *report.Edit {
	last := len(list) - 1
	key := list[last].cell.Key
	first := last
	for first > 0 && list[first-1].cell.Key == key {
		first--
	}
	if first == 0 {
		return nil
	}
	e := &report.Edit{
		What: key.edits(list[first-1].cell.Key), Night: list[first].night, Last: list[first-1].night,
		Before: points[first-1].Side, After: points[last].Side,
	}
	for _, p := range points[:first-1] {
		if p.Pooled {
			e.Earlier++
		}
	}
	e.P = stats.Fisher(e.Before.Hits, e.Before.Scored-e.Before.Hits, e.After.Hits, e.After.Scored-e.After.Hits)
	return e
}

// correct adds the corrected p-values, and says what was done.
func correct(cells []report.Trend) string {
	var edits, durations []int
	var p, q []float64
	for i, c := range cells {
		if c.Edited != nil {
			edits, p = append(edits, i), append(p, c.Edited.P)
		}
		if c.Durations != nil {
			durations, q = append(durations, i), append(q, c.Durations.P)
		}
	}
	for k, adjusted := range stats.BenjaminiHochberg(p) {
		cells[edits[k]].Edited.Q = adjusted
	}
	for k, adjusted := range stats.BenjaminiHochberg(q) {
		cells[durations[k]].Durations.Q = adjusted
	}
	return fmt.Sprintf("A change of a rate is named when its probability is %g or more, with one a year expected of each cell: of those "+
		"that are named at most %.0f %% on average are none, however many cells there are. Edits (%d) and durations (%d) are "+
		"corrected by Benjamini and Hochberg, each over all of its kind.", Confidence, 100*(1-Confidence), len(p), len(q))
}
