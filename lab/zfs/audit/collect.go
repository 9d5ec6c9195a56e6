package audit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// state is the pool as one uberblock has it: now, or in the checkpoint.
type state struct {
	*auditor
	pool  *ondisk.Pool
	flags claimFlags
	stage Stage

	blocks, embedded, ganged, logical, physical, allocated atomic.Uint64
}

func (s *state) totals() Totals {
	return Totals{
		Blocks: s.blocks.Load(), Embedded: s.embedded.Load(), Ganged: s.ganged.Load(), Logical: s.logical.Load(),
		Physical: s.physical.Load(), Allocated: s.allocated.Load(),
	}
}

// collect gathers all claims of the state.
func (s *state) collect(ctx context.Context) error {
	s.stage = Walking
	if err := s.tables(ctx); err != nil {
		return err
	}
	if s.flags&inCheckpoint == 0 {
		if err := s.lists(ctx); err != nil {
			return err
		}
	}
	if err := s.clones(ctx); err != nil {
		return err
	}
	v := &ondisk.Visitor{
		Workers: s.Workers,
		Block:   func(r ondisk.Ref, b ondisk.BlkPtr) error { return s.block(ctx, r, b) },
		Problem: func(r ondisk.Ref, err error) error {
			s.find(Finding{Kind: kindOf(err), Owners: []Owner{s.owner(r, ondisk.BlkPtr{})}, Detail: err.Error()})
			s.incomplete()
			return nil
		},
		Malformed: func(r ondisk.Ref, b ondisk.BlkPtr, err error) error {
			s.find(Finding{Kind: Malformed, Owners: []Owner{s.owner(r, b)}, Detail: err.Error()})
			return nil
		},
	}
	if !s.Quick {
		v.Shared = s.shared
	}
	return s.pool.Visit(ctx, v)
}

// shared claims that somebody else refers to a block from the same place.
func (s *state) shared(r ondisk.Ref, b ondisk.BlkPtr) error {
	if b.Embedded() || s.flags&inCheckpoint != 0 {
		return nil
	}
	d := b.DVA[0]
	at, err := s.first(d)
	if err != nil {
		s.find(Finding{Kind: BadAddress, Owners: []Owner{s.owner(r, b)}, Detail: fmt.Sprintf("%v is no possible place: %v", d, err)})
		return nil
	}
	return s.claims.add(claim{
		vdev: uint16(at.VDev), offset: at.Offset, size: uint32(at.Size >> sectorShift), extra: b.LogicalBirth, print: s.fingerprint(b),
		of: place(r), kind: claimShared,
	})
}

// first is where an address begins on vdevs that were not removed: the block's first piece, or the header of a gang block.
func (s *state) first(d ondisk.DVA) (ondisk.Piece, error) {
	header := ondisk.BlkPtr{DVA: [3]ondisk.DVA{ondisk.NewDVA(d.VDev(), d.Offset(), d.ASize(), false)}}
	if v := s.vdev(d.VDev()); v != nil && d.Gang() {
		header.DVA[0] = ondisk.NewDVA(d.VDev(), d.Offset(), v.RawSize(1<<sectorShift, 0), false)
	}
	at, err := s.pool.Extents(context.Background(), header) // it reads nothing but the header of a gang block
	if err == nil && len(at) == 0 {
		err = errors.New("it has no size")
	}
	if err != nil {
		return ondisk.Piece{}, err
	}
	return at[0], nil
}

// tellEvery is how many blocks there are between two reports of progress.
const tellEvery = 1 << 12

func (s *state) block(ctx context.Context, r ondisk.Ref, b ondisk.BlkPtr) error {
	s.count(b)
	if b.Embedded() {
		return nil
	}
	if s.Data {
		if err := s.verify(ctx, r, b); err != nil {
			return err
		}
	}
	if b.LogicalBirth > s.pool.Uberblock.TXG && r.Kind != ondisk.RefZIL {
		s.find(Finding{Kind: WrongBirth, Owners: []Owner{s.owner(r, b)}, Detail: fmt.Sprintf("the pool has come to txg %d", s.pool.Uberblock.TXG)})
	}
	kind := claimTree
	if r.Kind == ondisk.RefPending || r.Kind == ondisk.RefLivelist {
		kind = claimPending
	}
	return s.claim(ctx, kind, b, claim{extra: b.LogicalBirth, of: place(r)}, func() Owner { return s.owner(r, b) })
}

func (s *state) count(b ondisk.BlkPtr) {
	n := s.blocks.Add(1)
	s.logical.Add(b.LSize())
	if b.Embedded() {
		s.embedded.Add(1)
	} else {
		s.physical.Add(b.PSize())
		var size uint64
		for _, d := range b.DVA[:addresses(&b)] {
			size += d.ASize()
			if d.Gang() && d.ASize() != 0 {
				s.ganged.Add(1)
			}
		}
		done := s.allocated.Add(size)
		if n%tellEvery == 0 {
			s.tell(Progress{Stage: s.stage, Blocks: n, Done: done})
		}
	}
}

