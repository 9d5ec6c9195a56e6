package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// tables adds what the tables of shared blocks say.
func (s *state) tables(ctx context.Context) error {
	if err := s.dedup(ctx, func(b ondisk.BlkPtr, refs uint64) error {
		return s.claim(ctx, claimDDT, b, claim{extra: refs}, func() Owner { return dedupOwner(b) })
	}); err != nil {
		return err
	}
	return s.cloned(ctx)
}

func dedupOwner(b ondisk.BlkPtr) Owner {
	return Owner{Kind: "dedup table", Dataset: mosName, Birth: b.LogicalBirth, Blocks: 1}
}

// dedup goes through the dedup table as it is when its logs are applied. An entry of a log without references holds its
// space until the log is flushed.
func (s *state) dedup(ctx context.Context, do func(b ondisk.BlkPtr, refs uint64) error) error {
	all, err := s.pool.DDTs(ctx)
	if err != nil {
		s.problem("dedup table", 0, err)
	}
	byChecksum := map[checksum.Algorithm][]ondisk.DDT{}
	for _, d := range all {
		byChecksum[d.Checksum] = append(byChecksum[d.Checksum], d)
	}
	for _, parts := range byChecksum {
		if err := s.dedupOf(ctx, parts, do); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// maxDedupLog is how many different entries of dedup logs are held: 2 GiB. OpenZFS holds them, too, in a hundredth of its
// memory (zfs_dedup_log_mem_max_percent).
const maxDedupLog = 1 << 22

func (s *state) dedupOf(ctx context.Context, parts []ondisk.DDT, do func(b ondisk.BlkPtr, refs uint64) error) error {
	each := func(d *ondisk.DDT, do func(ondisk.DDTEntry) error) error {
		for e, err := range d.Entries(ctx, s.pool) {
			if err == nil {
				err = do(e)
				if err != nil {
					return err
				}
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.problem(d.Name, d.Object, err)
		}
		return nil
	}
	// What is in the log that is being flushed is older than what is in the other one.
	logged := map[ondisk.DDTKey]ondisk.DDTEntry{}
	for _, flushing := range []bool{true, false} {
		for _, d := range parts {
			if !d.Log || d.Flushing != flushing {
				continue
			}
			if err := each(&d, func(e ondisk.DDTEntry) error {
				if d.Checkpoint == nil || compareKeys(e.Key, *d.Checkpoint) > 0 {
					logged[e.Key] = e
				}
				if len(logged) > maxDedupLog {
					return &ondisk.UnsupportedError{What: fmt.Sprintf("more than %d entries of dedup logs", maxDedupLog)}
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	for _, d := range parts {
		if d.Log {
			continue
		}
		if err := each(&d, func(e ondisk.DDTEntry) error {
			if _, ok := logged[e.Key]; ok {
				return nil
			}
			return blocksOf(e, do)
		}); err != nil {
			return err
		}
	}
	for _, e := range logged {
		if err := blocksOf(e, do); err != nil {
			return err
		}
	}
	return nil
}

// compareKeys is ddt_key_compare.
func compareKeys(a, b ondisk.DDTKey) int {
	for i := range a.Cksum {
		if c := cmp.Compare(a.Cksum[i], b.Cksum[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.Prop, b.Prop)
}

// blocksOf makes block pointers of an entry, as ddt_bp_create does.
func blocksOf(e ondisk.DDTEntry, do func(b ondisk.BlkPtr, refs uint64) error) error {
	const (
		sizesAndCompression = 1<<39 - 1
		typeShift           = 48
		crypt               = 1 << 61
		dedup               = 1 << 62
		littleEndian        = 1 << 63
	)
	for _, x := range e.Phys {
		b := ondisk.BlkPtr{
			DVA: x.DVA, LogicalBirth: x.PhysicalBirth, Cksum: e.Key.Cksum,
			Prop: e.Key.Prop&sizesAndCompression | uint64(ondisk.TypePlainFile)<<typeShift | dedup | littleEndian,
		}
		if e.Key.Crypt() {
			b.Prop |= crypt
		}
		if b.Hole() {
			continue
		}
		if err := do(b, x.RefCount); err != nil {
			return err
		}
	}
	return nil
}

// cloned adds the entries of the block reference tables, and compares the tables with their own headers.
func (s *state) cloned(ctx context.Context) error {
	all, err := s.pool.BRTs(ctx)
	if err != nil {
		s.problem("block reference table", 0, err)
	}
	for _, t := range all {
		counts, err := t.Counts(ctx, s.pool)
		if err != nil {
			s.problem(fmt.Sprintf("counts of the block reference table of vdev %d", t.VDev), t.Object, err)
		}
		entries := make([]uint64, len(counts))
		total := uint64(0)
		for e, err := range t.Entries(ctx, s.pool) {
			if err != nil {
				s.problem("block reference table", t.EntriesObject, err)
				continue
			}
			total++
			if t.RangeSize != 0 && e.Offset/t.RangeSize < uint64(len(entries)) {
				entries[e.Offset/t.RangeSize]++
			}
			if err := s.clonedBlock(t, e); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.flags != 0 {
			continue
		}
		if total != t.TotalCount {
			s.find(Finding{Kind: BRTCount, VDev: uint32(t.VDev), Object: t.Object, Detail: fmt.Sprintf(
				"the block reference table of vdev %d has %d entries, its header says %d", t.VDev, total, t.TotalCount)})
		}
		for i, n := range counts {
			if uint64(n) != entries[i] {
				s.find(Finding{
					Kind: BRTCount, VDev: uint32(t.VDev), Offset: uint64(i) * t.RangeSize, Size: t.RangeSize, Object: t.Object,
					Detail: fmt.Sprintf("the block reference table has %d entries in this range and counts %d", entries[i], n),
				})
			}
		}
	}
	return nil
}

func (s *state) clonedBlock(t ondisk.BRT, e ondisk.BRTEntry) error {
	piece := ondisk.Piece{VDev: uint32(t.VDev), Offset: e.Offset, Size: 1 << sectorShift}
	for range len(s.pool.VDevs) { // a removed vdev may have moved to one that was removed later
		at, err := s.pool.Remap(piece.VDev, piece.Offset, piece.Size)
		if err == nil && len(at) == 0 {
			err = errors.New("it is mapped to nothing")
		}
		if err != nil {
			s.find(Finding{Kind: BRTCount, VDev: uint32(t.VDev), Offset: e.Offset, Size: piece.Size, Object: t.EntriesObject,
				Detail: fmt.Sprintf("an entry of the block reference table: %v", err)})
			return nil
		}
		if at[0] == piece {
			break
		}
		piece = at[0]
	}
	return s.claims.add(claim{vdev: uint16(piece.VDev), offset: piece.Offset, extra: e.Count, kind: claimBRT, flags: s.flags})
}
