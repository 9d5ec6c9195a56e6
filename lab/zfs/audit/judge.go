package audit

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// judge compares claims, which come in the order of their places, with metaslabs, which come in the same order.
type judge struct {
	*auditor
	metaslabs func() (*metaslab, bool)
	at        *metaslab  // nil behind the last one
	group     []claim    // all claims at one place
	now, then []identity // room for the blocks there
	last      [2]extent  // the one that reaches furthest, by state
	done      uint64     // metaslabs
}

// extent is where a block lies.
type extent struct {
	vdev        uint16
	offset, end uint64
	print       uint32
	list        bool // it is claimed by lists of blocks to be freed alone
}

// maxGroup is how many claims on one place are judged, in memory: 1 GiB.
const maxGroup = 1 << 24

// compare judges all claims.
func (a *auditor) compare(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, stop := iter.Pull(a.loaded(ctx))
	defer stop()
	j := &judge{auditor: a, metaslabs: next}
	j.at, _ = next()
	for c, err := range a.claims.all(ctx) {
		if err != nil {
			return err
		}
		if len(j.group) > 0 && (j.group[0].vdev != c.vdev || j.group[0].offset != c.offset) {
			j.place()
		}
		if len(j.group) == maxGroup {
			return &ondisk.UnsupportedError{What: fmt.Sprintf("more than %d references to one place, offset %#x of vdev %d", maxGroup, c.offset, c.vdev)}
		}
		j.group = append(j.group, *c)
	}
	j.place()
	for j.at != nil {
		j.leave()
	}
	return ctx.Err()
}

// loaded are all metaslabs in order, loaded by several goroutines ahead of their use.
func (a *auditor) loaded(ctx context.Context) iter.Seq[*metaslab] {
	return func(yield func(*metaslab) bool) {
		queue := make(chan chan *metaslab, a.Workers)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			defer close(queue)
			for _, s := range a.spaces {
				if s == nil {
					continue
				}
				for i := range s.metaslabs {
					one := make(chan *metaslab, 1)
					select {
					case queue <- one:
					case <-stop:
						return
					}
					go func() {
						m := a.load(ctx, &s.metaslabs[i], s.logged[uint64(i)])
						a.keep(m, s.kept)
						one <- m
					}()
				}
			}
		}()
		for one := range queue {
			if !yield(<-one) {
				return
			}
		}
	}
}

// reach goes on to the metaslab that has a place; false if there is none.
func (j *judge) reach(vdev uint16, offset uint64) bool {
	for j.at != nil && (j.at.VDev.ID < uint64(vdev) || j.at.VDev.ID == uint64(vdev) && offset >= j.at.Start+j.at.Size) {
		j.leave()
	}
	return j.at != nil && j.at.VDev.ID == uint64(vdev) && offset >= j.at.Start
}

// leave judges the space of a metaslab whose claims have all been seen, and takes the next.
func (j *judge) leave() {
	m := j.at
	j.done++
	j.tell(Progress{Stage: Comparing, Blocks: j.done, Done: j.report.Allocated})
	if !m.unknown {
		j.report.Allocated += m.allocated.count() << m.VDev.AShift
		j.judge(m)
	}
	var ok bool
	if j.at, ok = j.metaslabs(); !ok {
		j.at = nil
	}
}

// identity is one block at a place, with those who claim it in one state of the pool.
type identity struct {
	extent
	refs, lists    uint64 // lists are among refs
	first, other   bool   // claimed as beginning of a first copy, as something else
	places         []treePlace
	inTable        bool
	counted        uint64 // by the dedup table
	deadlistBranch map[uint32]int
}

// treePlace is where in a tree a block is, and when it was born there.
type treePlace struct {
	of    uint32
	birth uint64
}

// place judges all claims at one place.
func (j *judge) place() {
	group := j.group
	j.group = j.group[:0]
	if len(group) == 0 {
		return
	}
	if !j.reach(group[0].vdev, group[0].offset) {
		if v := j.pool.VDevs[group[0].vdev]; v.Concrete() && j.spaces[group[0].vdev] == nil {
			return // its metaslabs cannot be read, which was told
		}
		for i := range group {
			j.nowhere(&group[i], "no metaslab is there")
		}
		return
	}
	now, then := j.identities(j.now[:0], group, 0), j.identities(j.then[:0], group, inCheckpoint)
	j.now, j.then = now, then
	j.conflicts(now, 0)
	j.conflicts(then, 1)
	j.acrossStates(now, then)
	j.counts(group, now, 0)
	j.counts(group, then, inCheckpoint)
	j.deadlists(group, now)
	j.shared(group, now)
	j.last[0] = furthest(j.last[0], now)
	j.last[1] = furthest(j.last[1], then)
}

