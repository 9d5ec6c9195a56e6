package audit

import (
	"context"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// metaslab is a metaslab with its space map replayed.
type metaslab struct {
	*ondisk.Metaslab
	// unknown: its space map cannot be read, so that nothing is said of its space.
	unknown bool
	// contradicts: the space map or the logs contradict themselves.
	contradicts bool
	histogram   []uint64
	// allocated is what the space map with the logs says, kept what the checkpoint's own map says.
	allocated, kept bitmap
	// now and checkpointed are what is claimed, made when there is something.
	now, checkpointed bitmap
}

func (m *metaslab) units() uint64             { return m.Size >> m.VDev.AShift }
func (m *metaslab) unit(offset uint64) uint64 { return (offset - m.Start) >> m.VDev.AShift }

// load replays the space map of a metaslab and its part of the logs, as metaslab_load does.
func (a *auditor) load(ctx context.Context, of *ondisk.Metaslab, logged []loggedEntry) *metaslab {
	m := &metaslab{Metaslab: of}
	if m.Object == 0 && len(logged) == 0 {
		return m
	}
	m.allocated = newBitmap(m.units())
	if m.Object != 0 {
		s, err := m.SpaceMap(ctx)
		if err != nil {
			a.problem(fmt.Sprintf("metaslab %d of vdev %d", m.ID, m.VDev.ID), m.Object, err)
			m.unknown = true
			return m
		}
		m.histogram = s.Histogram
		m.unknown = !a.account(ctx, s, func(e, debug ondisk.SpaceMapEntry) { a.replay(m, e, debug) })
	}
	a.replayLogs(m, logged)
	return m
}

func (a *auditor) replay(m *metaslab, e, debug ondisk.SpaceMapEntry) {
	name := entryName(e.Free, e.Index)
	if debug.TXG != 0 {
		name += fmt.Sprintf(" of txg %d, pass %d", debug.TXG, debug.Pass)
	}
	f := Finding{VDev: uint32(m.VDev.ID), Metaslab: m.ID, Object: m.Object}
	if e.Offset < m.Start || e.Offset-m.Start >= m.Size || e.Size > m.Size-(e.Offset-m.Start) {
		f.Kind, f.Offset, f.Size = OutsideMetaslab, e.Offset, e.Size
		f.Detail = fmt.Sprintf("%s is not within the metaslab, %#x to %#x", name, m.Start, m.Start+m.Size)
		a.find(f)
		m.contradicts = true
		return
	}
	from, to := m.unit(e.Offset), m.unit(e.Offset+e.Size)
	m.allocated.each(from, to, !e.Free, func(x, y uint64) {
		f.Offset, f.Size = m.Start+x<<m.VDev.AShift, (y-x)<<m.VDev.AShift
		f.Kind = AllocatedTwiceInMap
		f.Detail = fmt.Sprintf("space map %d: %s, %#x+%#x, of what is allocated", m.Object, name, e.Offset, e.Size)
		if e.Free {
			f.Kind = FreedTwice
			f.Detail = fmt.Sprintf("space map %d: %s, %#x+%#x, of what is free", m.Object, name, e.Offset, e.Size)
		}
		a.find(f)
		m.contradicts = true
	})
	m.allocated.fill(from, to, !e.Free)
}

// replayLogs makes of the logs what an import makes of them, ms_unflushed_allocs and ms_unflushed_frees, and applies
// these to what the space map says.
func (a *auditor) replayLogs(m *metaslab, logged []loggedEntry) {
	if len(logged) == 0 {
		return
	}
	allocs, frees := newBitmap(m.units()), newBitmap(m.units())
	for _, e := range logged {
		into, outOf := allocs, frees
		if e.free {
			into, outOf = frees, allocs
		}
		from, to := m.unit(e.offset), m.unit(e.offset+e.size)
		into.each(from, to, true, func(x, y uint64) {
			a.contradiction(m, x, y, e.log, fmt.Sprintf("%s of the log of txg %d, %#x+%#x, repeats an earlier one: the import will panic",
				entryName(e.free, e.index), e.txg, e.offset, e.size))
		})
		// What the opposite tree has is taken out of it, the rest goes in (range_tree_remove_xor_add).
		for from < to {
			end := outOf.next(from, to, true)
			into.fill(from, end, true)
			from = end
			end = outOf.next(from, to, false)
			outOf.fill(from, end, false)
			from = end
		}
	}
	if m.unknown {
		return
	}
	for _, x := range []struct {
		changes bitmap
		to      bool
		text    string
	}{{allocs, true, "the logs allocate what the space map has allocated"}, {frees, false, "the logs free what the space map has free"}} {
		x.changes.each(0, m.units(), true, func(from, to uint64) {
			m.allocated.each(from, to, x.to, func(from, to uint64) {
				a.contradiction(m, from, to, m.Object, x.text+": loading the metaslab will panic")
			})
			m.allocated.fill(from, to, x.to)
		})
	}
}

func (a *auditor) contradiction(m *metaslab, from, to, object uint64, text string) {
	m.contradicts = true
	f := m.finding(LogContradicts, from, to, text)
	f.Object = object
	a.find(f)
}

// keep marks what the checkpoint's own space map frees one day.
func (a *auditor) keep(m *metaslab, kept []ondisk.Piece) {
	for _, k := range kept {
		if k.Offset < m.Start || k.Offset-m.Start >= m.Size {
			continue
		}
		if m.kept == nil {
			m.kept = newBitmap(m.units())
		}
		from, to := m.unit(k.Offset), m.unit(k.Offset+k.Size)
		m.kept.each(from, to, true, func(x, y uint64) {
			a.find(m.finding(FreedTwice, x, y, "the space map of the checkpoint frees it twice"))
		})
		m.kept.fill(from, to, true)
	}
}

func (m *metaslab) finding(kind Kind, from, to uint64, detail string) Finding {
	return Finding{
		Kind: kind, VDev: uint32(m.VDev.ID), Metaslab: m.ID, Object: m.Object,
		Offset: m.Start + from<<m.VDev.AShift, Size: (to - from) << m.VDev.AShift, Detail: detail,
	}
}

// word is one of a bitmap, none of which is all zeroes.
func (b bitmap) word(i int) uint64 {
	if b == nil {
		return 0
	}
	return b[i]
}

// difference calls do for each range of units for which word has bits.
func (m *metaslab) difference(word func(i int) uint64, do func(from, to uint64)) (found bool) {
	var different bitmap
	for i := range int((m.units() + 63) / 64) {
		if w := word(i); w != 0 {
			if different == nil {
				different = newBitmap(m.units())
			}
			different[i] = w
		}
	}
	if different != nil {
		different.each(0, m.units(), true, do)
	}
	return different != nil
}

// judge compares what is allocated with what is claimed.
func (a *auditor) judge(m *metaslab) {
	if m.allocated == nil && m.now == nil && m.checkpointed == nil && m.kept == nil {
		return
	}
	different := m.contradicts
	for _, x := range []struct {
		kind   Kind
		detail string
		word   func(i int) uint64
	}{
		{FreeButReferenced, "", func(i int) uint64 { return (m.now.word(i) | m.checkpointed.word(i)) &^ m.allocated.word(i) }},
		{Leaked, "nobody refers to it", func(i int) uint64 { return m.allocated.word(i) &^ (m.now.word(i) | m.checkpointed.word(i)) }},
		{FreeButReferenced, "it is in use, and will be free when the checkpoint is discarded", func(i int) uint64 {
			return m.kept.word(i) & m.now.word(i)
		}},
		{Leaked, "only the checkpoint refers to it, and its space map does not know", func(i int) uint64 {
			return m.checkpointed.word(i) &^ m.now.word(i) &^ m.kept.word(i)
		}},
	} {
		if m.difference(x.word, func(from, to uint64) { a.find(m.finding(x.kind, from, to, x.detail)) }) {
			different = true
		}
	}
	if !different {
		a.judgeHistogram(m)
	}
}

// judgeHistogram compares the sizes of free ranges. The histogram counts ranges of 2^n to 2^(n+1)-1 units, some of which
// are neighbours that were freed at different times, so the sum of the lower limits is at most what is free, and more than
// half of it. Of a pool that was not exported it may be less: what is allocated for a transaction group that has not begun to sync, as
// blocks of intent logs are, has left the tree of free ranges that the histogram is made of, and the space map has it free
// (metaslab_sync in module/zfs/metaslab.c).
func (a *auditor) judgeHistogram(m *metaslab) {
	var least uint64
	free := m.Size - m.allocated.count()<<m.VDev.AShift
	for i, n := range m.histogram {
		shift := uint(i) + m.VDev.AShift
		if n > free>>shift { // and perhaps more than 64 bits can hold
			a.find(m.finding(SpaceMapAccounting, 0, m.units(), fmt.Sprintf(
				"the histogram of space map %d has %d ranges of 2^%d bytes and more, %d bytes are free", m.Object, n, shift, free)))
			return
		}
		least += n << shift
	}
	if least == 0 || least <= free && (free < 2*least || !a.pool.Exported()) { // old pools leave it empty
		return
	}
	a.find(m.finding(SpaceMapAccounting, 0, m.units(), fmt.Sprintf(
		"the histogram of space map %d has at least %d bytes, %d are free", m.Object, least, free)))
}
