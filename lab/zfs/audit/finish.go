package audit

import (
	"cmp"
	"maps"
	"slices"
)

func compareFindings(x, y *Finding, byKind bool) int {
	kind := 0
	if byKind {
		kind = cmp.Compare(x.Kind, y.Kind)
	}
	return cmp.Or(kind, cmp.Compare(x.VDev, y.VDev), cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Size, y.Size),
		cmp.Compare(x.Object, y.Object), cmp.Compare(x.Detail, y.Detail))
}

// finish sorts the findings, joins neighbours and cuts off what is too much.
func (a *auditor) finish() {
	r := a.report
	for _, guid := range slices.Sorted(maps.Keys(a.bad)) {
		r.BadCopies = append(r.BadCopies, *a.bad[guid])
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		slices.SortFunc(f.Owners, compareOwners)
		if f.Kind == AllocatedTwice && differInBirth(f.Owners) {
			f.Kind = WrongBirth
			f.Detail = "a dataset and a snapshot that share a block disagree about its birth: one will free it under the other"
		}
	}
	slices.SortFunc(r.Findings, func(x, y Finding) int { return compareFindings(&x, &y, true) })
	joined := r.Findings[:0]
	count := map[Kind]int{}
	for _, f := range r.Findings {
		if n := len(joined); n > 0 && joined[n-1].join(&f) {
			continue
		}
		if count[f.Kind]++; count[f.Kind] > MaxFindings {
			r.Omitted[f.Kind]++
			continue
		}
		joined = append(joined, f)
	}
	r.Findings = joined
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Size > 0 && f.Kind != OutsideMetaslab && uint64(f.VDev) < uint64(len(a.spaces)) && a.spaces[f.VDev] != nil {
			f.Metaslab = f.Offset >> a.spaces[f.VDev].vdev.MetaslabShift
		}
	}
}

// differInBirth says that the owners are one block of one object, in a dataset and a snapshot of it, with different births.
func differInBirth(all []Owner) bool {
	if len(all) < 2 {
		return false
	}
	births := map[uint64]bool{}
	for _, o := range all {
		x := all[0]
		if o.Kind != x.Kind || o.Object != x.Object || o.Level != x.Level || o.BlkID != x.BlkID || o.Checkpoint != x.Checkpoint {
			return false
		}
		births[o.Birth] = true
	}
	return len(births) > 1
}

func compareOwners(x, y Owner) int {
	state := 0
	if x.Checkpoint != y.Checkpoint {
		state = -1
		if x.Checkpoint {
			state = 1
		}
	}
	return cmp.Or(state, cmp.Compare(x.ObjSet, y.ObjSet), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Object, y.Object),
		cmp.Compare(x.Level, y.Level), cmp.Compare(x.BlkID, y.BlkID))
}

// join extends a finding by the one that follows it on disk, if they say the same of the same owners.
func (f *Finding) join(g *Finding) bool {
	if f.Kind != g.Kind || f.VDev != g.VDev || f.Metaslab != g.Metaslab || f.Object != g.Object || f.Size == 0 || f.Detail != g.Detail ||
		f.Offset+f.Size != g.Offset || len(f.Owners) != len(g.Owners) || f.MoreOwners != g.MoreOwners {
		return false
	}
	for i := range f.Owners {
		x, y := f.Owners[i], g.Owners[i]
		if x.BlkID+x.Blocks != y.BlkID {
			return false
		}
		x.BlkID, y.BlkID, x.Blocks, y.Blocks, x.Birth, y.Birth = 0, 0, 0, 0, 0, 0
		if x != y {
			return false
		}
	}
	f.Size += g.Size
	for i := range f.Owners {
		f.Owners[i].Blocks += g.Owners[i].Blocks
	}
	return true
}