// nowhere is a claim on a place that cannot be.
func (j *judge) nowhere(c *claim, why string) {
	kind := BadAddress
	switch c.kind {
	case claimDeadlist:
		kind = DeadlistEntry
	case claimPending:
		kind = BPObjEntry
	case claimBRT:
		kind = BRTCount
	case claimDDT:
		kind = DDTCount
	}
	j.find(Finding{
		Kind: kind, VDev: uint32(c.vdev), Offset: c.offset, Size: max(uint64(c.size), 1) << sectorShift, Detail: why, shared: c.kind == claimShared,
	})
}

// identities are the different blocks at one place, and marks their space. They lie where all did, and their lists, too.
func (j *judge) identities(all []identity, group []claim, state claimFlags) []identity {
	m := j.at
	for i := range group {
		c := &group[i]
		if c.flags&inCheckpoint != state || c.kind == claimDeadlist || c.kind == claimShared || c.size == 0 {
			continue
		}
		if c.end()-m.Start > m.Size || (c.offset|c.end())&(1<<m.VDev.AShift-1) != 0 {
			j.nowhere(c, fmt.Sprintf("it is not made of units of %d bytes in one metaslab, %#x to %#x", 1<<m.VDev.AShift, m.Start, m.Start+m.Size))
			continue
		}
		if n := len(all); n == 0 || all[n-1].end != c.end() || all[n-1].print != c.print {
			all = slices.Grow(all, 1)[:n+1]
			all[n] = identity{extent: extent{c.vdev, c.offset, c.end(), c.print, true}, places: all[n].places[:0]}
			m.mark(state, m.unit(c.offset), m.unit(c.end()))
		}
		all[len(all)-1].take(c)
	}
	return all
}

// mark says that units are claimed in a state of the pool.
func (m *metaslab) mark(state claimFlags, from, to uint64) {
	marks := &m.now
	if state != 0 {
		marks = &m.checkpointed
	}
	if *marks == nil {
		*marks = newBitmap(m.units())
	}
	marks.fill(from, to, true)
}

func (x *identity) take(c *claim) {
	if c.flags&secondary != 0 {
		x.other = true
	} else {
		x.first = true
	}
	switch c.kind {
	case claimDDT:
		x.list, x.inTable = false, true
		x.counted += c.extra
	case claimPending:
		x.refs, x.lists = x.refs+1, x.lists+1
	default:
		x.list = false
		x.refs++
		x.places = append(x.places, treePlace{c.of, c.extra})
	}
}

func furthest(last extent, all []identity) extent {
	for i := range all {
		if x := &all[i]; x.vdev != last.vdev || x.end > last.end {
			last = x.extent
		}
	}
	return last
}

// conflicts finds blocks of one state that lie on each other.
func (j *judge) conflicts(all []identity, state int) {
	for i := range all {
		x := &all[i]
		if last := &j.last[state]; last.vdev == x.vdev && x.offset < last.end {
			j.conflict(x.offset, min(x.end, last.end), x.list || last.list, "two blocks overlap")
		}
		if i > 0 {
			y := &all[i-1]
			j.conflict(x.offset, min(x.end, y.end), x.list || y.list, "two blocks begin here")
		}
		if x.first && x.other {
			j.conflict(x.offset, x.end, x.list, "two copies of one block lie here")
		}
	}
}

// acrossStates finds blocks of the checkpoint on which others were written since.
func (j *judge) acrossStates(now, then []identity) {
	const text = "one of two blocks that overlap is in the checkpoint"
	for i := range now {
		x := &now[i]
		if last := &j.last[1]; last.vdev == x.vdev && x.offset < last.end {
			j.conflict(x.offset, min(x.end, last.end), x.list, text)
		}
		for k := range then {
			if y := &then[k]; x.end != y.end || x.print != y.print {
				j.conflict(x.offset, min(x.end, y.end), x.list, text)
			}
		}
	}
	for k := range then {
		if last := &j.last[0]; last.vdev == then[k].vdev && then[k].offset < last.end {
			j.conflict(then[k].offset, min(then[k].end, last.end), last.list, text)
		}
	}
}

func (j *judge) conflict(from, to uint64, list bool, text string) {
	f := j.finding(AllocatedTwice, from, to, text)
	if list {
		f.Kind = BPObjEntry
	}
	j.find(f)
}