// verify reads a block that has a checksum and was certainly written.
func (s *state) verify(ctx context.Context, r ondisk.Ref, b ondisk.BlkPtr) error {
	switch r.Kind {
	case ondisk.RefZIL, ondisk.RefPending, ondisk.RefLivelist:
		return nil
	}
	_, err := s.pool.Read(ctx, b) // which unpacks it, too
	if sealed := errors.Is(err, ondisk.ErrEncrypted); sealed || err == nil && s.redundant(&b) {
		var copies []ondisk.Copy
		copies, err = s.pool.Check(ctx, b)
		for _, c := range copies {
			for _, d := range c.Damage {
				s.badCopy(d)
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, ondisk.ErrRedacted) {
		s.find(Finding{Kind: kindOf(err), Owners: []Owner{s.owner(r, b)}, Detail: err.Error()})
	}
	return nil
}

// redundant says that a block can be bad somewhere and good elsewhere.
func (s *state) redundant(b *ondisk.BlkPtr) bool {
	if b.Gang() || len(b.DVAs()) > 1 {
		return true
	}
	v := s.vdev(b.DVA[0].VDev())
	return v != nil && !v.Leaf()
}

// badCopy counts a place that does not hold what it should. That a device was not given is told once, elsewhere.
func (s *state) badCopy(d ondisk.Damage) {
	if d.VDev == nil || errors.Is(d.Err, ondisk.ErrMissing) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.bad[d.VDev.GUID]
	if c == nil {
		c = &BadCopies{VDev: d.VDev, First: d.Offset, Reason: d.Err.Error()}
		s.bad[d.VDev.GUID] = c
	}
	c.Blocks++
	c.Bytes += d.Size
}

// claim adds the claims of one block, alike but for their places.
func (s *state) claim(ctx context.Context, kind claimKind, b ondisk.BlkPtr, c claim, owner func() Owner) error {
	var room [8]ondisk.Piece
	pieces, err := s.pieces(ctx, &b, room[:0])
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k := BadAddress
		if b.Gang() {
			k = kindOf(err)
			s.incomplete()
		}
		s.find(Finding{Kind: k, Owners: []Owner{owner()}, Detail: err.Error()})
	}
	c.print, c.kind, c.flags = s.fingerprint(b), kind, s.flags
	var claims [8]claim
	all := claims[:0]
	for i, piece := range pieces {
		c.vdev, c.offset, c.size = uint16(piece.VDev), piece.Offset, uint32(piece.Size>>sectorShift)
		if i > 0 {
			c.flags |= secondary
		}
		all = append(all, c)
	}
	return s.claims.add(all...)
}

// pieces is Pool.Extents, with less work for usual blocks.
func (s *state) pieces(ctx context.Context, b *ondisk.BlkPtr, all []ondisk.Piece) ([]ondisk.Piece, error) {
	if b.Gang() {
		return s.pool.Extents(ctx, *b)
	}
	for _, d := range b.DVA[:addresses(b)] {
		v := s.vdev(d.VDev())
		if v == nil || !v.Concrete() || v.Removing() || d.Gang() {
			return s.pool.Extents(ctx, *b)
		}
		if size := d.ASize(); size != 0 {
			all = append(all, ondisk.Piece{VDev: d.VDev(), Offset: d.Offset(), Size: size})
		}
	}
	return all, nil
}

// addresses is how many of the places for addresses of a block that is not embedded are such.
func addresses(b *ondisk.BlkPtr) int {
	if b.Encrypted() {
		return len(b.DVA) - 1
	}
	return len(b.DVA)
}

// clones adds the references that claimed intent logs hold on blocks which they clone, until they are replayed.
func (s *state) clones(ctx context.Context) error {
	sets, err := s.pool.Datasets(ctx)
	if ctx.Err() != nil {
		return err
	}
	for _, d := range sets { // the others, lists tells of
		if d.Snapshot() || d.Root.Hole() {
			continue
		}
		o, err := s.pool.OpenObjSet(ctx, d.Root, d.ID)
		if err != nil || o.ZIL.ClaimTXG == 0 {
			continue // the walk tells
		}
		for z := range o.ZILBlocks(ctx) {
			for _, record := range z.Records {
				if record.TXType != ondisk.TXCloneRange {
					continue
				}
				for _, b := range record.Blocks {
					r := ondisk.Ref{Kind: ondisk.RefZILData, ObjSet: d.ID, Object: record.Object, BlkID: z.Seq}
					if b.Embedded() {
						continue
					}
					if err := s.claim(ctx, claimTree, b, claim{extra: b.LogicalBirth}, func() Owner { return s.owner(r, b) }); err != nil {
						return err
					}
				}
			}
		}
	}
	return ctx.Err()
}