func (j *judge) finding(kind Kind, from, to uint64, text string) Finding {
	return Finding{Kind: kind, VDev: uint32(j.at.VDev.ID), Metaslab: j.at.ID, Offset: from, Size: to - from, Detail: text}
}

// counts compares the number of references to blocks with what the tables say.
func (j *judge) counts(group []claim, all []identity, state claimFlags) {
	clones, cloned := uint64(0), false
	for i := range group {
		if c := &group[i]; c.kind == claimBRT && c.flags&inCheckpoint == state {
			clones, cloned = clones+c.extra, true
		}
	}
	if cloned && len(all) == 0 {
		j.find(j.finding(BRTCount, group[0].offset, group[0].offset+1<<j.at.VDev.AShift, fmt.Sprintf(
			"the block reference table counts %d clones of a block that nobody refers to", clones)))
		return
	}
	for i := range all {
		x := &all[i]
		if !x.first || x.other {
			continue // judged where the block begins, or for that it lies on itself
		}
		switch {
		case x.inTable:
			if x.refs != x.counted+clones {
				j.find(j.finding(DDTCount, x.offset, x.end, fmt.Sprintf(
					"the dedup table counts %d references, there are %d", x.counted, x.refs-min(clones, x.refs))))
			}
		case cloned:
			if x.refs != 1+clones {
				j.find(j.finding(BRTCount, x.offset, x.end, fmt.Sprintf(
					"the block reference table counts %d references beside the first, there are %d", clones, x.refs-1)))
			}
		case x.refs > 1:
			j.conflict(x.offset, x.end, x.lists > 0, fmt.Sprintf("%d references to a block that no table knows as shared", x.refs))
		}
	}
}

// deadlists finds entries that name no block that a snapshot holds, and blocks that are named twice.
func (j *judge) deadlists(group []claim, all []identity) {
	for i := range group {
		c := &group[i]
		if c.kind != claimDeadlist || c.flags&inCheckpoint != 0 {
			continue
		}
		x := find(all, c)
		f := j.finding(DeadlistEntry, c.offset, c.end(), "")
		switch {
		case x == nil && j.free(c):
			f.Detail = "the space of an entry is free"
		case x == nil && len(all) > 0:
			f.Detail = "another block is where an entry's block should be"
		case x == nil:
			f.Detail = "nobody refers to an entry's block"
		case x.inTable || x.refs != 1: // of several references the entry is for one, nobody knows which
			continue
		case len(x.places) == 1 && x.places[0].birth != c.extra:
			f.Detail = fmt.Sprintf("an entry says that its block was born in txg %d, it was born in txg %d", c.extra, x.places[0].birth)
		case c.flags&secondary == 0 && x.deadlistBranch[c.of] == 1:
			f.Detail = "the same block is on deadlists of one dataset twice"
		}
		if x != nil {
			if x.deadlistBranch == nil {
				x.deadlistBranch = map[uint32]int{}
			}
			x.deadlistBranch[c.of]++
		}
		if f.Detail != "" {
			j.find(f)
		}
	}
}

// shared finds references to blocks that are called a snapshot's, and that it does not have, or not at that place.
func (j *judge) shared(group []claim, all []identity) {
	for i := range group {
		c := &group[i]
		if c.kind != claimShared {
			continue
		}
		x := find(all, c)
		f := j.finding(WrongBirth, c.offset, c.end(), "a dataset refers to a block that is older than the snapshot before, which does not have it")
		f.shared = true
		switch {
		case x != nil && slices.Contains(x.places, treePlace{c.of, c.extra}):
			continue
		case x != nil:
			f.Kind, f.Detail = AllocatedTwice, "a dataset refers to a block of the snapshot before from another place than that has it at"
		case j.free(c):
			f.Kind, f.Detail = FreeButReferenced, "it is older than the snapshot before, which does not have it"
		}
		j.find(f)
	}
}

func (j *judge) free(c *claim) bool {
	m := j.at
	if m.unknown || c.end()-m.Start > m.Size {
		return false
	}
	from, to := m.unit(c.offset), m.unit(c.end()+1<<m.VDev.AShift-1)
	return m.allocated == nil || m.allocated.next(from, to, true) == to
}

func find(all []identity, c *claim) *identity {
	for i := range all {
		if all[i].end == c.end() && all[i].print == c.print {
			return &all[i]
		}
	}
	return nil
}
